"""Arithmetic of lines: what is covered, what is left after a change."""

import pytest

from edgeloop_client.parts import (
    Hunk,
    Part,
    carried,
    count_lines,
    cover,
    hunks,
    replaced,
    unchanged,
    with_part,
)


def part(start: int, end: int, seq: int = 1, oldest: int | None = None) -> Part:
    """A part held since a result."""
    return Part(start=start, end=end, seq=seq, call=f"c{seq}", oldest=seq if oldest is None else oldest)


@pytest.mark.parametrize(
    ("parts", "asked", "covered"),
    [
        ([], (1, 1), None),
        ([part(1, 9)], (1, 9), (1, 1)),
        ([part(1, 9)], (2, 10), None),
        ([part(2, 9)], (1, 9), None),
        ([part(1, 9, 4), part(1, 20, 2)], (3, 5), (2, 2)),
        ([part(1, 4, 1), part(5, 9, 3)], (1, 9), (3, 1)),
        ([part(1, 4, 3), part(6, 9, 1)], (1, 9), None),
        ([part(6, 9, 5), part(1, 7, 7, 2)], (1, 9), (7, 2)),
        ([part(1, 9), part(3, 4, 8), part(10, 12, 2)], (2, 11), (2, 1)),
    ],
)
def test_covering(parts: list[Part], asked: tuple[int, int], covered: tuple[int, int] | None) -> None:
    """Lines are covered by one part or by several that leave no gap; `(newest result, oldest it builds on)`."""
    found = cover(parts, *asked)
    assert (None if found is None else (found.seq, found.oldest)) == covered
    assert found is None or (found.start, found.end) == asked


def test_a_part_that_says_nothing_new_is_not_added() -> None:
    """So that what is remembered grows with what was shown, not with how often."""
    parts = with_part(with_part((), part(1, 9)), part(2, 5, 2))
    assert parts == (part(1, 9),)
    assert len(with_part(parts, part(9, 10, 3))) == 2


@pytest.mark.parametrize(
    ("before", "after", "ranges"),
    [
        (b"", b"", []),
        (b"a\nb\nc\n", b"a\nx\nc\n", [(2, 2, 2, 2)]),
        (b"a\nb\n", b"a\nx\ny\nb\n", [(2, 1, 2, 3)]),
        (b"a\nx\ny\nb\n", b"a\nb\n", [(2, 3, 2, 1)]),
        (b"", b"a\n", [(1, 0, 1, 1)]),
        (b"a\n", b"", [(1, 1, 1, 0)]),
        (b"a\n@@ -1 +1 @@\nb", b"x\n@@ -1 +1 @@\ny", [(1, 1, 1, 1), (3, 3, 3, 3)]),
        (b"@@ -9 +9 @@\n", b"+@@ -9 +9 @@\n", [(1, 1, 1, 1)]),
    ],
)
def test_hunks(before: bytes, after: bytes, ranges: list[tuple[int, int, int, int]]) -> None:
    """Hunks name their lines on both sides, an empty side by where it would be; lines that look like headers are none."""
    found = hunks(before, after, context=0)
    assert [(hunk.old_start, hunk.old_end, hunk.new_start, hunk.new_end) for hunk in found] == ranges
    assert all(hunk.text.startswith(b"@@ ") for hunk in found)


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ((1, 3), [(1, 3, 0)]),
        ((1, 20), [(1, 4, 0), (7, 9, 1), (10, 20, -1)]),
        ((5, 6), []),
        ((11, 12), [(11, 12, -1)]),
    ],
)
def test_unchanged(asked: tuple[int, int], left: list[tuple[int, int, int]]) -> None:
    """Between the hunks lines are as they were, moved by what the hunks before added."""
    found = [
        Hunk(old_start=5, old_end=5, new_start=5, new_end=6),
        Hunk(old_start=9, old_end=10, new_start=10, new_end=9),
    ]
    assert list(unchanged(found, *asked)) == left


@pytest.mark.parametrize(
    ("text", "start", "end", "new", "lines"),
    [
        (b"a\nb\nc\n", 2, 3, b"x", (2, 2, 2, 2)),
        (b"a\nb\nc\n", 2, 4, b"x\n", (2, 2, 2, 2)),
        (b"a\nb\nc\n", 2, 4, b"", (2, 2, 2, 1)),
        (b"a\nb\nc\n", 3, 4, b"", (2, 3, 2, 2)),
        (b"a\nb\nc\n", 1, 2, b"x\n", (1, 1, 1, 1)),
        (b"a\nb\nc\n", 2, 4, b"x", (2, 3, 2, 2)),
        (b"a\nb\nc", 4, 5, b"", (3, 3, 3, 2)),
        (b"a\nb\nc", 4, 5, b"x\ny", (3, 3, 3, 4)),
        (b"a", 0, 1, b"", (1, 1, 1, 0)),
    ],
)
def test_replacing(text: bytes, start: int, end: int, new: bytes, lines: tuple[int, int, int, int]) -> None:
    """The lines touched by an edit are whole ones: also the next line where its beginning was joined to another."""
    change = replaced(text, start, end, new)
    assert change.content == text[:start] + new + text[end:]
    (hunk,) = change.hunks
    assert (hunk.old_start, hunk.old_end, hunk.new_start, hunk.new_end) == lines
    assert count_lines(change.content) - count_lines(text) == hunk.new_end - hunk.old_end


def test_carrying() -> None:
    """What was held moves; a changed line is held if what it stands for was, or if it was shown. The oldest result is kept."""
    parts = [part(1, 4, 5, 2), part(8, 9, 6)]
    changed = [
        Hunk(old_start=2, old_end=2, new_start=2, new_end=3),
        Hunk(old_start=6, old_end=6, new_start=7, new_end=7),
    ]
    kept = carried(parts, changed, seq=9, call="c9", shown=False)
    assert kept == (part(1, 5, 9, 2), part(9, 10, 9, 6))
    told = carried(parts, changed, seq=9, call="c9", shown=True)
    assert told == (part(1, 5, 9, 2), part(7, 7, 9), part(9, 10, 9, 6))
