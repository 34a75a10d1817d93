"""A session in memory behind a real WebSocket: the real core and the real frames, with a scripted model and no platform.

For tests of the client. It judges and answers as the Durable Object does (`edgeloop.commands`, `schedule.due`), and can be
told to drop its sockets after any frame.
"""

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from edgeloop import commands
from edgeloop.autonomy import Mode
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
from edgeloop.schedule import World, deadline, due, interrupted
from edgeloop.session import Session
from edgeloop.wire import (
    PROTOCOL_VERSION,
    Autonomy,
    CallOpened,
    ClientMessage,
    Decide,
    Delta,
    Duplicate,
    ErrorFrame,
    Hello,
    PendingCall,
    SendMessage,
    Stop,
    Synced,
    ToolResult,
    Welcome,
    events_frame,
    parse_client_frame,
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


@dataclass
class Peer:
    socket: ServerConnection
    client: str
    tools: bool
    order: int


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
        self, *events: Event, streamed: bool = False, sender: tuple[ServerConnection, str] | None = None
    ) -> None:
        """Record events and what follows, send them, perform their effects."""
        batch: list[Recorded] = []
        effects: list[Effect] = []
        pending = list(events)
        while (event := pending.pop(0) if pending else due(self.session.state, self._world())) is not None:
            recorded = Recorded(seq=self.session.state.seq + 1, at=_now(), event=event)
            effects += self.session.apply(recorded)
            batch.append(recorded)
        self.log += batch
        if batch:
            for peer in list(self.peers):
                own = sender[1] if sender is not None and sender[0] is peer.socket else None
                self._send(peer.socket, events_frame(batch, streamed=streamed, own=own))
        for effect in effects:
            self._perform(effect)
        self._watch()

    def _world(self) -> World:
        hosts = sorted((peer for peer in self.peers if peer.tools), key=lambda peer: -peer.order)
        return World(now=_now(), hosts=tuple(dict.fromkeys(peer.client for peer in hosts)), mode=self.mode)

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
        for peer in list(self.peers):
            self._send(peer.socket, frame.model_dump_json())

    # --- sockets ----------------------------------------------------------------------------------------------------

    def _send(self, socket: ServerConnection, frame: str) -> None:
        self.frames += 1
        broadcast([socket], frame)
        if self.frames in self.drops:
            self.peers = [peer for peer in self.peers if peer.socket is not socket]
            socket.transport.abort()

    async def _serve(self, socket: ServerConnection) -> None:
        try:
            async for data in socket:
                try:
                    self._take(socket, parse_client_frame(data))
                except Refused as error:
                    frame = ErrorFrame.model_validate(
                        {
                            "code": error.code,
                            "message": error.message,
                            "expected": error.expected,
                            "ref": error.ref,
                        }
                    )
                    self._send(socket, frame.model_dump_json())
        except ConnectionClosed:
            pass
        finally:
            self.peers = [peer for peer in self.peers if peer.socket is not socket]
            self.record()

    def _take(self, socket: ServerConnection, frame: ClientMessage) -> None:
        if self.deaf:
            return
        peer = next((peer for peer in self.peers if peer.socket is socket), None)
        if isinstance(frame, Hello):
            self._hello(socket, frame)
            return
        if peer is None:
            if socket.state.name == "OPEN":
                raise Refused(code="hello_expected", message="no hello yet")
            return
        self.received.append(frame)
        match frame:
            case SendMessage():
                known = self.messages.get(frame.id)
                queued = self.session.state.queued
                taken = commands.send_message(frame, known=known, client=peer.client, tokens=0, queued=queued)
                self.messages[frame.id] = known or frame.text
                self._answer(socket, taken, frame.id)
            case ToolResult():
                taken = commands.finish_tool(self.session.state, frame, client=peer.client, tokens=0)
                self.results.update(event.call for event in taken if isinstance(event, ToolFinished))
                self._answer(socket, taken, frame.call)
            case Decide():
                self._answer(socket, commands.decide(self.session.state, frame, by=peer.client), frame.call)
            case Autonomy():
                self.record(*commands.set_autonomy(self.session.state, frame, client=peer.client))
            case Stop():
                self.record(*commands.stop(self.session.state, client=peer.client))

    def _answer(self, socket: ServerConnection, events: list[Any], ref: str) -> None:
        if events:
            self.record(*events, sender=(socket, ref))
        else:
            self._send(socket, Duplicate(ref=ref).model_dump_json())

    def _hello(self, socket: ServerConnection, hello: Hello) -> None:
        self.hellos.append(hello)
        state = self.session.state
        if hello.tools is not None:
            self.record(*commands.declare_tools(state, edge=(), client=hello.client, local=hello.tools))
        reset = hello.after > state.seq or (hello.log not in (None, self.log_id) and hello.after > 0)
        head = state.seq
        frames = self._greeting(hello, reset)
        self.peers = [peer for peer in self.peers if peer.client != hello.client]
        self.peers.append(
            Peer(socket=socket, client=hello.client, tools=hello.tools is not None, order=next(self._orders))
        )
        for frame in frames:
            self._send(socket, frame)
        assert head == state.seq
        self.record()

    def _greeting(self, hello: Hello, reset: bool) -> Iterator[str]:
        state = self.session.state
        running = [call for call in state.open_calls if call.runner == hello.client]
        pending = tuple(
            PendingCall(
                call=call.call, epoch=call.epoch, name=call.name, arguments=call.arguments, deadline_ms=0
            )
            for call in running
        )
        yield Welcome(
            v=PROTOCOL_VERSION, agent="memory", log=self.log_id, head=state.seq, reset=reset, pending=pending
        ).model_dump_json()
        missed = self.log[0 if reset else hello.after :]
        for start in range(0, len(missed), 3):
            yield events_frame(missed[start : start + 3])
        yield Synced(seq=state.seq).model_dump_json()
        yield from self._catch_up(hello)

    def _catch_up(self, hello: Hello) -> Iterator[str]:
        state, where = self.session.state, hello.position
        for block, (kind, text) in self._shown.items():
            data = text.encode()
            known = where is not None and (where.step, where.attempt, where.block) == (
                state.step,
                state.attempt,
                block,
            )
            off = where.off if where is not None and known and where.off <= len(data) else 0
            if off < len(data):
                yield Delta(
                    step=state.step,
                    attempt=state.attempt,
                    block=block,
                    kind=kind,
                    off=off,
                    text=data[off:].decode(),
                ).model_dump_json()


def _authorize(connection: ServerConnection, request: Request) -> Response | None:
    if request.headers.get("Authorization") == f"Bearer {TOKEN}":
        return None
    frame = ErrorFrame(code="unauthorized", message="no or wrong token", expected="another token")
    return connection.respond(HTTPStatus.UNAUTHORIZED, f'{{"error":{frame.model_dump_json()}}}')


def _now() -> int:
    return int(time.time() * 1000)
