"""What takes its time: hibernation, and retries until they are spent. Last, and begun with the Worker where it can be."""

import asyncio
import itertools

from edgeloop.events import RetryScheduled, StepFailed, TurnFinished
from edgeloop.schedule import MAX_ATTEMPTS
from edgeloop.wire import Duplicate
from tests.support.edge import Client, Door, Tool, events_of
from tests.support.provider import Reply, ScriptedProvider

IDLE_S = 13.0
"""The platform evicts a hibernatable object after 10 s."""


def well(reply: Reply) -> None:
    reply.text("All ", "well.")
    reply.end()


async def test_hibernation_keeps_sockets_and_state(provider: ScriptedProvider, door: Door):
    """After 10 s of nothing the object is evicted; a message wakes it, and old sockets are sent the live stream (behaviour 32).

    That it was evicted is seen from `awake_since`: what is in memory only was made anew.
    """
    provider.script(door.agent, well)
    client, watcher = Client(door=door), Client(door=door, name="watcher")
    async with client, watcher:
        await client.say("go")
        await client.until_idle()
        before = await door.state()
        await asyncio.sleep(IDLE_S)
        await client.say("again", id="m2")
        view = await client.until_idle(2)
        await watcher.until_idle(2)
        after = await door.state()
        assert client.shown() == watcher.shown() == "All well.All well."
    assert after.awake_since >= before.awake_since + 10_000
    assert after.attached == 2
    first, second = provider.asked(door.agent)
    assert second.body.startswith(first.body.removesuffix(b"]}")), "the prompt's prefix moved (behaviour 37)"
    assert view == watcher.view == await door.view()


async def test_a_wait_for_a_result_hibernates(provider: ScriptedProvider, door: Door):
    """A turn that waits for a client's result is evicted too, and goes on when the result comes on the old socket."""

    def asks(reply: Reply) -> None:
        reply.call("look", {})
        reply.end()

    provider.script(door.agent, asks, well)
    look = Tool(name="look", run=lambda _: "seen", deadline_ms=0)
    client = Client(door=door, tools=(look,), answering=False)
    async with client:
        await client.say("go")
        await client.until_event("step_finished")
        before = await door.state()
        await asyncio.sleep(IDLE_S)
        await client.answer(client.assigned[0])
        view = await client.until_idle()
        after = await door.state()
    assert after.awake_since >= before.awake_since + 10_000
    assert [call.epoch for call in view.calls.values()] == [1]
    assert view == await door.view()


async def test_a_tool_that_hangs_meets_its_deadline(provider: ScriptedProvider, door: Door):
    """A client that does not answer costs its tool's deadline and some grace; its late answer is ignored (behaviour 25)."""

    def asks(reply: Reply) -> None:
        reply.call("look", {})
        reply.end()

    provider.script(door.agent, asks, well)
    look = Tool(name="look", run=lambda _: "seen", deadline_ms=500)
    client = Client(door=door, tools=(look,), answering=False)
    async with client:
        await client.say("go")
        view = await client.until_idle()
        await client.answer(client.assigned[0])
        await client.until(lambda: client.got(Duplicate))
    assert [call.state for call in view.calls.values()] == ["timeout"]
    assert "deadline" in provider.asked(door.agent)[1].body.decode()
    assert view == await door.view()


async def test_retries_end(provider: ScriptedProvider, exhausting: Door):
    """A provider that never recovers is asked a bounded number of times, further and further apart; then the turn fails."""
    events = await exhausting.until("turn_finished", patience=120)
    assert len(provider.asked(exhausting.agent)) == len(events_of(events, StepFailed)) == MAX_ATTEMPTS
    assert events_of(events, TurnFinished)[0].reason == "failed"
    asked = [request.at for request in provider.asked(exhausting.agent)]
    waits = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert all(wait >= 0.37 * 2**number for number, wait in enumerate(waits)), waits
    assert len(events_of(events, RetryScheduled)) == MAX_ATTEMPTS - 1
    async with Client(door=exhausting) as client:
        assert client.view.ended is not None
        provider.script(exhausting.agent, well)
        await client.say("again", id="m2")
        assert (await client.until_idle(2)).answer == "All well."
