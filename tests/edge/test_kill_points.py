"""Kill, cut and error between a message's calls, in the real Worker: every call once, every result told, the turn ended.

A sample of what `tests/core/test_kill_points.py` does at every operation; `test_kill.py` has what is not about calls.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from edgeloop.events import BlockFinished, Recorded, StepFailed, ToolCallCompleted, ToolFinished, ToolStarted
from scripts.local_edge import LocalEdge
from tests.edge.conftest import variables
from tests.support.edge import Client, Door, Tool, events_of
from tests.support.provider import Reply, Script, ScriptedProvider

WORDS = tuple(f"word {number} " for number in range(60))
TEXT = "".join(WORDS)


def well(reply: Reply) -> None:
    reply.text("All well.")
    reply.end()


def text_then_calls(reply: Reply) -> None:
    """The recovery row is written while the text streams, and is old when it is whole."""
    reply.text(*WORDS, gap=0.03)
    reply.call("look", {"n": 1})
    reply.silence()


def change_then_silence(reply: Reply) -> None:
    reply.call("look", {"n": 1})
    reply.call("change", {"n": 2})
    reply.text("Waiting.")
    reply.silence()


def change(reply: Reply) -> None:
    reply.call("change", {"n": 2})
    reply.end()


def half_a_call(reply: Reply) -> None:
    reply.call("look", {"n": 1})
    reply.raw(
        b'event: content_block_start\ndata: {"type":"content_block_start","index":1,"content_block":'
        b'{"type":"tool_use","id":"toolu_half","name":"change","input":{}}}\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":1,"delta":'
        b'{"type":"input_json_delta","partial_json":"{\\"n\\": 2}"}}\n\n'
    )
    reply.silence()


def cut_after_calls(reply: Reply) -> None:
    reply.call("look", {"n": 1})
    reply.call("change", {"n": 2})
    reply.cut()


def error_after_calls(reply: Reply) -> None:
    reply.call("look", {"n": 1})
    reply.call("change", {"n": 2})
    reply.error()


KILLED: dict[str, tuple[Script, ...]] = {
    "text whole": (text_then_calls, change, well),
    "change waiting": (change_then_silence, change, well),
    "half a call": (half_a_call, change, well),
}
BROKEN: dict[str, tuple[Script, ...]] = {
    "cut": (cut_after_calls, change, well),
    "error": (error_after_calls, change, well),
}


@dataclass
class Doings:
    """What the client's tools did, by their number."""

    ran: list[int] = field(default_factory=lambda: list[int]())

    def run(self, given: dict[str, int]) -> str:
        self.ran.append(given["n"])
        return f"done {given['n']}"

    @property
    def tools(self) -> tuple[Tool, ...]:
        return Tool(name="look", run=self.run), Tool(name="change", run=self.run, effect="mutate")


@dataclass(frozen=True, kw_only=True)
class Told:
    """How one agent's turn went."""

    events: list[Recorded]
    ran: list[int]
    asked: list[str]

    def finished(self, outcome: str) -> list[str]:
        return [f.content for f in events_of(self.events, ToolFinished) if f.outcome == outcome]


@pytest.fixture(scope="module")
def told(provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Told]]:
    """All agents' turns over one kill: each is at its point when it comes, and its client comes back after it."""
    state: Path = tmp_path_factory.mktemp("state")
    with ExitStack() as stack:
        given = variables(provider.url, "anthropic", EDGELOOP_MODE="auto", EDGELOOP_IDLE_MS="60000")
        edge = stack.enter_context(LocalEdge(variables=given, private_copy=True, persist_to=state))
        yield asyncio.run(_tell(edge, provider))


async def _tell(edge: LocalEdge, provider: ScriptedProvider) -> dict[str, Told]:
    run, scripts = uuid4().hex[:8], {**KILLED, **BROKEN}
    doors = {name: Door(url=edge.url, agent=f"p-{run}-{name.replace(' ', '-')}") for name in scripts}
    doings = {name: Doings() for name in scripts}
    clients = {name: Client(door=doors[name], tools=doings[name].tools) for name in scripts}
    for name, door in doors.items():
        provider.script(door.agent, *scripts[name])
    async with AsyncExitStack() as stack:
        for client in clients.values():
            await stack.enter_async_context(client)
            await client.say("go")
        for name in BROKEN:
            await clients[name].until_idle()
        for name in KILLED:
            await clients[name].until(lambda client=clients[name]: _has_result(client))
        await clients["change waiting"].until(lambda: clients["change waiting"].shown() == "Waiting.")
        await asyncio.sleep(1.5)  # the recovery row is rewritten once a second
        await asyncio.to_thread(lambda: edge.await_recovery(edge.kill_workerd()))
        for name in KILLED:
            await clients[name].drop()
            await clients[name].open()
        for name in KILLED:
            view = await clients[name].until_idle()
            assert view == await doors[name].view()
    return {
        name: Told(
            events=await door.events(),
            ran=doings[name].ran,
            asked=[request.body.decode() for request in provider.asked(door.agent)],
        )
        for name, door in doors.items()
    }


def _has_result(client: Client) -> bool:
    return any(call.state == "ok" for call in client.view.calls.values())


@pytest.mark.parametrize("name", [*KILLED, *BROKEN])
async def test_every_call_once_and_every_result_told(told: dict[str, Told], name: str):
    """The read's result from before is in the next request and is not asked for again; the change is made once, after it."""
    turn = told[name]
    assert sorted(turn.ran) == [1, 2]
    assert [end.error.cls for end in events_of(turn.events, StepFailed)] == [
        {"cut": "connection", "error": "overloaded"}.get(name, "interrupted")
    ]
    starts = [started.call for started in events_of(turn.events, ToolStarted)]
    assert len(starts) == len(set(starts)) == 2
    assert turn.finished("ok") == ["done 1", "done 2"]
    assert "done 1" in turn.asked[1]
    assert "done 2" not in turn.asked[1]
    assert turn.events[-1].event.kind == "turn_finished"
    assert len(turn.asked) == 3


async def test_a_change_that_was_cut_off_is_cancelled(told: dict[str, Told]):
    """A complete change of a broken message is not run, and the model is told so; an incomplete one never was a call."""
    for name in ("change waiting", *BROKEN):
        (content,) = told[name].finished("cancelled")
        assert "was not run" in content
        assert "was not run" in told[name].asked[1]
    calls = [call.arguments for call in events_of(told["half a call"].events, ToolCallCompleted)]
    assert len(calls) == 2
    assert "toolu_half" not in told["half a call"].asked[1]


async def test_a_whole_text_is_not_overwritten_by_what_was_saved_of_it(told: dict[str, Told]):
    """A block that was whole in the log before the kill is told whole, though a shorter one was saved."""
    turn = told["text whole"]
    texts = [
        (block.text, block.partial) for block in events_of(turn.events, BlockFinished) if block.step == 1
    ]
    assert texts == [(TEXT, False)]
    assert TEXT in turn.asked[1]
