"""`read_file`: lines of a text file, or in fewer tokens what leads to them from what the session holds.

Decides which of three true answers is given: the text, "unchanged", or a diff against a version the model was shown. Their
tokens are counted exactly, and the text wins where nothing is saved.
"""

import os
from collections.abc import Iterator
from itertools import islice

from pydantic import BaseModel, Field

from edgeloop.kernels import KernelTrapped
from edgeloop_client.errors import ToolError
from edgeloop_client.held import Held, Shown, Versions
from edgeloop_client.hot import count_batch
from edgeloop_client.parts import Hunk, Part, cover, hunks, together, unchanged
from edgeloop_client.tools.base import Arguments, Cancel, Output, Tool, Workspace, to_json
from edgeloop_client.tools.text import MAX_TEXT, TextFile, read_text

MAX_BASES = 3
"""Versions that a diff is tried against, the one seen last first."""
CONTEXT = 3


class ReadFile(Arguments):
    path: str = Field(description="File, relative to the root.")
    start_line: int = Field(default=1, ge=1, description="First line, counted from 1.")
    max_lines: int = Field(default=400, ge=1, le=10_000, description="Lines at most.")
    full: bool = Field(default=False, description="Give the text even where you were shown it before.")


def read_file(workspace: Workspace, arguments: ReadFile, cancel: Cancel) -> Output:
    """Read a range of lines; the hash and the totals are of the whole file.

    Raises:
        ToolError: no text file inside the root, or the range begins past its end.
    """
    with workspace.root.open_file(arguments.path) as (descriptor, place):
        file = read_text(descriptor, arguments.start_line, arguments.max_lines, cancel)
        path = place.path
        if file is None:
            size = os.fstat(descriptor).st_size
            raise ToolError(f"{arguments.path!r} is binary ({size} bytes); expected a UTF-8 text file")
    start = arguments.start_line
    if start > max(file.lines, 1):
        raise ToolError(
            f"start_line {start} is past the end of {arguments.path!r}: it has {file.lines} lines"
        )
    answer: Output = {
        "path": path,
        "start_line": start,
        "end_line": start + len(file.wanted) - 1,
        "total_lines": file.lines,
        "bytes": file.size,
        "hash": file.hash,
    }
    whole = answer | {"text": b"".join(file.wanted).decode("utf-8", "ignore" if file.cut else "replace")}
    if file.cut:
        whole["cut"] = (
            f"at most {MAX_TEXT} bytes are given at once: the text ends at or in line {answer['end_line']}"
        )
    if file.content is not None:
        workspace.held.contents.keep(file.content)
    return whole if arguments.full else _shortest(whole, _shorter(answer, file, workspace.held))


def shows(_arguments: ReadFile, content: str) -> Shown | None:
    """The lines a result showed; "unchanged" showed nothing new, and neither did a line that was cut."""
    told = _Told.model_validate_json(content)
    if told.text is None and told.diff is None:
        return None
    whole = told.cut is None or (told.text or "").endswith("\n")
    base = told.base.hash if told.base is not None else None
    return Shown(
        path=told.path, hash=told.hash, start=told.start_line, end=told.end_line - (not whole), base=base
    )


class _Base(BaseModel):
    hash: str


class _Told(BaseModel):
    """An answer as it stands in the log."""

    path: str
    hash: str
    start_line: int
    end_line: int
    text: str | None = None
    cut: str | None = None
    base: _Base | None = None
    diff: str | None = None


# --- shorter answers ------------------------------------------------------------------------------------------------


def _shortest(whole: Output, others: list[Output]) -> Output:
    if not others:
        return whole
    answers = [whole, *others]
    try:
        counts = count_batch([to_json(answer).encode() for answer in answers])
    except KernelTrapped:
        return whole
    return answers[counts.index(min(counts))]


def _shorter(answer: Output, file: TextFile, held: Held) -> list[Output]:
    """The answers that say the same to whoever holds what this session holds."""
    versions = held.versions(answer["path"])
    part = cover(versions.get(file.hash, ()), answer["start_line"], answer["end_line"])
    if part is not None:
        same = {key: answer[key] for key in ("path", "start_line", "end_line", "hash")}
        return [same | {"unchanged_since": {"seq": part.seq, "call": part.call}}]
    return [] if file.content is None else list(islice(_diffs(answer, file.content, versions, held), 1))


def _diffs(answer: Output, after: bytes, versions: Versions, held: Held) -> Iterator[Output]:
    """The answer as a diff against versions held, the one seen last first."""
    for base in [version for version in reversed(list(versions)) if version != answer["hash"]][:MAX_BASES]:
        before = held.contents.get(base)
        if before is not None and (diff := _diff(answer, before, after, versions[base])) is not None:
            since, first, text = diff
            told: Output = {"hash": base, "seq": since.seq, "call": since.call}
            moved = {"start_line": first} if first != answer["start_line"] else {}
            yield answer | {"base": told | moved, "diff": text}


def _diff(
    answer: Output, before: bytes, after: bytes, parts: tuple[Part, ...]
) -> tuple[Part, int, str] | None:
    """If the lines that no hunk touches are held: what they are held by, from which line on, and the hunks that do."""
    start, end = answer["start_line"], answer["end_line"]
    try:
        found = hunks(before, after, context=CONTEXT)
    except KernelTrapped:
        return None
    needed = [
        cover(parts, first - moved, last - moved) for first, last, moved in unchanged(found, start, end)
    ]
    held = [part for part in needed if part is not None]
    if not held or len(held) < len(needed):
        return None
    touching = [hunk for hunk in found if hunk.new_start <= end and start <= hunk.new_end]
    text = b"".join(hunk.text for hunk in touching).decode()
    return together(held, start, end), start - _moved(found, start), text


def _moved(found: list[Hunk], line: int) -> int:
    """By how much a line has moved: what the hunks before it added."""
    before = [hunk for hunk in found if hunk.new_end < line]
    return before[-1].new_end - before[-1].old_end if before else 0


TOOL = Tool(
    name="read_file",
    description=(
        "Read lines of a text file. Gives the text from start_line to end_line, total_lines, and `hash`, the version of the whole"
        " file that edit_file and write_file want as base_hash. Of what you were shown before, less may come:"
        " `unchanged_since` (you have these lines of this version), or `diff` (for the lines you have of version base.hash; those"
        " outside its hunks are as they were). Binary files are refused."
    ),
    arguments=ReadFile,
    effect="read",
    run=read_file,
    touches={"path": "path"},
    shows=shows,
)
