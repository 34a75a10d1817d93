"""What `make chaos` looks at: a sound session passes, and every wrong that is planted in one is found."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from edgeloop.bodies import StateView
from edgeloop.events import (
    CallJudged,
    Event,
    Outcome,
    Recorded,
    StepFinished,
    StepStarted,
    Timing,
    ToolCallCompleted,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    Usage,
    UserMessageReceived,
)
from edgeloop.session import Session
from edgeloop_client.model.http import Received
from scripts.chaos.checks import Evidence, wrongs
from scripts.chaos.model import VIOLATIONS, Prefixes
from scripts.chaos.proxy import Proxy
from scripts.chaos.story import Author, token_of

TOKEN = "a.0"
SENT = {"m1": "a {}"}


def called(outcome: Outcome = "ok", starts: int = 1, verdict: str = "allow") -> list[Event]:
    """One turn with one changing call."""
    arguments = json.dumps({"path": "x", "token": TOKEN, "ms": 0})
    return [
        UserMessageReceived(id="m1", text=SENT["m1"], tokens=1),
        StepStarted(step=1, attempt=1),
        ToolCallCompleted(step=1, block=0, call="1.0", provider_id="p", name="leave", arguments=arguments),
        CallJudged(call="1.0", verdict="allow" if verdict == "allow" else "deny", by="rule 1"),
        *(ToolStarted(call="1.0", runner="c", epoch=number + 1) for number in range(starts)),
        StepFinished(
            step=1, stop="end", usage=Usage(), timing=Timing(wall_ms=1, request_bytes=1, response_bytes=1)
        ),
        ToolFinished(call="1.0", outcome=outcome, content=""),
        TurnFinished(reason="done"),
    ]


def evidence(events: list[Event], traces: dict[str, int] | None = None) -> Evidence:
    log = [Recorded(seq=number, at=1, event=event) for number, event in enumerate(events, 1)]
    state = Session.replay(None, log).state
    view = StateView.model_validate(
        {
            **dict.fromkeys(StateView.model_fields, 0),
            **dict.fromkeys(("last_error", "origin")),
            **dict.fromkeys(("calls", "questions"), ()),
            **{name: getattr(state, name) for name in ("phase", "step", "turns", "queued", "message_tokens")},
            "usage": state.usage,
            "agent": "a",
            "log": "l",
            "head": len(log),
            "provider": "",
            "model": "",
            "mode": "auto",
        }
    )
    return Evidence(log="l", events=log, state=view, sent=SENT, traces=Counter(traces or {TOKEN: 1}))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A session, what is done to what is found of it, and a word of what must be said."""

    says: str
    events: list[Event] = field(default_factory=called)
    traces: dict[str, int] = field(default_factory=lambda: {TOKEN: 1})
    spoil: Callable[[Evidence], Evidence] = lambda found: found


NOTHING = {TOKEN: 0}
CASES = {
    "done twice": Case(says="done 2 times", traces={TOKEN: 2}),
    "said to be done": Case(says="was done 0 times", traces=NOTHING),
    "denied but done": Case(says="but was done", events=called("denied", 0, "deny")),
    "cancelled before its start, but done": Case(says="but was done", events=called("cancelled", 0)),
    "started twice": Case(says="was started 2 times", events=called("lost", 2), traces=NOTHING),
    "failed": Case(says="ended as error", events=called("error"), traces=NOTHING),
    "done by nobody": Case(says="nobody called for it", traces={TOKEN: 1, "a.9": 1}),
    "a message lost": Case(says="is lost", spoil=lambda f: replace(f, sent={**SENT, "m2": "x"})),
    "a message changed": Case(says="is not what was sent", spoil=lambda f: replace(f, sent={"m1": "x"})),
    "an event gone": Case(says="numbers", spoil=lambda f: replace(f, events=f.events[:3] + f.events[4:])),
    "a log that ends early": Case(says="never ended", spoil=lambda f: replace(f, events=f.events[:-2])),
    "another state": Case(
        says="the log says", spoil=lambda f: replace(f, state=f.state.model_copy(update={"turns": 7}))
    ),
    "no rest": Case(
        says="is streaming",
        spoil=lambda f: replace(f, state=f.state.model_copy(update={"phase": "streaming"})),
    ),
}


@pytest.mark.parametrize(
    ("outcome", "starts", "traces"),
    [("ok", 1, {TOKEN: 1}), ("lost", 1, {TOKEN: 1}), ("lost", 1, NOTHING), ("cancelled", 0, NOTHING)],
)
def test_a_sound_session_passes(outcome: Outcome, starts: int, traces: dict[str, int]):
    """Done and said so, not done and said so, and not known and said so, are all in order."""
    assert list(wrongs(evidence(called(outcome, starts), traces), over=True)) == []


@pytest.mark.parametrize("name", CASES)
def test_a_planted_wrong_is_found(name: str):
    """Each of the things that must never be is told in its words."""
    case = CASES[name]
    said = list(wrongs(case.spoil(evidence(case.events, case.traces)), over=True))
    assert any(case.says in what for what in said), said


def test_a_prompt_that_moved_is_found(tmp_path: Path):
    """A request that does not begin with the one before it is noted, with both; a longer and a repeated one are not."""

    def ask(*texts: str) -> None:
        messages = [{"role": "user", "content": [{"type": "text", "text": text}]} for text in texts]
        body = json.dumps({"messages": messages}, separators=(",", ":")).encode()
        Prefixes(tmp_path).look(Received(method="POST", path="/", query="", headers={}, body=body))

    ask("a one")
    ask("a one")
    ask("a one", "two")
    ask("b one")
    assert not (tmp_path / VIOLATIONS).exists()
    ask("a one", "three")
    assert (tmp_path / VIOLATIONS).read_text().startswith("a: ")


def test_an_author_is_the_seed_s_alone():
    """The same seed writes the same messages, and no token twice."""
    first, second = (Author("a", random.Random(7)) for _ in range(2))
    assert [first.message() for _ in range(20)] == [second.message() for _ in range(20)]
    assert len(first.written) == len(set(first.written)) > 10


@pytest.mark.parametrize(
    ("name", "arguments", "token"),
    [
        ("leave", '{"path":"x","token":"a.1","ms":0}', "a.1"),
        ("run_command", '{"command":"echo a.2 >> traces"}', "a.2"),
        ("read_file", '{"path":"x"}', None),
        ("leave", '{"path":', None),
    ],
)
def test_a_token_is_found_in_its_call(name: str, arguments: str, token: str | None):
    """What a changing call would leave is read from its arguments."""
    assert token_of(name, arguments) == token


async def test_a_relay_is_cut():
    """What goes through the relay arrives, until it is cut: then both sides hear of it."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = Proxy(server.sockets[0].getsockname()[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", await proxy.start())
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    assert proxy.cut(random.Random(1))
    try:
        assert await reader.read() == b""
    except ConnectionResetError:
        pass
    assert not proxy.cut(random.Random(1))
    writer.close()
    await proxy.stop()
    server.close()
