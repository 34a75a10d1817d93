"""The agent's own SQLite: the log, the snapshot with the prompt, message ids, the recovery row. Statements and nothing else.

Rows written are the bill, so events recorded together are one row, and no table has a second index. The SDK's wrapper costs
several times the raw handle (measured), so the raw one is used.
"""

import json
import secrets
from collections.abc import Iterable, Iterator
from typing import Any

from pyodide.ffi import JsException

from edge import pump
from edge.prompts import KeptPrompt
from edgeloop.codec import decode_base, decode_batch, decode_state, encode_batch, encode_state
from edgeloop.copies import PART_CHARS, parts
from edgeloop.errors import CorruptLog, Staged
from edgeloop.events import Recorded
from edgeloop.prompt import Prompt
from edgeloop.retention import CHUNK_EVENTS, condense
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
    3: """
    CREATE TABLE message_packs (first TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE staging (kind TEXT, n INTEGER, body TEXT NOT NULL, PRIMARY KEY (kind, n)) WITHOUT ROWID;
    """,
    4: "CREATE TABLE base (id INTEGER PRIMARY KEY, body TEXT NOT NULL);",
}
"""SQL that lifts the schema to each version, applied in order, once, in one transaction with the version's record."""

BATCH_EVENTS = 64
PAGE_CHARS = 400_000
"""What is read of the log at a time, but for one event that is longer: as much as a row holds."""
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
        self.origin = ""
        self.cache = ""
        """What providers route this conversation's prompts by, where a copy has it from its original."""
        self.base = 0
        """The event up to which the log is condensed: before it there is only the conversation."""
        self._head = 0
        self._uncondensable = 0
        """No turn ended before this event."""
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
        found = self.prepare()
        if "staging" in found:
            raise Staged()
        self.log, self.cache, self.origin = found["log"], found.get("cache", ""), found.get("origin", "")
        self.base = int(found.get("base", 0))
        state = decode_state(found["snapshot"]) if "snapshot" in found else None
        if state is None or state.seq < self.base:
            state = self.base_state()
        self._snapshot_seq = state.seq if state else 0
        events = self.after(self._snapshot_seq)
        self._head = events[-1].seq if events else self._snapshot_seq
        return state, events

    def prepare(self) -> dict[str, str]:
        """Bring the schema up to date; return what `meta` says, and the snapshot."""
        found = self._start()
        if int(found.get("schema", 0)) < max(MIGRATIONS):
            self._migrate(int(found.get("schema", 0)))
            found = self._start()
        return found

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

    def base_state(self) -> State | None:
        """The state that a condensed log begins with; None if nothing is condensed."""
        return decode_base(self.base_text()) if self.base else None

    def base_text(self) -> str:
        """The same as it is stored."""
        return self.exec("SELECT body FROM base")[0][0] if self.base else ""

    def append(self, batch: list[Recorded]) -> None:
        """Store consecutive events, and what is looked up by id."""
        for start in range(0, len(batch), BATCH_EVENTS):
            piece = batch[start : start + BATCH_EVENTS]
            text = encode_batch(piece)
            self._chars += len(text)
            self.put(piece[-1].seq, text)
        self._head = batch[-1].seq
        for recorded in batch:
            if recorded.event.kind == "user_message_received":
                self.exec("INSERT INTO messages VALUES (?, ?)", recorded.event.id, recorded.seq)

    def after(self, seq: int) -> list[Recorded]:
        """All events after `seq`, oldest first.

        Raises:
            CorruptLog: a row cannot be read.
        """
        found = self.exec("SELECT seq, body FROM log WHERE seq > ? ORDER BY seq, part", seq)
        return [recorded for last, text in _joined(found) for recorded in decode_row(last, text, after=seq)]

    def batches(self, seq: int) -> list[tuple[int, str]]:
        """The stored batches from the one with the event after `seq` on, each with its last `seq`: about a row's worth."""
        query = "SELECT seq, part, body FROM log WHERE seq > ? ORDER BY seq, part"
        found = self.sql.read(PAGE_CHARS, query, seq).to_py()
        if found:
            last, part = found[-1][:2]
            query = "SELECT seq, part, body FROM log WHERE seq = ? AND part > ? ORDER BY part"
            found += self.exec(query, last, part)
        return _joined((row[0], row[2]) for row in found)

    def page(self, seq: int, limit: int) -> list[Recorded]:
        """The first events after `seq`: at most `limit`, about a row's worth, and only up to the first row that cannot be read.

        Raises:
            CorruptLog: that row is the next one.
        """
        events: list[Recorded] = []
        for last, text in self.batches(seq):
            try:
                if len(events) < limit:
                    events += decode_row(last, text, after=seq, limit=limit - len(events))
            except CorruptLog:
                if not events:
                    raise
                break
        return events

    def condense(self, last: int) -> None:
        """Condense the log's beginning up to event `last`, a bounded piece of it, if enough has come together.

        Raises:
            CorruptLog: it cannot be replayed; nothing is changed.
        """
        if last < max(self.base + CHUNK_EVENTS, self._uncondensable):
            return
        found = condense(self.base_text() or None, self.each_batch(self.base), last)
        if isinstance(found, int):
            self._uncondensable = found
            return
        gone = found.rest[0] if found.rest is not None else found.seq
        self.exec("DELETE FROM log WHERE seq > ? AND seq <= ?", self.base, gone)
        for seq, text in ((found.seq, found.kept), *([found.rest] if found.rest is not None else [])):
            self.put(seq, text)
        self.rebase(found.seq, found.state)

    def put(self, seq: int, batch: str) -> None:
        """Store a batch whose last event is `seq`."""
        for part, body in enumerate(parts(batch)):
            self.exec("INSERT INTO log VALUES (?, ?, ?)", seq, part, body)

    def rebase(self, seq: int, state: str) -> None:
        """Let the log begin after event `seq`, with this state (as stored)."""
        self.base = seq
        self.exec("INSERT OR REPLACE INTO base VALUES (1, ?)", state)
        self.exec("INSERT OR REPLACE INTO meta VALUES ('base', ?)", str(seq))

    def each_batch(self, seq: int) -> Iterator[tuple[int, str]]:
        """All stored batches from the one with the event after `seq` on, read as they are asked for."""
        while found := self.batches(seq):
            yield from found
            seq = found[-1][0]

    def message(self, identifier: str) -> str | None:
        """The text recorded under a message id, or None."""
        query = """
            SELECT seq FROM messages WHERE id = ?1 UNION ALL
            SELECT body ->> ('$."' || ?1 || '"') FROM
            (SELECT body FROM message_packs WHERE first <= ?1 ORDER BY first DESC LIMIT 1)
        """
        found = [row[0] for row in self.exec(query, identifier) if isinstance(row[0], int)]
        if not found:
            return None
        event = self.page(found[0] - 1, 1)[0].event
        assert event.kind == "user_message_received"
        return event.text

    def message_ids(self, last: int) -> list[tuple[str, int]]:
        """The ids of all messages up to event `last`, each with its `seq`."""
        found = self.exec("SELECT id, seq FROM messages WHERE seq <= ?", last)
        packs = [json.loads(row[0]) for row in self.exec("SELECT body FROM message_packs")]
        return [(i, s) for i, s in [*found, *(pair for pack in packs for pair in pack.items())] if s <= last]

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
        while seq < self._head and (events := self.page(seq, PAGE_EVENTS)):
            yield from events
            seq = events[-1].seq

    def recovery(self) -> tuple[int, int, str] | None:
        """The step, attempt and blocks that the pump last saved of a stream."""
        found = self.exec("SELECT step, attempt, blocks FROM recovery ORDER BY id")
        if not found:
            return None
        step, attempt = found[0][:2]
        return step, attempt, "".join(blocks for *of, blocks in found if of == [step, attempt])

    async def delete(self) -> None:
        """Delete everything, the alarm too."""
        await self._storage.deleteAlarm()
        await self._storage.deleteAll()


def decode_row(seq: int, text: str, *, after: int, limit: int | None = None) -> list[Recorded]:
    """The events after `after` of a stored row that ends with `seq`, the first `limit` of them.

    Raises:
        CorruptLog: it cannot be read.
    """
    try:
        return decode_batch(text, after=after, limit=limit)
    except CorruptLog as error:
        raise CorruptLog(str(error), seq=seq) from error


def _joined(rows: Iterable[Any]) -> list[tuple[int, str]]:
    """Batches from their rows, `last seq, part of the body`."""
    batches: dict[int, list[str]] = {}
    for seq, body in rows:
        batches.setdefault(seq, []).append(body)
    return [(seq, "".join(bodies)) for seq, bodies in batches.items()]
