"""One client's connection to one agent, kept over every loss.

Decides when to connect again, what to send again, and which refusals end it. Knows frames, not what they mean to a person: the
view folds them, and a `Listener` hears of every change. What is sent has an id minted once and is kept until the session says
that it has it, so a loss at any point neither drops nor doubles it.
"""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncGenerator
from typing import Protocol

from pydantic import ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from edgeloop.events import (
    ApprovalDecided,
    AutonomyChanged,
    Recorded,
    StepStarted,
    StopRequested,
    ToolFinished,
    TurnFinished,
    UserMessageReceived,
)
from edgeloop.tools import ToolSpec
from edgeloop.wire import (
    PROTOCOL_VERSION,
    Autonomy,
    Decide,
    Duplicate,
    ErrorFrame,
    Hello,
    SendMessage,
    Stop,
    Synced,
    ToolResult,
    Welcome,
    parse_server_frame,
)
from edgeloop_client.endpoint import Endpoint, refusal_of
from edgeloop_client.errors import Gap, VersionMismatch
from edgeloop_client.view import Change, Frame, Restarted, View

BACKOFF_FIRST = 0.25
BACKOFF_CAP = 10.0
OPEN_TIMEOUT = 20.0
WELCOME_TIMEOUT = 30.0
CLOSE_TIMEOUT = 2.0
MAX_FRAME = 64 << 20
MAX_BAD = 5
"""Sockets in a row that brought nothing but frames which make no sense: the other side is no session we know."""


Kept = SendMessage | ToolResult | Decide | Autonomy
"""What is kept until the log has it; by its message's id or its call's."""
AUTONOMY = "the autonomy set here"
"""The one `Autonomy` frame's own key: no id holds a blank."""


class Listener(Protocol):
    """Hears what happens on a connection, in order, on the event loop."""

    def changed(self, change: Change) -> None:
        """The view changed."""
        ...

    def welcomed(self, welcome: Welcome) -> None:
        """The handshake was answered; missed events follow."""
        ...

    def synced(self) -> None:
        """Nothing is missed any more; what follows is live."""
        ...

    def refused(self, error: ErrorFrame) -> None:
        """Something sent was refused; `ref` says what."""
        ...

    def held(self, error: ErrorFrame) -> None:
        """Something sent found no place; it is kept, and sent again when there may be one."""
        ...

    def lost(self, why: str, seconds: float) -> None:
        """The connection went; the next attempt is made in so many seconds."""
        ...


class _Lost(Exception):
    """The socket is of no use any more; connect again."""


class _Bad(_Lost):
    """What came over the socket makes no sense."""


class Connection:
    """See the module's text. `run()` is the life of it; what is sent before, or while it is lost, is sent when it can be."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        client: str,
        listener: Listener,
        tools: tuple[ToolSpec, ...] | None = None,
    ) -> None:
        self.view = View()
        self.bytes_up = 0
        self.bytes_down = 0
        self.connects = 0
        self._endpoint = endpoint
        self._client = client
        self._listener = listener
        self._tools = tools
        self._outbox: dict[str, Kept] = {}
        self._unsent: list[str] = []
        self._held: list[str] = []
        self._stop = False
        self._stop_unsent = False
        self._stop_covers: set[str] = set()
        self._synced = False
        self._wake = asyncio.Event()

    # --- what a client sends ----------------------------------------------------------------------------------------

    def send(self, frame: Kept) -> None:
        """Send a message, a result, an answer or the autonomy, until the log has it."""
        ref = _ref(frame)
        self._outbox.pop(ref, None)
        self._outbox[ref] = frame
        self._unsent.append(ref)
        if isinstance(frame, SendMessage | ToolResult):
            self.view.sent(frame)
        self._wake.set()

    def stop(self) -> None:
        """Stop the turn and what was asked so far, until the log says so."""
        self._stop = self._stop_unsent = True
        self._stop_covers = set(self._outbox)
        self._wake.set()

    @property
    def is_settled(self) -> bool:
        """Whether the session has everything that was sent."""
        return not self._outbox

    # --- connecting -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Stay connected until cancelled.

        Raises:
            ClientError: what trying again cannot mend: nobody there at the first attempt, no access, another version.
        """
        failures = bad = 0
        while True:
            cursor = (self.view.log, self.view.seq)
            try:
                await self._once()
            except (_Lost, ConnectionClosed, OSError, TimeoutError, InvalidHandshake) as error:
                self._check_hopeless(error)
                if self._synced or cursor != (self.view.log, self.view.seq):
                    failures = bad = 0
                bad += isinstance(error, _Bad)
                if bad >= MAX_BAD:
                    raise VersionMismatch(
                        f"{self._endpoint.base} sends what makes no sense: {error}", next_step="check --url"
                    ) from error
                seconds = backoff(failures, random.random())
                failures += 1
                self._listener.lost(_reason(error), seconds)
                await asyncio.sleep(seconds)

    def _check_hopeless(self, error: Exception) -> None:
        if isinstance(error, InvalidStatus):
            refusal = self._endpoint.refused(*refusal_of(error))
            if refusal is not None:
                raise refusal from error
        if not self.connects and not isinstance(error, _Lost | ConnectionClosed):
            raise self._endpoint.nobody(_reason(error)) from error

    async def _once(self) -> None:
        """One socket, from its opening to its loss."""
        self._synced = False
        async with self._open() as socket:
            self.connects += 1
            await self._write(socket, self._hello())
            async with asyncio.timeout(WELCOME_TIMEOUT):
                self._welcome(await self._read(socket))
            async with self._writing(socket):
                while True:
                    self._take(await self._read(socket))

    def _open(self) -> connect:
        return connect(
            self._endpoint.socket,
            additional_headers=self._endpoint.headers,
            # Deltas are small and come one by one: compressing each would cost time and save next to nothing.
            compression=None,
            open_timeout=OPEN_TIMEOUT,
            close_timeout=CLOSE_TIMEOUT,
            max_size=MAX_FRAME,
            proxy=None if self._endpoint.is_local else True,
        )

    def _hello(self) -> Hello:
        return Hello(
            v=PROTOCOL_VERSION,
            client=self._client,
            after=self.view.seq,
            log=self.view.log,
            tools=self._tools,
            position=self.view.position,
        )

    # --- reading ----------------------------------------------------------------------------------------------------

    async def _read(self, socket: ClientConnection) -> Frame:
        data = await socket.recv(decode=False)
        self.bytes_down += frame_bytes(len(data), masked=False)
        try:
            return parse_server_frame(data)
        except ValidationError as error:
            # Its own words would hold the peer's data.
            raise _Bad(f"not a frame: {error.error_count()} faults") from None

    def _welcome(self, frame: Frame) -> None:
        if isinstance(frame, ErrorFrame):
            self._refuse(frame)
            return
        if not isinstance(frame, Welcome):
            raise _Bad(f"{frame.t!r} came before 'welcome'")
        self._apply(frame)
        self._listener.welcomed(frame)

    def _take(self, frame: Frame) -> None:
        match frame:
            case ErrorFrame():
                self._refuse(frame)
            case Duplicate():
                self._settle(frame.ref)
            case Synced():
                self._apply(frame)
                self._send_again()
                self._listener.synced()
            case _:
                self._apply(frame)

    def _apply(self, frame: Frame) -> None:
        try:
            changes = self.view.apply(frame)
        except Gap as gap:
            self._tell(list(gap.changes))
            self.view.forget_live()
            raise _Bad(str(gap)) from gap
        self._tell(changes)

    def _tell(self, changes: list[Change]) -> None:
        for change in changes:
            self._note(change)
            self._listener.changed(change)

    def _note(self, change: Change) -> None:
        """Learn from the log what need not be sent again."""
        if isinstance(change, Restarted):
            self._stop = False
            self._outbox = {
                ref: frame for ref, frame in self._outbox.items() if isinstance(frame, SendMessage | Autonomy)
            }
        if not isinstance(change, Recorded):
            return
        match change.event:
            case UserMessageReceived() as event:
                self._settle(event.id)
            case AutonomyChanged():
                self._settle(AUTONOMY)
            case ToolFinished() as event:
                self._settle(event.call)
            case ApprovalDecided() as event if isinstance(self._outbox.get(event.call), Decide):
                self._settle(event.call)
            case StopRequested() | TurnFinished():
                self._stop = self._stop_unsent = False
                self._offer_held()
            case StepStarted():
                self._offer_held()
            case _:
                pass

    def _settle(self, ref: str) -> None:
        earlier = list(itertools.takewhile(lambda kept: kept != ref, self._outbox))
        if isinstance(self._outbox.pop(ref, None), SendMessage) and AUTONOMY in earlier:
            # Frames are taken in order, and nothing answers an autonomy that was so before: the message behind it does.
            self._outbox.pop(AUTONOMY)

    def _refuse(self, error: ErrorFrame) -> None:
        if error.code == "queue_full" and error.ref in self._outbox:
            self._held.append(error.ref)
            self._listener.held(error)
            return
        if error.ref is not None:
            self._settle(error.ref)
            self._listener.refused(error)
            return
        refusal = self._endpoint.told(error)
        if refusal is not None:
            raise refusal
        raise _Lost(f"{error.code}: {error.message}")

    def _offer_held(self) -> None:
        """What waited is under way: what found no place may find one now."""
        self._unsent += self._held
        self._held = []
        self._wake.set()

    # --- writing ----------------------------------------------------------------------------------------------------

    def _send_again(self) -> None:
        """After a loss: what the missed events did not answer is sent again, and new things may be."""
        self._synced = True
        self._unsent = list(self._outbox)
        self._held = []
        self._stop_unsent = self._stop
        self._wake.set()

    @contextlib.asynccontextmanager
    async def _writing(self, socket: ClientConnection) -> AsyncGenerator[None]:
        writer = asyncio.create_task(self._write_all(socket))
        try:
            yield
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _write_all(self, socket: ClientConnection) -> None:
        """Send what there is, for as long as the socket lives; its loss is the reader's to tell."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._synced and (frame := self._next()) is not None:
                    await self._write(socket, frame)

    def _next(self) -> Kept | Stop | None:
        # A stop comes after what was asked before it, and before what was asked after.
        if self._stop_unsent and self._stop_covers.isdisjoint(self._unsent):
            self._stop_unsent = False
            if self._stop_matters:
                return Stop()
        while self._unsent:
            frame = self._outbox.get(self._unsent.pop(0))
            if frame is not None:
                return frame
        return None

    @property
    def _stop_matters(self) -> bool:
        """Whether what it was meant for can still be under way: it must not hit a later turn."""
        return self.view.phase != "idle" or not self._stop_covers.isdisjoint(self._outbox)

    async def _write(self, socket: ClientConnection, frame: Hello | Kept | Stop) -> None:
        data = frame.model_dump_json(exclude_none=True)
        self.bytes_up += frame_bytes(len(data.encode()), masked=True)
        await socket.send(data)


def backoff(failures: int, jitter: float) -> float:
    """Seconds until the next attempt after so many failed ones in a row; `jitter` in [0, 1) spreads clients over the half."""
    return min(BACKOFF_FIRST * 2 ** min(failures, 16), BACKOFF_CAP) * (0.5 + 0.5 * jitter)


def frame_bytes(payload: int, *, masked: bool) -> int:
    """Size of a WebSocket frame on the wire (RFC 6455 section 5.2): its header of 2 to 14 bytes and its payload."""
    length = 0 if payload < 126 else 2 if payload < 1 << 16 else 8
    return 2 + length + (4 if masked else 0) + payload


def _ref(frame: Kept) -> str:
    match frame:
        case SendMessage():
            return frame.id
        case Autonomy():
            return AUTONOMY
        case _:
            return frame.call


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
