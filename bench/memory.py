"""`make bench-memory`: what sessions cost in memory, ours beside the Agents SDK and a bare Python object, in the same run.

First the Workers as they ship: workerd's resident memory with 100 and 300 sessions, each with an open socket and one turn of
1 KB behind it, all awake at the reading; per session, over what the process held when one session had had WARM turns, and per
session more from 100 to 300, where what a process needs once no longer counts. The bare object has a socket and a table and does
nothing but keep what it is sent. Then the isolate's own heaps, by workerd's inspector: ours after 300 sessions were opened, used
and evicted five times, and with 1,000 sessions awake. ROUNDS (3) processes each; QUICK=1 is a smoke run.
"""

import os
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from bench._contestants import Contestant, Contestants
from bench._load import Provider, held, load
from bench.report import Report
from scripts.evictable_edge import Heap, heap_of

QUICK = os.environ.get("QUICK") == "1"
ROUNDS = int(os.environ.get("ROUNDS", "1" if QUICK else "3"))
SIZES = (20, 50) if QUICK else (100, 300)
SAY = "reply:1x1000"
WARM = 100
PER_SESSION_MIB = 0.75
OVER_BARE = 1.1
CYCLES = 5
CYCLED = 30 if QUICK else 300
WASM_MIB = 43.4
"""The wasm heap's start, 43.3, which it is to be within one step of growth of."""
WASM_STEP = 1.2
CYCLED_MIB = 96.0
LIVE = 50 if QUICK else 1_000
LIVE_MIB = 128.0


class Memory:
    """One run of the bench."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._resident: dict[str, list[float]] = defaultdict(list)
        self._heaps: dict[str, list[float]] = defaultdict(list)

    # --- the process ------------------------------------------------------------------------------------------------

    def crowd(self, who: Contestant) -> None:
        """Open sessions, and note what the process holds."""
        self._report.progress(f"{who.name}: {SIZES[-1]} sessions")
        asked = {"prefix": "crowd", "say": SAY, "warm": WARM, "sizes": SIZES}
        with held("crowd.mjs", who.options(**asked)) as found:
            first, *later = list[dict[str, Any]](found)
        self._resident[f"resident, 1 session, {who.name}"].append(first["awake"])
        for found in later:
            size = found["sessions"]
            self._resident[f"resident, {size} sessions, {who.name}"].append(found["awake"])
            each = (found["awake"] - first["awake"]) / (size - 1)
            self._resident[f"per session, {size} sessions, {who.name}"].append(each)
        few, many = later
        more = (many["awake"] - few["awake"]) / (many["sessions"] - few["sessions"])
        self._resident[f"per session more, {who.name}"].append(more)

    def processes(self) -> None:
        """Report the processes, and the targets."""
        figures = {name: self._report.figure(name, runs, "MiB") for name, runs in self._resident.items()}
        for size in SIZES:
            mine, sdk = (figures[f"resident, {size} sessions, {who}"] for who in ("edgeloop", "agents-sdk"))
            self._report.target(
                f"resident, {size} sessions, edgeloop / agents-sdk", mine / sdk, "at most", 1.0
            )
        name = f"per session, {SIZES[-1]} sessions"
        mine, bare = (figures[f"{name}, {who}"] for who in ("edgeloop", "bare object"))
        self._report.target(f"{name}, edgeloop", mine, "at most", PER_SESSION_MIB)
        self._report.target(f"{name}, edgeloop / bare object", mine / bare, "at most", OVER_BARE)
        mine, bare = (figures[f"per session more, {who}"] for who in ("edgeloop", "bare object"))
        self._report.target("per session more, edgeloop / bare object", mine / bare, "at most", OVER_BARE)

    # --- the isolate ------------------------------------------------------------------------------------------------

    def cycles(self, who: Contestant) -> None:
        """Open, use and abandon the same sessions, again and again."""
        self._report.progress(f"{who.name}: {CYCLES} x {CYCLED} sessions, evicted each time")
        load("cycles.mjs", who.options(prefix="cycled", say=SAY, sessions=CYCLED, cycles=CYCLES))
        self._note(f"after {CYCLES} x {CYCLED} sessions", heap_of(who.pid))

    def awake(self, who: Contestant) -> None:
        """Keep many sessions awake."""
        self._report.progress(f"{who.name}: {LIVE} sessions awake")
        with held("crowd.mjs", who.options(prefix="awake", say=SAY, warm=1, sizes=(LIVE,))):
            self._note(f"{LIVE} sessions awake", heap_of(who.pid))

    def start(self, who: Contestant) -> None:
        """Nothing has happened yet."""
        self._note("at the start", heap_of(who.pid))

    def _note(self, what: str, heap: Heap) -> None:
        self._heaps[f"wasm heap, {what}"].append(heap.wasm)
        self._heaps[f"V8 heap, {what}"].append(heap.v8)
        self._heaps[f"backing stores, {what}"].append(heap.backing)
        self._heaps[f"all heaps, {what}"].append(heap.total)
        self._heaps[f"not yet collected, {what}"].append(heap.garbage)

    def isolates(self) -> None:
        """Report the heaps, and the targets."""
        figures = {name: self._report.figure(name, runs, "MiB") for name, runs in self._heaps.items()}
        cycled = f"after {CYCLES} x {CYCLED} sessions"
        self._report.target(
            f"wasm heap, {cycled}", figures[f"wasm heap, {cycled}"], "at most", WASM_MIB * WASM_STEP
        )
        self._report.target(f"all heaps, {cycled}", figures[f"all heaps, {cycled}"], "at most", CYCLED_MIB)
        name = f"all heaps, {LIVE} sessions awake"
        self._report.target(name, figures[name], "at most", LIVE_MIB)


def main() -> None:
    """Run the bench."""
    report = Report("memory")
    memory = Memory(report)

    def alone(starter: Callable[[Contestants], Contestant], *steps: Callable[[Contestant], None]) -> None:
        # A process of its own, and nothing beside it: what is read is its memory, not its share of a machine's.
        with ExitStack() as stack:
            who = starter(Contestants(stack, stack.enter_context(Provider())))
            for step in steps:
                step(who)

    for number in range(ROUNDS):
        report.progress(f"round {number + 1} of {ROUNDS}")
        for starter in (Contestants.edgeloop, Contestants.bare_object, Contestants.agents_sdk):
            alone(starter, memory.crowd)
        alone(Contestants.evictable, memory.start, memory.cycles)
        alone(Contestants.evictable, memory.awake)
    memory.processes()
    memory.isolates()
    report.finish()


if __name__ == "__main__":
    main()
