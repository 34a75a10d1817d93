"""What a provider does around its streams: it holds callers back, gives signs of life for ever, does not know when to end."""

import asyncio
import time
from datetime import UTC, datetime
from email.utils import formatdate
from uuid import uuid4

import pytest

from edgeloop.events import BlockFinished, Recorded, RetryScheduled, StepFailed, TurnFinished
from tests.edge.conftest import StartEdge
from tests.support.edge import Client, Door, events_of, kinds
from tests.support.provider import Reply, Script, ScriptedProvider

STOP_S = 4
TOTAL_MS = 3_000


def well(reply: Reply) -> None:
    reply.text("All well.")
    reply.end()


def busy(reply: Reply) -> None:
    reply.refuse(429, kind="rate_limit_error", headers={"retry-after": str(STOP_S)})


def busy_until(reply: Reply) -> None:
    until = formatdate(time.time() + STOP_S, usegmt=True)
    reply.refuse(503, kind="overloaded_error", headers={"retry-after": until})


def busy_inside(reply: Reply) -> None:
    reply.error(kind="rate_limit_error", message=f"Rate limit reached. Please try again in {STOP_S}s.")


async def turn(door: Door, text: str = "go", model: str | None = None) -> list[Recorded]:
    await door.post(text, model=model)
    return await door.until("turn_finished")


@pytest.mark.parametrize("script", [busy, busy_until, busy_inside], ids=["seconds", "a date", "inside"])
async def test_a_refusal_holds_its_key_and_model_back_and_nobody_else(
    provider: ScriptedProvider, door: Door, script: Script
):
    """While one session waits as told, another of the same model does not ask at all and says why; other models go on.

    A stop ends the wait, and then nothing is asked.
    """
    model, alone = f"m-{uuid4().hex[:8]}", f"m-{uuid4().hex[:8]}"
    provider.script(model, script, well)
    provider.script(alone, well)
    others = [Door(url=door.url, agent=f"{door.agent}-{number}") for number in range(3)]
    await door.post("go", model=model)
    await door.until("retry_scheduled")
    await asyncio.gather(*(other.post("go", model=model) for other in others[:2]))
    assert events_of(await turn(others[2], model=alone), TurnFinished)[0].reason == "done"
    held = await others[0].until("retry_scheduled")
    await others[1].until("retry_scheduled")
    assert (await others[1].request("POST", "/stop")).status_code == 200
    assert len(provider.asked(model)) == 1
    (failed,) = events_of(held, StepFailed)
    assert failed.error.cls == "rate_limit"
    assert failed.error.message.startswith("held back")
    assert failed.error.retry_after_ms is not None
    assert failed.error.retry_after_ms <= 1_250 * (STOP_S + 1)
    ends = [await one.until("turn_finished") for one in (door, *others[:2])]
    assert [events_of(end, TurnFinished)[0].reason for end in ends] == ["done", "done", "stopped"]
    first, *later = [request.at for request in provider.asked(model)]
    assert len(later) == 2
    assert min(later) - first >= STOP_S - 1.1  # a date counts in whole seconds


async def test_a_call_waits_until_its_providers_bucket_holds_it(provider: ScriptedProvider, door: Door):
    """What the headers leave lets a small prompt in and holds a large one back until it is there; the turn then goes on."""
    model, limit, left, full_s = f"m-{uuid4().hex[:8]}", 40_000, 10_000, 7

    def little_left(reply: Reply) -> None:
        reset = datetime.fromtimestamp(time.time() + full_s, UTC).isoformat()
        shown = {"limit": str(limit), "remaining": str(left), "reset": reset}
        reply.head({f"anthropic-ratelimit-input-tokens-{part}": value for part, value in shown.items()})
        well(reply)

    provider.script(model, little_left, little_left, well)
    await turn(door, model=model)
    await door.post("and again", id="m2", model=model)
    assert not events_of(await door.until("turn_finished", times=2), StepFailed)
    await door.post("word " * 25_000, id="m3", model=model)
    events = await door.until("turn_finished", times=3)
    (failed,) = events_of(events, StepFailed)
    assert failed.error.message.startswith("held back")
    assert events_of(events, TurnFinished)[-1].reason == "done"
    _, second, third = [request.at for request in provider.asked(model)]
    assert third - second >= 2  # 15,000 of the 30,000 that come back in 7 s, as told in whole seconds


async def test_a_stop_while_the_limiter_holds_a_call_for_a_moment(provider: ScriptedProvider, door: Door):
    """A call that waits for less than a second is stopped where it waits: it is never made."""
    model = f"m-{uuid4().hex[:8]}"
    provider.script(
        model, lambda reply: reply.refuse(529, kind="overloaded_error"), lambda reply: reply.hold()
    )
    other = Door(url=door.url, agent=f"{door.agent}-2")
    await door.post("go", model=model)
    while len(provider.asked(model)) < 2:  # the one place that the refusal has left is taken, for good
        await asyncio.sleep(0.05)
    await other.post("go", model=model)
    await other.until("step_started")
    await asyncio.sleep(1.5)
    assert kinds(await other.events())[-1] == "step_started"
    assert (await other.request("POST", "/stop")).status_code == 200
    events = await other.until("turn_finished")
    assert [failed.error.cls for failed in events_of(events, StepFailed)] == ["aborted"]
    assert len(provider.asked(model)) == 2
    await door.request("POST", "/stop")
    await door.until("turn_finished")
    await asyncio.sleep(0.5)
    assert len(provider.asked(model)) == 2


async def test_signs_of_life_alone_are_no_answer(provider: ScriptedProvider, own_edge: StartEdge, agent: str):
    """A body that brings only pings meets the deadline of the whole; what was shown before is kept, and the turn goes on."""

    def pings(reply: Reply) -> None:
        reply.text("Let me see.")
        reply.ping()

    provider.script(agent, pings, well)
    door = Door(url=own_edge(EDGELOOP_TOTAL_MS=str(TOTAL_MS)).url, agent=agent)
    events = await turn(door)
    (failed,) = events_of(events, StepFailed)
    assert (failed.error.cls, failed.error.message) == ("timeout", f"not finished within {TOTAL_MS} ms")
    assert [block.text for block in events_of(events, BlockFinished)] == ["Let me see.", "All well."]
    assert events_of(events, TurnFinished)[0].reason == "done"
    assert await asyncio.to_thread(provider.asked(agent)[0].hung_up.wait, 5)


async def test_what_comes_after_the_end_is_not_heard(provider: ScriptedProvider, door: Door):
    """A provider that goes on after its answer's end is left, and the turn has been over since that end."""

    def goes_on(reply: Reply) -> None:
        reply.text("All well.")
        reply.end(closing=False)
        reply.text("And then some.")
        reply.error()

    def pings_on(reply: Reply) -> None:
        reply.text("All well.")
        reply.end(closing=False)
        reply.ping()

    provider.script(door.agent, goes_on, pings_on)
    async with Client(door=door) as client:
        for number in (1, 2):
            await client.say("go", id=f"m{number}")
            begun = time.monotonic()
            await client.until_idle(number)
            assert time.monotonic() - begun < 5
            assert client.shown() == "All well." * number
    events = await door.events()
    assert not events_of(events, StepFailed)
    assert not events_of(events, RetryScheduled)
    assert await asyncio.to_thread(provider.asked(door.agent)[1].hung_up.wait, 10)
