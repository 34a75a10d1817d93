"""Every way a provider fails, in both dialects: each ends in a typed event, and in the retry or the end that its class asks for.

Expectations are the classes of `edgeloop.events.ErrorClass`; how each is found is in docs/design/providers.md.
"""

import asyncio
import itertools
import socket
from collections.abc import Callable, Iterator
from contextlib import closing as closed
from dataclasses import dataclass
from uuid import uuid4

import pytest

from edgeloop.events import (
    BlockFinished,
    ErrorClass,
    Recorded,
    RetryScheduled,
    StepFailed,
    StepStarted,
    ToolFinished,
    TurnFinished,
)
from edgeloop.transcript import CONTINUE
from edgeloop_client.view import View
from scripts.local_edge import LocalEdge
from tests.edge.conftest import DEADLINE_MS, StartEdge
from tests.support.edge import Client, Door, Tool, events_of, kinds
from tests.support.provider import Asked, Dialect, Reply, Script, ScriptedProvider

DIALECTS: tuple[Dialect, ...] = ("anthropic", "openai")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What the provider does first, and what must be said of it."""

    does: Script
    cls: tuple[ErrorClass, ...]
    shown: str = ""
    retried: bool = True
    waits_ms: int = 0


def _after(text: str, then: Callable[[Reply], None]) -> Script:
    def script(reply: Reply) -> None:
        with reply.block() as piece:
            piece(text)
            then(reply)

    return script


def _torn(reply: Reply) -> None:
    with reply.block() as piece:
        piece("Half a")
        reply.malformed()
        piece(" tail")
    reply.call("note_write", {"name": "torn", "text": "must not be"})
    reply.end()


FAULTS: dict[str, Fault] = {
    "400": Fault(
        does=lambda r: r.refuse(400, kind="invalid_request_error"), cls=("invalid_request",), retried=False
    ),
    "401": Fault(does=lambda r: r.refuse(401, kind="authentication_error"), cls=("auth",), retried=False),
    "404": Fault(
        does=lambda r: r.refuse(404, kind="not_found_error"), cls=("invalid_request",), retried=False
    ),
    "413": Fault(does=lambda r: r.refuse(413, kind="request_too_large"), cls=("too_large",), retried=False),
    "429": Fault(
        does=lambda r: r.refuse(429, kind="rate_limit_error", headers={"retry-after": "2"}),
        cls=("rate_limit",),
        waits_ms=2_000,
    ),
    "500": Fault(does=lambda r: r.refuse(500), cls=("server",)),
    "529": Fault(does=lambda r: r.refuse(529, kind="overloaded_error"), cls=("overloaded",)),
    "error in the stream": Fault(does=lambda r: (r.raw(b""), r.error())[0], cls=("overloaded", "server")),
    "error after text": Fault(
        does=_after("Half a", lambda r: r.error()), cls=("overloaded", "server"), shown="Half a"
    ),
    "cut at once": Fault(does=lambda r: r.cut(), cls=("truncated", "connection")),
    "cut after text": Fault(
        does=_after("Half a", lambda r: r.cut()), cls=("truncated", "connection"), shown="Half a"
    ),
    "malformed": Fault(does=_torn, cls=("malformed",), shown="Half a tail"),
    "ends without its end": Fault(
        does=_after("Half a", lambda r: r.finish()), cls=("truncated",), shown="Half a"
    ),
    "an error in place of a stream": Fault(
        does=lambda r: r.json_error("authentication_error"), cls=("auth",), retried=False
    ),
    "overload in place of a stream": Fault(
        does=lambda r: r.json_error("overloaded_error"), cls=("overloaded",)
    ),
    "elsewhere": Fault(does=lambda r: r.redirect(), cls=("invalid_request",), retried=False),
    "no gzip": Fault(does=lambda r: r.not_gzip(), cls=("connection", "truncated")),
    "no stream at all": Fault(does=lambda r: r.page(), cls=("truncated", "malformed")),
    "silence": Fault(does=lambda r: r.hold(), cls=("timeout",), waits_ms=DEADLINE_MS),
    "silence in the stream": Fault(
        does=_after("Half a", lambda r: r.silence()), cls=("timeout",), shown="Half a", waits_ms=DEADLINE_MS
    ),
}


def well(reply: Reply) -> None:
    reply.text("All ", "well.")
    reply.end()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one agent's turn: its log, what its client saw, and what the log says it should have seen."""

    events: list[Recorded]
    seen: View
    logged: View
    asked: list[Asked]


@pytest.fixture(scope="module")
def outcomes(
    provider: ScriptedProvider, edge_of: Callable[[Dialect], LocalEdge]
) -> dict[tuple[Dialect, str], Outcome]:
    """Meet every fault in both dialects, some at a time: one after the other their waits would add up to a minute."""
    urls = {dialect: edge_of(dialect).url for dialect in DIALECTS}
    crowd = asyncio.Semaphore(6)

    async def meet(dialect: Dialect, name: str) -> Outcome:
        door = Door(url=urls[dialect], agent=f"t-{uuid4().hex[:12]}")
        provider.script(door.agent, FAULTS[name].does, well)
        async with crowd, Client(door=door) as client:
            await client.say("go")
            seen = await client.until_idle()
        log, events = await door.log()
        logged = View.from_events(log, events)
        return Outcome(events=events, seen=seen, logged=logged, asked=provider.asked(door.agent))

    async def meet_all() -> dict[tuple[Dialect, str], Outcome]:
        found: dict[tuple[Dialect, str], Outcome] = {}
        # A 429's hint holds back every agent of the Worker, so it comes when the others are through.
        for names in ([name for name in FAULTS if name != "429"], ["429"]):
            pairs = list(itertools.product(DIALECTS, names))
            met = await asyncio.gather(*(meet(*pair) for pair in pairs))
            found |= dict(zip(pairs, met, strict=True))
        return found

    return asyncio.run(meet_all())


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_ends_in_a_typed_event(
    outcomes: dict[tuple[Dialect, str], Outcome], dialect: Dialect, name: str
):
    """A fault is recorded with its class; what was shown is kept; then it is retried, or the turn fails (behaviour 4)."""
    fault, outcome = FAULTS[name], outcomes[dialect, name]
    failed = events_of(outcome.events, StepFailed)
    assert len(failed) == 1, kinds(outcome.events)
    assert failed[0].error.cls in fault.cls
    partial = [block.text for block in events_of(outcome.events, BlockFinished) if block.partial]
    assert partial == ([fault.shown] if fault.shown else [])
    assert outcome.seen == outcome.logged
    if fault.retried:
        _check_retry(fault, outcome)
    else:
        _check_end(outcome)


def _check_retry(fault: Fault, outcome: Outcome) -> None:
    first, second = outcome.asked
    began = [recorded for recorded in outcome.events if isinstance(recorded.event, StepStarted)]
    assert [(step.step, step.attempt) for step in events_of(began, StepStarted)] == (
        [(1, 1), (2, 2)] if fault.shown else [(1, 1), (1, 2)]
    )
    assert events_of(outcome.events, RetryScheduled)[0].due <= began[1].at
    assert second.at - first.at >= fault.waits_ms / 1000
    assert (CONTINUE in second.body.decode()) == bool(fault.shown)
    assert events_of(outcome.events, TurnFinished)[0].reason == "done"
    if fault.waits_ms == DEADLINE_MS:
        assert first.hung_up.wait(5), "the fetch was not aborted"


def _check_end(outcome: Outcome) -> None:
    assert len(outcome.asked) == 1
    end = events_of(outcome.events, TurnFinished)[0]
    assert end.reason == "failed"
    assert "scripted" in end.detail or "HTTP 307" in end.detail


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_fault_after_a_call_keeps_the_call_and_its_result(
    provider: ScriptedProvider, edge_of: Callable[[Dialect], LocalEdge], agent: str, dialect: Dialect
):
    """A stream that breaks after a finished call is continued with its result; the tool runs once (behaviours 19, 27).

    A chat stream says that a call is complete only by beginning the next one, so there its last call is lost.
    """

    def breaks(reply: Reply) -> None:
        reply.call("look", {"at": 1})
        reply.call("look", {"at": 2})
        if dialect == "openai":
            reply.call("look", {"at": 3})
        with reply.block() as piece:
            piece("and")
            reply.cut()

    look = Tool(name="look", run=lambda arguments: f"seen {arguments['at']}")
    provider.script(agent, breaks, well)
    door = Door(url=edge_of(dialect).url, agent=agent)
    async with Client(door=door, tools=(look,)) as client:
        await client.say("go")
        view = await client.until_idle()
    assert [call for call, _ in client.ran] == ["1.0", "1.1"]
    assert sorted(e.content for e in events_of(await door.events(), ToolFinished)) == ["seen 1", "seen 2"]
    again = provider.asked(agent)[1].body.decode()
    assert "seen 1" in again
    assert "seen 2" in again
    assert view.ended is not None
    assert view.ended.reason == "done"
    assert view == await door.view()


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_calls_wrongly_is_told(
    provider: ScriptedProvider, edge_of: Callable[[Dialect], LocalEdge], agent: str, dialect: Dialect
):
    """An unknown tool and arguments that are no JSON object are error results for the model, never `{}` (behaviour 24)."""

    def wrongly(reply: Reply) -> None:
        reply.call("no_such_tool", {})
        reply.call("note_read", '{"name": ')
        reply.call("note_read", "[1]")
        reply.call("note_read", {"nome": "x"})
        reply.end()

    provider.script(agent, wrongly, well)
    door = Door(url=edge_of(dialect).url, agent=agent)
    await door.post("go")
    events = await door.until("turn_finished")
    results = events_of(events, ToolFinished)
    assert [result.outcome for result in results] == ["error"] * 4
    assert "no_such_tool" in results[0].content
    assert len(provider.asked(agent)) == 2


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port that nobody listens on, kept from others until the test is over."""
    with closed(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_refused_connection_is_typed_and_retried(
    own_edge: StartEdge, agent: str, dead_port: int, dialect: Dialect
):
    """With nobody at the provider's address a call fails as `connection`, is retried, and can be stopped meanwhile."""
    edge = own_edge(EDGELOOP_PROVIDER=dialect, EDGELOOP_BASE_URL=f"http://127.0.0.1:{dead_port}")
    door = Door(url=edge.url, agent=agent)
    await door.post("go")
    events = await door.until("step_failed", times=2)
    errors = [failed.error for failed in events_of(events, StepFailed)]
    assert {error.cls for error in errors} == {"connection"}
    assert all(error.retryable for error in errors)
    assert (await door.request("POST", "/stop")).status_code == 200
    events = await door.until("turn_finished")
    assert events_of(events, TurnFinished)[0].reason == "stopped"
