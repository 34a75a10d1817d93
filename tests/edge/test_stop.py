"""Stopping: it is durable, keeps what was shown, works from anywhere, and is a no-op where nothing is under way."""

import asyncio

import pytest

from edgeloop.events import BlockFinished, StepFailed, ToolFinished, TurnFinished, UserMessageReceived
from edgeloop.wire import Duplicate
from tests.support.edge import Client, Door, Tool, events_of, kinds
from tests.support.provider import Reply, ScriptedProvider

LOOK = Tool(name="look", run=lambda _: "seen")


def endless(reply: Reply) -> None:
    with reply.block() as piece:
        piece("Half ")
        piece("a sent")
        reply.silence()


def well(reply: Reply) -> None:
    reply.text("All well.")
    reply.end()


def calls(reply: Reply) -> None:
    reply.call("look", {})
    reply.call("look", {"again": True})
    reply.end()


@pytest.mark.parametrize("who", ["the sender", "another client", "http", "the sender, reconnected"])
async def test_stop_in_mid_stream_keeps_what_was_shown(provider: ScriptedProvider, door: Door, who: str):
    """A stop from anywhere ends the stream and the fetch, and keeps the partial text (behaviours 16, 17)."""
    provider.script(door.agent, endless, well)
    sender, other = Client(door=door), Client(door=door, name="other")
    async with sender, other:
        await sender.say("go")
        await sender.until(lambda: sender.shown() == "Half a sent")
        match who:
            case "the sender":
                await sender.stop()
            case "another client":
                await other.stop()
            case "http":
                assert (await door.request("POST", "/stop")).json()["duplicate"] is False
            case _:
                await sender.drop()
                await sender.open()
                await sender.stop()
        view = await sender.until_idle()
        await other.until_idle()
    events = await door.events()
    assert [(b.text, b.partial) for b in events_of(events, BlockFinished)] == [("Half a sent", True)]
    assert [failed.error.cls for failed in events_of(events, StepFailed)] == ["aborted"]
    assert [end.reason for end in events_of(events, TurnFinished)] == ["stopped"]
    assert await asyncio.to_thread(provider.asked(door.agent)[0].hung_up.wait, 10)
    assert view == other.view == await door.view()


async def test_stop_before_the_first_byte(provider: ScriptedProvider, door: Door):
    """A stop while the provider has not answered ends the request."""
    provider.script(door.agent, lambda reply: reply.hold(), well)
    await door.post("go")
    await door.until("step_started")
    await door.request("POST", "/stop")
    events = await door.until("turn_finished")
    assert [end.reason for end in events_of(events, TurnFinished)] == ["stopped"]
    assert await asyncio.to_thread(provider.asked(door.agent)[0].hung_up.wait, 10)


async def test_stop_in_tools_cancels_what_is_open(provider: ScriptedProvider, door: Door):
    """Open calls end as cancelled, finished ones keep their result, and a late result changes nothing (behaviour 16)."""
    provider.script(door.agent, calls, well)
    client = Client(door=door, tools=(LOOK,), answering=False)
    async with client:
        await client.say("go")
        await client.until(lambda: len(client.assigned) == 2)
        await client.answer(client.assigned[0])
        await client.stop()
        await client.until_idle()
        await client.answer(client.assigned[1])
        await client.until(lambda: client.got(Duplicate))
        await client.say("again", id="m2")
        view = await client.until_idle(2)
    events = await door.events()
    assert [(e.call, e.outcome) for e in events_of(events, ToolFinished)] == [
        ("1.0", "ok"),
        ("1.1", "cancelled"),
    ]
    assert [end.reason for end in events_of(events, TurnFinished)] == ["stopped", "done"]
    assert view == await door.view()


async def test_stop_while_waiting_to_retry(provider: ScriptedProvider, door: Door):
    """A stop ends the wait for the next attempt."""
    provider.script(door.agent, lambda reply: reply.refuse(500))
    await door.post("go")
    await door.until("retry_scheduled", times=4)
    await door.request("POST", "/stop")
    events = await door.until("turn_finished")
    assert [end.reason for end in events_of(events, TurnFinished)] == ["stopped"]


async def test_stopping_what_is_over_is_a_no_op(provider: ScriptedProvider, door: Door):
    """A stop with nothing under way records nothing, before the first turn and after the last (behaviour 17)."""
    provider.script(door.agent, well)
    assert (await door.request("POST", "/stop")).json() == {"seq": 0, "duplicate": True}
    await door.post("go")
    before = await door.until("turn_finished")
    assert (await door.request("POST", "/stop")).json() == {"seq": len(before), "duplicate": True}
    async with Client(door=door) as client:
        await client.stop()
        await client.say("again", id="m2")
        await client.until_idle(2)
    assert "stop_requested" not in kinds(await door.events())


async def test_stop_skips_what_was_queued_and_nothing_after(provider: ScriptedProvider, door: Door):
    """Messages queued behind a turn go with it; one sent after the stop is answered (behaviour 14)."""
    provider.script(door.agent, endless, well)
    async with Client(door=door) as client:
        await client.say("go")
        await client.until(lambda: client.shown() == "Half a sent")
        await client.say("queued", id="m2")
        await client.stop()
        await client.say("after", id="m3")
        view = await client.until_idle(2)
    events = await door.events()
    assert [m.id for m in events_of(events, UserMessageReceived)] == ["m1", "m2", "m3"]
    assert [end.reason for end in events_of(events, TurnFinished)] == ["stopped", "done"]
    assert len(provider.asked(door.agent)) == 2
    assert view == await door.view()


async def test_what_was_stopped_is_part_of_the_conversation(provider: ScriptedProvider, door: Door):
    """The next turn's request holds the text that was kept, so that nobody talks past the other."""
    provider.script(door.agent, endless, well)
    async with Client(door=door) as client:
        await client.say("go")
        await client.until(lambda: client.shown() == "Half a sent")
        await client.stop()
        await client.until_idle()
        await client.say("go on", id="m2")
        await client.until_idle(2)
    body = provider.asked(door.agent)[1].body.decode()
    assert body.index("Half a sent") < body.index("go on")
