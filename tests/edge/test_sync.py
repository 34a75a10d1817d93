"""What travels, counted: numbered commands are taken once, long replays come in pages, and only what changed is sent."""

import json

import pytest

from edgeloop.frames import parse_server_frame
from edgeloop.producers import Number
from edgeloop.tools import digest
from edgeloop.wire import (
    Ack,
    Autonomy,
    Decide,
    ErrorFrame,
    Events,
    Hello,
    More,
    NumberGap,
    SendMessage,
    ServerMessage,
    Stop,
    Welcome,
)
from tests.support.edge import Client, Door, Tool, kinds, raw_socket
from tests.support.provider import Reply, ScriptedProvider

OVERHEAD_MAX = 1024
TOOLS_MAX = 4096
"""Down, for some twenty events: three calls made, judged, started and finished, two steps, the text."""
LOOK = Tool(name="look", run=lambda arguments: f"seen {arguments['at']} " + "y" * 500)
HISTORY = "z" * 100_000


def well(reply: Reply) -> None:
    reply.text("All ", "well.")
    reply.end()


def at(n: int, epoch: int = 7) -> Number:
    return Number(epoch=epoch, n=n)


async def test_numbered_commands_are_taken_once_and_in_order(provider: ScriptedProvider, door: Door):
    """A repeat is acknowledged, a gap told with what was expected, an older life fenced, a refusal an answer (behaviour 40)."""
    provider.script(door.agent, well, well)
    async with Client(door=door) as client:

        async def answer_to(frame: SendMessage | Autonomy | Stop | Decide) -> ServerMessage:
            seen = len(client.frames)
            await client.send(frame)
            wanted = (Ack, NumberGap, ErrorFrame)
            await client.until(lambda: [f for f in client.frames[seen:] if isinstance(f, wanted)])
            return next(f for f in client.frames[seen:] if isinstance(f, wanted))

        first = SendMessage(producer=at(1), id="m1", text="go", model=door.agent)
        assert await answer_to(first) == Ack(epoch=7, n=1)
        assert await answer_to(first) == Ack(epoch=7, n=1)
        await client.until_idle()
        assert await answer_to(Stop(producer=at(2))) == Ack(epoch=7, n=2)
        refused = await answer_to(Decide(producer=at(3), call="9.9", allow=True))
        assert isinstance(refused, ErrorFrame)
        assert (refused.code, refused.producer) == ("unknown_call", at(3))
        last = SendMessage(producer=at(5), id="m2", text="again", model=door.agent)
        assert await answer_to(last) == NumberGap(epoch=7, expected=4)
        # What was told of a gap is numbered anew, so nothing more of that epoch is taken on this socket.
        assert await answer_to(last.model_copy(update={"producer": at(4)})) == NumberGap(epoch=7, expected=4)
        assert await answer_to(last.model_copy(update={"producer": at(1, 8)})) == Ack(epoch=8, n=1)
        old = await answer_to(Autonomy(producer=at(4), mode="plan"))
        assert isinstance(old, ErrorFrame)
        assert old.code == "fenced"
        await client.until_idle(2)
    events = await door.events()
    assert kinds(events).count("user_message_received") == 2
    assert "autonomy_changed" not in kinds(events)


async def test_what_an_older_connection_still_brings_does_not_count(door: Door):
    """It may have been lost without the edge knowing, and its client sends the same again under new numbers."""
    hello = Hello(v=1, client="twice", epoch=7).model_dump_json(exclude_none=True)
    async with raw_socket(door) as older, raw_socket(door) as newer:
        await older.send(hello)
        await older.send(Autonomy(producer=at(1), mode="ask").model_dump_json(exclude_none=True))
        while not isinstance(parse_server_frame(await older.recv()), Ack):
            pass
        older.transport.pause_reading()  # so that it may still send when the edge has closed it
        await newer.send(hello)
        welcome = parse_server_frame(await newer.recv())
        assert isinstance(welcome, Welcome)
        assert welcome.acked == 1
        await older.send(Autonomy(producer=at(2), mode="plan").model_dump_json(exclude_none=True))
        older.transport.resume_reading()
        await older.wait_closed()
        assert (older.close_code, older.close_reason) == (
            1000,
            "replaced by a newer connection of this client",
        )
        await newer.send(Autonomy(producer=at(1, 8), mode="auto").model_dump_json(exclude_none=True))
        while not isinstance(parse_server_frame(await newer.recv()), Ack):
            pass
    assert [r.event.mode for r in await door.events() if r.event.kind == "autonomy_changed"] == [
        "ask",
        "auto",
    ]


async def test_a_long_replay_comes_in_pages(provider: ScriptedProvider, door: Door):
    """A log of 1 MB is sent page by page, each when the client asks for it; what is recorded meanwhile is in a later one."""
    provider.script(door.agent, *([well] * 11))
    for number in range(10):
        assert (await door.post(HISTORY, id=f"h{number}")).is_success
        await door.until("turn_finished", times=number + 1)
    async with raw_socket(door) as socket:
        await socket.send(Hello(v=1, client="raw").model_dump_json(exclude_none=True))
        seqs: list[int] = []
        pages, posted, largest = 0, False, 0
        while True:
            data = await socket.recv()
            frame = parse_server_frame(data)
            if isinstance(frame, Events):
                largest = max(largest, len(data))
                seqs += [wire.seq for wire in frame.events]
            if isinstance(frame, More):
                pages += 1
                if not posted:
                    posted = True
                    await door.post("meanwhile", id="late")
                    await door.until("turn_finished", times=11)
                await socket.send(json.dumps({"t": "next", "after": seqs[-1]}))
            if frame.t == "synced":
                break
    assert pages >= 2
    assert largest < 1_000_000
    assert seqs == list(range(1, (await door.state()).head + 1))


async def test_with_a_long_history_only_what_is_new_travels(provider: ScriptedProvider, door: Door):
    """With 400 KB behind it a turn with text sends under 1 KB beyond its content each way, and so does a reconnect."""

    def asks(reply: Reply) -> None:
        reply.text("Let me look.")
        for number in range(3):
            reply.call("look", {"at": number})
        reply.end()

    provider.script(door.agent, well, well, well, well, well, asks, well)
    client = Client(door=door, tools=(LOOK,))
    async with client:
        for number in range(4):
            await client.say(HISTORY, id=f"h{number}")
            await client.until_idle(number + 1)
        up, down = client.bytes_up, client.bytes_down
        await client.say("go")
        await client.until_idle(5)
        plain = client.bytes_up - up - len("go"), client.bytes_down - down - len("All well.")
        up, down = client.bytes_up, client.bytes_down
        await client.say("look", id="m2")
        await client.until_idle(6)
        content = sum(len(call.content) for call in client.view.calls.values())
        tools = client.bytes_up - up - content, client.bytes_down - down
        await client.drop()
        up, down = client.bytes_up, client.bytes_down
        await client.open()
        again = client.bytes_up - up, client.bytes_down - down
    assert max(plain) < OVERHEAD_MAX
    assert tools[0] < OVERHEAD_MAX
    assert tools[1] < TOOLS_MAX
    assert again[1] < OVERHEAD_MAX


@pytest.mark.parametrize("known", [True, False])
async def test_tools_are_named_by_their_digest(provider: ScriptedProvider, door: Door, known: bool):
    """A client whose tools are held names them alone; of a digest that is not held the session asks for them in full."""
    provider.script(door.agent, well)
    if known:
        async with Client(door=door, name="raw", tools=(LOOK,)):
            pass
    hello = Hello(v=1, client="raw", tools_digest=digest([LOOK.spec]))
    async with raw_socket(door) as socket:
        await socket.send(hello.model_dump_json(exclude_none=True))
        frame = parse_server_frame(await socket.recv())
        if not known:
            assert isinstance(frame, ErrorFrame)
            assert frame.code == "unknown_tools"
            full = hello.model_copy(update={"tools": (LOOK.spec,), "tools_digest": None})
            await socket.send(full.model_dump_json(exclude_none=True))
            frame = parse_server_frame(await socket.recv())
        assert isinstance(frame, Welcome)
    assert kinds(await door.events()).count("tools_declared") == 1
