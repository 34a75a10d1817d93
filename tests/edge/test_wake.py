"""What a wake costs: the same few statements however long the log is, and the prompt copied, not made anew."""

import json
from itertools import pairwise

from edgeloop.bodies import StateView
from tests.edge.conftest import StartEdge
from tests.support.edge import Client, Door
from tests.support.provider import Reply, Script, ScriptedProvider

STATEMENTS_MAX = 5
LONG_EVENTS = 2_000
"""The bench has 10,000: nothing here depends on how many, as long as nobody reads them."""
CALLS = 128


def fine(reply: Reply) -> None:
    reply.text("fine ", "🙂")
    reply.end()


def asks(reply: Reply) -> None:
    for _ in range(CALLS):
        reply.call("note_read", {})
    reply.end()


def long_turn(events: int) -> list[Script]:
    """Answers of one turn that make at least so many events: four for each call."""
    return [asks] * (events // (4 * CALLS) + 1) + [fine]


async def spoken(provider: ScriptedProvider, door: Door, answers: list[Script]) -> Client:
    """A client that has had one turn, and left."""
    provider.script(door.agent, *answers, fine, fine)
    async with Client(door=door) as client:
        await client.say("go")
        await client.until_idle(patience=120)
    return client


async def wake(client: Client) -> StateView:
    """Come back with the cursor at the head, and see what it cost."""
    await client.open()
    return await client.door.state()


async def test_a_wake_costs_the_same_few_statements(provider: ScriptedProvider, own_edge: StartEdge) -> None:
    """From nothing to `synced` in at most five statements, reading as many rows after thousands of events as after ten."""
    edge = own_edge()
    short = await spoken(provider, Door(url=edge.url, agent="wake-short"), [fine])
    long = await spoken(provider, Door(url=edge.url, agent="wake-long"), long_turn(LONG_EVENTS))
    assert (await long.door.state()).head >= LONG_EVENTS
    edge.restart()
    costs = [await wake(client) for client in (short, long)]
    assert costs[0].statements <= STATEMENTS_MAX
    assert costs[0].statements == costs[1].statements
    assert costs[0].rows_read == costs[1].rows_read
    await short.close()
    await long.close()


async def test_the_prompt_survives_a_wake(provider: ScriptedProvider, own_edge: StartEdge) -> None:
    """The first request after a restart begins with every byte of the last one before it, over several sealed segments."""
    edge = own_edge()
    door = Door(url=edge.url, agent="wake-prompt")
    words = ['é🙂\\"\n' * 4_000, "plain " * 9_000, "last"]
    provider.script(door.agent, *[fine] * (len(words) + 1))
    client = Client(door=door)
    for number, text in enumerate(words, 1):
        async with client:
            await client.say(text, id=f"m{number}")
            await client.until_idle(number)
        if number < len(words):
            edge.restart()
    bodies = [asked.body for asked in provider.asked(door.agent)]
    assert len(bodies) == len(words)
    for before, after in pairwise(bodies):
        assert after.startswith(before.removesuffix(b"]}"))
    said = [message for message in json.loads(bodies[-1])["messages"] if message["role"] == "user"]
    assert [message["content"][0]["text"] for message in said] == words
