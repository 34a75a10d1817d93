"""Arithmetic of lines: which parts of a version are held, and what of them is left in the next version.

Pure; lines are counted from 1, ranges include both ends. Knows no file: it is given texts as bytes, and where what was shown.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from edgeloop_client import hot

_HUNK = re.compile(rb"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, order=True)
class Part:
    """Lines `start` to `end` of a version, held since the result `seq` of `call`; that one builds on results from `oldest` on."""

    start: int
    end: int
    seq: int
    call: str
    oldest: int


@dataclass(frozen=True, kw_only=True)
class Hunk:
    """Lines of the old text and lines of the new one that stand for each other; a side with `end` = `start` - 1 has none.

    `text` is the hunk as a unified diff has it, where it comes from one.
    """

    old_start: int
    old_end: int
    new_start: int
    new_end: int
    text: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A text as it was made out of another one; each hunk is counted in the text that the hunks before it led to."""

    content: bytes
    hunks: tuple[Hunk, ...] = ()


def replaced(content: bytes, start: int, end: int, new: bytes) -> Change:
    """A text with the bytes from `start` to `end` replaced, and the whole lines that this touched."""
    first = content.rfind(b"\n", 0, start) + 1
    # Where whole lines give way to whole lines, the line after them is as it was.
    clean = content[end - 1 : end] == b"\n" and (new[-1:] == b"\n" or (not new and start == first))
    last = end if clean else (content.find(b"\n", end) + 1 or len(content))
    line = content.count(b"\n", 0, first) + 1
    lines, made = content[first:last], content[first:start] + new + content[end:last]
    hunk = Hunk(
        old_start=line,
        old_end=line + count_lines(lines) - 1,
        new_start=line,
        new_end=line + count_lines(made) - 1,
    )
    return Change(content=content[:start] + new + content[end:], hunks=(hunk,))


def count_lines(content: bytes) -> int:
    """Lines of a text: separated by "\\n" alone, and a last line without one counts too."""
    return content.count(b"\n") + (not content.endswith(b"\n") and bool(content))


def hunks(before: bytes, after: bytes, *, context: int) -> list[Hunk]:
    """The hunks of the diff between two texts, in order."""
    diff = hot.diff_unified(before, after, context=context)
    # Lines of the texts begin with a sign, so a line that begins with "@@" is a header.
    heads = list(_HUNK.finditer(diff))
    starts = [*(head.start() for head in heads), len(diff)]
    return [_hunk(head, diff[start:end]) for head, (start, end) in zip(heads, pairwise(starts), strict=True)]


def _hunk(head: re.Match[bytes], text: bytes) -> Hunk:
    old_start, old_end = _range(head[1], head[2])
    new_start, new_end = _range(head[3], head[4])
    return Hunk(old_start=old_start, old_end=old_end, new_start=new_start, new_end=new_end, text=text)


def _range(start: bytes, count: bytes | None) -> tuple[int, int]:
    first, lines = int(start), 1 if count is None else int(count)
    # A side without lines is named by the line before it.
    first += lines == 0
    return first, first + lines - 1


def cover(parts: Sequence[Part], start: int, end: int) -> Part | None:
    """Lines `start` to `end` as one part, if the parts hold them all; the earliest that has them alone, else several together."""
    alone = [part for part in parts if part.start <= start and end <= part.end]
    if alone:
        return replace(min(alone, key=lambda part: part.seq), start=start, end=end)
    needed: list[Part] = []
    reached = start - 1
    for part in sorted(parts):
        if part.start <= reached + 1 and part.end > reached:
            needed.append(part)
            reached = part.end
    if reached < end or not needed:
        return None
    return together(needed, start, end)


def together(needed: Sequence[Part], start: int, end: int) -> Part:
    """Several parts as one."""
    last = max(needed, key=lambda part: part.seq)
    oldest = min(part.oldest for part in needed)
    return Part(start=start, end=end, seq=last.seq, call=last.call, oldest=oldest)


def with_part(parts: Sequence[Part], new: Part) -> tuple[Part, ...]:
    """The parts and one more, unless it says nothing new."""
    return tuple(parts) if cover(parts, new.start, new.end) else (*parts, new)


def unchanged(found: Sequence[Hunk], start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The lines `start` to `end` of the new text that are in no hunk: from, to, and by how much they moved since the old text."""
    moved = 0
    for hunk in found:
        if start < hunk.new_start:
            yield start, min(end, hunk.new_start - 1), moved
        start = max(start, hunk.new_end + 1)
        moved = hunk.new_end - hunk.old_end
        if start > end:
            return
    yield start, end, moved


def carried(
    parts: Sequence[Part], found: Sequence[Hunk], *, seq: int, call: str, shown: bool
) -> tuple[Part, ...]:
    """What is held of a text whose change from another text the model knows by the result `seq` of `call`.

    A new line is known where it was `shown` (as a diff), or where all the lines it stands for were held: of an edited line the
    model may have seen but a piece. `parts` are those held of the text before.
    """
    made: list[Part] = []
    for start, end, moved in unchanged(found, 1, sys.maxsize):
        for part in parts:
            first, last = max(part.start + moved, start), min(part.end + moved, end)
            if first <= last:
                made.append(Part(start=first, end=last, seq=seq, call=call, oldest=part.oldest))
    for hunk in found:
        held = cover(parts, hunk.old_start, hunk.old_end)
        oldest = seq if shown else held.oldest if held is not None else None
        if hunk.new_start <= hunk.new_end and oldest is not None:
            made.append(Part(start=hunk.new_start, end=hunk.new_end, seq=seq, call=call, oldest=oldest))
    return _joined(sorted(made))


def _joined(made: list[Part]) -> tuple[Part, ...]:
    """Parts of one result, those that touch as one."""
    joined: list[Part] = []
    for part in made:
        if joined and part.start <= joined[-1].end + 1:
            joined[-1] = together([joined[-1], part], joined[-1].start, max(joined[-1].end, part.end))
        else:
            joined.append(part)
    return tuple(joined)
