"""`make bench-growth`: what a turn costs as its conversation grows, beside the Agents SDK with its own client, in the same run.

Every turn brings the same 2 KB of new text (1 KB asked, 1 KB answered in 50 deltas, written at once), so a cost that differs
between turn 5 and turn 1,000 is one that grows with the conversation. Counts are exact; CPU is the Worker's whole process, to the
nanosecond; both are medians over WINDOW turns about each point and ROUNDS (3) conversations. Then what it costs to come back: a
client after some missed events, and a session after eviction. The SDK goes to turn 200 in each round and to 1,000 once.
QUICK=1 is a smoke run.
"""

import math
import os
from collections import defaultdict
from contextlib import ExitStack
from typing import Any

from bench._contestants import Contestant, Contestants, start
from bench._load import Provider, load
from bench.report import Report

QUICK = os.environ.get("QUICK") == "1"
ROUNDS = int(os.environ.get("ROUNDS", "1" if QUICK else "3"))
POINTS = (5, 20, 50) if QUICK else (5, 50, 200, 1_000)
SDK_SOON = 50 if QUICK else 200
HISTORY = 20 if QUICK else 200
"""Turns until there are 400 KB of history."""
WINDOW = 5
WARM_UP = 10 if QUICK else 60
CHARS = 1_000
SAY = "reply:50x20"
METRICS = {
    "rowsWritten": ("rows written", "rows"),
    "rowsRead": ("rows read", "rows"),
    "statements": ("SQL statements", ""),
    "up": ("bytes up", "B"),
    "down": ("bytes down", "B"),
    "framesUp": ("frames up", ""),
    "framesDown": ("frames down", ""),
    "cpu": ("CPU", "ms"),
    "wall": ("wall", "ms"),
}
COUNT_WITHIN = 1.05
CPU_WITHIN = 1.15
BEYOND_BYTES = 1_024
MISSED_TURNS = (1, 4, 10)
EVENTS = (10, 500) if QUICK else (10, 10_000)
WAKES = 5 if QUICK else 25
WAKE_WITHIN = 1.2
WAKE_STATEMENTS = 5
STORM = 40 if QUICK else 200
STORM_WITHIN_MS = 1_000
STORM_READY_MS = 2_000


class Growth:
    """One run of the bench."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._found: dict[tuple[str, int, str], list[float]] = defaultdict(list)
        self._names = 0

    # --- turns ------------------------------------------------------------------------------------------------------

    def converse(self, who: Contestant, turns: int, points: tuple[int, ...]) -> None:
        """Hold a conversation and note what the turns about its points cost."""
        self._names += 1
        asked = {"session": f"growth-{self._names}", "say": SAY, "chars": CHARS, "window": WINDOW}
        measured: Any = load("growth.mjs", who.options(**asked, turns=turns, points=points))
        for turn in measured:
            for metric in METRICS:
                self._found[metric, turn["point"], who.name].append(turn[metric])

    def grow(self, who: Contestant, last: int) -> None:
        """A conversation up to the given point."""
        points = tuple(point for point in POINTS if point <= last)
        self._report.progress(f"{who.name}: a conversation of {last} turns")
        self.converse(who, last + WINDOW // 2, points)

    def turns(self) -> None:
        """Report what turns cost, and the targets."""
        for metric, (what, unit) in METRICS.items():
            for point in POINTS:
                for who in ("edgeloop", "agents-sdk"):
                    self._figure(metric, point, who, f"{what}, turn {point:,}, {who}", unit)
        for metric, (what, _) in METRICS.items():
            if metric != "wall":
                bound = CPU_WITHIN if metric == "cpu" else COUNT_WITHIN
                name = f"{what}, turn {POINTS[-1]:,} / turn {POINTS[0]}"
                self._report.target(name, self._ratio(metric), "at most", bound)
        for metric in ("up", "down"):
            beyond = self._median(metric, HISTORY) - CHARS
            name = f"{METRICS[metric][0]} beyond what is new, turn {HISTORY}"
            self._report.target(name, beyond, "at most", BEYOND_BYTES)

    def _figure(self, metric: str, point: int, who: str, name: str, unit: str) -> None:
        runs = self._found.get((metric, point, who))
        if runs:
            self._report.figure(name, runs, unit)

    def _median(self, metric: str, point: int) -> float:
        return self._report.figures[f"{METRICS[metric][0]}, turn {point:,}, edgeloop"]["value"]

    def _ratio(self, metric: str) -> float:
        first, last = self._median(metric, POINTS[0]), self._median(metric, POINTS[-1])
        if first == last == 0:
            return 1.0
        return last / first if first else math.inf

    # --- coming back ------------------------------------------------------------------------------------------------

    def reconnect(self, who: Contestant) -> None:
        """A client of a conversation of 400 KB loses its connection and misses some turns."""
        self._report.progress(f"{who.name}: a client comes back after {HISTORY} turns")
        asked = {"session": "reconnect", "say": SAY, "chars": CHARS, "turns": HISTORY}
        found = load("reconnect.mjs", who.options(**asked, missed=MISSED_TURNS))
        self._report.figure(f"a client with nothing kept, turn {HISTORY}, {who.name}", [found["load"]], "B")
        for missed in found["missed"]:
            what = f"coming back after {missed['events']} missed events"
            self._report.figure(f"{what}, {who.name}", [missed["down"]], "B")
            if missed["events"]:
                self._report.target(f"{what}: events sent", missed["followed"], "at most", missed["events"])
                beyond = missed["down"] - missed["stored"]
                self._report.target(f"{what}: bytes beyond these", beyond, "at most", BEYOND_BYTES)

    def wake(self, who: Contestant) -> None:
        """Sessions are evicted and come back: one with few events, one with many, and a crowd at once."""
        self._report.progress(f"{who.name}: sessions of {EVENTS} events, evicted and woken {WAKES} times")
        storm = {"sessions": STORM, "withinMs": STORM_WITHIN_MS}
        found = load("wakes.mjs", who.options(events=EVENTS, rounds=WAKES, storm=storm))
        cpu: list[float] = []
        for events in EVENTS:
            wakes: list[dict[str, float]] = found["wakes"][str(events)]
            what = f"wake, {events:,} events"
            cpu.append(self._report.figure(f"CPU, {what}", [wake["cpu"] for wake in wakes], "ms"))
            self._report.figure(f"wall, {what}", [wake["wall"] for wake in wakes], "ms")
            self._report.figure(f"rows read, {what}", [wake["rowsRead"] for wake in wakes], "rows")
            statements = [wake["statements"] for wake in wakes]
            self._report.figure(f"SQL statements, {what}", statements, "")
            self._report.target(f"SQL statements, {what}", max(statements), "at most", WAKE_STATEMENTS)
        name = f"CPU, wake, {EVENTS[1]:,} events / {EVENTS[0]} events"
        self._report.target(name, cpu[1] / cpu[0], "at most", WAKE_WITHIN)
        name = f"{STORM} sessions woken within {STORM_WITHIN_MS} ms: all ready"
        ready = self._report.figure(name, found["storm"], "ms")
        self._report.target(name, ready, "at most", STORM_READY_MS)


def main() -> None:
    """Run the bench."""
    report = Report("growth")
    growth = Growth(report)
    with ExitStack() as stack:
        contestants = Contestants(stack, stack.enter_context(Provider()))
        report.progress("starting two Workers")
        ours, sdk = start([contestants.edgeloop, contestants.agents_sdk])
        for who in (ours, sdk):
            growth.converse(who, WARM_UP, ())
        for number in range(ROUNDS):
            report.progress(f"round {number + 1} of {ROUNDS}")
            growth.grow(ours, POINTS[-1])
            growth.grow(sdk, SDK_SOON if number else POINTS[-1])
        growth.turns()
        for who in (ours, sdk):
            growth.reconnect(who)
    with ExitStack() as stack:
        contestants = Contestants(stack, stack.enter_context(Provider()))
        growth.wake(contestants.evictable())
    report.finish()


if __name__ == "__main__":
    main()
