"""Contents of files as the model saw them, by their hash: what a diff or a merge is made against.

Decides how much is kept and for how long; what is lost costs a full text, never an answer. The contents lie in the person's state
folder, theirs alone to read. Knows neither paths nor sessions: a hash names the same content everywhere.
"""

import contextlib
import hashlib
import os
import re
import secrets
import threading
import time
from pathlib import Path

MAX_CONTENT = 4 << 20
"""Bytes of one content that are kept; of a larger file only whole texts are ever shown."""
MAX_BYTES = 128 << 20
KEEP_SECONDS = 7 * 24 * 3600
_NAME = re.compile(r"[0-9a-f]{16}")


def content_hash(content: bytes) -> str:
    """The hash by which a version of a file is named: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


class Contents:
    """Contents in a folder, shared by all clients of the person; safe to use from several threads."""

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._guard = threading.Lock()
        self._bytes: int | None = None
        """What is kept, as this process knows it; None before it has looked."""

    def keep(self, content: bytes) -> None:
        """Keep a content, if it is not too large; where that fails (a full disk) it is as if it had been lost."""
        if len(content) > MAX_CONTENT:
            return
        path = self._folder / content_hash(content)
        with contextlib.suppress(OSError):
            if not _touched(path):
                _write(path, content)
                self._account(len(content))

    def get(self, name: str) -> bytes | None:
        """The content of this hash; None if it is not kept. `name` may come from anybody."""
        if not _NAME.fullmatch(name):
            return None
        path = self._folder / name
        try:
            content = path.read_bytes()
        except OSError:
            return None
        if content_hash(content) != name:
            path.unlink(missing_ok=True)
            return None
        _touched(path)
        return content

    def _account(self, size: int) -> None:
        with self._guard:
            if self._bytes is None or self._bytes + size > self._max_bytes:
                self._bytes = self._prune()
            else:
                self._bytes += size

    def _prune(self) -> int:
        """Drop what is too old, and what was used longest ago until a quarter is free again; the bytes left."""
        with os.scandir(self._folder) as entries:
            found = sorted(
                (
                    (status.st_mtime, status.st_size, entry.path)
                    for entry in entries
                    if (status := _status(entry))
                ),
                reverse=True,
            )
        room, limit, left = self._max_bytes * 3 // 4, time.time() - KEEP_SECONDS, 0
        over = sum(size for _, size, _ in found) > self._max_bytes
        for used, size, path in found:
            if used < limit or (over and left + size > room):
                Path(path).unlink(missing_ok=True)
            else:
                left += size
        return left


def _status(entry: "os.DirEntry[str]") -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:
        return None  # another client has dropped it


def _touched(path: Path) -> bool:
    """Note that it was used; false if it is not there."""
    try:
        os.utime(path)
    except OSError:
        return False
    return True


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        # Not synced: after a crash of the machine a torn content is found by its hash and dropped.
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(content)
        beside.rename(path)
    finally:
        beside.unlink(missing_ok=True)
