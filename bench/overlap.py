"""`make bench-overlap`: what of three tools' time hides behind the model's stream.

The model answers for 5 s; its calls are complete at 1.5, 3.0 and 4.5 s, and each tool takes 1 s, so no loop can end before 5.5 s.
Ours in every dialect, ours with eagerness off, a plain sequential loop, and the Agents SDK with its latest packages and with
the last ones that start tools early. A tool's start is its arrival at the host it fetches from, measured from the model
server's write of what completes the call. ROUNDS (3); QUICK=1 is one round.
"""

import os
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench._contestants import Contestant, Contestants, start
from bench._load import Provider, load
from bench.report import Report

ROUNDS = int(os.environ.get("ROUNDS", "1" if os.environ.get("QUICK") == "1" else "3"))
DIALECTS: tuple[str, ...] = ("anthropic", "openai", "openai-responses", "gemini", "workers-ai")
BOUND_MS = 5_500.0
WITHIN = 1.02
START_MEDIAN_MS = 10.0
START_MOST_MS = 20.0
APART_MS = 110  # between two runs' starts: the moments of eleven runs then never meet


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is run in every round."""

    name: str
    who: dict[str, Any]
    more: dict[str, Any] = field(default_factory=lambda: dict[str, Any]())


class Overlap:
    """One run of the bench."""

    def __init__(self, report: Report, provider: Provider) -> None:
        self._report = report
        self._provider = provider
        self._walls: dict[str, list[float]] = defaultdict(list)
        self._turns: dict[str, list[float]] = defaultdict(list)
        self._starts: dict[str, list[float]] = defaultdict(list)

    def round(self, number: int, entries: list[Entry]) -> None:
        """Run all entries once, side by side."""
        names = [f"r{number}-{i}" for i in range(len(entries))]
        runs = [
            {**entry.who, **entry.more, "run": name, "session": name}
            for entry, name in zip(entries, names, strict=True)
        ]
        found: Any = load("steps.mjs", {"everyMs": APART_MS, "runs": runs})
        for entry, name, step in zip(entries, names, found, strict=True):
            noted = self._provider.tools(name)
            self._walls[entry.name].append(step["wall"])
            pairs = zip(noted["completed"], noted["arrived"], strict=True)
            self._starts[entry.name] += [arrived - completed for completed, arrived in pairs]
            self._turns[entry.name] += [asked - step["sentAt"] for asked in noted["asked"][1:2]]

    def finish(self) -> None:
        """Report the figures and the targets of issue 4."""
        for name, walls in self._walls.items():
            self._report.figure(f"step wall, {name}", walls, "ms")
            self._report.figure(f"tool start after its call, {name}", self._starts[name], "ms")
            if self._turns[name]:
                self._report.figure(f"next model call, {name}", self._turns[name], "ms")
        for dialect in DIALECTS:
            self._targets(f"edgeloop, {dialect}")
        self._report.finish()

    def _targets(self, name: str) -> None:
        wall = self._report.figures[f"step wall, {name}"]
        starts = self._report.figures[f"tool start after its call, {name}"]
        self._report.target(f"step wall, {name}", wall["value"], "at most", BOUND_MS * WITHIN)
        self._report.target(f"tool start median, {name}", starts["value"], "at most", START_MEDIAN_MS)
        self._report.target(f"tool start max, {name}", starts["high"], "at most", START_MOST_MS)


def entries_of(ours: dict[str, Contestant], peers: dict[str, Contestant], provider: Provider) -> list[Entry]:
    """What is compared."""
    off = Entry(
        name="edgeloop, anthropic, eagerness off", who=ours["anthropic"].options(), more={"eager": False}
    )
    return [
        *(Entry(name=f"edgeloop, {dialect}", who=who.options()) for dialect, who in ours.items()),
        off,
        Entry(name="sequential loop", who={"protocol": "loop", "url": provider.url}),
        *(Entry(name=name, who=who.options()) for name, who in peers.items()),
    ]


def main() -> None:
    """Run the bench."""
    report = Report("overlap")
    with ExitStack() as stack:
        provider = stack.enter_context(Provider())
        contestants = Contestants(stack, provider)
        report.progress("starting eight Workers")
        peers = {
            "Agents SDK, ai 7, anthropic": partial(contestants.agents_sdk, dialect="anthropic"),
            "Agents SDK, ai 7, openai": partial(contestants.agents_sdk, dialect="openai"),
            "Agents SDK, ai 6.0.259, anthropic": partial(
                contestants.agents_sdk, "agents-sdk-eager", dialect="anthropic"
            ),
        }
        running = start([*(partial(contestants.edgeloop, dialect) for dialect in DIALECTS), *peers.values()])
        ours: dict[str, Contestant] = dict(zip(DIALECTS, running, strict=False))
        entries = entries_of(ours, dict(zip(peers, running[len(DIALECTS) :], strict=True)), provider)
        overlap = Overlap(report, provider)
        report.progress("warming up")
        Overlap(report, provider).round(0, entries)
        for number in range(1, ROUNDS + 1):
            report.progress(f"round {number} of {ROUNDS}: {len(entries)} steps of 5.5 to 8 s, side by side")
            overlap.round(number, entries)
    overlap.finish()


if __name__ == "__main__":
    main()
