"""The bounds in real workerd: a flood costs its own socket, a crowd and a queue end, a session fills up, a body is given up."""

import asyncio
import contextlib
import json
import threading

import httpx
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from edgeloop.events import TurnFinished
from edgeloop.frames import parse_server_frame as parse
from edgeloop.limits import FRAMES_BURST, FRAMES_DROPPED, MAX_BODY_BYTES, MAX_QUEUED, MAX_SOCKETS
from edgeloop.wire import ErrorFrame, Synced
from tests.edge.conftest import StartEdge
from tests.support.edge import HEADERS, Client, Door, Tool, events_of, kinds, raw_socket
from tests.support.provider import Reply, ScriptedProvider

HELLO = json.dumps({"t": "hello", "v": 1, "client": "flood"})


def well(reply: Reply) -> None:
    reply.text("All well.")
    reply.end()


async def _drain(socket: ClientConnection) -> list[ErrorFrame]:
    """The refusals that come until the socket is closed."""
    found: list[ErrorFrame] = []
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(30):
            async for data in socket:
                frame = parse(data)
                if isinstance(frame, ErrorFrame):
                    found.append(frame)
    return found


async def test_a_flood_is_refused_and_then_closed(provider: ScriptedProvider, door: Door):
    """Frames without end are taken up to the burst, refused once, and closed; a turn beside them goes on (behaviour 39)."""
    provider.script(door.agent, well)
    async with Client(door=door, name="other") as other, raw_socket(door) as socket:
        await socket.send(HELLO)
        with contextlib.suppress(ConnectionClosed):
            for _ in range(3 * (FRAMES_BURST + FRAMES_DROPPED)):
                await socket.send('{"t":"stop"}')
        errors = await _drain(socket)
        assert socket.close_code == 1008
        assert {error.code for error in errors} == {"too_frequent"}
        await other.say("go")
        await other.until_idle()
        assert not other.got(ErrorFrame)
    assert kinds(await door.events()).count("turn_finished") == 1


async def test_a_crowd_is_refused(door: Door):
    """One socket more than an agent may have gets a 503; when one leaves, another may come."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MAX_SOCKETS - 1):
            await stack.enter_async_context(raw_socket(door))
        async with raw_socket(door):
            with pytest.raises(InvalidStatus) as error:
                await stack.enter_async_context(raw_socket(door))
            assert error.value.response.status_code == 503
            assert b"too_many_sockets" in (error.value.response.body or b"")
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(InvalidStatus):
                    await stack.enter_async_context(raw_socket(door))
                    break
        assert (await door.state()).attached == 0


async def test_a_queue_ends(provider: ScriptedProvider, door: Door):
    """More messages than may wait are refused by id and recorded nowhere; when the step has begun they are taken."""
    gate = threading.Event()

    def held(reply: Reply) -> None:
        reply.text("Wait.")
        reply.wait(gate)
        reply.end()

    provider.script(door.agent, held, well)
    async with Client(door=door) as client:
        await client.say("go", id="m0")
        await client.until_event("step_started")
        for number in range(1, MAX_QUEUED + 3):
            await client.say("more", id=f"m{number}")
        await client.until(lambda: len(client.got(ErrorFrame)) == 2)
        refused = [(error.code, error.ref) for error in client.got(ErrorFrame)]
        assert refused == [("queue_full", f"m{MAX_QUEUED + 1}"), ("queue_full", f"m{MAX_QUEUED + 2}")]
        answer = await door.post("and more", id="h1")
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
        assert (await door.post("more", id="m1")).json()["duplicate"] is True
        gate.set()
        await client.until_idle()
        assert (await door.post("and more", id="h1")).status_code == 202
    found = await door.until("turn_finished", times=2)
    assert kinds(found).count("user_message_received") == MAX_QUEUED + 2


async def test_a_session_fills_up(provider: ScriptedProvider, own_edge: StartEdge, agent: str):
    """A session that stores what it may finishes its call, makes no other, and takes no message; it can still be read."""
    door = Door(url=own_edge(EDGELOOP_SESSION_BYTES="400000", EDGELOOP_MODE="auto").url, agent=agent)

    def call(reply: Reply) -> None:
        reply.call("look", {})
        reply.end()

    provider.script(agent, call, well)
    look = Tool(name="look", run=lambda _: "x" * 900_000)
    async with Client(door=door, tools=(look,)) as client:
        await client.say("go")
        await client.until_idle()
        [end] = events_of(await door.events(), TurnFinished)
        assert end.reason == "budget"
        assert "400,000" in end.detail
        await client.say("again", id="m2")
        await client.until(lambda: client.got(ErrorFrame))
        assert (client.got(ErrorFrame)[0].code, client.got(ErrorFrame)[0].ref) == ("session_full", "m2")
    answer = await door.post("again", id="m3")
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "session_full")
    assert len(provider.asked(agent)) == 1
    assert kinds(await door.events()).count("user_message_received") == 1


async def test_an_endless_body_is_given_up(door: Door):
    """A body that goes on and on is not read to its end: the answer, if it still comes, is a 413, and the session lives."""
    poured = 0

    async def pour():
        nonlocal poured
        while poured < 40 * MAX_BODY_BYTES:
            poured += 1 << 16
            yield b" " * (1 << 16)

    async with httpx.AsyncClient(timeout=30, headers=HEADERS) as http:
        with contextlib.suppress(httpx.HTTPError):
            answer = await http.post(f"{door.path}/messages", content=pour())
            assert answer.status_code == 413
    assert poured < 40 * MAX_BODY_BYTES
    assert (await door.state()).head == 0


async def test_large_tools_are_refused(door: Door):
    """Tools of many bytes are refused before they are part of any prompt."""
    schema = {"type": "object", "title": "x" * (256 << 10)}
    tool = {"name": "a", "description": "", "parameters": schema, "effect": "read"}
    async with raw_socket(door) as socket:
        await socket.send(json.dumps({"t": "hello", "v": 1, "client": "c", "tools": [tool]}))
        frame = parse(await asyncio.wait_for(socket.recv(), 30))
        assert isinstance(frame, ErrorFrame)
        assert frame.code == "too_large"
        await socket.send(HELLO)
        while not isinstance(parse(await asyncio.wait_for(socket.recv(), 30)), Synced):
            pass
    assert (await door.state()).head == 0
