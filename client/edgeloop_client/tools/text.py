"""What counts as text, and how its lines are counted: whole files, streamed, whatever their size.

Text decodes as UTF-8 and holds no NUL. Lines are separated by "\\n" alone, and a last line without one counts too: what a person
sees in an editor (`parts.count_lines`).
"""

import codecs
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from edgeloop_client.contents import MAX_CONTENT
from edgeloop_client.tools.base import Cancel

CHUNK = 1 << 20
MAX_TEXT = 256 * 1024
"""Bytes of text in one answer: a single line may be longer than any context."""


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


@dataclass(frozen=True, kw_only=True)
class TextFile:
    """A text file; `wanted` are the lines asked for (`cut`: not all). `content` is None where it is too large to keep."""

    size: int
    lines: int
    hash: str
    wanted: list[bytes]
    cut: bool
    content: bytes | None


def read_text(descriptor: int, start: int, count: int, cancel: Cancel) -> TextFile | None:
    """Read a file to its end, once: what is shown and what is hashed are the same bytes, whoever writes meanwhile.

    None for a binary file, which is left at its first sure sign.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    digest = hashlib.sha256()
    lines = _Lines(start, count)
    size, kept = 0, list[bytes]()
    for chunk in chunks(descriptor, cancel):
        if not is_text(decoder, chunk):
            return None
        digest.update(chunk)
        size += len(chunk)
        lines.feed(chunk)
        if size <= MAX_CONTENT:
            kept.append(chunk)
        else:
            kept.clear()
    if not is_text(decoder, b"", final=True):
        return None
    return TextFile(
        size=size,
        lines=lines.total,
        hash=digest.hexdigest()[:16],
        wanted=lines.wanted,
        cut=lines.cut,
        content=b"".join(kept) if size <= MAX_CONTENT else None,
    )


def is_text(decoder: codecs.IncrementalDecoder, chunk: bytes, *, final: bool = False) -> bool:
    """Whether the content is still text with this piece of it."""
    if b"\0" in chunk:
        return False
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        return False
    return True


class _Lines:
    """Counts lines and keeps the wanted ones with their ends: memory stays bounded whatever the file holds.

    Where not all may be told, whole lines are; but of a first line that is too long, its beginning.
    """

    def __init__(self, start: int, count: int) -> None:
        self.wanted: list[bytes] = []
        self.cut = False
        self._start, self._count = start, count
        self._number, self._fresh = 1, True
        self._room = MAX_TEXT
        self._full = False

    @property
    def total(self) -> int:
        """Lines so far."""
        return self._number - self._fresh

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        at = 0
        while not self._full and at < len(chunk):
            end = chunk.find(b"\n", at) + 1 or len(chunk)
            self._piece(chunk[at:end])
            at = end
        rest = chunk[at:]
        if rest:
            self._number += rest.count(b"\n")
            self._fresh = rest.endswith(b"\n")

    def _piece(self, piece: bytes) -> None:
        """Take a line, or a piece of a long one."""
        if self._number >= self._start:
            self._keep(piece)
        ended = piece.endswith(b"\n")
        self._number += ended
        self._fresh = ended
        self._full = self._full or (ended and len(self.wanted) == self._count)

    def _keep(self, piece: bytes) -> None:
        if self._fresh:
            self.wanted.append(b"")
        if len(piece) > self._room:
            self.cut = self._full = True
            if len(self.wanted) > 1:
                self.wanted.pop()
                return
        self.wanted[-1] += piece[: self._room]
        self._room -= len(piece)
