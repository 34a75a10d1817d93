"""Draws bench-growth's figures: `make bench-growth JSON=1 | .venv/bin/python -m bench._picture > docs/design/growth.svg`.

Two panels over the conversation's length, both axes logarithmic: the bytes of a turn, both ways, and its CPU.
"""

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 360, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 88, 34, 40
GREY = "#808080"
COLOURS = {"edgeloop": "#0f8a5f", "agents-sdk": "#d9622b"}
Line = list[tuple[int, float]]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One diagram: its title, the unit of its values, and a line per contestant."""

    title: str
    unit: str
    lines: dict[str, Line]

    def svg(self, left: int) -> Iterator[str]:
        """The elements, from `left` on."""
        turns = [turn for line in self.lines.values() for turn, _ in line]
        values = [value for line in self.lines.values() for _, value in line]
        x = _Scale(low=min(turns), high=max(turns), begin=left + LEFT, end=left + WIDTH - RIGHT)
        y = _Scale(
            low=_decade(min(values), down=True), high=_decade(max(values)), begin=HEIGHT - BOTTOM, end=TOP
        )
        yield _text(left + LEFT, 18, self.title, weight="bold")
        for turn in sorted(set(turns)):
            yield _text(x(turn), HEIGHT - BOTTOM + 16, f"{turn:,}", anchor="middle")
        yield _text((x.begin + x.end) / 2, HEIGHT - 8, "turn", anchor="middle")
        for tick in _decades(y.low, y.high):
            yield f'<path d="M{x.begin:.0f} {y(tick):.1f}H{x.end:.0f}" stroke="{GREY}" opacity=".25"/>'
            yield _text(x.begin - 6, y(tick) + 4, _short(tick), anchor="end")
        for name, line in self.lines.items():
            points = " ".join(f"{x(turn):.1f},{y(value):.1f}" for turn, value in line)
            yield f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>'
            for turn, value in line:
                yield f'<circle cx="{x(turn):.1f}" cy="{y(value):.1f}" r="3" fill="{COLOURS[name]}"/>'
            last, value = line[-1]
            yield _text(x(last) + 8, y(value), name, colour=COLOURS[name])
            yield _text(x(last) + 8, y(value) + 13, f"{_short(value)} {self.unit}", colour=COLOURS[name])


@dataclass(frozen=True, kw_only=True)
class _Scale:
    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.begin + share * (self.end - self.begin)


def _decade(value: float, *, down: bool = False) -> float:
    exponent = math.log10(value)
    return 10.0 ** (math.floor(exponent) if down else math.ceil(exponent))


def _decades(low: float, high: float) -> Iterator[float]:
    while low <= high:
        yield low
        low *= 10


def _short(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", colour: str = GREY
) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">{text}</text>'


def _line(figures: dict[str, Any], who: str, *metrics: str) -> Line:
    """A contestant's values by turn; several metrics are added up."""
    found: dict[int, float] = {}
    for name, figure in figures.items():
        metric, _, rest = name.partition(", turn ")
        if metric in metrics and rest.endswith(f", {who}"):
            turn = int(rest.removesuffix(f", {who}").replace(",", ""))
            found[turn] = found.get(turn, 0) + figure["value"]
    return sorted(found.items())


def draw(figures: dict[str, Any]) -> str:
    """The picture of a run's figures, as SVG."""
    panels = (
        Panel(
            title="bytes of a turn, both ways",
            unit="B",
            lines={who: _line(figures, who, "bytes up", "bytes down") for who in COLOURS},
        ),
        Panel(title="CPU of a turn", unit="ms", lines={who: _line(figures, who, "CPU") for who in COLOURS}),
    )
    body = "\n".join(element for i, panel in enumerate(panels) for element in panel.svg(i * WIDTH))
    size = f'width="{WIDTH * len(panels)}" height="{HEIGHT}" viewBox="0 0 {WIDTH * len(panels)} {HEIGHT}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">\n{body}\n</svg>'


if __name__ == "__main__":
    print(draw(json.loads([line for line in sys.stdin if line.startswith("{")][-1])["figures"]))
