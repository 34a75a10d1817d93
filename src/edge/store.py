"""The agent's own SQLite: the log, the snapshot with the prompt, message ids, the recovery row. Statements and nothing else.

Rows written are the bill, so events recorded together are one row, and no table has a second index. The SDK's wrapper costs
several times the raw handle (measured), so the raw one is used.
"""

import secrets
from collections.abc import Iterator
from typing import Any

from pyodide.ffi import JsException

from edge import pump
from edge.prompts import KeptPrompt
from edgeloop.codec import decode_batch, decode_state, encode_batch, encode_state
from edgeloop.errors import CorruptLog
from edgeloop.events import Recorded
from edgeloop.prompt import Prompt
from edgeloop.state import State

MIGRATIONS = {
    1: """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE log (seq INTEGER, part INTEGER, body TEXT NOT NULL, PRIMARY KEY (seq, part)) WITHOUT ROWID;
    CREATE TABLE messages (id TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE snapshot (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE recovery (id INTEGER PRIMARY KEY, step INTEGER, attempt INTEGER, blocks TEXT);
    CREATE TABLE notes (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
    """,
    2: """
    ALTER TABLE snapshot ADD COLUMN provider TEXT;
    ALTER TABLE snapshot ADD COLUMN upto INTEGER;
    ALTER TABLE snapshot ADD COLUMN tail BLOB;
    CREATE TABLE prompt (n INTEGER PRIMARY KEY, body BLOB NOT NULL);
    """,
}
"""SQL that lifts the schema to each version, applied in order, once, in one transaction with the version's record."""

PART_CHARS = 400_000
"""A row may hold 2 MB; a character is at most 4 bytes in UTF-8, so a longer batch is split, never cut."""
BATCH_EVENTS = 64
PAGE_EVENTS = 500
SNAPSHOT_EVENTS = 64
SNAPSHOT_CHARS = 64_000
"""A wake decodes no more of the log than this, one round aside; after a turn's end, nothing."""
SEGMENT_BYTES = 64 << 10
"""The prompt's tail is rewritten with each snapshot; what exceeds this becomes a segment, written once."""
SEGMENT_MAX_BYTES = 1 << 20


class Store:
    """One agent's storage. Everything is synchronous: writes with no await between them commit as one."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self.sql = pump.new_sql(storage.sql)
        """What it has cost since this object came to life is in its `statements`, `rowsRead` and `rowsWritten`."""
        self.log = ""
        self._snapshot_seq = 0
        self._chars = 0
        """Of the log since the snapshot."""

    @property
    def bytes(self) -> int:
        """How large the database is; free to ask."""
        return self._storage.sql.databaseSize

    def exec(self, statement: str, *binds: Any) -> list[list[Any]]:
        """Run one statement and return its rows."""
        return self.sql.exec(statement, *binds).to_py()

    def open(self) -> tuple[State | None, list[Recorded]]:
        """Bring the schema up to date and read the snapshot and the events after it (two statements on a wake)."""
        found = self._start()
        if int(found.get("schema", 0)) < max(MIGRATIONS):
            self._migrate(int(found.get("schema", 0)))
            found = self._start()
        self.log = found["log"]
        state = decode_state(found["snapshot"]) if "snapshot" in found else None
        self._snapshot_seq = state.seq if state else 0
        return state, self.after(self._snapshot_seq)

    def _start(self) -> dict[str, str]:
        try:
            return dict(
                self.exec("SELECT key, value FROM meta UNION ALL SELECT 'snapshot', body FROM snapshot")
            )  # type: ignore[arg-type]
        except JsException:  # no such table: this object is new
            return {}

    def _migrate(self, version: int) -> None:
        for number in range(version + 1, max(MIGRATIONS) + 1):
            self.sql.exec(MIGRATIONS[number])
        self.exec("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", str(max(MIGRATIONS)))
        if version == 0:
            self.exec("INSERT INTO meta VALUES ('log', ?)", secrets.token_hex(8))

    def append(self, batch: list[Recorded]) -> None:
        """Store consecutive events, and what is looked up by id."""
        for start in range(0, len(batch), BATCH_EVENTS):
            piece = batch[start : start + BATCH_EVENTS]
            text = encode_batch(piece)
            self._chars += len(text)
            for part, offset in enumerate(range(0, len(text), PART_CHARS)):
                self.exec(
                    "INSERT INTO log VALUES (?, ?, ?)",
                    piece[-1].seq,
                    part,
                    text[offset : offset + PART_CHARS],
                )
        for recorded in batch:
            if recorded.event.kind == "user_message_received":
                self.exec("INSERT INTO messages VALUES (?, ?)", recorded.event.id, recorded.seq)

    def after(self, seq: int, limit: int | None = None) -> list[Recorded]:
        """Events after `seq`, oldest first; with a limit, at least that many where there are (whole rows are read).

        Raises:
            CorruptLog: a row cannot be read.
        """
        found: list[Recorded] = []
        for last, text in self.batches(seq, limit).items():
            found += decode_row(last, text)
        return [recorded for recorded in found if recorded.seq > seq]

    def batches(self, seq: int, limit: int | None = None) -> dict[int, str]:
        """The stored text of the events after `seq` by the last one's `seq`; with a limit, of about that many rows."""
        tail = "" if limit is None else f" LIMIT {int(limit)}"
        found = self.exec(f"SELECT seq, body FROM log WHERE seq > ? ORDER BY seq, part{tail}", seq)
        if limit is not None and len(found) == limit:
            last = found[-1][0]
            found = [row for row in found if row[0] < last]
            found += self.exec("SELECT seq, body FROM log WHERE seq = ? ORDER BY part", last)
        batches: dict[int, str] = {}
        for last_seq, body in found:
            batches[last_seq] = batches.get(last_seq, "") + body
        return batches

    def message(self, identifier: str) -> str | None:
        """The text recorded under a message id, or None."""
        found = self.exec("SELECT seq FROM messages WHERE id = ?", identifier)
        if not found:
            return None
        event = self.after(found[0][0] - 1, limit=1)[0].event
        assert event.kind == "user_message_received"
        return event.text

    def snapshot(self, state: State, prompt: KeptPrompt | None, *, ended: bool) -> None:
        """Store both, if a turn has `ended` or much has happened since the last time. Without a prompt the stored one stays."""
        if not ended and state.seq - self._snapshot_seq < SNAPSHOT_EVENTS and self._chars < SNAPSHOT_CHARS:
            return
        self._snapshot_seq, self._chars = state.seq, 0
        body = encode_state(state)
        if len(body) > PART_CHARS:
            return  # more than a row may hold: the log is read instead, until its calls have ended
        if prompt is None or not prompt.fold.goes_on:
            put = "INSERT INTO snapshot (id, body) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body"
            self.exec(put, body)
            return
        self._seal(prompt)
        put = "INSERT OR REPLACE INTO snapshot (id, body, provider, upto, tail) VALUES (1, ?, ?, ?, ?)"
        self.exec(put, body, prompt.fold.provider, prompt.fold.upto, prompt.data.tail())

    def _seal(self, prompt: KeptPrompt) -> None:
        if prompt.anew:
            self.exec("DELETE FROM prompt")
            prompt.anew = False
        if prompt.open < SEGMENT_BYTES:
            return
        while prompt.open:
            self.exec(
                "INSERT INTO prompt VALUES (?, ?)", prompt.segments, prompt.data.seal(SEGMENT_MAX_BYTES)
            )
            prompt.segments += 1

    def prompt(self, provider: str) -> KeptPrompt:
        """The prompt for this provider: copied from where it is stored, or else made anew from the whole log."""
        prompt = self._stored_prompt(provider) or KeptPrompt(fold=Prompt(provider=provider))
        prompt.apply(self._each(prompt.fold.upto))
        return prompt

    def _stored_prompt(self, provider: str) -> KeptPrompt | None:
        found = self.sql.exec("SELECT upto, tail FROM snapshot WHERE provider = ?", provider)
        if not found.length:
            return None
        upto, tail = found[0]
        segments = self.sql.exec("SELECT body FROM prompt ORDER BY n")
        return KeptPrompt.restore(provider, upto, segments, tail)

    def _each(self, seq: int) -> Iterator[Recorded]:
        while events := self.after(seq, limit=PAGE_EVENTS):
            yield from events
            seq = events[-1].seq
            if len(events) < PAGE_EVENTS:
                return

    def recovery(self) -> tuple[int, int, str] | None:
        """The step, attempt and blocks that the pump last saved of a stream."""
        found = self.exec("SELECT step, attempt, blocks FROM recovery WHERE id = 1")
        return (found[0][0], found[0][1], found[0][2]) if found else None

    async def delete(self) -> None:
        """Delete everything, the alarm too."""
        await self._storage.deleteAlarm()
        await self._storage.deleteAll()


def decode_row(seq: int, text: str) -> list[Recorded]:
    """The events of a stored row that ends with `seq`.

    Raises:
        CorruptLog: it cannot be read.
    """
    try:
        return decode_batch(text)
    except CorruptLog as error:
        raise CorruptLog(str(error), seq=seq) from error
