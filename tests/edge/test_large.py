"""The largest bodies, of the characters that JSON and UTF-8 make longest, through everything that stores or moves a session."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edgeloop.events import BlockFinished, Recorded, ToolCallCompleted, ToolFinished, UserMessageReceived
from tests.edge.conftest import StartEdge
from tests.edge.test_copies import beside, forked, prompt, read, written
from tests.support.edge import Client, Door, Tool, events_of
from tests.support.provider import Reply, ScriptedProvider

ROW_BYTES = 2_000_000
"""What a row of production may hold; the local one takes more."""
CONTROL = '\0\x01\x1f\x7f\u2028\\"'
MESSAGE = (CONTROL * 100_000)[:600_000]
"""Its frame is as long as a frame may be: JSON writes a control character as six."""
ANSWER = "🙂\0" * 200_000
SAID = CONTROL * 70_000
LOOK = Tool(name="look", run=lambda arguments: ANSWER + str(len(arguments["at"])))


def says(reply: Reply) -> None:
    pieces = 40
    size = len(SAID) // pieces
    reply.text(*(SAID[at : at + size] for at in range(0, len(SAID), size)))
    reply.call("look", {"at": MESSAGE})
    reply.call("note_write", {"name": "n", "text": "🙂" * (64 << 10)})
    reply.end()


def well(reply: Reply) -> None:
    reply.text("All well.")
    reply.end()


def widest(state: Path) -> dict[str, int]:
    """The bytes of the longest row of each table, over all sessions on disk."""
    found: dict[str, int] = {}
    for file in state.rglob("*.sqlite"):
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as rows:
            for (table,) in rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                columns = [column[1] for column in rows.execute(f"PRAGMA table_info({table})")]
                size = " + ".join(f"coalesce(length(cast({column} AS BLOB)), 0)" for column in columns)
                (bytes_,) = rows.execute(f"SELECT max({size}) FROM {table}").fetchone()
                found[table] = max(found.get(table, 0), bytes_ or 0)
    return found


def texts(events: list[Recorded]) -> tuple[str, str, str, str]:
    return (
        events_of(events, UserMessageReceived)[0].text,
        events_of(events, BlockFinished)[0].text,
        events_of(events, ToolCallCompleted)[0].arguments,
        next(end.content for end in events_of(events, ToolFinished) if end.call == "1.1"),
    )


@pytest.mark.timeout(400)
async def test_the_largest_bodies_survive_everything(
    provider: ScriptedProvider, own_edge: StartEdge, agent: str, tmp_path: Path
):
    """They come back to the byte from the log, a wake, a fork and a file; no row is longer than production takes."""
    edge = own_edge()
    door = Door(url=edge.url, agent=agent)
    provider.script(agent, says, well)
    async with Client(door=door, tools=(LOOK,)) as client:
        await client.say(MESSAGE)
        view = await client.until_idle()
    events = await door.events()
    said, shown, arguments, content = texts(events)
    assert said == MESSAGE
    assert shown == SAID
    assert content == f"{ANSWER}{len(MESSAGE)}"
    assert view.steps[1].text == SAID
    await asyncio.to_thread(lambda: edge.await_recovery(edge.kill_workerd()))
    assert texts(await door.events()) == (said, shown, arguments, content)
    await door.post("more", id="m2")
    await door.until("turn_finished", times=2)
    _, second, third = provider.asked(agent)
    assert third.body.startswith(prompt(second.body))
    fork, moved = beside(door, "fork"), beside(door, "moved")
    assert (await forked(door, fork)).status_code == 201
    await written(door, tmp_path / "file.jsonl")
    await read(moved, tmp_path / "file.jsonl")
    log = await door.events()
    for copy in (fork, moved):
        assert await copy.events() == log
        await copy.post("on", id="m3", model=agent)
        await copy.until("turn_finished", times=3)
    one, other = provider.asked(agent)[-2:]
    assert one.body.startswith(prompt(third.body))
    assert one.body == other.body
    found = widest(tmp_path / "state")
    assert {"log", "prompt", "snapshot", "notes", "recovery"} <= set(found)
    assert max(found.values()) <= ROW_BYTES, found
    assert found["log"] > ROW_BYTES / 6
