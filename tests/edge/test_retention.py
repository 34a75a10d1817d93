"""A log that is condensed, in the real Worker: who is too late is told and goes on; the prompt and the message ids stay whole."""

import asyncio
from pathlib import Path

import pytest

from edgeloop.wire import Snapshot
from tests.edge.conftest import StartEdge
from tests.edge.test_copies import long_file, prompt, read, well, written
from tests.support.edge import PATIENCE, Client, Door
from tests.support.provider import ScriptedProvider

KEEP = 20
TURNS = 90
CHUNK = 256


@pytest.fixture
def long(own_edge: StartEdge, agent: str) -> Door:
    """An agent at an edge that keeps the last twenty events."""
    return Door(url=own_edge(EDGELOOP_RETAIN_EVENTS=str(KEEP)).url, agent=agent)


async def first_kept(door: Door) -> int:
    """The event before which nothing is kept, as `GET events` says."""
    answer = await door.request("GET", "/events?after=0")
    if answer.status_code == 200:
        return 0
    assert answer.status_code == 410
    error = answer.json()["error"]
    assert error["code"] == "gone"
    return int(error["expected"].split()[0])


async def at_rest(door: Door, after: int) -> None:
    """Wait until a turn that began after this event has ended."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while (state := await door.state()).phase != "idle" or state.head <= after:
        assert asyncio.get_running_loop().time() < deadline, state
        await asyncio.sleep(0.05)


async def tail(door: Door, after: int) -> list[int]:
    answer = await door.request("GET", f"/events?after={after}")
    assert answer.status_code == 200, answer.text
    return [event["seq"] for event in answer.json()["events"]]


async def test_who_is_too_late_is_told_and_goes_on(
    provider: ScriptedProvider, long: Door, agent: str, tmp_path: Path
):
    """Cursors before what is kept get a typed answer or a snapshot; the view goes on from it as one that saw everything."""
    file = tmp_path / "long.jsonl"
    head = long_file(file, turns=TURNS)
    early = Client(door=long, name="early")
    await read(long, file)
    provider.script(agent, well)
    async with early:
        assert early.view.seq == head
        assert not early.got(Snapshot)
    before = early.view
    await long.post("one more", id="n1")
    await at_rest(long, head)
    base = await first_kept(long)
    after = (await long.state()).head
    assert CHUNK <= base <= after - KEEP
    assert await tail(long, base) == list(range(base + 1, after + 1))
    assert (await long.request("GET", f"/events?after={base - 1}")).status_code == 410
    late, fresh = Client(door=long, name="late"), Client(door=long, name="fresh")
    late.view.log, late.view.seq = before.log, 3
    async with late, fresh, early:
        await early.until(lambda: early.view.seq == after)
        for client in (late, fresh):
            assert [frame.seq for frame in client.got(Snapshot)] == [base]
            assert client.view.seq == after
            known = ("phase", "provider", "model", "usage", "turns", "log")
            assert [getattr(client.view, k) for k in known] == [getattr(early.view, k) for k in known]
        assert not early.got(Snapshot)
        await early.say("and more", id="n2")
        for client in (late, fresh, early):
            await client.until_idle(TURNS + 2)
            assert client.view.answer == "All well."


async def test_what_is_condensed_still_serves_the_prompt_and_the_ids(
    provider: ScriptedProvider, long: Door, agent: str, tmp_path: Path
):
    """Another start of the Worker makes the same prompt from what is kept; a message of the condensed past is known."""
    file = tmp_path / "long.jsonl"
    head = long_file(file, turns=TURNS)
    await read(long, file)
    model = f"{agent}-model"
    provider.script(model, well)
    await long.post("one more", id="n1", model=model)
    await at_rest(long, head)
    assert await first_kept(long) > 0
    assert (await long.post("hello 3", id="m3")).status_code == 200
    assert (await long.post("other", id="m3")).status_code == 409
    fork, moved = Door(url=long.url, agent=f"{agent}-f"), Door(url=long.url, agent=f"{agent}-m")
    again = tmp_path / "again.jsonl"
    assert (await long.request("POST", "/fork", json={"to": fork.agent})).status_code == 201
    assert (await long.request("POST", "/fork", json={"to": f"{agent}-x", "at": 9})).status_code == 410
    await written(long, again)
    await read(moved, again)
    for copy in (fork, moved):
        assert await first_kept(copy) == await first_kept(long)
        assert (await copy.post("hello 3", id="m3")).status_code == 200
        await copy.post("two more", id="n2", model=model)
        await at_rest(copy, head + 5)
    first, one, other = provider.asked(model)[-3:]
    assert one.body.startswith(prompt(first.body))
    assert one.body == other.body
    assert len(one.json["messages"]) == 2 * TURNS + 3
