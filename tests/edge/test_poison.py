"""Damaged sessions: what cannot be replayed says so with its place, gives what can be read, can be deleted, and costs no other.

The damage is done to the SQLite files on disk while no workerd runs: what a disk, a bug or a later version could leave there.
"""

import asyncio
import itertools
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from edgeloop.bodies import EventsPage
from edgeloop.events import BlockFinished, StepFailed, TurnFinished
from edgeloop.wire import ErrorFrame
from scripts.local_edge import LocalEdge
from tests.edge.conftest import variables
from tests.support.edge import Client, Door, Tool, events_of, kinds, raw_socket, refusal
from tests.support.provider import Reply, Script, ScriptedProvider

HELLO = '{"t":"hello","v":1,"client":"raw"}'
Damage = Callable[[sqlite3.Connection], None]


def well(reply: Reply) -> None:
    reply.text("All ", "well.")
    reply.end()


def endless(reply: Reply) -> None:
    with reply.block() as piece:
        piece("Half a ")
        piece("sentence")
        reply.silence()


def second(rows: sqlite3.Connection) -> tuple[int, str]:
    """The second row of the log; of two turns it is in the middle."""
    return rows.execute("SELECT seq, body FROM log ORDER BY seq LIMIT 1 OFFSET 1").fetchone()


def write(body: Callable[[str], str]) -> Damage:
    def damage(rows: sqlite3.Connection) -> None:
        seq, text = second(rows)
        rows.execute("UPDATE log SET body = ? WHERE seq = ?", (body(text), seq))
        rows.execute("DELETE FROM snapshot")

    return damage


def remove_row(rows: sqlite3.Connection) -> None:
    rows.execute("DELETE FROM log WHERE seq = ?", (second(rows)[0],))
    rows.execute("DELETE FROM snapshot")


def of_kind(kind: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        batch = json.loads(text)
        batch[0]["event"] = {"kind": kind, "due": 1}
        return json.dumps(batch)

    return change


LOGS: dict[str, Damage] = {
    "cut off": write(lambda text: text[: len(text) // 2]),
    "no json": write(lambda _: "\0"),
    "no batch": write(lambda _: '{"v":1}'),
    "of a later version": write(lambda text: text.replace('"v":', '"v":9')),
    "an unknown kind": write(of_kind("nonsense")),
    "what cannot follow": write(of_kind("retry_scheduled")),
    "a row is gone": remove_row,
}
"""Logs that cannot be replayed."""


def spoil_snapshot(rows: sqlite3.Connection) -> None:
    rows.execute("INSERT OR REPLACE INTO snapshot (id, body) VALUES (1, '{\"v\":')")


def old_snapshot(rows: sqlite3.Connection) -> None:
    rows.execute('INSERT OR REPLACE INTO snapshot (id, body) VALUES (1, \'{"v":0,"shape":0,"state":{}}\')')


FIRST: dict[str, Script] = {"recovery": endless, "watched": endless}
"""What is under way when the edge ends."""
SNAPSHOTS: dict[str, Damage] = {"cut off": spoil_snapshot, "of an older version": old_snapshot}


def spoil_all(rows: sqlite3.Connection) -> None:
    rows.execute("UPDATE log SET body = '['")


def spoil_recovery(rows: sqlite3.Connection) -> None:
    assert rows.execute("UPDATE recovery SET blocks = '[{'").rowcount == 1


def fill(rows: sqlite3.Connection) -> None:
    """From now on nothing can be added to the log."""
    rows.execute("CREATE TRIGGER full BEFORE INSERT ON log BEGIN SELECT RAISE(ABORT, 'disk is full'); END")


def fuse(rows: sqlite3.Connection) -> None:
    """The next end of a step cannot be stored; FAIL keeps what the statement did before, so the one after it can."""
    rows.execute("CREATE TABLE fuse (blown INTEGER)")
    rows.execute("INSERT INTO fuse VALUES (0)")
    rows.execute(
        "CREATE TRIGGER fuse_blows BEFORE INSERT ON log WHEN NEW.body LIKE '%\"step_finished\"%' BEGIN"
        " UPDATE fuse SET blown = blown + 1;"
        " SELECT RAISE(FAIL, 'disk is full') WHERE (SELECT blown FROM fuse) = 1; END"
    )


@dataclass(frozen=True, kw_only=True)
class Ward:
    """The damaged agents, by what was done to them, and how their logs were before."""

    edge: LocalEdge
    doors: dict[str, Door]
    heads: dict[str, int]
    at: dict[str, int]


@pytest.fixture(scope="module")
def ward(provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """One edge: every agent has its turns, the edge ends, their files are damaged, the edge starts again."""
    state: Path = tmp_path_factory.mktemp("state")
    given = variables(provider.url, "anthropic", EDGELOOP_IDLE_MS="600000")
    with LocalEdge(variables=given, private_copy=True, persist_to=state) as edge:
        names = (
            [f"log {name}" for name in LOGS]
            + [f"snapshot {name}" for name in SNAPSHOTS]
            + ["recovery", "watched", "full", "fuse", "well"]
        )
        run = uuid4().hex[:8]
        doors = {name: Door(url=edge.url, agent=f"p-{run}-{name.replace(' ', '-')}") for name in names}
        logs = asyncio.run(_live(doors, provider))
        edge.stop()
        at = {name: _damage(state, logs[name][0], _damage_of(name)) for name in names}
        edge.port = int(doors["well"].url.rsplit(":", 1)[1])
        edge.start()
        yield Ward(edge=edge, doors=doors, heads={name: head for name, (_, head) in logs.items()}, at=at)


def _damage_of(name: str) -> Damage:
    kind, _, which = name.partition(" ")
    match kind:
        case "log":
            return LOGS[which]
        case "snapshot":
            return SNAPSHOTS[which]
        case "recovery":
            return spoil_recovery
        case "watched":
            return spoil_all
        case "full":
            return fill
        case "fuse":
            return fuse
        case _:
            return lambda _: None


async def _live(doors: dict[str, Door], provider: ScriptedProvider) -> dict[str, tuple[str, int]]:
    for name, door in doors.items():
        provider.script(door.agent, FIRST.get(name, well), well)
    whole = [door for name, door in doors.items() if name not in FIRST]
    for times, door in itertools.product((1, 2), whole):
        await door.post("go", id=f"go{times}")
        await door.until("turn_finished", times=times)
    for name in FIRST:
        await doors[name].post("go")
        await doors[name].until("step_started")
    await asyncio.sleep(1.5)  # the recovery row is rewritten once a second
    found = {name: await door.log() for name, door in doors.items()}
    return {name: (log, events[-1].seq) for name, (log, events) in found.items()}


def _damage(state: Path, log: str, damage: Damage) -> int:
    """Damage the file of the log of that name; the first `seq` of its second row, as it was."""
    for file in state.rglob("*.sqlite"):
        with closing(sqlite3.connect(file)) as rows:
            try:
                found = rows.execute("SELECT value FROM meta WHERE key = 'log'").fetchone()
            except sqlite3.OperationalError:
                continue
            if found == (log,):
                first = rows.execute("SELECT min(seq) FROM log").fetchone()[0] + 1
                damage(rows)
                rows.commit()
                return first
    raise AssertionError(f"no file holds the log {log}")


async def logged(edge: LocalEdge, line: str) -> None:
    """Wait until the console has said it: what workerd says takes its time, and the first alarm up to a lease."""
    deadline = asyncio.get_running_loop().time() + 40
    while line not in edge.log_text():
        assert asyncio.get_running_loop().time() < deadline, f"nobody said {line!r}"
        await asyncio.sleep(0.2)


@pytest.mark.parametrize("name", [f"log {name}" for name in LOGS])
async def test_a_log_that_cannot_be_replayed_says_where(ward: Ward, name: str):
    """Every door answers with the type and the place; the events before it can be read; the alarm does not spin."""
    door, at = ward.doors[name], ward.at[name]
    state = await door.request("GET", "/state")
    error = state.json()["error"]
    assert (state.status_code, error["code"]) == (500, "corrupt_log")
    assert "seq " in error["message"]
    assert "DELETE" in error["expected"]
    async with raw_socket(door) as socket:
        await socket.send(HELLO)
        assert (await refusal(socket)).code == "corrupt_log"
    assert (await door.post("again", id="m2")).json()["error"]["code"] == "corrupt_log"
    page = EventsPage.model_validate_json((await door.request("GET", "/events")).content)
    assert [event.seq for event in page.events][: at - 1] == list(range(1, at))
    assert page.head == ward.heads[name]
    await logged(ward.edge, f"{door.agent}: a request failed: CorruptLog")


async def test_beyond_the_fault_there_is_a_typed_end(ward: Ward):
    """Who reads on to where the log cannot be read is told so, not given an empty page for ever."""
    door = ward.doors["log cut off"]
    page = EventsPage.model_validate_json((await door.request("GET", "/events")).content)
    beyond = await door.request("GET", f"/events?after={page.next}")
    assert beyond.json()["error"]["code"] == "corrupt_log"


@pytest.mark.parametrize("name", [f"snapshot {name}" for name in SNAPSHOTS])
async def test_a_snapshot_of_no_use_costs_nothing(ward: Ward, name: str):
    """The log is the truth: with a spoiled snapshot the session is what it was, and goes on."""
    door = ward.doors[name]
    assert (await door.state()).head == ward.heads[name]
    assert (await door.post("again", id="m2")).status_code == 202
    events = await door.until("turn_finished", times=3)
    assert [end.reason for end in events_of(events, TurnFinished)] == ["done"] * 3


async def test_a_recovery_row_of_no_use_costs_its_text(ward: Ward):
    """The interrupted step is closed without what was saved of it, and the turn ends."""
    events = await ward.doors["recovery"].until("turn_finished", patience=60)
    assert [failed.error.cls for failed in events_of(events, StepFailed)] == ["interrupted"]
    assert [block.text for block in events_of(events, BlockFinished)] == ["All well."]


async def test_the_watchdog_of_what_cannot_be_opened_does_not_spin(ward: Ward):
    """The alarm of a session that cannot be opened fails once, says so, and comes again in 30 s at the earliest."""
    failed = f"{ward.doors['watched'].agent}: a watch failed: CorruptLog"
    await logged(ward.edge, failed)
    await asyncio.sleep(4)
    assert ward.edge.log_text().count(failed) == 1


async def test_a_full_disk_is_told_and_costs_nothing_that_is_there(ward: Ward):
    """What cannot be stored is refused with the reason, over HTTP and on a socket; what is stored can be read and deleted."""
    door, head = ward.doors["full"], ward.heads["full"]
    for _ in range(2):
        refused = await door.post("again", id="m2")
        assert (refused.status_code, refused.json()["error"]["code"]) == (500, "internal")
        assert "disk is full" in refused.text
    async with Client(door=door) as client:
        await client.say("again", id="m2")
        await client.until(lambda: client.got(ErrorFrame))
        assert "disk is full" in client.got(ErrorFrame)[0].message
        assert client.view.seq == head
    assert ((await door.state()).head, len(await door.events())) == (head, head)
    assert (await door.request("DELETE")).status_code == 200
    assert (await door.state()).head == 0


async def test_a_step_whose_end_cannot_be_stored_is_taken_up(ward: Ward):
    """The watchdog finds the step without its stream, closes it as interrupted, and the turn goes on to its end."""
    door = ward.doors["fuse"]
    assert (await door.post("again", id="m2")).status_code == 202
    events = await door.until("turn_finished", times=3, patience=60)
    assert [failed.error.cls for failed in events_of(events, StepFailed)] == ["interrupted"]
    assert [end.reason for end in events_of(events, TurnFinished)] == ["done"] * 3
    await logged(ward.edge, "disk is full")


async def test_a_tool_that_the_provider_refuses_fails_turns_until_it_is_gone(
    ward: Ward, provider: ScriptedProvider, agent: str
):
    """A request that is refused for its tools ends the turn and says why; with other tools the session goes on."""

    door = Door(url=ward.edge.url, agent=agent)
    provider.script(agent, lambda reply: reply.refuse(400, kind="invalid_request_error"), well)
    odd = Tool(name="odd_tool", run=lambda _: "")
    async with Client(door=door, tools=(odd,)) as client:
        await client.say("go")
        view = await client.until_idle()
        assert view.ended is not None
        assert (view.ended.reason, "scripted" in view.ended.detail) == ("failed", True)
    async with Client(door=door, tools=()) as client:
        await client.say("again", id="m2")
        assert (await client.until_idle(2)).answer == "All well."
    first, second = (asked.body for asked in provider.asked(agent))
    assert b"odd_tool" in first
    assert b"odd_tool" not in second


async def test_others_notice_nothing(ward: Ward):
    """An agent beside the damaged ones works as before."""
    door = ward.doors["well"]
    assert (await door.post("again", id="m2")).status_code == 202
    assert kinds(await door.until("turn_finished", times=3)).count("step_failed") == 0


@pytest.mark.parametrize("name", [f"log {name}" for name in LOGS])
async def test_a_session_that_cannot_be_opened_can_be_deleted(
    ward: Ward, provider: ScriptedProvider, name: str
):
    """DELETE needs no log that can be replayed; the agent is new afterwards and works."""
    door = ward.doors[name]
    assert (await door.request("DELETE")).status_code == 200
    provider.script(door.agent, well)
    async with Client(door=door) as client:
        await client.say("go")
        assert (await client.until_idle()).answer == "All well."
