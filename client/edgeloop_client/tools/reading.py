"""`read_file`: lines of a text file, with the hash that `edit_file` and `write_file` take as the version they are based on."""

import os
from collections.abc import Iterator

from pydantic import Field

from edgeloop_client.errors import ToolError
from edgeloop_client.tools.base import Arguments, Cancel, Output, Tool, Workspace
from edgeloop_client.tools.text import chunks, measure

MAX_TEXT = 256 * 1024
"""Bytes of text in one answer: a single line may be longer than any context."""


class ReadFile(Arguments):
    path: str = Field(description="File, relative to the root.")
    start_line: int = Field(default=1, ge=1, description="First line, counted from 1.")
    max_lines: int = Field(default=400, ge=1, le=10_000, description="Lines at most.")


def read_file(workspace: Workspace, arguments: ReadFile, cancel: Cancel) -> Output:
    """Read a range of lines; the hash and the totals are of the whole file.

    Raises:
        ToolError: no text file inside the root, or the range begins past its end.
    """
    with workspace.root.open_file(arguments.path) as (descriptor, place):
        whole = measure(descriptor, cancel, hashed=True)
        if whole.lines is None:
            raise ToolError(f"{arguments.path!r} is binary ({whole.bytes} bytes); expected a UTF-8 text file")
        start = arguments.start_line
        if start > max(whole.lines, 1):
            raise ToolError(
                f"start_line {start} is past the end of {arguments.path!r}: it has {whole.lines} lines"
            )
        os.lseek(descriptor, 0, os.SEEK_SET)
        lines, cut = _range(descriptor, start, arguments.max_lines, cancel)
    answer: Output = {
        "path": place.path,
        "start_line": start,
        "end_line": start + len(lines) - 1,
        "total_lines": whole.lines,
        "bytes": whole.bytes,
        "hash": whole.hash,
        "text": b"".join(lines).decode("utf-8", "ignore" if cut else "replace"),
    }
    return answer | (
        {"cut": f"the text ends after {MAX_TEXT} bytes, inside or at line {answer['end_line']}"}
        if cut
        else {}
    )


def _range(descriptor: int, start: int, count: int, cancel: Cancel) -> tuple[list[bytes], bool]:
    """The wanted lines with their ends, and whether the limit of bytes cut them."""
    kept: list[bytes] = []
    size, number, fresh = 0, 1, True
    for piece in _pieces(descriptor, cancel):
        if start <= number:
            room = MAX_TEXT - size
            size += min(len(piece), room)
            if fresh:
                kept.append(piece[:room])
            else:
                kept[-1] += piece[:room]
            if len(piece) > room:
                return kept, True
        fresh = piece.endswith(b"\n")
        number += fresh
        if fresh and len(kept) == count:
            break
    return kept, False


def _pieces(descriptor: int, cancel: Cancel) -> Iterator[bytes]:
    """The content in lines, a long line in several pieces: memory stays bounded whatever the file holds."""
    for chunk in chunks(descriptor, cancel):
        start = 0
        while (end := chunk.find(b"\n", start) + 1) > 0:
            yield chunk[start:end]
            start = end
        if start < len(chunk):
            yield chunk[start:]


TOOL = Tool(
    name="read_file",
    description=(
        "Read lines of a text file. Gives the text from start_line to end_line, total_lines, and `hash`, the version of the whole"
        " file that edit_file and write_file want as base_hash. Binary files are refused."
    ),
    arguments=ReadFile,
    effect="read",
    run=read_file,
    touches={"path": "path"},
)
