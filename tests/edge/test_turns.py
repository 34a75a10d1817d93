"""Whole turns through the real Worker: with a client's tools, with the edge's own, and across a wait for a client."""

import asyncio
import itertools
import threading
import time

from edgeloop.events import (
    BlockFinished,
    StepFinished,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    UserMessageReceived,
)
from edgeloop.wire import Accepted, BlockStreamed
from tests.support.edge import Client, Door, Tool, events_of, kinds
from tests.support.provider import Reply, ScriptedProvider

UPPER = Tool(name="upper", run=lambda arguments: arguments["text"].upper())


def three_calls(reply: Reply) -> None:
    reply.text("Let me ", "look.")
    for word in ("one", "two", "three"):
        reply.call("upper", {"text": word})
    reply.end()


def closing(reply: Reply) -> None:
    reply.text("All ", "done.")
    reply.end()


async def test_a_turn_with_parallel_local_tools(provider: ScriptedProvider, door: Door):
    """A turn streams, runs three calls at the client, gives the results back in call order and ends."""
    provider.script(door.agent, three_calls, closing)
    async with Client(door=door, tools=(UPPER,)) as client:
        await client.say("go")
        view = await client.until_idle()
    assert view.answer == "All done."
    assert [call.content for call in view.calls.values()] == ["ONE", "TWO", "THREE"]
    assert sorted(client.ran) == [("1.1", 1), ("1.2", 1), ("1.3", 1)]
    assert view == await door.view()
    results = provider.asked(door.agent)[1].json["messages"][-1]["content"]
    assert [part["content"] for part in results] == ["ONE", "TWO", "THREE"]


async def test_one_is_not_sent_what_one_holds(provider: ScriptedProvider, door: Door):
    """The sender gets its message and results back as `accepted`, and a streamed block as its length (behaviour 38)."""
    provider.script(door.agent, three_calls, closing)
    watcher = Client(door=door, name="watcher")
    async with Client(door=door, tools=(UPPER,)) as client, watcher:
        await client.say("gö")
        await client.until_idle()
        await watcher.until_idle()
    mine, theirs = client.wire_events(), watcher.wire_events()
    assert [e.ref for e in mine if isinstance(e, Accepted)] == ["m1", "1.1", "1.2", "1.3"]
    assert not [e for e in mine if isinstance(e, UserMessageReceived | ToolFinished | BlockFinished)]
    assert not [e for e in theirs if isinstance(e, Accepted)]
    assert [e.text for e in theirs if isinstance(e, UserMessageReceived)] == ["gö"]
    assert [e.content for e in theirs if isinstance(e, ToolFinished)] == ["ONE", "TWO", "THREE"]
    for seen in (mine, theirs):
        assert [e.bytes for e in seen if isinstance(e, BlockStreamed)] == [12, 9]
    assert client.view == watcher.view == await door.view()


async def test_a_turn_at_the_edge_needs_no_client(provider: ScriptedProvider, door: Door):
    """With edge tools only, a turn runs to its end with nobody connected."""

    def write(reply: Reply) -> None:
        reply.call("note_write", {"name": "a", "text": "kept"})
        reply.end()

    def read(reply: Reply) -> None:
        reply.call("note_read", {"name": "a"})
        reply.end()

    provider.script(door.agent, write, read, closing)
    assert (await door.post("go")).status_code == 202
    events = await door.until("turn_finished")
    assert [e.content for e in events_of(events, ToolFinished)][1] == "kept"
    assert {e.runner for e in events_of(events, ToolStarted)} == {"edge"}
    assert events_of(events, TurnFinished)[0].reason == "done"


async def test_a_turn_waits_for_a_client_and_goes_on(provider: ScriptedProvider, door: Door):
    """A call of a local tool waits, with no deadline, until a client comes that has it."""
    provider.script(door.agent, three_calls, closing)
    async with Client(door=door, tools=(UPPER,)):
        pass  # declares the tools and leaves
    await door.post("go")
    await door.until("step_finished")
    state = await door.state()
    assert (state.phase, [call.runner for call in state.calls]) == ("settling", [None, None, None])
    async with Client(door=door, tools=(UPPER,)) as client:
        view = await client.until_idle()
    assert view == await door.view()
    assert view.ended is not None
    assert view.ended.reason == "done"


async def test_a_call_assigned_to_a_client_that_left_is_its_own_again(provider: ScriptedProvider, door: Door):
    """A client that comes back with its cursor is told of the calls it still owes, once (behaviour 23)."""
    provider.script(door.agent, three_calls, closing)
    client = Client(door=door, tools=(UPPER,), answering=False)
    async with client:
        await client.say("go")
        await client.until_event("tool_started", times=3)
        await client.drop()
        client.answering = True
        await client.open()
        view = await client.until_idle()
    assert sorted(call for call, _ in client.ran) == ["1.1", "1.2", "1.3"]
    assert view == await door.view()


async def test_a_message_meanwhile_steers(provider: ScriptedProvider, door: Door):
    """A message that comes while tools run is delivered at the next step of the same turn (behaviour 13)."""
    provider.script(door.agent, three_calls, closing)
    client = Client(door=door, tools=(UPPER,), answering=False)
    async with client:
        await client.say("go")
        await client.until(lambda: client.view.phase == "settling" and len(client.view.calls) == 3)
        await client.say("and be brief", id="m2")
        await client.until(lambda: "m2" in client.view.messages)
        await client.drop()
        client.answering = True
        await client.open()
        view = await client.until_idle()
    assert view.turns == 1
    asked = provider.asked(door.agent)
    assert len(asked) == 2
    assert "and be brief" in asked[1].body.decode()
    assert view == await door.view()


async def test_messages_at_once_are_all_answered_for(provider: ScriptedProvider, door: Door):
    """Messages submitted at once never interleave or get lost: each is in the log once, in one order (behaviour 11)."""
    provider.script(door.agent, closing)
    answers = await asyncio.gather(*(door.post(f"text {n}", id=f"m{n}") for n in range(8)))
    assert {answer.status_code for answer in answers} == {202}
    async with Client(door=door) as client:
        await client.until(lambda: client.view.phase == "idle" and len(client.view.messages) == 8)
    events = await door.events()
    assert sorted(e.id for e in events_of(events, UserMessageReceived)) == [f"m{n}" for n in range(8)]
    said = provider.asked(door.agent)[-1].body.decode()
    assert all(f"text {n}" in said for n in range(8))


async def test_a_failed_turn_does_not_stop_the_queue(provider: ScriptedProvider, door: Door):
    """A message that waits behind a turn that fails is answered in the next one (behaviour 11)."""
    gate = threading.Event()

    def fails(reply: Reply) -> None:
        reply.wait(gate)
        reply.refuse(400, kind="invalid_request_error")

    provider.script(door.agent, fails, closing)
    async with Client(door=door) as client:
        await client.say("go")
        await client.until_event("step_started")
        await client.say("and this", id="m2")
        await client.until(lambda: "m2" in client.view.messages)
        gate.set()
        view = await client.until_idle(2)
    ends = [end.reason for end in events_of(await door.events(), TurnFinished)]
    assert ends == ["failed", "done"]
    assert "and this" in provider.asked(door.agent)[1].body.decode()
    assert view == await door.view()


async def test_the_same_id_is_one_message(provider: ScriptedProvider, door: Door):
    """The same id again changes nothing; another text under it is refused (behaviour 12)."""
    provider.script(door.agent, closing)
    first = await door.post("go")
    again = await door.post("go")
    other = await door.post("something else")
    assert (first.status_code, again.status_code, other.status_code) == (202, 200, 409)
    assert again.json()["duplicate"] is True
    assert other.json()["error"]["code"] == "conflict"
    await door.until("turn_finished")
    async with Client(door=door) as client:
        await client.say("go")
        await client.until(lambda: [f for f in client.frames if f.t == "duplicate"])
    assert kinds(await door.events()).count("user_message_received") == 1


async def test_the_second_turn_starts_where_the_first_ended(provider: ScriptedProvider, door: Door):
    """The prompt of each step is a byte prefix of the next one's, closing aside (behaviour 37)."""
    provider.script(door.agent, three_calls, closing, three_calls, closing)
    async with Client(door=door, tools=(UPPER,)) as client:
        await client.say("go")
        await client.until_idle(1)
        await client.say("again", id="m2")
        await client.until_idle(2)
    bodies = [asked.body for asked in provider.asked(door.agent)]
    assert len(bodies) == 4
    for earlier, later in itertools.pairwise(bodies):
        assert later.startswith(earlier.removesuffix(b"]}"))


async def test_a_finished_step_says_when_things_happened(provider: ScriptedProvider, door: Door):
    """A step's record holds its bytes both ways, its first-token time and its wall time."""

    def slowly(reply: Reply) -> None:
        reply.text("a", "b", "c", gap=0.05)
        reply.end()

    provider.script(door.agent, slowly)
    begun = time.monotonic()
    await door.post("go")
    events = await door.until("turn_finished")
    taken = (time.monotonic() - begun) * 1000
    timing = events_of(events, StepFinished)[0].timing
    assert timing.first_ms is not None
    assert 100 <= timing.wall_ms <= taken
    assert 0 <= timing.first_ms < timing.wall_ms
    assert timing.request_bytes == len(provider.asked(door.agent)[0].body)
    assert timing.response_bytes > 200
