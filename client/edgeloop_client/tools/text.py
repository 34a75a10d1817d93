"""What counts as text, and how its lines are counted: whole files, streamed, whatever their size.

Text decodes as UTF-8 and holds no NUL. Lines are separated by "\\n" alone, and a last line without one counts too: what a person
sees in an editor (`parts.count_lines`).
"""

import codecs
import os
from collections.abc import Iterator
from dataclasses import dataclass

from edgeloop_client.tools.base import Cancel

CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A file, measured: `lines` is None for binary."""

    bytes: int
    lines: int | None


def chunks(descriptor: int, cancel: Cancel) -> Iterator[bytes]:
    """The rest of a file in pieces.

    Raises:
        ToolTimeout: cancelled in between.
    """
    while chunk := os.read(descriptor, CHUNK):
        cancel.check()
        yield chunk


def measure(descriptor: int, cancel: Cancel) -> Measure:
    """Read a text file to its end; a binary one is left at its first sure sign."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    size, lines, last = 0, 0, b"\n"
    for chunk in chunks(descriptor, cancel):
        if not is_text(decoder, chunk):
            return Measure(bytes=os.fstat(descriptor).st_size, lines=None)
        size += len(chunk)
        lines += chunk.count(b"\n")
        last = chunk[-1:]
    text = is_text(decoder, b"", final=True)
    lines += last != b"\n"
    return Measure(bytes=size, lines=lines if text else None)


def is_text(decoder: codecs.IncrementalDecoder, chunk: bytes, *, final: bool = False) -> bool:
    """Whether the content is still text with this piece of it."""
    if b"\0" in chunk:
        return False
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        return False
    return True
