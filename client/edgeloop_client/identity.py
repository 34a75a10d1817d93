"""Who this client is to the session: an id that a restarted client of the same person and directory has again.

Decides where the client keeps its state. One process at a time holds an id (by a lock on its file); a second one at the same
time gets an id of its own, so that the session never takes two processes for one.

Beside the id lies the highest epoch in which commands were numbered under it (edgeloop/producers.py). A new life's epoch is above
it, and not below the clock's ms: so it is above even where the last write was lost, and two machines with copies of one home do
not number in the same epoch; the one that began later fences the other.
"""

import fcntl
import hashlib
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO


def state_home() -> Path:
    """The folder of the client's state: `$XDG_STATE_HOME/edgeloop`, made if it is missing."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    folder = Path(base) / "edgeloop"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A client id, held until it is released or the process ends."""

    client: str
    epoch: int
    lock: IO[str] | None

    def keep_epoch(self, epoch: int) -> None:
        """Note that commands are numbered in this epoch."""
        if self.lock is not None:
            _write(self.lock, self.client, epoch)

    def release(self) -> None:
        """Give the id away: the next client of this directory has it."""
        if self.lock is not None:
            self.lock.close()


def claim(directory: Path | None, *, home: Path) -> Identity:
    """Take the id that belongs to a directory (None: a client without tools), or a new one while another process has it."""
    folder = home / "clients"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = hashlib.sha256(os.fsencode(directory or "")).hexdigest()[:16]
    file = open(os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")  # noqa: SIM115 - held
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return Identity(client=_new(), epoch=_now_ms(), lock=None)
    client, _, last = file.read().strip().partition(" ")
    if not client.startswith("c-") or not client[2:].isalnum():
        client = _new()
    epoch = max(_now_ms(), int(last) + 1 if last.isdecimal() else 0)
    _write(file, client, epoch)
    return Identity(client=client, epoch=epoch, lock=file)


def _write(file: IO[str], client: str, epoch: int) -> None:
    file.seek(0)
    file.truncate()
    file.write(f"{client} {epoch}")
    file.flush()


def _now_ms() -> int:
    return int(time.time() * 1000)


def _new() -> str:
    return f"c-{secrets.token_hex(8)}"
