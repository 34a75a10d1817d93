"""One client's connection to one agent, kept over every loss.

Decides when to connect again, what to send again, and which refusals end it. Knows frames, not what they mean to a person: the
view folds them, and a `Listener` hears of every change. What is sent has an id minted once and is kept until the session says
that it has it, so a loss at any point neither drops nor doubles it.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from pydantic import ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from edgeloop.client_end import ClientEnd
from edgeloop.events import Event, Recorded, StepStarted, StopRequested, TurnFinished
from edgeloop.frames import encode, parse_server_frame
from edgeloop.tools import ToolSpec
from edgeloop.wire import ClientCommand, ErrorFrame, SendMessage, Stop, Synced, ToolResult, Welcome
from edgeloop_client.endpoint import Endpoint, refusal_of
from edgeloop_client.errors import Gap, VersionMismatch
from edgeloop_client.replica import Replica
from edgeloop_client.view import Change, Frame, Skipped, View

BACKOFF_FIRST = 0.25
BACKOFF_CAP = 10.0
OPEN_TIMEOUT = 20.0
WELCOME_TIMEOUT = 30.0
CLOSE_TIMEOUT = 2.0
MAX_FRAME = 64 << 20
MAX_BAD = 5
"""Sockets in a row that brought nothing but frames which make no sense: the other side is no session we know."""


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
        epoch: int,
        keep_epoch: Callable[[int], None],
        replica: Replica,
        listener: Listener,
        tools: tuple[ToolSpec, ...] | None = None,
    ) -> None:
        self.view = View(local_tools=tools or ())
        self.bytes_up = 0
        self.bytes_down = 0
        self.connects = 0
        self._endpoint = endpoint
        self._listener = listener
        self._keep_epoch = keep_epoch
        self._replica = replica
        self._end = ClientEnd(client=client, epoch=epoch, tools=tools)
        self._wake = asyncio.Event()

    def restore(self) -> list[ClientCommand]:
        """Fold the copy of the log on this machine, and send what an earlier life asked for: only what is new need be fetched.

        Returns:
            What is sent again.
        """
        log, events = self._replica.events()
        self.view.log = log
        base = self._replica.base()
        if base is not None:
            self.view.apply(base)
        for recorded in events:
            self.view.fold(recorded)
        self._tell(list(events))
        unsent = self._replica.unsent()
        for command in unsent:
            self.send(command)
        return unsent

    # --- what a client sends ----------------------------------------------------------------------------------------

    def send(self, command: ClientCommand) -> None:
        """Send a message, a result, an answer or the autonomy, until the session answers it."""
        self._become(self._end.send(command))
        if isinstance(command, SendMessage | ToolResult):
            self.view.sent(command)

    def stop(self) -> None:
        """Stop the turn and what was asked so far; nothing where both are over: it must not hit a later turn."""
        if self.view.phase != "idle" or not self.is_settled:
            self.send(Stop())

    @property
    def is_settled(self) -> bool:
        """Whether the session has answered everything that was sent."""
        return not self._end.unanswered

    def _become(self, end: ClientEnd) -> None:
        if end is self._end:
            return
        if end.epoch != self._end.epoch:
            self._keep_epoch(end.epoch)
        self._end = end
        self._replica.keep(end.unanswered)
        self._wake.set()

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
                if self._end.phase == "live" or cursor != (self.view.log, self.view.seq):
                    failures = bad = 0
                bad += isinstance(error, _Bad)
                if bad >= MAX_BAD:
                    raise VersionMismatch(
                        f"{self._endpoint.base} sends what makes no sense: {error}", next_step="check --url"
                    ) from error
                seconds = backoff(failures, random.random())
                failures += 1
                self._end = self._end.lost()
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
        async with self._open() as socket:
            self.connects += 1
            self._become(self._end.opened())
            async with self._writing(socket):
                async with asyncio.timeout(WELCOME_TIMEOUT):
                    while self._end.phase in ("opened", "greeted"):
                        self._greeted(await self._read(socket))
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

    # --- reading ----------------------------------------------------------------------------------------------------

    async def _read(self, socket: ClientConnection) -> Frame:
        data = await socket.recv(decode=False)
        self.bytes_down += frame_bytes(len(data), masked=False)
        try:
            return parse_server_frame(data)
        except ValidationError as error:
            # Its own words would hold the peer's data.
            raise _Bad(f"not a frame: {error.error_count()} faults") from None

    def _greeted(self, frame: Frame) -> None:
        if not isinstance(frame, Welcome | ErrorFrame):
            raise _Bad(f"{frame.t!r} came before 'welcome'")
        self._take(frame)

    def _take(self, frame: Frame) -> None:
        self._fold(frame)
        self._become(self._end.receive(frame))
        match frame:
            case Welcome():
                self._listener.welcomed(frame)
            case Synced():
                self._listener.synced()
            case ErrorFrame(code="unknown_tools"):
                pass  # the next hello brings them
            case ErrorFrame(code="queue_full"):
                self._listener.held(frame)
            case ErrorFrame(ref=None):
                self._refuse(frame)
            case ErrorFrame():
                self._listener.refused(frame)
            case _:
                pass

    def _fold(self, frame: Frame) -> None:
        try:
            changes = self.view.apply(frame)
        except Gap as gap:
            self._keep(list(gap.changes))
            self.view.forget_live()
            raise _Bad(str(gap)) from gap
        self._keep(changes)

    def _keep(self, changes: list[Change]) -> None:
        events = [change for change in changes if isinstance(change, Recorded)]
        if events and self.view.log is not None:
            self._replica.add(self.view.log, events)
        for change in changes:
            if isinstance(change, Skipped) and self.view.log is not None:
                self._replica.skip(self.view.log, change.base)
        self._tell(changes)

    def _tell(self, changes: list[Change]) -> None:
        for change in changes:
            if isinstance(change, Recorded):
                self._note(change.event)
            self._listener.changed(change)

    def _note(self, event: Event) -> None:
        match event:
            case StepStarted():
                self._become(self._end.offered())
            case StopRequested() | TurnFinished():
                self._become(self._end.turn_over().offered())
            case _:
                pass

    def _refuse(self, error: ErrorFrame) -> None:
        """Take a refusal that is about no message and no call."""
        refusal = self._endpoint.told(error)
        if refusal is not None:
            raise refusal
        raise _Lost(f"{error.code}: {error.message}")

    # --- writing ----------------------------------------------------------------------------------------------------

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
                self._end, frames = self._end.generate(self.view.cursor)
                for frame in frames:
                    data = encode(frame)
                    self.bytes_up += frame_bytes(len(data.encode()), masked=True)
                    await socket.send(data)


def backoff(failures: int, jitter: float) -> float:
    """Seconds until the next attempt after so many failed ones in a row; `jitter` in [0, 1) spreads clients over the half."""
    return min(BACKOFF_FIRST * 2 ** min(failures, 16), BACKOFF_CAP) * (0.5 + 0.5 * jitter)


def frame_bytes(payload: int, *, masked: bool) -> int:
    """Size of a WebSocket frame on the wire (RFC 6455 section 5.2): its header of 2 to 14 bytes and its payload."""
    length = 0 if payload < 126 else 2 if payload < 1 << 16 else 8
    return 2 + length + (4 if masked else 0) + payload


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
