"""A session on its way out: as the pages of a file, or row by row into another object. Reads the log as it is stored.

What is read is at most about a row at a time, whatever the log's length; only the end of a cut log is understood.
"""

import json
import secrets
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from edge.agent import Agent
from edge.clock import breathe, now_ms
from edge.convert import to_object
from edge.staging import rest
from edge.store import PAGE_EVENTS, Store
from edgeloop.archive import Header, Note
from edgeloop.bodies import Fork, Origin
from edgeloop.codec import encode_state
from edgeloop.copies import message_packs, packed, parts, records, through
from edgeloop.errors import Refused
from edgeloop.session import Session
from edgeloop.state import State

PIECE_CHARS = 1 << 20


def header(agent: Agent) -> str:
    """The first line of the agent's file.

    Raises:
        Refused: there is nothing to write.
    """
    store, head = agent.store, agent.state.seq
    if head == 0:
        raise Refused(
            code="not_found", message="nothing was ever recorded here", expected="an agent with a session"
        )
    known = {"agent": agent.name, "log": store.log, "head": head, "cache": agent.cache}
    return Header.model_validate(known | {"base": store.base_text()}).model_dump_json()


def lines(store: Store, after: int, last: int, note: str) -> Iterator[str]:
    """A page of the file's lines: the records after `after` up to `last`; then the notes whose names come after `note`."""
    found = [record for seq, record in _records(store, after) if seq <= last]
    yield from found
    if not found:
        query = "SELECT name, text FROM notes WHERE name > ? ORDER BY name"
        for name, text in store.sql.read(PIECE_CHARS, query, note).to_py():
            yield Note(note=name, text=text).model_dump_json()


def _records(store: Store, after: int) -> Iterator[tuple[int, str]]:
    for _, text in store.batches(after):
        yield from ((seq, record) for seq, record in records(text) if seq > after)


async def fork(agent: Agent, target: Any, command: Fork) -> str:
    """Copy the agent's log up to an event into another agent's object; return what that answers at the end, `Forked`.

    Raises:
        Refused: no such event, the target has a session, or this one was deleted meanwhile.
    """
    store, head = agent.store, agent.state.seq
    last = command.at if command.at is not None else head
    if not 1 <= last <= head:
        raise Refused(code="conflict", message=f"at = {last} is ahead of the log", expected=f"at most {head}")
    check_kept(store, last)
    base = store.base_text()
    ended, state = rest(await _state_at(agent, last), now_ms())
    send = _Sender(target, f"http://edge/v1/agents/{command.to}/copy")
    origin = Origin(log=store.log, seq=last).model_dump()
    finish = {"state": encode_state(state), "origin": origin, "cache": agent.cache, "base": base}
    try:
        await send(begin=True)
        for rows in _pieces(_rows(agent, last, ended)):
            await send(rows=rows)
            await breathe()
        return await send(finish=finish)
    except Exception:
        await send(abort=True)
        raise


def check_kept(store: Store, seq: int) -> None:
    """Raise Refused where what follows event `seq` is no longer kept whole."""
    if seq < store.base:
        raise Refused(
            code="gone",
            message=f"what followed event {seq} is no longer kept",
            expected=f"{store.base} or more",
        )


class _Sender:
    """Sends the pieces of one copy to the target's object; outside nobody can name this path."""

    def __init__(self, target: Any, path: str) -> None:
        self._target = target
        self._path = path
        self._mark = secrets.token_hex(8)

    async def __call__(self, **piece: Any) -> str:
        body = json.dumps({"mark": self._mark, **piece})
        answer = await self._target.fetch(self._path, to_object({"method": "POST", "body": body}))
        text = await answer.text()
        if answer.status != 200 and "abort" not in piece:
            told = json.loads(text)["error"]
            raise Refused(code=told["code"], message=told["message"], expected=told.get("expected"))
        return text


async def _state_at(agent: Agent, last: int) -> State:
    """The state after event `last`: what is in memory, or replayed for it a page at a time."""
    if last == agent.state.seq:
        return agent.state
    session, base = Session(agent.store.base_state()), agent.store.base
    while session.state.seq < last:
        events = agent.store.page(session.state.seq, min(PAGE_EVENTS, last - session.state.seq))
        session = Session.replay(session.state, events)
        await breathe()
        _check(agent, base)
    return session.state


def _rows(agent: Agent, last: int, ended: list[tuple[int, str]]) -> Iterator[list[Any]]:
    """Every row that the copy begins with, by its table: a few for the log, one for hundreds of messages, one a note."""
    for seq, text in packed(chain(through(_batches(agent), last), ended), agent.store.base):
        yield from (["log", seq, part, body] for part, body in enumerate(parts(text)))
    yield from (["pack", *pack] for pack in message_packs(agent.store.message_ids(last)))
    yield from (["note", *note] for note in agent.store.exec("SELECT name, text FROM notes"))


def _batches(agent: Agent) -> Iterator[tuple[int, str]]:
    base = agent.store.base
    for batch in agent.store.each_batch(0):
        yield batch
        _check(agent, base)


def _pieces(rows: Iterable[list[Any]]) -> Iterator[list[list[Any]]]:
    """Rows in pieces of about a megabyte."""
    piece: list[list[Any]] = []
    size = 0
    for row in rows:
        piece.append(row)
        size += len(row[-1])
        if size >= PIECE_CHARS:
            yield piece
            piece, size = [], 0
    yield piece


def _check(agent: Agent, base: int) -> None:
    if agent.is_deleted or agent.store.base != base:
        raise Refused(
            code="conflict", message="the log was deleted or condensed meanwhile", expected="another try"
        )
