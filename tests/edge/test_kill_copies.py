"""SIGKILL of workerd while sessions are copied: what is half-made is seen by nobody, can be made whole, and goes when abandoned.

One kill hits three files on their way in and two forks at once; what became of them is then looked at one by one.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from edgeloop.events import Recorded
from scripts.local_edge import LocalEdge
from tests.edge.conftest import variables
from tests.edge.test_copies import forked, long_file, read, well
from tests.support.edge import PATIENCE, Door, raw_socket, refusal
from tests.support.provider import ScriptedProvider

TURNS = 100
WORDS = 20_000
"""To an answer: ten megabytes in all, so that a copy takes many times as long as a kill."""
SENT = 100
"""Lines of a file that came in before the kill."""
HOUR_MS = 3_600_000
HELLO = '{"t":"hello","v":1,"client":"raw"}'


@dataclass(frozen=True, kw_only=True)
class Aftermath:
    """What one kill left: the agents by what was done to them, and the log that all of them were to have."""

    edge: LocalEdge
    state: Path
    file: Path
    doors: dict[str, Door]
    log: list[Recorded]
    begun_ms: int
    killed_ms: int


@pytest.fixture(scope="module")
def aftermath(provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    """Bring every copy to its middle, and kill once."""
    folder = tmp_path_factory.mktemp("copies")
    given = variables(provider.url, "anthropic")
    with LocalEdge(variables=given, private_copy=True, persist_to=folder / "state") as edge:
        yield asyncio.run(_bring_about(edge, folder))


async def _bring_about(edge: LocalEdge, folder: Path) -> Aftermath:
    run = uuid4().hex[:8]
    names = ("source", "followed file", "file", "abandoned file", "fork", "abandoned fork")
    doors = {name: Door(url=edge.url, agent=f"c-{run}-{name.replace(' ', '-')}") for name in names}
    file = folder / "session.jsonl"
    long_file(file, turns=TURNS, words=WORDS)
    await read(doors["source"], file)
    log = await doors["source"].events()
    begun_ms = _now_ms()
    for name in ("file", "abandoned file"):
        await _send(doors[name], file, 0, 1)
        await _send(doors[name], file, 1, SENT)
    followed = asyncio.create_task(read(doors["followed file"], file))
    await _half_made(doors["followed file"])
    forks = [asyncio.create_task(forked(doors["source"], doors[name])) for name in ("fork", "abandoned fork")]
    await asyncio.gather(*(_half_made(doors[name]) for name in ("fork", "abandoned fork")))
    sending = asyncio.create_task(_send_half(doors["file"], file))
    await asyncio.sleep(0.05)
    killed, killed_ms = edge.kill_workerd(), _now_ms()
    assert not any(task.done() for task in (followed, *forks, sending))
    sending.cancel()
    edge.await_recovery(killed)
    await asyncio.gather(followed, sending, *forks, return_exceptions=True)
    state = folder / "state"
    return Aftermath(
        edge=edge, state=state, file=file, doors=doors, log=log, begun_ms=begun_ms, killed_ms=killed_ms
    )


async def _send(door: Door, file: Path, first: int, last: int) -> dict[str, object]:
    """Send lines of the file; what the edge says to it."""
    lines = file.read_bytes().splitlines(keepends=True)[first:last]
    return (await door.request("POST", f"/import?line={first}", content=b"".join(lines))).json()


async def _send_half(door: Door, file: Path) -> None:
    """Send what is left of the file, but never its end."""

    async def half() -> AsyncIterator[bytes]:
        rest = b"".join(file.read_bytes().splitlines(keepends=True)[SENT:])
        yield rest[: len(rest) // 2]
        await asyncio.Event().wait()

    await door.request("POST", f"/import?line={SENT}", content=half())


async def _half_made(door: Door) -> None:
    """Wait until a copy is on its way in."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while (await door.request("GET", "/state")).status_code != 409:
        assert asyncio.get_running_loop().time() < deadline, f"no copy is on its way to {door.agent}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def refuses_all(door: Door) -> None:
    """Nothing can be seen of the agent or done to it, by HTTP or by socket."""
    for method, what in (("GET", "/state"), ("GET", "/events"), ("GET", "/export"), ("POST", "/stop")):
        answer = await door.request(method, what)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict"), what
    assert (await door.post("go")).status_code == 409
    assert (await door.request("POST", "/fork", json={"to": f"{door.agent}-x"})).status_code == 409
    async with raw_socket(door) as socket:
        await socket.send(HELLO)
        assert (await refusal(socket)).code == "conflict"


async def test_an_import_that_is_followed_up_outlives_the_kill(aftermath: Aftermath):
    """The command that was sending the file goes on from the line that is wanted next, and the session is whole."""
    assert await aftermath.doors["followed file"].events() == aftermath.log


async def test_a_file_is_sent_on_from_its_last_whole_piece(aftermath: Aftermath):
    """The piece that the kill cut left nothing and is wanted again; in between the agent refuses all."""
    door = aftermath.doors["file"]
    await refuses_all(door)
    assert await _send(door, aftermath.file, 0, 1) == {"lines": SENT, "done": False}
    assert (await read(door, aftermath.file))["done"]
    assert await door.events() == aftermath.log


async def test_a_fork_that_was_cut_gives_way_to_the_next(aftermath: Aftermath):
    """Nobody can end the cut one, for its source was killed with it; asked for again the fork is whole."""
    door = aftermath.doors["fork"]
    await refuses_all(door)
    answer = await forked(aftermath.doors["source"], door)
    assert answer.status_code == 201, answer.text
    assert await door.events() == aftermath.log


async def test_the_source_is_unharmed(aftermath: Aftermath, provider: ScriptedProvider):
    """The session that was being forked is what it was, and goes on."""
    source = aftermath.doors["source"]
    assert (await source.events())[: len(aftermath.log)] == aftermath.log
    provider.script(source.agent, well)
    assert (await source.post("go on", id="after")).status_code == 202
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while (await source.state()).turns == TURNS:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.1)
    state = await source.state()
    assert (state.phase, state.last_error) == ("idle", None)


# --- what is abandoned ----------------------------------------------------------------------------------------------


def _objects(state: Path) -> Path:
    """workerd's list of the alarms of all sessions; their databases lie beside it."""
    [path] = state.glob("**/*DurableSession/metadata.sqlite")
    return path


def _alarm(state: Path, agent: str) -> tuple[str, int]:
    """An agent's object, and when it is to be woken, in ms since the epoch."""
    with closing(sqlite3.connect(f"file:{_objects(state)}?mode=ro", uri=True)) as rows:
        query = "SELECT actor_id, scheduled_time / 1000000 FROM _cf_ALARM WHERE actor_name = ?"
        [found] = rows.execute(query, (agent,)).fetchall()
    return found


def _an_hour_passes(state: Path, agent: str) -> None:
    """Let the agent's alarm be due an hour earlier, in both places where workerd keeps it (it believes neither alone)."""
    key, _ = _alarm(state, agent)
    path, by = _objects(state), HOUR_MS * 1_000_000
    with closing(sqlite3.connect(path)) as rows, rows:
        rows.execute("UPDATE _cf_ALARM SET scheduled_time = scheduled_time - ? WHERE actor_id = ?", (by, key))
    with closing(sqlite3.connect(path.with_name(f"{key}.sqlite"))) as rows, rows:
        rows.execute("UPDATE _cf_METADATA SET value = value - ? WHERE key = 1", (by,))


def _tables(state: Path, key: str) -> list[str]:
    """The tables that an object has."""
    path = _objects(state).with_name(f"{key}.sqlite")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as rows:
        found = rows.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf\\_%' ESCAPE '\\'")
        return [name for (name,) in found]


async def test_what_is_abandoned_goes_after_an_hour(aftermath: Aftermath):
    """An alarm set for an hour after the last piece outlives the kill and removes all of it; then the name is free."""
    edge, state = aftermath.edge, aftermath.state
    doors = [aftermath.doors[name] for name in ("abandoned file", "abandoned fork")]
    for door in doors:
        await refuses_all(door)
    edge.port = int(edge.url.rsplit(":", 1)[1])
    edge.stop()
    alarms = [_alarm(state, door.agent) for door in doors]
    for (key, due), door in zip(alarms, doors, strict=True):
        assert aftermath.begun_ms <= due - HOUR_MS <= aftermath.killed_ms
        assert "log" in _tables(state, key)
        _an_hour_passes(state, door.agent)
    edge.start()
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while any(_tables(state, key) for key, _ in alarms):
        assert asyncio.get_running_loop().time() < deadline, "nobody removed what was abandoned"
        await asyncio.sleep(0.1)
    for door in doors:
        assert (await door.state()).head == 0
    assert (await read(doors[0], aftermath.file))["done"]
    assert (await forked(aftermath.doors["source"], doors[1])).status_code == 201
