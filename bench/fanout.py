"""`make bench-fanout`: one model server feeding many sessions, through our Worker and its peers, in the same run.

Contestants: ours; a Python handler per chunk; the Agents SDK's `AIChatAgent`; a bare JavaScript pump, which is what the runtime
can do at best; the same pump in a Python Worker, which is what it can do at best where Pyodide is. Figures are medians over
ROUNDS (3), the contestants taking turns. Latency runs from the model server's write of a delta to the viewer's receipt, in steady
state: when all sessions stream, until the first ends. QUICK=1 is a smoke run.
"""

import os
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from bench._contestants import Contestant, Contestants, start
from bench._load import LoadError, Provider, load
from bench.report import Report

QUICK = os.environ.get("QUICK") == "1"
ROUNDS = int(os.environ.get("ROUNDS", "1" if QUICK else "3"))
RATE = 50
STEADY_SECONDS = 1.5 if QUICK else 4.0
START_MS = 50
"""Between two sessions' starts: what a start costs (9 ms of the thread) is another figure, and what it holds up must not be in
this one. At 20 ms the last of 200 left a queue behind that took longer to go than was measured."""
SETTLE_MS = 2_000
FULL_DELTAS = {"agents-sdk": 4_000}  # at its pace, 20,000 would take most of the bench's time
FULL_DEFAULT = 20_000
SESSIONS = (1, 20, 100) if QUICK else (1, 20, 100, 200, 400)
P99_MS = {1: 2.0, 20: 5.0, 100: 20.0, 200: 50.0, 400: 120.0}
NAIVE_SESSIONS = (1, 20, 100)
SDK_SESSIONS = (1, 20)
WAKING = 200
WAKE_WITHIN_MS = 1_500

Runs = dict[str, list[float]]


@dataclass(kw_only=True)
class Fanout:
    """One run of the bench: what was measured so far, by figure's name."""

    report: Report
    found: Runs = field(default_factory=lambda: defaultdict(list))
    units: dict[str, str] = field(default_factory=lambda: dict[str, str]())
    names: int = 0

    def note(self, name: str, value: float | None, unit: str) -> None:
        if value is not None:
            self.found[name].append(value)
            self.units[name] = unit

    def median(self, name: str) -> float | None:
        figure = self.report.figures.get(name)
        return None if figure is None else figure["value"]

    # --- measuring --------------------------------------------------------------------------------------------------

    def crowd(
        self, who: Contestant, say: str, sessions: int, viewers: int = 1, **more: Any
    ) -> dict[str, Any] | None:
        """Let a crowd watch; a contestant that fails is reported and has no figure."""
        self.names += 1
        known = {"spreadMs": sessions * START_MS, "settleMs": SETTLE_MS, "prefix": f"s{self.names}", **more}
        try:
            return load("viewers.mjs", who.options(say=say, sessions=sessions, viewers=viewers, **known))
        except LoadError as error:
            self.report.progress(f"{who.name}, {sessions} sessions, {say}: {error}")
            return None

    def full_speed(self, who: Contestant) -> None:
        count = FULL_DELTAS.get(who.name, FULL_DEFAULT)
        found = self.crowd(who, f"full:{count}", 1)
        if found:
            self.note(f"full speed, {who.name}", found["rate"], "deltas/s")

    def paced(self, who: Contestant, sessions: int, *, viewers: int = 1, what: str = "", **more: Any) -> None:
        """Note the latencies and the CPU of so many sessions at 50 deltas/s each."""
        count = int(RATE * (STEADY_SECONDS + (sessions * START_MS + SETTLE_MS) / 1000))
        found = self.crowd(who, f"paced:{RATE}x{count}", sessions, viewers, **more)
        if not found:
            return
        name = what or f"{sessions} sessions"
        steady = found["steady"] or found["all"]
        for key in ("p50", "p99", "max"):
            self.note(f"latency {key}, {name}, {who.name}", steady[key], "ms")
        self.note(f"CPU per delta, {name}, {who.name}", found["cpuPerDelta"], "ms")
        if found["woken"]:
            self.note(f"wake p50 while others stream, {who.name}", found["woken"]["p50"], "ms")
            self.note(f"wake p99 while others stream, {who.name}", found["woken"]["p99"], "ms")

    def saturated(self, who: Contestant) -> None:
        """One second of output to 100 sessions of a contestant that cannot keep up: how late it is."""
        found = self.crowd(who, f"paced:{RATE}x{RATE}", 100)
        if found:
            self.note(f"latency p99, 100 sessions (saturated), {who.name}", found["all"]["p99"], "ms")
            self.note(f"CPU per delta, 100 sessions (saturated), {who.name}", found["cpuPerDeltaAll"], "ms")

    # --- the whole --------------------------------------------------------------------------------------------------

    def round(
        self, ours: Contestant, pump: Contestant, beside: Contestant, naive: Contestant, sdk: Contestant
    ) -> None:
        """Measure everything once, each figure's contestants one right after the other."""
        self.report.progress("one stream at full speed")
        for who in (ours, naive, sdk, pump):
            self.full_speed(who)
        for sessions in SESSIONS:
            rivals = [
                ours,
                pump,
                beside,
                *([naive] if sessions in NAIVE_SESSIONS else []),
                *([sdk] if sessions in SDK_SESSIONS else []),
            ]
            self.report.progress(f"{sessions} sessions at {RATE}/s: {', '.join(who.name for who in rivals)}")
            for who in rivals:
                self.paced(who, sessions)
        self.report.progress("100 sessions with 3 viewers each")
        for who in (ours, pump, beside):
            self.paced(who, 100, viewers=3, what="100 sessions x 3 viewers")
        self.report.progress(f"100 streams while {WAKING} others wake within {WAKE_WITHIN_MS} ms")
        others = {"sessions": WAKING, "withinMs": WAKE_WITHIN_MS, "prefix": "sleeper"}
        for who in (ours, pump, beside):
            self.paced(who, 100, what=f"100 sessions, {WAKING} wake", wake=others)

    def targets(self) -> None:
        """Compare with what issue 4 asks."""
        self.full_speed_targets()
        for sessions in SESSIONS:
            self.bound(f"latency p99, {sessions} sessions, edgeloop", P99_MS[sessions])
            self.pumps(f"latency p99, {sessions} sessions")
            self.ratio(f"latency p99, {sessions} sessions", "agents-sdk", 0.1)
        self.bound("CPU per delta, 100 sessions, edgeloop", 0.07)
        self.pumps("CPU per delta, 100 sessions")
        self.bound("latency p99, 100 sessions x 3 viewers, edgeloop", 40.0)
        self.pumps("latency p99, 100 sessions x 3 viewers")
        self.bound(f"latency p99, 100 sessions, {WAKING} wake, edgeloop", 80.0)
        self.pumps(f"latency p99, 100 sessions, {WAKING} wake")

    def pumps(self, name: str) -> None:
        for pump in ("js pump", "js pump in Python"):
            self.ratio(name, pump, 1.3)

    def full_speed_targets(self) -> None:
        mine = self.median("full speed, edgeloop")
        if mine is None:
            return
        self.report.target("full speed, edgeloop", mine, "at least", 30_000.0)
        for rival, times in (("python per chunk", 5.0), ("agents-sdk", 20.0)):
            theirs = self.median(f"full speed, {rival}")
            if theirs:
                self.report.target(f"full speed, edgeloop / {rival}", mine / theirs, "at least", times)

    def bound(self, name: str, bound: float) -> None:
        value = self.median(name)
        if value is not None:
            self.report.target(name, value, "at most", bound)

    def ratio(self, name: str, rival: str, bound: float) -> None:
        mine, theirs = self.median(f"{name}, edgeloop"), self.median(f"{name}, {rival}")
        if mine is not None and theirs:
            self.report.target(f"{name}, edgeloop / {rival}", mine / theirs, "at most", bound)


def main() -> None:
    """Run the bench."""
    report = Report("fanout")
    fanout = Fanout(report=report)
    with ExitStack() as stack:
        contestants = Contestants(stack, stack.enter_context(Provider()))
        report.progress("starting five Workers")
        running = start(
            [
                contestants.edgeloop,
                contestants.js_pump,
                contestants.js_pump_in_python,
                contestants.python_naive,
                contestants.agents_sdk,
            ]
        )
        for who in running[:3]:
            fanout.crowd(who, "full:1", WAKING // 10 if QUICK else WAKING, prefix="sleeper")
        for number in range(ROUNDS):
            report.progress(f"round {number + 1} of {ROUNDS}")
            fanout.round(*running)
        fanout.saturated(running[-1])
    for name, runs in fanout.found.items():
        report.figure(name, runs, fanout.units[name])
    fanout.targets()
    report.finish()


if __name__ == "__main__":
    main()
