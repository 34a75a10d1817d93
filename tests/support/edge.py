"""What tests against the real Worker share: an agent's HTTP door, and a client of the public protocol that shows its hands.

Everything goes through the protocol of `edgeloop.wire`; nothing here reaches into workerd, but for `LocalEdge` killing it.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from edgeloop.bodies import EventsPage, StateView
from edgeloop.events import Recorded, ToolStarted
from edgeloop.frames import encode, parse_server_frame
from edgeloop.tools import Effect, ToolSpec, Touched
from edgeloop.wire import (
    PROTOCOL_VERSION,
    ClientMessage,
    Decide,
    Delta,
    ErrorFrame,
    Events,
    Hello,
    More,
    Next,
    SendMessage,
    Stop,
    Synced,
    ToolResult,
)
from edgeloop_client.view import Frame, View

TOKEN = "edge-ring-token"
HEADERS = {"authorization": f"Bearer {TOKEN}"}
PATIENCE = 30.0
"""Seconds that a condition is waited for; other helpers of the machine may be slow, the edge is not."""

E = TypeVar("E", bound=BaseModel)


def events_of(events: list[Recorded], kind: type[E]) -> list[E]:
    """The events of one kind, in order."""
    return [recorded.event for recorded in events if isinstance(recorded.event, kind)]


def kinds(events: list[Recorded]) -> list[str]:
    """What happened, by name."""
    return [recorded.event.kind for recorded in events]


@dataclass(frozen=True, kw_only=True)
class Door:
    """One agent over HTTP."""

    url: str
    agent: str

    @property
    def path(self) -> str:
        return f"{self.url}/v1/agents/{self.agent}"

    async def request(self, method: str, what: str = "", **options: Any) -> httpx.Response:
        """Ask with the right token unless `headers` says otherwise."""
        options.setdefault("headers", HEADERS)
        async with httpx.AsyncClient(timeout=PATIENCE) as http:
            return await http.request(method, f"{self.path}{what}", **options)

    async def post(self, text: str, *, id: str = "m1", model: str | None = None) -> httpx.Response:  # noqa: A002
        body = {"id": id, "text": text, "model": model or self.agent}
        return await self.request("POST", "/messages", json=body)

    async def state(self) -> StateView:
        answer = await self.request("GET", "/state")
        return StateView.model_validate_json(answer.content)

    async def log(self) -> tuple[str, list[Recorded]]:
        """The log's name and all events, page by page."""
        events: list[Recorded] = []
        after = 0
        while True:
            answer = await self.request("GET", f"/events?after={after}")
            assert answer.status_code == 200, answer.text
            page = EventsPage.model_validate_json(answer.content)
            events += page.events
            after = page.next
            if after == page.head:
                return page.log, events

    async def events(self) -> list[Recorded]:
        return (await self.log())[1]

    async def until(self, *wanted: str, times: int = 1, patience: float = PATIENCE) -> list[Recorded]:
        """Wait until the log holds `times` events of every wanted kind, and return it."""
        deadline = asyncio.get_running_loop().time() + patience
        while True:
            events = await self.events()
            if all(kinds(events).count(kind) >= times for kind in wanted):
                return events
            left = deadline - asyncio.get_running_loop().time()
            assert left > 0, f"no {wanted} x{times} in {patience} s: {kinds(events)}"
            await asyncio.sleep(0.05)

    async def view(self) -> View:
        """What the log says that a client should see."""
        return View.from_events(*await self.log())


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A local tool of a test's client: what it declares, and what it answers."""

    name: str
    run: Callable[[dict[str, Any]], str]
    effect: Effect = "read"
    deadline_ms: int = 60_000
    touches: dict[Touched, str] = field(default_factory=lambda: dict[Touched, str]())
    eager: bool = True

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(
            name=self.name,
            description=f"The tool {self.name}.",
            parameters={"type": "object"},
            effect=self.effect,
            deadline_ms=self.deadline_ms,
            touches=self.touches,
            eager=self.eager,
        )


@dataclass(frozen=True, kw_only=True)
class Assigned:
    """A call that a client was given."""

    call: str
    epoch: int
    name: str
    arguments: str


@dataclass(kw_only=True)
class Client:
    """A client: it answers its tools, folds what it is sent into `view`, and keeps the frames of this socket.

    `answering` false leaves its calls open. `view` outlives the socket: `open` again resumes from it.
    """

    door: Door
    name: str = "c1"
    tools: tuple[Tool, ...] | None = None
    answering: bool = True
    view: View = field(default_factory=View)
    frames: list[Frame] = field(default_factory=lambda: list[Frame]())
    assigned: list[Assigned] = field(default_factory=lambda: list[Assigned]())
    ran: list[tuple[str, int]] = field(default_factory=lambda: list[tuple[str, int]]())
    delta_bytes: int = 0
    """UTF-8 bytes of block text that came as deltas, over all sockets."""
    bytes_up: int = 0
    bytes_down: int = 0
    """Bytes of the frames' payload, over all sockets."""
    closed: tuple[int, str] | None = None
    fault: Exception | None = None
    """What the session sent that does not fit what is held; told to whoever waits."""
    _socket: ClientConnection | None = None
    _reader: asyncio.Task[None] | None = None
    _moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- the socket -------------------------------------------------------------------------------------------------

    async def open(self, *, with_position: bool = True) -> Self:
        """Connect, shake hands from the view's cursor, and return when all that was missed is here."""
        self.frames.clear()
        self.closed = None
        self._socket = await connect(
            self.door.path.replace("http", "ws", 1) + "/ws",
            additional_headers=HEADERS,
            compression=None,
            close_timeout=5,
            max_size=None,
            proxy=None,
        )
        self._reader = asyncio.create_task(self._read(self._socket))
        if self.tools is not None:
            self.view.local_tools = tuple(tool.spec for tool in self.tools)
        hello = Hello(
            v=PROTOCOL_VERSION,
            client=self.name,
            after=self.view.seq,
            log=self.view.log,
            tools=None if self.tools is None else tuple(tool.spec for tool in self.tools),
            position=self.view.position if with_position else None,
        )
        await self.send(hello)
        await self.until(lambda: self.got(Synced))
        return self

    async def close(self) -> None:
        """Leave with a closing handshake."""
        if self._socket is not None:
            await self._socket.close()
        await self._rest()

    async def drop(self) -> None:
        """Lose the connection, as a pulled cable would."""
        if self._socket is not None:
            self._socket.transport.abort()
        await self._rest()

    async def stall(self) -> None:
        """Stop reading: what is sent from now on fills the buffers on the way."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _rest(self) -> None:
        reader, self._reader, self._socket = self._reader, None, None
        if reader is not None:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def send(self, frame: ClientMessage) -> None:
        assert self._socket is not None
        if isinstance(frame, SendMessage | ToolResult):
            self.view.sent(frame)
        data = encode(frame)
        self.bytes_up += len(data.encode())
        await self._socket.send(data)

    async def send_raw(self, data: str | bytes) -> None:
        assert self._socket is not None
        await self._socket.send(data)

    async def say(self, text: str, *, id: str = "m1", model: str | None = None) -> None:  # noqa: A002
        await self.send(SendMessage(id=id, text=text, model=model or self.door.agent))

    async def stop(self) -> None:
        await self.send(Stop())

    async def decide(self, call: str, allow: bool, *, session: bool = False, reason: str = "") -> None:
        scope = "session" if session else "once"
        await self.send(Decide(call=call, allow=allow, scope=scope, reason=reason))

    # --- what came --------------------------------------------------------------------------------------------------

    def got(self, kind: type[E]) -> list[E]:
        """The frames of one kind that this socket brought."""
        return [frame for frame in self.frames if isinstance(frame, kind)]

    def wire_events(self) -> list[Any]:
        """The events of this socket as they travelled, short forms and all."""
        return [wire.event for frame in self.got(Events) for wire in frame.events]

    def shown(self) -> str:
        """The text of this socket's deltas, in order."""
        return "".join(delta.text for delta in self.got(Delta))

    async def until(self, condition: Callable[[], Any], patience: float = PATIENCE) -> None:
        """Wait until the condition holds; it is looked at after every frame."""
        async with asyncio.timeout(patience), self._moved:
            await self._moved.wait_for(lambda: self.fault is not None or bool(condition()))
        if self.fault is not None:
            raise self.fault

    async def until_event(self, kind: str, times: int = 1, patience: float = PATIENCE) -> None:
        """Wait until this socket brought so many events of a kind."""
        await self.until(lambda: [e.kind for e in self.wire_events()].count(kind) >= times, patience)

    async def until_idle(self, turns: int = 1, patience: float = PATIENCE) -> View:
        """Wait until so many turns have ended, and return what is seen."""
        await self.until(lambda: self.view.turns >= turns and self.view.phase == "idle", patience)
        return self.view

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for data in socket:
                frame = parse_server_frame(data)
                self.bytes_down += len(data.encode() if isinstance(data, str) else data)
                self.frames.append(frame)
                self._take(frame)
                await self._tell()
                await self._work(frame)
        except ConnectionClosed:
            pass
        except Exception as error:
            self.fault = error
        self.closed = (socket.close_code or 1006, socket.close_reason or "")
        await self._tell()

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    def _take(self, frame: Frame) -> None:
        self.view.apply(frame)
        if isinstance(frame, Delta):
            self.delta_bytes += len(frame.text.encode())

    async def _work(self, frame: Frame) -> None:
        if isinstance(frame, More):
            await self.send(Next(after=self.view.seq, position=self.view.position))
        calls = self._assigned(frame) if self.tools is not None else []
        self.assigned += calls
        for call in calls if self.answering else ():
            await self.answer(call)

    def _assigned(self, frame: Frame) -> list[Assigned]:
        """What this frame gives this client to do: with `synced` what it was given before, and from then on what is started."""
        if isinstance(frame, Synced):
            calls = self.view.assigned(self.name)
        elif isinstance(frame, Events) and self.got(Synced):
            started = [wire.event for wire in frame.events if isinstance(wire.event, ToolStarted)]
            mine = [event.call for event in started if event.runner == self.name]
            calls = [call for call in self.view.assigned(self.name) if call.call in mine]
        else:
            calls = []
        return [
            Assigned(call=call.call, epoch=call.epoch, name=call.name, arguments=call.arguments)
            for call in calls
        ]

    async def answer(self, call: Assigned, content: str | None = None) -> None:
        """Run a call with its tool and send the result."""
        self.ran.append((call.call, call.epoch))
        tool = next(tool for tool in self.tools or () if tool.name == call.name)
        text = content if content is not None else tool.run(json.loads(call.arguments))
        await self.send(ToolResult(call=call.call, epoch=call.epoch, outcome="ok", content=text))


@asynccontextmanager
async def raw_socket(
    door: Door, *, headers: dict[str, str] | None = None
) -> AsyncGenerator[ClientConnection]:
    """A socket without a handshake of ours, for saying what no client should."""
    async with connect(
        door.path.replace("http", "ws", 1) + "/ws",
        additional_headers=HEADERS if headers is None else headers,
        close_timeout=5,
        max_size=None,
        proxy=None,
    ) as socket:
        yield socket


async def refusal(socket: ClientConnection) -> ErrorFrame:
    """The typed error that comes next."""
    frame = parse_server_frame(await asyncio.wait_for(socket.recv(), PATIENCE))
    assert isinstance(frame, ErrorFrame), frame
    return frame
