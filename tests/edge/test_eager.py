"""Tools that start while the model talks, in every dialect: the embedded model streams, each provider in its own way."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from edgeloop.events import (
    ApprovalDecided,
    CallJudged,
    Recorded,
    StepFailed,
    StepFinished,
    ToolFinished,
    ToolStarted,
    TurnFinished,
)
from scripts.local_edge import LocalEdge
from tests.support.edge import TOKEN, Client, Door, Tool, events_of
from tests.support.model_server import ModelServerHandle, start_model_server
from tests.support.streamed import BASES

PAUSE_MS = 1_500
"""How long the model is silent behind its calls: what started early is over by then."""
LOOK = Tool(name="look", run=lambda given: f"seen {given['n']}")
SAVE = Tool(name="save", run=lambda given: f"saved {given['n']}", effect="mutate", touches={"path": "path"})
LATE = Tool(name="late", run=lambda given: f"late {given['n']}", eager=False)
CALLS: list[dict[str, Any]] = [
    {"call": "save", "arguments": {"path": "a", "n": 0}},
    {"call": "look", "arguments": {"n": 1}},
    {"call": "save", "arguments": {"path": "./a", "n": 2}},
    {"call": "look", "arguments": {"n": 3}},
    {"call": "save", "arguments": {"path": "b", "n": 4}},
    {"call": "late", "arguments": {"n": 5}},
]
"""The last one is late: Chat says that a call is complete when the next one begins, or the message ends."""
MESSAGE = json.dumps(
    {"turns": [[{"text": "First. "}, *CALLS, {"text": "Then. "}, {"wait_ms": PAUSE_MS}, {"text": "Last."}]]}
)


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServerHandle]:
    with start_model_server() as server:
        yield server


@pytest.fixture(scope="module", params=sorted(BASES))
def edge(
    request: pytest.FixtureRequest, model: ModelServerHandle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalEdge]:
    """A Worker of each dialect, one after the other."""
    given = {
        "EDGELOOP_TOKEN": TOKEN,
        "EDGELOOP_PROVIDER": request.param,
        "EDGELOOP_BASE_URL": model.url + BASES[request.param],
        "EDGELOOP_API_KEY": "key",
        "EDGELOOP_MODEL": "script",
        "EDGELOOP_MODE": "auto",
    }
    state = tmp_path_factory.mktemp("state")
    with LocalEdge(variables=given, private_copy=True, persist_to=state) as running:
        yield running


def new_door(edge: LocalEdge) -> Door:
    return Door(url=edge.url, agent=f"e-{uuid4().hex[:12]}")


async def turn(door: Door) -> list[Recorded]:
    """The log of one turn with a client that answers at once."""
    async with Client(door=door, tools=(LOOK, SAVE, LATE)) as client:
        await client.say(MESSAGE, model="script")
        view = await client.until_idle()
        assert view == await door.view()
    events = await door.events()
    assert [end.reason for end in events_of(events, TurnFinished)] == ["done"]
    return events


def places(events: list[Recorded], kind: type[ToolStarted | ToolFinished]) -> list[int]:
    """Where in the log each call started or ended, in call order; each did so once."""
    found = {recorded.event.call: recorded.seq for recorded in events if isinstance(recorded.event, kind)}
    assert len(found) == len(events_of(events, kind)) == len(CALLS)
    return [found[call] for call in sorted(found, key=lambda call: int(call.partition(".")[2]))]


def message_ended(events: list[Recorded]) -> int:
    return next(recorded.seq for recorded in events if isinstance(recorded.event, StepFinished))


async def test_what_starts_when(edge: LocalEdge, model: ModelServerHandle):
    """Reads start and end while the model talks; what changes something, and what is not eager, waits for its end.

    Writes to one path run one after the other, others together; the model is given all results in call order. With eagerness
    off for the session, nothing starts early.
    """
    model.clear()
    door, patient = new_door(edge), new_door(edge)
    body = {"mode": "auto", "eager": False}
    assert (await patient.request("PUT", "/autonomy", json=body)).status_code == 200
    events, waited = await asyncio.gather(turn(door), turn(patient))

    end, begun, over = message_ended(events), places(events, ToolStarted), places(events, ToolFinished)
    early = [number for number, seq in enumerate(begun) if seq < end]
    assert early == [1, 3]
    assert max(over[1], over[3]) < end
    assert max(begun[0], begun[4], begun[5]) < min(over[0], over[4], over[5])
    assert begun[2] > over[0]
    assert min(places(waited, ToolStarted)) > message_ended(waited)

    results = ["saved 0", "seen 1", "saved 2", "seen 3", "saved 4", "late 5"]
    asked = [body.decode() for body in model.bodies("/") if b"late 5" in body]
    assert len(asked) == 2
    for text in asked:
        where = [text.index(result) for result in results]
        assert where == sorted(where)


async def test_a_no_is_a_result_that_the_provider_takes(edge: LocalEdge, model: ModelServerHandle):
    """A denied call beside allowed ones has its result in the next request, which the provider accepts."""
    door = new_door(edge)
    rules = [{"verdict": "ask", "path": "b"}]
    assert (await door.request("PUT", "/autonomy", json={"mode": "auto", "rules": rules})).status_code == 200
    async with Client(door=door, tools=(LOOK, SAVE, LATE)) as client:
        await client.say(MESSAGE, model="script")
        await client.until(
            lambda: any(isinstance(e, CallJudged) and e.verdict == "ask" for e in client.wire_events())
        )
        asked = next(e for e in client.wire_events() if isinstance(e, CallJudged) and e.verdict == "ask")
        body = {"call": asked.call, "allow": False, "reason": "b is mine"}
        assert (await door.request("POST", "/approvals", json=body)).status_code == 200
        await client.until_idle()
    events = await door.events()
    assert [end.reason for end in events_of(events, TurnFinished)] == ["done"]
    assert [answer.by for answer in events_of(events, ApprovalDecided)] == ["http"]
    outcomes = {finished.call: finished.outcome for finished in events_of(events, ToolFinished)}
    assert outcomes.pop(asked.call) == "denied"
    assert set(outcomes.values()) == {"ok"}
    assert asked.call not in {started.call for started in events_of(events, ToolStarted)}
    assert any(b"b is mine" in body for body in model.bodies("/"))


def message(pause_ms: int) -> str:
    """The calls, and then so much silence before the end."""
    return json.dumps({"turns": [[{"text": "First. "}, *CALLS, {"wait_ms": pause_ms}, {"text": "Last."}]]})


async def struck(door: Door, edge: LocalEdge, blow: str) -> list[Recorded]:
    """The log of a turn whose first answer is struck when its reads are done: cut, ended by an error, refused, or killed."""
    model = (
        "script"
        if blow == "kill"
        else f"script:fault={blow},fault_times=1,fault_at=9999,fault_key={door.agent}"
    )
    async with Client(door=door, tools=(LOOK, SAVE, LATE)) as client:
        await client.say(message(60_000 if blow == "kill" else PAUSE_MS), model=model)
        if blow == "kill":
            await client.until(lambda: [c.state for c in client.view.calls.values()].count("ok") == 2)
            await asyncio.to_thread(lambda: edge.await_recovery(edge.kill_workerd()))
            await client.drop()
            await client.open()
        assert await client.until_idle() == await door.view()
    return await door.events()


async def test_a_stream_that_is_struck_behind_its_calls(edge: LocalEdge, model: ModelServerHandle):
    """Whatever ends the first answer, in every dialect: its reads ran once and are told, nothing else was begun, the turn ends.

    Where it was refused before anything was shown, the same step is made again and all is done once.
    """
    blows = {"cut": "connection", "error": "overloaded", "529": "overloaded"}
    doors = {blow: new_door(edge) for blow in (*blows, "kill")}
    logs = dict(
        zip(blows, await asyncio.gather(*(struck(doors[blow], edge, blow) for blow in blows)), strict=True)
    )
    model.clear()
    logs["kill"] = await struck(doors["kill"], edge, "kill")
    for blow, events in logs.items():
        failed = [end.error.cls for end in events_of(events, StepFailed)]
        assert failed == [blows.get(blow, "interrupted")], blow
        assert [end.reason for end in events_of(events, TurnFinished)] == ["done"], blow
        outcomes = sorted(f"{done.outcome} {done.content[:6]}" for done in events_of(events, ToolFinished))
        reads = ["ok seen 1", "ok seen 3"]
        if blow == "529":
            assert outcomes == ["ok late 5", "ok saved ", "ok saved ", "ok saved ", *reads], blow
        else:
            assert outcomes[-2:] == reads, blow
            assert set(outcomes[:-2]) == {"cancelled The me"}, blow  # Chat's last call was not complete
            assert len(events_of(events, ToolStarted)) == 2, blow
    assert any(b"seen 1" in body and b"seen 3" in body for body in model.bodies("/"))
