"""Files in a real session: the person's client, their directory, the real Worker; the transcript shows the versions seen."""

import asyncio
import io
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edgeloop.events import ToolFinished
from edgeloop.wire import Autonomy
from edgeloop_client.client import Client
from edgeloop_client.contents import content_hash
from edgeloop_client.endpoint import Endpoint
from edgeloop_client.terminal import Screen
from tests.client.conftest import Person
from tests.support.edge import PATIENCE, TOKEN, Door, events_of
from tests.support.provider import Reply, ScriptedProvider

LINES = [f"line {number} of a file that is worth a diff\n" for number in range(1, 81)]
Json = dict[str, Any]


def calling(name: str, **arguments: Any) -> Callable[[Reply], None]:
    """A message of the model that makes one call."""

    def script(reply: Reply) -> None:
        reply.call(name, {"path": "f", **arguments})
        reply.end()

    return script


def closing(reply: Reply) -> None:
    reply.text("Done.")
    reply.end()


@asynccontextmanager
async def attached(door: Door, home: Path) -> AsyncGenerator[Client]:
    """The client of a person whose files lie in `home`/work."""
    endpoint = Endpoint(url=door.url, agent=door.agent, token=TOKEN)
    screen = Screen(io.StringIO())
    async with Client(endpoint, directory=home / "work", home=home, screen=screen, asker=Person()) as client:
        yield client


async def turn(client: Client, door: Door) -> Json:
    """Ask for something; the result of the turn's last call, as the log has it."""
    client.ask("go", model=door.agent, autonomy=Autonomy(mode="auto"))
    async with asyncio.timeout(PATIENCE):
        await client.over()
    return json.loads(events_of(await door.events(), ToolFinished)[-1].content)


async def test_a_session_reads_in_deltas(provider: ScriptedProvider, door: Door, tmp_path: Path):
    """Read, changed elsewhere, read again: the diff. An edit of the old version is merged, and what it made is held: also after
    the client was restarted. The model's next request holds each answer as the log does."""
    file = tmp_path / "work" / "f"
    file.parent.mkdir()
    file.write_text("".join(LINES))
    first = content_hash(file.read_bytes())
    edits = [{"search": LINES[60], "replace": "the model's\n"}]
    provider.script(
        door.agent,
        *(calling("read_file"), closing),
        *(calling("read_file"), closing),
        *(calling("edit_file", base_hash=first, edits=edits), closing),
        *(calling("read_file"), closing),
    )
    async with attached(door, tmp_path) as client:
        assert (await turn(client, door))["text"] == "".join(LINES)
        file.write_text("".join([*LINES[:9], "somebody's\n", *LINES[10:]]))
        second = content_hash(file.read_bytes())
        changed = await turn(client, door)
        assert (changed["hash"], changed["base"]["hash"]) == (second, first)
        assert "+somebody's\n" in changed["diff"]
        merged = await turn(client, door)
        assert merged["merged"] == {"base": first, "disk": second}
        assert file.read_text() == "".join(
            [*LINES[:9], "somebody's\n", *LINES[10:60], "the model's\n", *LINES[61:]]
        )
    async with attached(door, tmp_path) as client:
        await client.caught_up()
        again = await turn(client, door)
    log = await door.events()
    ends = {recorded.seq: recorded.event for recorded in log if isinstance(recorded.event, ToolFinished)}
    assert again["hash"] == content_hash(file.read_bytes()) == merged["hash"]
    assert json.loads(ends[again["unchanged_since"]["seq"]].content) == merged
    assert again["unchanged_since"]["call"] == ends[again["unchanged_since"]["seq"]].call
    sent = provider.asked(door.agent)[-1].body.decode()
    assert all(json.dumps(end.content) in sent for end in ends.values())
