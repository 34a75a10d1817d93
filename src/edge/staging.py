"""A session on its way into this object: stored where it will stay, seen by nobody until its end makes it whole.

While `meta` holds a `staging` mark, `Store.open` refuses the agent. The end of the copy removes the mark in the same write that
gives the log its name; what breaks before that leaves nothing but what `remove` deletes, at once or when the alarm finds it.
"""

import json
import secrets
from collections.abc import Iterable
from typing import Any

from edge.store import Store
from edgeloop.archive import Intake, Note
from edgeloop.bodies import Imported, Origin
from edgeloop.codec import decode_base, decode_state, encode_batch, encode_state
from edgeloop.copies import closing, message_packs, packed, parts
from edgeloop.errors import CorruptLog, Refused
from edgeloop.events import Recorded
from edgeloop.session import Session
from edgeloop.state import State

ABANDONED_MS = 3_600_000
"""A copy of which nothing more came for so long is removed."""
FILE = "file"
"""The mark of a session that comes as a file; that of a fork is drawn by its source."""

_INSERT = {
    "log": "INSERT INTO log VALUES (?, ?, ?)",
    "note": "INSERT INTO notes VALUES (?, ?)",
    "pack": "INSERT INTO message_packs VALUES (?, ?)",
}


class Staging:
    """The room for one copy, of an object in which no session is open."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self._store = Store(storage)
        self._meta = self._store.prepare()

    @property
    def mark(self) -> str | None:
        """Which copy is under way; None if none is."""
        return self._meta.get("staging")

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever recorded here."""
        return not self._store.exec("SELECT 1 FROM log LIMIT 1")

    async def give_way(self, piece: dict[str, Any]) -> None:
        """Remove the fork under way if a piece ends it: its source gives up, or another begins (a source may be dead)."""
        if self.mark not in (None, FILE) and ("begin" in piece or self.mark == piece["mark"]):
            await self.remove()

    async def remove(self) -> None:
        """Leave nothing behind."""
        await self._store.delete()

    # --- a file -----------------------------------------------------------------------------------------------------

    def take(self, line: int, lines: list[str], now: int) -> Imported:
        """Take lines of a file, of which the first is number `line`; those of another place change nothing.

        Raises:
            Refused: there is a session here, or another file is on its way; with `bad_log` it is of no use: `remove` it.
        """
        if line == 0 and lines and self.mark is None:
            return self._begin(Intake.begin(lines[0]), now)
        intake = self._intake()
        if line == 0 and lines and Intake.begin(lines[0]).header != intake.header:
            raise Refused(
                code="conflict", message="another file is on its way in", expected="delete the agent"
            )
        if line != intake.lines or not lines:
            return Imported(lines=intake.lines)
        try:
            taken = intake.take(lines)
            self._put(
                packed(((seq, f"[{record}]") for seq, record in taken.records), intake.base), taken.notes
            )
            self._note("ids", line, json.dumps(taken.ids))
            if intake.done:
                return self._finish_file(intake, now)
        except CorruptLog as error:
            raise Refused(code="bad_log", message=str(error)) from error
        self._save(intake, now)
        return Imported(lines=intake.lines)

    def _begin(self, intake: Intake, now: int) -> Imported:
        header = intake.header
        if not self.is_empty:
            origin = Origin(log=header.log, seq=header.head)
            if self._meta.get("origin") != origin.model_dump_json():
                raise Refused(
                    code="conflict", message="the agent has a session", expected="an agent without one"
                )
            return Imported(lines=1, done=True, log=self._meta["log"], head=header.head)
        self._mark(FILE)
        self._save(intake, now)
        return Imported(lines=1)

    def _intake(self) -> Intake:
        if self.mark != FILE:
            raise Refused(code="conflict", message="no file is on its way in", expected="its first line")
        found = self._store.exec("SELECT body FROM staging WHERE kind = 'intake' ORDER BY n")
        return Intake.load("".join(row[0] for row in found))

    def _save(self, intake: Intake, now: int) -> None:
        self._store.exec("DELETE FROM staging WHERE kind = 'intake'")
        for number, body in enumerate(parts(intake.dump())):
            self._note("intake", number, body)
        self._storage.setAlarm(now + ABANDONED_MS)

    def _finish_file(self, intake: Intake, now: int) -> Imported:
        found = self._store.exec("SELECT body FROM staging WHERE kind = 'ids'")
        ids = [(one, seq) for row in found for one, seq in json.loads(row[0])]
        ended, state = rest(intake.state, now)
        self._put(ended, [])
        self._insert(["pack", *pack] for pack in message_packs(ids))
        header = intake.header
        self._finish(state, Origin(log=header.log, seq=header.head), header.cache, header.base)
        return Imported(lines=intake.lines, done=True)

    # --- a fork -----------------------------------------------------------------------------------------------------

    def copy(self, piece: dict[str, Any], now: int) -> None:
        """Take a piece of a fork, as its source made it: `{mark}` and one of `begin`, `rows`, `finish`.

        Raises:
            Refused: there is a session here, or another copy is on its way.
        """
        if "begin" in piece and self.mark is None:
            if not self.is_empty:
                raise Refused(
                    code="conflict", message="the agent has a session", expected="an agent without one"
                )
            self._mark(piece["mark"])
            self._storage.setAlarm(now + ABANDONED_MS)
        if self.mark != piece["mark"]:
            raise Refused(code="conflict", message="another copy is on its way in", expected="another agent")
        self._insert(piece.get("rows", []))
        if (end := piece.get("finish")) is not None:
            state = decode_state(end["state"])
            assert state is not None
            self._finish(state, Origin.model_validate(end["origin"]), end["cache"], end["base"])

    # --- both -------------------------------------------------------------------------------------------------------

    def _mark(self, mark: str) -> None:
        self._meta["staging"] = mark
        self._store.exec("INSERT INTO meta VALUES ('staging', ?)", mark)

    def _note(self, kind: str, number: int, body: str) -> None:
        self._store.exec("INSERT INTO staging VALUES (?, ?, ?)", kind, number, body)

    def _put(self, batches: Iterable[tuple[int, str]], notes: list[Note]) -> None:
        self._insert(
            ["log", seq, part, body] for seq, text in batches for part, body in enumerate(parts(text))
        )
        self._insert(["note", note.note, note.text] for note in notes)

    def _insert(self, rows: Iterable[list[Any]]) -> None:
        for table, *values in rows:
            self._store.exec(_INSERT[table], *values)

    def _finish(self, state: State, origin: Origin, cache: str, base: str) -> None:
        """Make it a session, with a log of its own name: what is recorded from here on is in no other log."""
        self._store.snapshot(state, None, ended=True)
        if base:
            self._store.rebase(decode_base(base).seq, base)
        self._store.exec("DELETE FROM staging")
        self._store.exec("DELETE FROM meta WHERE key = 'staging'")
        named = (("log", secrets.token_hex(8)), ("origin", origin.model_dump_json()), ("cache", cache))
        for key, value in named:
            self._store.exec("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, value)
        self._storage.deleteAlarm()


def rest(state: State, now: int) -> tuple[list[tuple[int, str]], State]:
    """Bring a copy to rest: the batch that is to be added to its log, and the state after it."""
    held = decode_state(encode_state(state))
    assert held is not None
    session = Session(held)
    batch = [
        Recorded(seq=held.seq + n, at=now, event=event) for n, event in enumerate(closing(held), start=1)
    ]
    for recorded in batch:
        session.apply(recorded)
    return [(session.state.seq, encode_batch(batch))] if batch else [], session.state
