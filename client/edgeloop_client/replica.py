"""This machine's copy of an agent's log, and what was asked of the agent but not answered: both outlive the process.

Decides where they lie, for how long, and when they are of no use. A copy is a saving, never the truth: what cannot be read is
dropped and fetched again, and where nothing can be written the client goes on without. One file per edge and agent; several
clients may use it at once, for each begins with all of it and adds what follows. Knows no socket.
"""

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import ValidationError

from edgeloop.codec import decode_batch, encode_batch
from edgeloop.errors import BadFrame, CorruptLog
from edgeloop.events import Recorded
from edgeloop.frames import encode, parse_client_frame, parse_server_frame
from edgeloop.wire import Autonomy, ClientCommand, SendMessage, Snapshot, Stop
from edgeloop_client.errors import Gap
from edgeloop_client.view import View

KEEP_SECONDS = 30 * 24 * 3600
KEEP_BYTES = 256 << 20
"""Of all copies together; those used least recently go first."""
UNSENT_SECONDS = 24 * 3600
"""What could not be sent for a day is not sent any more: the person has gone on."""
_FORMAT = 1
_TABLES = (
    "CREATE TABLE IF NOT EXISTS log (name TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, body TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS base (body TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, at REAL NOT NULL, body TEXT)",
    f"PRAGMA user_version = {_FORMAT}",
)


class Replica:
    """The copy of one agent's log, opened. `owner` is the client's id: what it left unanswered, its next life asks again."""

    def __init__(self, folder: Path, *, edge: str, agent: str, owner: str) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        prune(folder, time.time())
        key = hashlib.sha256(f"{edge}\n{agent}".encode()).hexdigest()[:32]
        self._path = folder / f"{key}.sqlite"
        self._owner = owner
        self._unanswered: list[str] = []
        self._rows = self._open() or self._anew()

    # --- the log ----------------------------------------------------------------------------------------------------

    def events(self) -> tuple[str | None, list[Recorded]]:
        """The log's name and the events held, from the first on or from `base` on; (None, []) if there are none of use."""
        found = self._read()
        if found is None:
            self._rows = self._anew()
            return None, []
        return found

    def base(self) -> Snapshot | None:
        """What stands for the events before those held, where the session keeps them no longer."""
        with contextlib.suppress(sqlite3.Error, ValidationError):
            found = self._rows.execute("SELECT body FROM base").fetchone() if self._rows is not None else None
            frame = parse_server_frame(found[0]) if found is not None else None
            return frame if isinstance(frame, Snapshot) else None
        return None

    def skip(self, log: str, base: Snapshot) -> None:
        """Hold this in place of all events up to it: those after it follow."""

        def put(rows: sqlite3.Connection) -> None:
            _forget(rows, log)
            rows.execute("INSERT INTO base VALUES (?)", (base.model_dump_json(),))

        self._write(put)

    def add(self, log: str, events: Iterable[Recorded]) -> None:
        """Keep events that follow those held; of another log, in their place."""
        bodies = [(recorded.seq, encode_batch([recorded])) for recorded in events]

        def put(rows: sqlite3.Connection) -> None:
            if rows.execute("SELECT name FROM log").fetchone() != (log,):
                _forget(rows, log)
            rows.executemany("INSERT OR IGNORE INTO events VALUES (?, ?)", bodies)

        self._write(put)

    def _read(self) -> tuple[str | None, list[Recorded]] | None:
        if self._rows is None:
            return None, []
        try:
            log = self._rows.execute("SELECT name FROM log").fetchone()
            found = self._rows.execute("SELECT body FROM events ORDER BY seq").fetchall()
            events = [recorded for (body,) in found for recorded in decode_batch(body)]
            base = self.base()
            _fold(base, events)
        except (sqlite3.Error, CorruptLog, Gap):
            return None
        return (str(log[0]), events) if log is not None and (events or base is not None) else (None, [])

    # --- what was asked ---------------------------------------------------------------------------------------------

    def unsent(self) -> list[ClientCommand]:
        """What an earlier life of this client asked for and was not answered, in order; nothing older than a day."""
        query = "SELECT body FROM outbox WHERE owner = ? AND at > ? ORDER BY id"
        with contextlib.suppress(sqlite3.Error, BadFrame):
            if self._rows is not None:
                found = self._rows.execute(query, (self._owner, time.time() - UNSENT_SECONDS)).fetchall()
                commands = [parse_client_frame(body) for (body,) in found]
                return [command for command in commands if isinstance(command, SendMessage | Autonomy)]
        return []

    def keep(self, unanswered: Iterable[ClientCommand]) -> None:
        """Keep what a later life should ask again: messages, and the autonomy they were asked under.

        A stop takes what was asked before it; answers belong to their moment, and results are in the journal.
        """
        wanted: list[str] = []
        for command in unanswered:
            if isinstance(command, Stop):
                wanted.clear()
            if isinstance(command, SendMessage | Autonomy):
                wanted.append(encode(command))
        if wanted == self._unanswered:
            return
        self._unanswered = wanted
        new = [(self._owner, time.time(), body) for body in wanted]

        def put(rows: sqlite3.Connection) -> None:
            rows.execute("DELETE FROM outbox WHERE owner = ?", (self._owner,))
            rows.executemany("INSERT INTO outbox (owner, at, body) VALUES (?, ?, ?)", new)

        self._write(put)

    def close(self) -> None:
        """Close the file."""
        if self._rows is not None:
            self._rows.close()

    # --- the file ---------------------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection | None:
        try:
            rows = sqlite3.connect(self._path, isolation_level=None)
            self._path.chmod(0o600)
            if rows.execute("PRAGMA user_version").fetchone()[0] not in (0, _FORMAT):
                rows.close()
                return None
            # No wait for the disk at each event: a loss of power costs the newest events, never the file.
            rows.execute("PRAGMA journal_mode = WAL")
            rows.execute("PRAGMA synchronous = NORMAL")
            for statement in _TABLES:
                rows.execute(statement)
            os.utime(self._path)
        except (sqlite3.Error, OSError):
            return None
        return rows

    def _anew(self) -> sqlite3.Connection | None:
        """Drop what is there and begin an empty copy; None where that cannot be."""
        _remove(self._path)
        return self._open()

    def _write(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Do work in one transaction; a copy that cannot be written is given up."""
        if self._rows is None:
            return
        try:
            self._rows.execute("BEGIN IMMEDIATE")
            work(self._rows)
            self._rows.execute("COMMIT")
        except sqlite3.Error:
            self._rows.close()
            self._rows = None


def _forget(rows: sqlite3.Connection, log: str) -> None:
    """Begin anew with a log of this name."""
    for table in ("events", "base", "log"):
        rows.execute(f"DELETE FROM {table}")
    rows.execute("INSERT INTO log VALUES (?)", (log,))


def _fold(base: Snapshot | None, events: list[Recorded]) -> None:
    """Raise Gap if the events do not follow one another, and the base."""
    view = View()
    if base is not None:
        view.apply(base)
    for recorded in events:
        view.fold(recorded)


def prune(folder: Path, now: float) -> None:
    """Remove copies that were not used for long, and the ones used least recently while all are too large."""
    found = [(path, path.stat()) for path in folder.glob("*.sqlite")]
    total = 0
    for path, stat in sorted(found, key=lambda item: -item[1].st_mtime):
        total += stat.st_size
        if total > KEEP_BYTES or stat.st_mtime < now - KEEP_SECONDS:
            _remove(path)


def _remove(path: Path) -> None:
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        with contextlib.suppress(OSError):
            path.with_name(name).unlink()
