"""What goes on with nobody there: the alarm takes turns up through deployments, restarts and kills, and ends questions in time.

No client is connected and no request is made while it is waited for, so that nothing but the alarm can have done it.
"""

import asyncio
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from edgeloop.events import (
    ApprovalDecided,
    BlockFinished,
    StepFailed,
    ToolFinished,
    ToolStarted,
    TurnFinished,
)
from scripts.local_edge import LocalEdge
from tests.edge.conftest import StartEdge, variables
from tests.support.edge import Client, Door, Tool, events_of, kinds
from tests.support.provider import Reply, ScriptedProvider

LEASE_PATIENCE = 60.0
"""The watchdog looks after 20 s; starting again takes some more."""
CHANGE = Tool(name="change", run=lambda _: "changed", effect="mutate")
QUESTION_MS = 4_000


def trickle(reply: Reply) -> None:
    reply.text(*(f"word {number} " for number in range(2_000)), gap=0.05)
    reply.end()


def notes_then_talk(reply: Reply) -> None:
    reply.call("note_write", {"name": "a", "text": "kept"})
    trickle(reply)


def long_talk(reply: Reply) -> None:
    """Talk for longer than a lease."""
    reply.text(*(["word "] * 115), gap=0.2)
    reply.end()


def asks(reply: Reply) -> None:
    reply.call("change", {})
    reply.end()


def well(reply: Reply) -> None:
    reply.text("All well.")
    reply.end()


@pytest.fixture
def edge(provider: ScriptedProvider, tmp_path: Path) -> Iterator[LocalEdge]:
    given = variables(provider.url, "anthropic", EDGELOOP_MODE="auto", EDGELOOP_IDLE_MS="60000")
    with LocalEdge(variables=given, private_copy=True, persist_to=tmp_path / "state") as running:
        yield running


async def _asked(provider: ScriptedProvider, agent: str, times: int) -> None:
    """Wait for so many requests without touching the agent."""
    deadline = time.monotonic() + LEASE_PATIENCE
    while len(provider.asked(agent)) < times:
        assert time.monotonic() < deadline, f"nobody took the turn up for the {times}. time"
        await asyncio.sleep(0.1)
    await asyncio.sleep(1.5)  # some text, and the recovery row, which is rewritten once a second


@pytest.mark.timeout(300)
async def test_new_code_a_restart_and_a_kill(provider: ScriptedProvider, edge: LocalEdge, agent: str):
    """One turn outlives a deployment, an orderly end and a SIGKILL in mid-stream, all without a client (behaviours 26, 31).

    What it had done before is not done again, and its text is kept.
    """
    door = Door(url=edge.url, agent=agent)
    provider.script(agent, notes_then_talk, trickle, trickle, well)
    await door.post("go")
    await door.until("tool_finished")
    for times, blow in enumerate((edge.redeploy, edge.restart, edge.kill_workerd), start=1):
        await _asked(provider, agent, times)
        await asyncio.to_thread(blow)
    await _asked(provider, agent, 4)
    events = await door.until("turn_finished")
    assert [end.reason for end in events_of(events, TurnFinished)] == ["done"]
    assert [failed.error.cls for failed in events_of(events, StepFailed)] == ["interrupted"] * 3
    assert len(events_of(events, ToolStarted)) == len(events_of(events, ToolFinished)) == 1
    partial = [block.text for block in events_of(events, BlockFinished) if block.partial]
    assert len(partial) == 3
    assert all(text.startswith("word 0 word 1 ") for text in partial)
    bodies = [asked.body for asked in provider.asked(agent)]
    for earlier, later in itertools.pairwise(bodies):
        assert later.startswith(earlier.removesuffix(b"]}")), "the prompt's prefix moved (behaviour 37)"


async def test_a_client_sees_new_code_come(provider: ScriptedProvider, edge: LocalEdge, agent: str):
    """A deployment in mid-stream costs a client its socket and nothing else: it comes back, and sees what the log says."""
    door = Door(url=edge.url, agent=agent)
    provider.script(agent, trickle, well)
    client = Client(door=door)
    async with client:
        await client.say("go")
        await client.until(lambda: len(client.shown()) > 200)
        await asyncio.to_thread(edge.redeploy)
        await client.until(lambda: client.closed)
        await client.drop()
        await client.open()
        view = await client.until_idle()
    assert view.ended is not None
    assert view.ended.reason == "done"
    assert view == await door.view()


@pytest.mark.parametrize("killed", [False, True], ids=["awake", "after a kill"])
async def test_a_question_ends_in_time(provider: ScriptedProvider, own_edge: StartEdge, killed: bool):
    """A question that nobody answers counts as denied when its time is over, with nobody there; the model hears of it.

    An answer that comes later is refused with the reason (behaviour 21).
    """
    edge = own_edge(EDGELOOP_QUESTION_MS=str(QUESTION_MS))
    door = Door(url=edge.url, agent=f"q-{uuid4().hex[:12]}")
    provider.script(door.agent, asks, well)
    async with Client(door=door, tools=(CHANGE,), answering=False) as client:
        await client.say("go")
        await client.until_event(
            "step_finished"
        )  # a call of a message that was cut off is cancelled, not asked about
    asked_at = time.time() * 1000
    if killed:
        await asyncio.to_thread(lambda: edge.await_recovery(edge.kill_workerd()))
    await _asked(provider, door.agent, 2)
    assert "Nobody answered" in provider.asked(door.agent)[1].body.decode()
    events = await door.until("turn_finished")
    decided = events_of(events, ApprovalDecided)
    assert [(decision.by, decision.allowed) for decision in decided] == [("expiry", False)]
    at = next(recorded.at for recorded in events if recorded.event.kind == "approval_decided")
    assert QUESTION_MS - 1_000 < at - asked_at < QUESTION_MS + 30_000
    assert [end.outcome for end in events_of(events, ToolFinished)] == ["denied"]
    assert "tool_started" not in kinds(events)
    late = await door.request("POST", "/approvals", json={"call": "1.0", "allow": True})
    assert (late.status_code, late.json()["error"]["code"]) in ((409, "conflict"), (400, "unknown_call"))


async def test_the_watchdog_leaves_a_stream_alone(provider: ScriptedProvider, door: Door):
    """A stream that outlasts the lease is looked at by the alarm, and goes on (behaviour 9)."""
    provider.script(door.agent, long_talk)
    async with Client(door=door) as client:
        await client.say("go")
        view = await client.until_idle(patience=60)
        assert client.shown() == "word " * 115
    assert "step_failed" not in kinds(await door.events())
    assert view == await door.view()
