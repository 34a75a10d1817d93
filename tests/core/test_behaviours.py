"""The page of behaviours is whole, and names tests that are there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+) \|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
DIFFERS = "Ours differs"
ROWS = [(int(number), held) for number, _, held in ROW.findall((ROOT / "docs/behaviours.md").read_text())]


@cache
def written_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    made = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in made)


def missing(held: str) -> list[str]:
    """What a row names and nobody wrote; a row that names nothing must say why."""
    named = TEST.findall(held)
    if not named and DIFFERS not in held:
        return ["a test, or why ours differs"]
    return [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).exists() or name not in written_in(file)
    ]


def test_every_line_is_there():
    """Forty lines, each once, in order."""
    assert [number for number, _ in ROWS] == list(range(1, 41))


@pytest.mark.parametrize(("number", "held"), ROWS, ids=[str(number) for number, _ in ROWS])
def test_every_test_that_is_named_exists(number: int, held: str):
    """A test that was renamed or removed must not go on holding a line."""
    assert missing(held) == []


@pytest.mark.parametrize(
    ("held", "found"),
    [
        ("`tests/core/test_behaviours.py::test_every_line_is_there`", 0),
        ("`tests/core/test_behaviours.py::test_that_nobody_wrote`", 1),
        ("`tests/core/test_nothing.py::test_every_line_is_there`", 1),
        ("nothing", 1),
        ("Ours differs: so be it", 0),
    ],
)
def test_the_check_can_fail(held: str, found: int):
    """A name that is not there, and a row without one, are found."""
    assert len(missing(held)) == found
