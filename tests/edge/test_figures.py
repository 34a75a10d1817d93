# ruff: noqa: RUF001 (letters that look alike are the point)
"""Figures that the design promises, measured at the real Worker: tokens, wake-ups of Python, rows written."""

import json

import pytest

from edgeloop.events import BlockFinished, StepFinished, ToolFinished, UserMessageReceived
from tests.support.edge import Client, Door, Tool, events_of
from tests.support.provider import Reply, Script, ScriptedProvider
from tests.support.tokens import oracle

WAKES_MAX = 20
ROWS_MAX = 12
LOOK = Tool(name="look", run=lambda arguments: f"seen {arguments['at']}")

TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "東京で会いましょう。你好，世界！안녕하세요",
    "🙂👨\u200d👩\u200d👧 e\u0301 ſ ﬁ \u2028 x\u00a0y",
    "def f(x):\n    return {'a': [1, 2, 3]}  # 12345678\r\n\t\t",
    "I've we'll they'd THEY'D   \n\n  trailing   ",
    "x" * 5000 + " " + "ab" * 3000,
)


def well(reply: Reply) -> None:
    reply.text("All ", "well.")
    reply.end()


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
async def test_tokens_of_messages_are_tiktokens(provider: ScriptedProvider, door: Door, text: str):
    """User message, model text, call and result are each counted exactly as tiktoken's o200k_base counts them."""

    def says(reply: Reply) -> None:
        reply.text(text)
        reply.call("look", {"at": text})
        reply.end()

    provider.script(door.agent, says, well)
    async with Client(door=door, tools=(LOOK,)) as client:
        await client.say(text)
        await client.until_idle()
    events = await door.events()
    count = oracle().encode_ordinary
    assert events_of(events, UserMessageReceived)[0].tokens == len(count(text))
    assert events_of(events, BlockFinished)[0].tokens == len(count(text))
    assert events_of(events, ToolFinished)[0].tokens == len(count(f"seen {text}"))
    total = [text, text, "look" + json.dumps({"at": text}), f"seen {text}", "All well."]
    assert (await door.state()).message_tokens == sum(len(count(part)) for part in total)


def _long(pieces: int) -> Script:
    def script(reply: Reply) -> None:
        for at in range(3):
            reply.text(*(["word "] * (pieces // 3)))
            reply.call("look", {"at": at})
        reply.end()

    return script


async def _wakes(provider: ScriptedProvider, door: Door, pieces: int) -> int:
    provider.script(door.agent, _long(pieces), well)
    async with Client(door=door, tools=(LOOK,)) as client:
        await client.say("go")
        await client.until_idle()
    finished = events_of(await door.events(), StepFinished)
    assert finished[0].timing.deltas == pieces // 3 * 3
    return sum(step.timing.wakes for step in finished)


async def test_python_is_not_woken_per_token(provider: ScriptedProvider, door: Door):
    """A 5,000-token answer with three calls wakes Python at most 20 times, and as often as a 50-token one (law 2)."""
    short = await _wakes(provider, Door(url=door.url, agent=f"{door.agent}-short"), 51)
    long = await _wakes(provider, door, 5001)
    assert long <= short <= WAKES_MAX


async def test_a_medium_turn_writes_few_rows(provider: ScriptedProvider, door: Door):
    """A turn with one text and three tools writes at most 12 rows, by SQLite's own count and the alarms set."""

    def asks(reply: Reply) -> None:
        reply.text("Let me look.")
        for at in range(3):
            reply.call("look", {"at": at})
        reply.end()

    provider.script(door.agent, well, asks, well)
    async with Client(door=door, tools=(LOOK,)) as client:
        await client.say("hello")
        await client.until_idle()
        before = await door.state()
        await client.say("go", id="m2")
        await client.until_idle(2)
        after = await door.state()
    assert before.awake_since == after.awake_since
    assert 0 < after.rows_written - before.rows_written <= ROWS_MAX
