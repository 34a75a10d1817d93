"""Sessions that are copied through the real Worker: forked, written to a file and read from one, and deleted."""

import asyncio
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeloop.archive import End, Header, chained
from edgeloop.copies import PART_CHARS
from edgeloop.events import Recorded, ToolFinished, TurnFinished, UserMessageReceived
from edgeloop_client.endpoint import Endpoint
from edgeloop_client.errors import ClientError
from edgeloop_client.transfer import export_to, import_from
from edgeloop_client.view import View
from tests.support.edge import TOKEN, Client, Door, Tool, events_of, kinds
from tests.support.provider import Reply, Script, ScriptedProvider

LOOK = Tool(name="look", run=lambda arguments: f"seen {arguments['at']}")
PIECE_CHARS = 1 << 20
"""What a fork sends at a time."""
ROWS_BESIDE_THE_LOG = 12
"""What a copy writes but for its log: marks and names, a snapshot, packed ids, notes, the alarm."""


def looks(reply: Reply) -> None:
    reply.text("Let me look.")
    reply.call("look", {"at": 1})
    reply.call("note_write", {"name": "plan", "text": "a\0b\n🙂"})
    reply.end()


def well(reply: Reply) -> None:
    reply.text("All ", "well.")
    reply.end()


def waits_for(reply: Reply, gate: threading.Event) -> None:
    with reply.block() as piece:
        piece("Well, ")
        reply.wait(gate)
        piece("late.")
    reply.end()


def beside(door: Door, suffix: str) -> Door:
    """Another agent of the same edge."""
    return Door(url=door.url, agent=f"{door.agent}-{suffix}")


async def talked(provider: ScriptedProvider, door: Door, *more: Script) -> list[Recorded]:
    """An agent with two turns behind it, and what more the model is to say; its log."""
    provider.script(door.agent, looks, well, well, *more)
    async with Client(door=door, tools=(LOOK,)) as client:
        await client.say("go")
        await client.until_idle()
        await client.say("again", id="m2")
        await client.until_idle(2)
    return await door.events()


async def forked(door: Door, to: Door, at: int | None = None) -> httpx.Response:
    return await door.request("POST", "/fork", json={"to": to.agent} | ({} if at is None else {"at": at}))


def prompt(body: bytes) -> bytes:
    """A request's body without what closes it."""
    return body.rstrip(b"]}")


async def test_a_fork_goes_on_from_the_same_prompt(provider: ScriptedProvider, door: Door):
    """The fork has the same events under another log's name; its first request goes on from the original's last byte (law 4)."""
    log = await talked(provider, door, well)
    fork = beside(door, "fork")
    answer = await forked(door, fork)
    assert answer.status_code == 201, answer.text
    name, copied = await fork.log()
    original, _ = await door.log()
    assert copied == log
    assert answer.json() == {"agent": fork.agent, "log": name, "head": len(log)}
    assert name != original
    state = await fork.state()
    assert state.origin is not None
    assert state.origin.model_dump() == {"log": original, "seq": len(log)}
    await fork.post("otherwise", id="m3", model=door.agent)
    await fork.until("turn_finished", times=3)
    last, first = provider.asked(door.agent)[-2:]
    assert first.body.startswith(prompt(last.body))
    assert len(first.body) > len(last.body)
    assert await door.events() == log


async def test_a_fork_takes_notes_and_message_ids_along(provider: ScriptedProvider, door: Door):
    """A message that the original had taken is known to the fork, and so are another text under its id and the notes."""
    log = await talked(provider, door)
    fork = beside(door, "fork")
    await forked(door, fork)
    assert (await fork.post("go", id="m1")).status_code == 200
    assert (await fork.post("other", id="m2")).status_code == 409
    assert await fork.events() == log

    def reads(reply: Reply) -> None:
        reply.call("note_read", {"name": "plan"})
        reply.end()

    provider.script(fork.agent, reads, well)
    await fork.post("read it", id="m3")
    events = await fork.until("turn_finished", times=3)
    assert events_of(events, ToolFinished)[-1].content == "a\0b\n🙂"
    again = beside(door, "again")
    await forked(fork, again)
    assert (await again.post("go", id="m1")).status_code == 200
    assert (await again.post("read it", id="m3")).status_code == 200


async def test_a_fork_in_mid_turn_rests_and_one_at_a_message_answers_it_anew(
    provider: ScriptedProvider, door: Door
):
    """Cut after a call was made: it is cancelled and the turn stopped. Cut at the message: the model is asked again."""
    log = await talked(provider, door, well)
    made = kinds(log).index("tool_call_completed") + 1
    rest = beside(door, "rest")
    assert (await forked(door, rest, made)).status_code == 201
    events = await rest.events()
    assert events[:made] == log[:made]
    assert {end.outcome for end in events_of(events, ToolFinished)} <= {"cancelled", "lost"}
    assert events_of(events, TurnFinished)[0].reason == "stopped"
    assert (await rest.state()).phase == "idle"
    said = next(r.seq for r in log if isinstance(r.event, UserMessageReceived) and r.event.id == "m2")
    anew = beside(door, "anew")
    assert (await forked(door, anew, said)).status_code == 201
    events = await anew.until("turn_finished", times=2)
    assert events[:said] == log[:said]
    asked = provider.asked(door.agent)
    assert asked[-1].body == asked[-2].body


async def test_what_cannot_be_forked_is_refused_and_leaves_nothing(provider: ScriptedProvider, door: Door):
    """Beyond the head, onto itself, onto an agent with a session; nonsense is a bad frame."""
    log = await talked(provider, door)
    other = beside(door, "other")
    for body, status in (
        ({"to": other.agent, "at": len(log) + 1}, 409),
        ({"to": other.agent, "at": 0}, 400),
        ({"to": other.agent, "at": "x"}, 400),
        ({"to": door.agent}, 409),
        ({"to": "a b"}, 400),
        ({}, 400),
        ({"to": other.agent, "from": 1}, 400),
    ):
        assert (await door.request("POST", "/fork", json=body)).status_code == status, body
    assert (await other.state()).head == 0
    assert (await forked(door, other)).status_code == 201
    assert (await forked(door, other)).status_code == 409
    assert await other.events() == log
    assert (await forked(beside(door, "never"), beside(door, "x"))).status_code == 409


async def test_the_door_between_objects_is_shut_to_others(door: Door):
    """A copy's pieces are taken from other sessions' objects alone."""
    for method in ("POST", "GET"):
        answer = await door.request(method, "/copy", json={"mark": "x", "begin": True})
        assert answer.status_code == 404


async def written(door: Door, path: Path) -> int:
    return await asyncio.to_thread(export_to, endpoint(door), path)


async def read(door: Door, path: Path) -> dict[str, Any]:
    return (await asyncio.to_thread(import_from, endpoint(door), path)).model_dump()


def endpoint(door: Door) -> Endpoint:
    return Endpoint(url=door.url, agent=door.agent, token=TOKEN)


async def test_a_session_moves_as_a_file_and_goes_on(provider: ScriptedProvider, door: Door, tmp_path: Path):
    """What is read from the file is what was written to it; the other session goes on from the same prompt."""
    log = await talked(provider, door, well)
    file = tmp_path / "session.jsonl"
    assert await written(door, file) == len(log)
    assert [entry.name for entry in tmp_path.iterdir()] == ["session.jsonl"]
    moved = beside(door, "moved")
    done = await read(moved, file)
    name, events = await moved.log()
    assert done == {"lines": len(log) + 3, "done": True, "log": name, "head": len(log)}
    assert events == log
    assert View.from_events("x", events) == View.from_events("x", log)
    assert (await moved.post("go", id="m1")).status_code == 200
    assert (await read(moved, file))["done"]  # its answer was lost: sent again, it is known
    await moved.post("more", id="m3", model=door.agent)
    await moved.until("turn_finished", times=3)
    last, first = provider.asked(door.agent)[-2:]
    assert first.body.startswith(prompt(last.body))
    again = tmp_path / "again.jsonl"
    fresh = beside(door, "fresh")
    await read(fresh, file)
    await written(fresh, again)
    assert again.read_bytes().split(b"\n")[1:-2] == file.read_bytes().split(b"\n")[1:-2]


async def test_a_file_sent_again_leaves_the_session_at_its_work(
    provider: ScriptedProvider, door: Door, tmp_path: Path
):
    """The answer to an import was lost, and the session has gone on: whoever sends the file again learns that it is there."""
    await talked(provider, door)
    file = tmp_path / "session.jsonl"
    await written(door, file)
    moved = beside(door, "moved")
    done = await read(moved, file)
    gate = threading.Event()
    provider.script(moved.agent, lambda reply: waits_for(reply, gate))
    async with Client(door=moved, tools=(LOOK,)) as client:
        await client.say("more", id="m3")
        await client.until(lambda: "Well, " in client.shown())
        assert await read(moved, file) == done | {"lines": 1}
        gate.set()
        await client.until_idle(3)
    assert kinds(await moved.events()).count("step_failed") == 0


async def test_the_commands(provider: ScriptedProvider, door: Door, tmp_path: Path):
    """`edgeloop events export`, `events import` and `fork` do what their words say; what goes wrong is told in a line."""
    log = await talked(provider, door)
    file = tmp_path / "session.jsonl"

    async def run(*arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / "edgeloop",
            *arguments,
            env={**os.environ, "EDGELOOP_TOKEN": TOKEN, "EDGELOOP_URL": door.url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await process.communicate()
        return process.returncode or 0, out.decode(), errors.decode()

    assert await run("events", "export", door.agent, "-o", str(file)) == (0, "", "")
    code, out, _ = await run("events", "export", door.agent)
    assert (code, out) == (0, file.read_text("utf-8"))
    moved, fork = beside(door, "moved"), beside(door, "fork")
    code, out, _ = await run("events", "import", moved.agent, str(file))
    assert (code, json.loads(out)["head"]) == (0, len(log))
    code, _, errors = await run("events", "import", moved.agent, str(tmp_path / "none"))
    assert (code, errors.count("\n")) == (2, 1)
    code, _, errors = await run("events", "export", f"{door.agent}-never", "-o", str(file))
    assert (code, "nothing was ever recorded" in errors) == (3, True)
    code, out, _ = await run("fork", door.agent, fork.agent, "--at", "5")
    assert (code, json.loads(out)["agent"]) == (0, fork.agent)
    assert (await fork.events())[:5] == log[:5]


async def test_a_file_is_seen_only_when_it_is_whole(provider: ScriptedProvider, door: Door, tmp_path: Path):
    """In between the agent, open before or not, refuses all; a piece sent twice changes nothing; the rest makes it whole."""
    log = await talked(provider, door)
    file = tmp_path / "session.jsonl"
    await written(door, file)
    lines = file.read_bytes().splitlines(keepends=True)
    to = beside(door, "to")
    assert (await to.state()).head == 0

    async def send(line: int, *sent: bytes) -> dict[str, Any]:
        answer = await to.request("POST", f"/import?line={line}", content=b"".join(sent))
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert await send(0, lines[0]) == {"lines": 1, "done": False}
    assert await send(1, *lines[1:6]) == {"lines": 6, "done": False}
    assert await send(1, *lines[1:6]) == {"lines": 6, "done": False}
    assert await send(9, *lines[9:]) == {"lines": 6, "done": False}
    for method, what in (("GET", "/state"), ("GET", "/events"), ("GET", "/export"), ("POST", "/stop")):
        answer = await to.request(method, what)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict"), what
    assert (await to.post("go")).status_code == 409
    assert (await forked(door, to)).status_code == 409
    assert await send(0, lines[0]) == {"lines": 6, "done": False}
    assert (await send(6, *lines[6:]))["done"]
    assert await to.events() == log


async def test_a_bad_file_leaves_nothing(provider: ScriptedProvider, door: Door, tmp_path: Path):
    """A changed, cut or foreign file is refused with the place in it, and the agent is as if it had never come."""
    log = await talked(provider, door)
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    await written(door, good)
    lines = good.read_text("utf-8").split("\n")
    to = beside(door, "to")
    for made, told in (
        ([lines[0], *lines[2:]], "line 2: seq 1"),
        ([*lines[:5], lines[5].replace('"v":2', '"v":9'), *lines[6:]], "line 6: seq 5: schema version 9"),
        ([*lines[:-3], lines[-3].replace("a", "b", 1), *lines[-2:]], "checksum"),
        (["{}"], "line 1"),
        (["\ufeff" + lines[0]], "line 1"),
        (lines[:-2], "was cut"),
    ):
        bad.write_text("\n".join(made), encoding="utf-8")
        with pytest.raises(ClientError, match=told):
            await read(to, bad)
        if "cut" in told:
            await to.request("DELETE")
        assert (await to.state()).head == 0
    other = beside(door, "other")
    await talked(provider, other)
    with pytest.raises(ClientError, match="has a session"):
        await read(other, good)
    assert (await read(to, good))["head"] == len(log)


async def test_a_long_session_is_copied_in_few_rows(door: Door, tmp_path: Path):
    """Three thousand turns: the fork and the import write a row per 400,000 characters, not one per round or message."""
    file = tmp_path / "long.jsonl"
    head = long_file(file, turns=3_000)
    assert (await read(door, file))["head"] == head
    fork = beside(door, "fork")
    before = await door.state()
    assert (await forked(door, fork)).status_code == 201
    size = file.stat().st_size
    state = await fork.state()
    rows = state.rows_written
    assert state.head == head
    assert before.head == head
    assert rows <= size / PART_CHARS + 3_000 / 256 + ROWS_BESIDE_THE_LOG
    assert (await fork.post("hello 2999", id="m2999")).status_code == 200
    assert (await fork.post("hello 7", id="m7")).status_code == 200
    assert (await fork.post("other", id="m8")).status_code == 409


async def test_a_long_fork_lets_others_go_on(door: Door, tmp_path: Path):
    """Between its pieces of a megabyte everybody else is answered."""
    file = tmp_path / "long.jsonl"
    long_file(file, turns=100, words=20_000)
    await read(door, file)
    answers = 0
    forking = asyncio.create_task(forked(door, beside(door, "fork")))
    async with httpx.AsyncClient() as http:
        while not forking.done():
            await http.get(f"{door.url}/healthz")
            answers += 1
    assert forking.result().status_code == 201
    assert answers >= file.stat().st_size / PIECE_CHARS / 2


def long_file(path: Path, *, turns: int, words: int = 40) -> int:
    """A session of that many turns, each with an answer of that many words, as a file; how many events it has."""
    said: list[dict[str, Any]] = [
        {"kind": "config_changed", "provider": "anthropic", "model": "m", "system": "s"}
    ]
    for turn in range(turns):
        said += [
            {"kind": "user_message_received", "id": f"m{turn}", "text": f"hello {turn}", "tokens": 2},
            {"kind": "step_started", "step": turn + 1, "attempt": 1},
            {"kind": "block_finished", "step": turn + 1, "block": 0, "type": "text", "text": "well " * words},
            {
                "kind": "step_finished",
                "step": turn + 1,
                "stop": "end",
                "usage": {},
                "timing": {"wall_ms": 1, "request_bytes": 1, "response_bytes": 1},
            },
            {"kind": "turn_finished", "reason": "done"},
        ]
    lines = [Header(agent="a", log="long", head=len(said)).model_dump_json()]
    lines += [
        json.dumps({"v": 1, "seq": seq, "at": seq, "event": event}) for seq, event in enumerate(said, start=1)
    ]
    chain = ""
    for line in lines:
        chain = chained(chain, line)
    path.write_text("\n".join([*lines, End(end=len(said), sha256=chain).model_dump_json(), ""]))
    return len(said)


async def test_deleting_leaves_nothing(provider: ScriptedProvider, door: Door):
    """Deleted in mid-stream: its sockets close, the late answer of the model writes nothing, and the name begins a new log."""
    gate = threading.Event()
    await talked(provider, door, lambda reply: waits_for(reply, gate))
    old, _ = await door.log()
    async with Client(door=door, tools=(LOOK,)) as client:
        await client.say("more", id="m3")
        await client.until(lambda: "Well, " in client.shown())
        asked = provider.asked(door.agent)[-1]
        assert (await door.request("DELETE")).json() == {"deleted": True}
        await client.until(lambda: client.closed is not None)
        assert client.closed is not None
        assert client.closed[0] == 1000
    gate.set()
    assert await asyncio.to_thread(asked.hung_up.wait, 10)
    state = await door.state()
    assert (state.head, state.attached, state.calls, state.phase) == (0, 0, (), "idle")
    assert state.log != old
    provider.script(door.agent, well)
    await door.post("go", id="m1")
    events = await door.until("turn_finished")
    assert [r.seq for r in events] == list(range(1, len(events) + 1))
    assert [e.text for e in events_of(events, UserMessageReceived)] == ["go"]
    assert len(provider.asked(door.agent)[-1].json["messages"]) == 1
