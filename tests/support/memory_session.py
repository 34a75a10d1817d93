"""A session in memory behind a real WebSocket: the real core and the real frames, with a scripted model and no platform.

For tests of the client. It judges and answers as the Durable Object does (`edgeloop.commands`, `schedule.due`), and can be
told to drop its sockets after any frame.
"""

import asyncio
import itertools
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from edgeloop import commands
from edgeloop.autonomy import Mode
from edgeloop.codec import encode_batch
from edgeloop.effects import AbortModel, CallModel, Effect
from edgeloop.errors import Refused
from edgeloop.events import (
    BlockFinished,
    Event,
    Recorded,
    StepError,
    StepFailed,
    StepFinished,
    Timing,
    ToolCallCompleted,
    ToolFinished,
    Usage,
)
from edgeloop.frames import encode, events_frame, parse_client_frame
from edgeloop.producers import Number, Producer, later, remember
from edgeloop.schedule import World, deadline, due, interrupted
from edgeloop.session import Session
from edgeloop.session_end import (
    Declare,
    Deed,
    Greet,
    Heard,
    Known,
    Page,
    SessionEnd,
    Take,
    Tell,
    answered,
    refused,
    welcome,
)
from edgeloop.wire import (
    Autonomy,
    CallOpened,
    ClientCommand,
    ClientMessage,
    Decide,
    Delta,
    ErrorFrame,
    Hello,
    SendMessage,
    Stop,
    ToolResult,
)

TOKEN = "memory-token"
TIMING = Timing(first_ms=1, wall_ms=5, request_bytes=10, response_bytes=10)
USAGE = Usage(input_uncached=10, cache_read=30, output=5)


@dataclass(frozen=True)
class Say:
    """A text block, streamed in pieces of `size` characters; `kind` may be reasoning."""

    text: str
    size: int = 4
    kind: Literal["text", "reasoning"] = "text"


@dataclass(frozen=True)
class Ask:
    """A tool call."""

    name: str
    arguments: dict[str, Any] = field(default_factory=lambda: dict[str, Any]())


@dataclass(frozen=True)
class Fail:
    """The end of an attempt in an error; the next attempt begins with the next message of the script."""

    error: StepError


@dataclass(frozen=True)
class Hang:
    """The model stays silent until it is aborted."""


Part = Say | Ask | Fail | Hang


PAGE_EVENTS = 7
"""A page of a replay is short, so that the tests turn some."""


@dataclass
class Peer:
    socket: ServerConnection
    order: int
    end: SessionEnd = field(default_factory=SessionEnd)

    @property
    def is_live(self) -> bool:
        return self.end.phase == "live"


class MemorySession:
    """One agent. `script` holds what the model says, one list of parts per model call; `drops` are the numbers of frames sent
    (counted over all sockets) after which the socket is torn down."""

    def __init__(
        self, script: list[list[Part]], *, mode: Mode = "auto", drops: frozenset[int] = frozenset()
    ) -> None:
        self.script = script
        self.mode: Mode = mode
        self.drops = drops
        self.log_id = "log-1"
        self.log: list[Recorded] = []
        self.session = Session()
        self.received: list[ClientMessage] = []
        self.hellos: list[Hello] = []
        self.frames = 0
        self.results: Counter[str] = Counter()
        self.pause = 0.0
        self.deaf = False
        """Takes no frame any more."""
        self.url = ""
        self.peers: list[Peer] = []
        self.heard: dict[str, Number] = {}
        self.messages: dict[str, str] = {}
        self._shown: dict[int, tuple[Literal["text", "reasoning"], str]] = {}
        self._model: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._orders = itertools.count()
        self._calls = 0
        self._server: Server | None = None
        self._port: int = 0

    async def __aenter__(self) -> "MemorySession":
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self._port,
            process_request=_authorize,
            compression=None,
            close_timeout=0.2,
        )
        self._port = int(next(iter(self._server.sockets)).getsockname()[1])
        self.url = f"http://127.0.0.1:{self._port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._model,):
            if task is not None:
                task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    # --- as the Durable Object's shell ------------------------------------------------------------------------------

    def record(
        self,
        *events: Event,
        streamed: bool = False,
        sender: tuple[ServerConnection, str] | None = None,
        producer: Producer | None = None,
    ) -> None:
        """Record events and what follows, send them, perform their effects."""
        batch: list[Recorded] = []
        effects: list[Effect] = []
        pending = list(events)
        while (event := pending.pop(0) if pending else due(self.session.state, self._world())) is not None:
            made = producer if len(batch) == len(events) - 1 else None
            recorded = Recorded(seq=self.session.state.seq + 1, at=_now(), event=event, producer=made)
            effects += self.session.apply(recorded)
            batch.append(recorded)
        self.log += batch
        if batch:
            for peer in self._live_peers():
                own = sender[1] if sender is not None and sender[0] is peer.socket else None
                self._send(peer.socket, events_frame(batch, streamed=streamed, own=own))
        for effect in effects:
            self._perform(effect)
        self._watch()

    def _world(self) -> World:
        hosts = sorted((peer for peer in self._live_peers() if peer.end.digest), key=lambda peer: -peer.order)
        return World(
            now=_now(), hosts=tuple(dict.fromkeys(peer.end.client for peer in hosts)), mode=self.mode
        )

    def _live_peers(self) -> list[Peer]:
        return [peer for peer in self.peers if peer.is_live]

    def _watch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        when = deadline(self.session.state, self._world())
        if when is not None:
            self._timer = asyncio.get_running_loop().call_later(
                max(0.01, (when - _now()) / 1000), self.record
            )

    def _perform(self, effect: Effect) -> None:
        match effect:
            case CallModel():
                parts = self.script[self._calls]
                self._calls += 1
                self._model = asyncio.create_task(self._speak(effect, parts))
            case AbortModel():
                assert self._model is not None
                self._model.cancel()
                shown = [
                    BlockFinished(step=effect.step, block=block, type=kind, text=text, partial=True)
                    for block, (kind, text) in self._shown.items()
                ]
                self._shown = {}
                error = StepError(cls="aborted", retryable=False)
                self.record(*interrupted(self.session.state, shown, error, 0.0), streamed=True)
            case _:
                raise AssertionError(f"no edge tools here: {effect}")

    # --- the model --------------------------------------------------------------------------------------------------

    async def _speak(self, effect: CallModel, parts: list[Part]) -> None:
        step, attempt = effect.step, effect.attempt
        await asyncio.sleep(self.pause)
        for block, part in enumerate(parts):
            match part:
                case Say():
                    await self._say(step, attempt, block, part)
                case Ask():
                    self._live(CallOpened(step=step, attempt=attempt, block=block, name=part.name))
                    await asyncio.sleep(self.pause)
                    self.record(
                        ToolCallCompleted(
                            step=step,
                            block=block,
                            call=commands.call_id(step, block),
                            provider_id=f"p{block}",
                            name=part.name,
                            arguments=json.dumps(part.arguments),
                        )
                    )
                case Fail():
                    self._shown = {}
                    self.record(StepFailed(step=step, attempt=attempt, error=part.error, jitter=1.0))
                    return
                case Hang():
                    await asyncio.Event().wait()
        stop = "tool_use" if any(isinstance(part, Ask) for part in parts) else "end"
        self.record(StepFinished(step=step, stop=stop, usage=USAGE, timing=TIMING))

    async def _say(self, step: int, attempt: int, block: int, part: Say) -> None:
        kind = part.kind
        for start in range(0, len(part.text), part.size):
            said = part.text[:start]
            piece = part.text[start : start + part.size]
            self._shown[block] = (kind, said + piece)
            self._live(
                Delta(step=step, attempt=attempt, block=block, kind=kind, off=len(said.encode()), text=piece)
            )
            await asyncio.sleep(self.pause)
        self._shown.pop(block, None)
        self.record(BlockFinished(step=step, block=block, type=kind, text=part.text), streamed=True)

    def _live(self, frame: Delta | CallOpened) -> None:
        for peer in self._live_peers():
            self._send(peer.socket, encode(frame))

    # --- sockets ----------------------------------------------------------------------------------------------------

    def _send(self, socket: ServerConnection, frame: str) -> None:
        self.frames += 1
        broadcast([socket], frame)
        if self.frames in self.drops:
            self.peers = [peer for peer in self.peers if peer.socket is not socket]
            socket.transport.abort()

    async def _serve(self, socket: ServerConnection) -> None:
        peer = Peer(socket=socket, order=next(self._orders))
        self.peers.append(peer)
        try:
            async for data in socket:
                try:
                    self._take(peer, parse_client_frame(data))
                except Refused as error:
                    self._send(socket, encode(_error_frame(error)))
        except ConnectionClosed:
            pass
        finally:
            self.peers = [other for other in self.peers if other is not peer]
            self.record()

    def _take(self, peer: Peer, frame: ClientMessage) -> None:
        if self.deaf:
            return
        if peer not in self.peers:
            return  # torn down by us; what it had sent is lost
        if isinstance(frame, Hello):
            self.hellos.append(frame)
        elif peer.is_live:
            self.received.append(frame)
        client = frame.client if isinstance(frame, Hello) else peer.end.client
        end, deeds = peer.end.receive(frame, self._known(client))
        for deed in deeds:
            end = self._do(peer, end, deed)
        peer.end = end

    def _known(self, client: str) -> Known:
        state = self.session.state
        last = later(state.producers.get(client), self.heard.get(client))
        return Known(log=self.log_id, head=state.seq, tools_digest=state.tools_digest, last=last)

    def _do(self, peer: Peer, end: SessionEnd, deed: Deed) -> SessionEnd:
        state = self.session.state
        match deed:
            case Declare():
                tools = deed.tools if deed.tools is not None else state.local_tools
                self.record(*commands.declare_tools(state, edge=(), client=end.client, local=tools))
            case Heard():
                remember(self.heard, end.client, deed.number)
            case Greet():
                self._send(peer.socket, encode(welcome(deed.hello, self._known(end.client), "memory")))
            case Page():
                return self._page(peer, end, deed)
            case Take():
                for further in self._command(peer, deed.command, end.client):
                    self._do(peer, end, further)
            case Tell():
                self._send(peer.socket, encode(deed.frame))
        return end

    def _page(self, peer: Peer, end: SessionEnd, asked: Page) -> SessionEnd:
        missed = self.log[asked.after : asked.after + PAGE_EVENTS]
        blocks = [{"block": block, "kind": kind, "text": text} for block, (kind, text) in self._shown.items()]
        state = self.session.state
        end, frames = end.page(
            asked,
            [(recorded.seq, encode_batch([recorded])) for recorded in missed],
            state.seq,
            (state.step, state.attempt, blocks),
        )
        peer.end = end
        if peer.is_live:
            self.peers = [p for p in self.peers if p is peer or p.end.client != end.client]
        for frame in frames:
            self._send(peer.socket, frame)
        if peer.is_live:
            self.record()
        return end

    def _command(self, peer: Peer, command: ClientCommand, client: str) -> list[Deed]:
        number, state = command.producer, self.session.state
        producer = Producer(client=client, epoch=number.epoch, n=number.n) if number is not None else None
        sender = None
        try:
            match command:
                case SendMessage():
                    known = self.messages.get(command.id)
                    events = commands.send_message(
                        command, known=known, client=client, tokens=0, queued=state.queued
                    )
                    self.messages[command.id] = known or command.text
                    sender = (peer.socket, command.id)
                case ToolResult():
                    events = commands.finish_tool(state, command, client=client, tokens=0)
                    self.results.update(event.call for event in events if isinstance(event, ToolFinished))
                    sender = (peer.socket, command.call)
                case Decide():
                    events = commands.decide(state, command, by=client, now=_now())
                case Autonomy():
                    events = commands.set_autonomy(state, command, client=client, world=self._world())
                case Stop():
                    events = commands.stop(state, client=client)
        except Refused as error:
            return refused(command, _error_frame(error))
        if events:
            self.record(*events, sender=sender, producer=producer)
        return answered(command)


def _error_frame(error: Refused) -> ErrorFrame:
    return ErrorFrame.model_validate(
        {"code": error.code, "message": error.message, "expected": error.expected, "ref": error.ref}
    )


def _authorize(connection: ServerConnection, request: Request) -> Response | None:
    if request.headers.get("Authorization") == f"Bearer {TOKEN}":
        return None
    frame = ErrorFrame(code="unauthorized", message="no or wrong token", expected="another token")
    return connection.respond(HTTPStatus.UNAUTHORIZED, f'{{"error":{frame.model_dump_json()}}}')


def _now() -> int:
    return int(time.time() * 1000)
