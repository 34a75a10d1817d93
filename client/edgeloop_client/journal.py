"""Which changing calls were begun by a client on this machine, and how they ended: it outlives the process.

Law 5 on the person's side: intent is written before the effect, so that a client that is restarted in between says "not known"
instead of running a command twice. Knows no tool; a key is a log's id and a call's.
"""

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from edgeloop.events import Outcome

KEEP_SECONDS = 7 * 24 * 3600
_TABLE = (
    "CREATE TABLE IF NOT EXISTS runs (key TEXT PRIMARY KEY, at REAL NOT NULL, outcome TEXT, content TEXT)"
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A call that was begun; `ended` is None where the client died in between."""

    ended: tuple[Outcome, str] | None


class Journal:
    """The journal in a file, shared by all clients of the person."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._rows = sqlite3.connect(path, isolation_level=None)
        path.chmod(0o600)
        self._rows.execute(_TABLE)
        self._rows.execute("DELETE FROM runs WHERE at < ?", (time.time() - KEEP_SECONDS,))

    def find(self, key: str) -> Entry | None:
        """What is known of a call; None if it was never begun."""
        row = self._rows.execute("SELECT outcome, content FROM runs WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        return Entry(ended=None if row[0] is None else (cast(Outcome, row[0]), str(row[1])))

    def begin(self, key: str) -> None:
        """Note that a call is about to run; durable when it returns."""
        self._rows.execute("INSERT INTO runs (key, at) VALUES (?, ?)", (key, time.time()))

    def end(self, key: str, outcome: Outcome, content: str) -> None:
        """Note how it ended."""
        self._rows.execute("UPDATE runs SET outcome = ?, content = ? WHERE key = ?", (outcome, content, key))

    def close(self) -> None:
        """Close the file."""
        self._rows.close()
