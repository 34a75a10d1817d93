"""Lost connections: whatever a client was sent before and after, what it sees is what the log says, and nothing is sent twice."""

import json
import threading
from collections.abc import Callable

import pytest

from edgeloop.events import BlockFinished
from edgeloop.frames import parse_server_frame
from edgeloop.wire import BlockStreamed, Delta, Events, Synced, Welcome
from edgeloop_client.view import View
from tests.support.edge import Client, Door, Tool, raw_socket
from tests.support.provider import Reply, ScriptedProvider

PIECES = ("Grüße ", "aus 東京, ", "wo es ", "🙂 ", "gut geht.")
SAID = "".join(PIECES)
ECHO = Tool(name="echo", run=lambda arguments: arguments["text"])


class Gates:
    """A script's answer, one piece per opened gate."""

    def __init__(self) -> None:
        self.gates = [threading.Event() for _ in PIECES]

    def open(self, number: int) -> None:
        """Let so many pieces pass."""
        for gate in self.gates[:number]:
            gate.set()

    def script(self, reply: Reply) -> None:
        with reply.block() as piece:
            for part, gate in zip(PIECES, self.gates, strict=True):
                reply.wait(gate)
                piece(part)
        reply.end()


@pytest.mark.parametrize("held", range(1, len(PIECES)))
async def test_what_was_shown_is_not_sent_again(provider: ScriptedProvider, door: Door, held: int):
    """A client that comes back in mid-stream is sent the rest of the block, byte for byte (behaviour 7)."""
    gates = Gates()
    provider.script(door.agent, gates.script)
    client = Client(door=door)
    async with client:
        await client.say("go")
        gates.open(held)
        await client.until(lambda: client.shown() == "".join(PIECES[:held]))
        await client.drop()
        await client.open()
        gates.open(len(PIECES))
        view = await client.until_idle()
    assert client.delta_bytes == len(SAID.encode())
    assert client.shown() == "".join(PIECES[held:])
    assert view.answer == SAID
    assert view == await door.view()


@pytest.mark.parametrize("held", range(1, len(PIECES)))
async def test_a_block_that_ended_meanwhile_is_sent_as_its_rest(
    provider: ScriptedProvider, door: Door, held: int
):
    """What was streamed while a client was away comes as the rest of its block, whose length is checked (behaviour 3)."""
    gates = Gates()
    provider.script(door.agent, gates.script)
    client = Client(door=door)
    async with client:
        await client.say("go")
        gates.open(held)
        await client.until(lambda: client.shown() == "".join(PIECES[:held]))
        await client.drop()
        gates.open(len(PIECES))
        await door.until("turn_finished")
        await client.open()
    assert client.delta_bytes == len(SAID.encode())
    assert not [event for event in client.wire_events() if isinstance(event, BlockFinished)]
    assert [event.bytes for event in client.wire_events() if isinstance(event, BlockStreamed)] == [
        len(SAID.encode())
    ]
    assert client.view == await door.view()


async def test_a_second_client_in_mid_stream_sees_the_same(provider: ScriptedProvider, door: Door):
    """Who joins in the middle is sent what was shown so far, and from then on the same as the first (behaviour 38)."""
    gates = Gates()
    provider.script(door.agent, gates.script)
    first, second = Client(door=door, name="first"), Client(door=door, name="second")
    async with first:
        await first.say("go")
        gates.open(2)
        await first.until(lambda: first.shown() == "".join(PIECES[:2]))
        async with second:
            await second.until(lambda: second.shown() == "".join(PIECES[:2]))
            assert second.got(Synced)[0].seq == second.view.seq
            gates.open(len(PIECES))
            await first.until_idle()
            await second.until_idle()
    assert first.shown() == second.shown() == SAID
    assert first.view == second.view == await door.view()


async def test_before_its_handshake_a_socket_is_sent_nothing(provider: ScriptedProvider, door: Door):
    """A socket that has not said hello gets no live frame; its first one is its welcome, and it misses nothing (behaviour 2)."""
    gates = Gates()
    provider.script(door.agent, gates.script)
    async with Client(door=door) as client, raw_socket(door) as late:
        await client.say("go")
        gates.open(2)
        await client.until(lambda: client.shown() == "".join(PIECES[:2]))
        await late.send(json.dumps({"t": "hello", "v": 1, "client": "late"}))
        first = parse_server_frame(await late.recv())
        assert isinstance(first, Welcome)
        view = View()
        view.apply(first)
        gates.open(len(PIECES))
        while not view.turns:
            view.apply(parse_server_frame(await late.recv()))
        await client.until_idle()
    assert view == client.view == await door.view()


async def test_the_stream_goes_on_while_nobody_looks(provider: ScriptedProvider, door: Door):
    """Disconnect is not stop: a turn ends without its client, which then sees all of it (behaviour 17)."""
    gates = Gates()
    provider.script(door.agent, gates.script)
    client = Client(door=door)
    async with client:
        await client.say("go")
        await client.until_event("step_started")
        await client.close()
        gates.open(len(PIECES))
        await door.until("turn_finished")
        await client.open()
        assert client.view.answer == SAID
        assert client.view == await door.view()


@pytest.mark.parametrize("after", range(1, 6))
async def test_losses_after_every_few_frames_change_nothing(
    provider: ScriptedProvider, door: Door, after: int
):
    """Losing the connection again and again, every `after` live frames, leaves no gap and no duplicate (behaviours 6, 7)."""

    def talk(reply: Reply) -> None:
        reply.text(*PIECES, gap=0.03)
        for word in PIECES[:3]:
            reply.call("echo", {"text": word})
        reply.text(*PIECES, gap=0.03)
        reply.end()

    def end(reply: Reply) -> None:
        reply.text(*PIECES, gap=0.03)
        reply.end()

    provider.script(door.agent, talk, end)
    client = Client(door=door, tools=(ECHO,))
    losses = 0
    async with client:
        await client.say("go")
        while not (client.view.turns and client.view.phase == "idle"):
            await client.until(lambda: _live(client) >= after or client.view.turns)
            await client.drop()
            losses += 1
            await client.open()
    assert losses >= 3
    assert client.view == await door.view()
    assert [call.content for call in client.view.calls.values()] == list(PIECES[:3])
    assert len(provider.asked(door.agent)) == 2


def _live(client: Client) -> int:
    """Frames after `synced`."""
    kinds = [frame.t for frame in client.frames]
    return len(kinds) - 1 - kinds.index("synced")


def _of_another_log(view: View) -> View:
    return View(log="another", seq=2)


def _from_the_future(view: View) -> View:
    return View(log=view.log, seq=view.seq + 1000)


@pytest.mark.parametrize("spoil", [_of_another_log, _from_the_future])
async def test_a_cursor_of_no_use_is_told_so(
    provider: ScriptedProvider, door: Door, spoil: Callable[[View], View]
):
    """A cursor of another log or from the future is answered with `reset` and everything (behaviour 8)."""
    gates = Gates()
    gates.open(len(PIECES))
    provider.script(door.agent, gates.script)
    async with Client(door=door) as client:
        await client.say("go")
        view = await client.until_idle()
    lost = Client(door=door, view=spoil(view))
    async with lost:
        assert lost.got(Welcome)[0].reset
        assert lost.view == await door.view()


async def test_a_cursor_brings_only_what_is_new(provider: ScriptedProvider, door: Door):
    """A client that holds everything is sent no event; one that missed k is sent k."""
    gates = Gates()
    gates.open(len(PIECES))
    provider.script(door.agent, gates.script)
    client = Client(door=door)
    async with client:
        await client.say("go")
        await client.until_idle()
        await client.drop()
        await client.open()
        assert not client.got(Events)
        assert not client.got(Delta)
        await client.drop()
        await door.post("again", id="m2")
        await door.until("turn_finished", times=2)
        held = client.view.seq
        await client.open()
        assert [wire.seq for frame in client.got(Events) for wire in frame.events] == list(
            range(held + 1, client.view.seq + 1)
        )
        assert client.view == await door.view()


async def test_a_client_that_does_not_read_delays_nobody(provider: ScriptedProvider, door: Door):
    """A client that stopped reading costs the other one nothing, and resumes from its cursor (behaviour 38).

    That it is dropped when too far behind is tested at the pump: here `wrangler dev`'s own proxy takes what it does not read.
    """
    piece = "0123456789abcdef" * 4096

    def pour(reply: Reply) -> None:
        reply.text(*([piece] * 180))
        reply.end()

    provider.script(door.agent, pour)
    slow, fast = Client(door=door, name="slow"), Client(door=door, name="fast")
    async with slow, fast:
        await slow.stall()
        await fast.say("go")
        view = await fast.until_idle()
        assert len(view.answer) == 180 * len(piece)
        await slow.drop()
        await slow.open()
        assert slow.view == await door.view()
