"""What counts as text, and how its lines are counted: whole files, streamed, whatever their size.

Text decodes as UTF-8 and holds no NUL. Lines are separated by "\\n" alone, and a last line without one counts too: what a person
sees in an editor.
"""

import codecs
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from edgeloop_client.tools.base import Cancel

CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A file, measured: `lines` is None for binary; `hash` is of the whole content, and empty where it was not asked for."""

    bytes: int
    lines: int | None
    hash: str = ""


def chunks(descriptor: int, cancel: Cancel) -> Iterator[bytes]:
    """The rest of a file in pieces.

    Raises:
        ToolTimeout: cancelled in between.
    """
    while chunk := os.read(descriptor, CHUNK):
        cancel.check()
        yield chunk


def measure(descriptor: int, cancel: Cancel, *, hashed: bool = False) -> Measure:
    """Read a file to its end. Without a hash to make, a binary file is left at its first sure sign."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    digest = hashlib.sha256()
    size, lines, last, text = 0, 0, b"\n", True
    for chunk in chunks(descriptor, cancel):
        size += len(chunk)
        if hashed:
            digest.update(chunk)
        text = text and is_text(decoder, chunk)
        if not text and not hashed:
            return Measure(bytes=os.fstat(descriptor).st_size, lines=None)
        lines += chunk.count(b"\n")
        last = chunk[-1:]
    text = text and is_text(decoder, b"", final=True)
    lines += last != b"\n"
    return Measure(bytes=size, lines=lines if text else None, hash=digest.hexdigest()[:16] if hashed else "")


def is_text(decoder: codecs.IncrementalDecoder, chunk: bytes, *, final: bool = False) -> bool:
    """Whether the content is still text with this piece of it."""
    if b"\0" in chunk:
        return False
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        return False
    return True


def content_hash(content: bytes) -> str:
    """The hash by which a version of a file is named: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def count_lines(content: bytes) -> int:
    """Lines of a text held in memory."""
    return content.count(b"\n") + (not content.endswith(b"\n") and bool(content))
