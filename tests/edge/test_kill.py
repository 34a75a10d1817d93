"""SIGKILL of workerd: nothing that was durable is lost, nothing runs twice, and every turn ends, with or without a client.

One kill hits many agents at once, each at another point of its turn; what became of them is then looked at one by one.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from edgeloop.events import BlockFinished, Recorded, StepFailed, ToolFinished, ToolStarted, TurnFinished
from scripts.local_edge import LocalEdge
from tests.edge.conftest import variables
from tests.support.edge import PATIENCE, Client, Door, Tool, events_of, kinds
from tests.support.provider import Reply, Script, ScriptedProvider

LONG = tuple(f"word {number} " for number in range(2000))
LEASE_PATIENCE = 45.0
"""The watchdog looks after 20 s; starting again takes some more."""


@pytest.fixture(scope="module")
def edge(provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEdge]:
    """A Worker that is killed, with a state folder that is not."""
    state: Path = tmp_path_factory.mktemp("state")
    with ExitStack() as stack:
        given = variables(provider.url, "anthropic", EDGELOOP_MODE="auto", EDGELOOP_IDLE_MS="60000")
        yield stack.enter_context(LocalEdge(variables=given, private_copy=True, persist_to=state))


def kill(edge: LocalEdge) -> None:
    edge.await_recovery(edge.kill_workerd())


def trickle(reply: Reply) -> None:
    """Talk for so long that the kill comes in the middle."""
    reply.text(*LONG, gap=0.02)
    reply.end()


def well(reply: Reply) -> None:
    reply.text("All well.")
    reply.end()


def notes_then_talk(reply: Reply) -> None:
    reply.call("note_write", {"name": "a", "text": "kept"})
    trickle(reply)


def local_then_talk(reply: Reply) -> None:
    reply.call("count", {})
    trickle(reply)


def two_local(reply: Reply) -> None:
    reply.call("count", {})
    reply.call("count", {"second": True})
    reply.end()


def later(reply: Reply) -> None:
    reply.refuse(429, kind="rate_limit_error", headers={"retry-after": "8"})


SCRIPTS: dict[str, tuple[Script, ...]] = {
    "talking": (trickle, well),
    "edge tool done": (notes_then_talk, well),
    "local tool done": (local_then_talk, well),
    "waiting to retry": (later, well),
    "waiting for a client": (two_local, well),
    "running at a client": (two_local, well),
    "over": (well,),
}


@dataclass
class Counter:
    """A side effect that must happen once: every run counts."""

    runs: int = 0

    def run(self, _: object) -> str:
        self.runs += 1
        return f"run {self.runs}"

    @property
    def tool(self) -> Tool:
        return Tool(name="count", run=self.run, effect="mutate")

    @property
    def early(self) -> Tool:
        return Tool(name="count", run=self.run, effect="idempotent")


@dataclass(frozen=True, kw_only=True)
class Aftermath:
    """What one kill left: doors and counters by what the agent was at, and the logs before it."""

    doors: dict[str, Door]
    counters: dict[str, Counter]
    before: dict[str, list[Recorded]]


@pytest.fixture(scope="module")
def aftermath(edge: LocalEdge, provider: ScriptedProvider) -> Aftermath:
    """Bring every agent to its point, kill once, and let no client come back."""
    run = uuid4().hex[:8]
    doors = {name: Door(url=edge.url, agent=f"k-{run}-{name.replace(' ', '-')}") for name in SCRIPTS}
    counters = {name: Counter() for name in SCRIPTS}
    for name, door in doors.items():
        provider.script(door.agent, *SCRIPTS[name])
    before = asyncio.run(_bring_about(doors, counters))
    kill(edge)
    return Aftermath(doors=doors, counters=counters, before=before)


async def _bring_about(doors: dict[str, Door], counters: dict[str, Counter]) -> dict[str, list[Recorded]]:
    async with AsyncExitStack() as stack:
        for name in ("waiting for a client", "running at a client", "local tool done"):
            counter = counters[name]
            tool = counter.early if name == "local tool done" else counter.tool
            client = Client(door=doors[name], tools=(tool,), answering=name == "local tool done")
            await stack.enter_async_context(client)
            if name == "waiting for a client":
                await client.close()  # it declared its tools; nobody is there to run them
        await asyncio.gather(*(door.post("go") for door in doors.values()))
        await asyncio.gather(
            doors["edge tool done"].until("tool_finished"),
            doors["local tool done"].until("tool_finished"),
            doors["waiting for a client"].until("step_finished"),
            doors["running at a client"].until("tool_started"),
            doors["waiting to retry"].until("retry_scheduled"),
            doors["over"].until("turn_finished"),
        )
        await asyncio.sleep(1.5)  # the recovery row is rewritten once a second
        return {name: await door.events() for name, door in doors.items()}


async def _asked_again(provider: ScriptedProvider, agent: str) -> None:
    """Wait for the second request without touching the agent, so that only its alarm can have made it."""
    deadline = time.monotonic() + LEASE_PATIENCE
    while len(provider.asked(agent)) < 2:
        assert time.monotonic() < deadline, "nobody took the turn up"
        await asyncio.sleep(0.1)


async def test_what_was_over_stays_as_it_was(aftermath: Aftermath):
    """A finished turn's log is the same after the kill, event for event."""
    assert await aftermath.doors["over"].events() == aftermath.before["over"]


async def test_a_wait_for_a_client_outlives_the_kill(aftermath: Aftermath):
    """A turn that waited for a client goes on when one comes, each call run once (behaviour 23)."""
    door, counter = aftermath.doors["waiting for a client"], aftermath.counters["waiting for a client"]
    async with Client(door=door, tools=(counter.tool,)) as client:
        view = await client.until_idle()
    assert counter.runs == 2
    assert view == await door.view()


async def test_a_call_given_out_is_not_given_out_twice(aftermath: Aftermath):
    """A client that was running a mutating call is told that it owes it, under the same epoch, and runs it once."""
    door, counter = aftermath.doors["running at a client"], aftermath.counters["running at a client"]
    async with Client(door=door, tools=(counter.tool,)) as client:
        view = await client.until_idle()
    started = events_of(await door.events(), ToolStarted)
    assert [(start.call, start.epoch) for start in started] == [("1.0", 1), ("1.1", 1)]
    assert counter.runs == 2
    assert view == await door.view()


@pytest.mark.parametrize("name", ["waiting to retry", "talking", "edge tool done", "local tool done"])
async def test_the_alarm_takes_the_turn_up(aftermath: Aftermath, provider: ScriptedProvider, name: str):
    """With no client and no request, the alarm takes up what was under way, and the turn ends (behaviour 26)."""
    door = aftermath.doors[name]
    await _asked_again(provider, door.agent)
    events = await door.until("turn_finished")
    assert events_of(events, TurnFinished)[0].reason == "done"
    assert events[: len(aftermath.before[name])] == aftermath.before[name]
    first, second = provider.asked(door.agent)
    assert second.body.startswith(first.body.removesuffix(b"]}")), "the prompt's prefix moved (behaviour 37)"


@pytest.mark.parametrize("name", ["talking", "edge tool done", "local tool done"])
async def test_what_was_said_is_kept(aftermath: Aftermath, name: str):
    """The text shown before the kill is in the log as partial, a second of it lost at most (behaviours 4, 26)."""
    events = await aftermath.doors[name].until("turn_finished")
    assert [failed.error.cls for failed in events_of(events, StepFailed)] == ["interrupted"]
    partial = [block.text for block in events_of(events, BlockFinished) if block.partial]
    assert len(partial) == 1
    assert "".join(LONG).startswith(partial[0])
    assert len(partial[0]) > len("".join(LONG[:10]))


@pytest.mark.parametrize("name", ["edge tool done", "local tool done"])
async def test_what_was_done_is_not_done_again(aftermath: Aftermath, provider: ScriptedProvider, name: str):
    """A result from before the kill is given to the model; its call is never started again (behaviours 23, 27)."""
    door = aftermath.doors[name]
    events = await door.until("turn_finished")
    assert len(events_of(events, ToolStarted)) == len(events_of(events, ToolFinished)) == 1
    result = events_of(events, ToolFinished)[0].content
    assert result in provider.asked(door.agent)[1].body.decode()
    assert aftermath.counters[name].runs == (1 if name == "local tool done" else 0)


@asynccontextmanager
async def _talking(door: Door, provider: ScriptedProvider) -> AsyncGenerator[Client]:
    provider.script(door.agent, trickle, trickle, trickle, well)
    client = Client(door=door)
    async with client:
        await client.say("go")
        yield client


async def test_kills_again_and_again(edge: LocalEdge, provider: ScriptedProvider, agent: str):
    """A client that comes back after each of three kills sees what the log says, and the turn ends (behaviours 7, 26, 32)."""
    door = Door(url=edge.url, agent=agent)
    async with _talking(door, provider) as client:
        for number in range(1, 4):
            await client.until(lambda: len(client.shown()) > 600)
            await asyncio.to_thread(kill, edge)
            await client.until(lambda: client.closed)
            await client.drop()
            await client.open()
            await client.until(lambda number=number: len(client.view.steps) == number + 1, PATIENCE)
        view = await client.until_idle()
    events = await door.events()
    assert kinds(events).count("step_failed") == 3
    assert view.ended is not None
    assert view.ended.reason == "done"
    assert view == await door.view()
