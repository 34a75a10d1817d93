"""What every bench prints: figures with their spread, targets met or not, and with JSON=1 one JSON object as the last line.

A figure is the median of its runs, with the lowest and the highest. A bench never fails on a missed target: machines are noisy,
so whoever reads decides; counts that must hold are asserted in tests.
"""

import json
import os
import statistics
import sys
from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict


class Figure(TypedDict):
    """A measured quantity over its runs."""

    value: float
    unit: str
    low: float
    high: float
    runs: int


class Target(TypedDict):
    """A bound on a figure; `want` says on which side the value must lie."""

    name: str
    value: float
    bound: float
    met: bool
    want: NotRequired[str]


class Report:
    """Collects figures and targets of one bench and prints them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.figures: dict[str, Figure] = {}
        self.targets: list[Target] = []

    def figure(self, name: str, runs: Sequence[float], unit: str) -> float:
        """Record a figure and return its median."""
        value = statistics.median(runs)
        self.figures[name] = Figure(value=value, unit=unit, low=min(runs), high=max(runs), runs=len(runs))
        print(
            f"  {name:<58} {value:>11,.3f} {unit:<10} [{min(runs):,.3f} .. {max(runs):,.3f}] n={len(runs)}",
            flush=True,
        )
        return value

    def target(self, name: str, value: float, want: Literal["at most", "at least"], bound: float) -> None:
        """Record whether a value keeps a bound."""
        met = value <= bound if want == "at most" else value >= bound
        self.targets.append(Target(name=name, value=value, bound=bound, met=met, want=want))

    def progress(self, text: str) -> None:
        """Say what is being done, on standard error."""
        print(f"  .. {text}", file=sys.stderr, flush=True)

    def finish(self) -> None:
        """Print the targets, and the JSON where it is asked for."""
        for target in self.targets:
            mark = "met   " if target["met"] else "MISSED"
            print(
                f"  {mark} {target['name']}: {target['value']:,.3f}, {target.get('want')} {target['bound']:,.3f}"
            )
        if os.environ.get("JSON") == "1":
            print(json.dumps({"bench": self.name, "figures": self.figures, "targets": self.targets}))
