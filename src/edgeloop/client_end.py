"""The client's end of a connection, as a value: `receive` takes one frame, `generate` gives what is to be sent now.

Theory
======
The end knows its unanswered commands, the outbox. While live it numbers and writes them in order (producers.py), each once per
socket; an answer settles all up to its number. After a loss it says nothing before `synced`. `welcome.acked` then tells what
was taken; what was not is written again under the same numbers. Where the session has forgotten a number, or asks for one that
the client holds no more, the client begins a new epoch and numbers the outbox from 1.

No I/O; `generate`, asked again at once, gives nothing. The cursor is the fold's (`client/edgeloop_client/view.py`), which alone
knows what is held. The other end is session_end.py.
"""

from dataclasses import dataclass, replace
from typing import Literal

from edgeloop.producers import Number
from edgeloop.tools import ToolSpec, digest
from edgeloop.wire import (
    PROTOCOL_VERSION,
    Ack,
    Autonomy,
    ClientCommand,
    ClientMessage,
    ErrorFrame,
    Hello,
    More,
    Next,
    NumberGap,
    SendMessage,
    ServerMessage,
    Stop,
    StreamPosition,
    Synced,
    ToolResult,
    Welcome,
)


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """What the client's fold holds: the log up to `seq`, and of the block being streamed so much."""

    log: str | None
    seq: int
    position: StreamPosition | None = None


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A command without an answer; `n` is 0 until it is first written."""

    command: ClientCommand
    n: int = 0


@dataclass(frozen=True, kw_only=True)
class ClientEnd:
    """The client's end. `tools` None: it runs none. `declared`: the session is thought to hold them."""

    client: str
    epoch: int
    tools: tuple[ToolSpec, ...] | None = None
    declared: bool = False
    phase: Literal["away", "opened", "greeted", "replaying", "live"] = "away"
    behind: bool = False
    outbox: tuple[Waiting, ...] = ()
    held: tuple[Waiting, ...] = ()
    """Messages that found no place in the session's queue: `offered` sends them again."""
    numbered: int = 0
    """The last n given in this epoch."""
    written: int = 0
    """The last n written on this socket."""

    @property
    def unanswered(self) -> tuple[ClientCommand, ...]:
        """What the session has not taken yet."""
        return tuple(waiting.command for waiting in (*self.held, *self.outbox))

    # --- what the client does ---------------------------------------------------------------------------------------

    def opened(self) -> "ClientEnd":
        """A socket is open."""
        return replace(self.offered(), phase="opened", behind=False, written=0)

    def lost(self) -> "ClientEnd":
        """The socket is lost."""
        return replace(self, phase="away")

    def send(self, command: ClientCommand) -> "ClientEnd":
        """Take a command. A result that waits to be written, again or at all, gives way to a later one of its call."""
        for at, waiting in enumerate(self.outbox):
            held = waiting.command
            same = (
                isinstance(held, ToolResult) and isinstance(command, ToolResult) and held.call == command.call
            )
            if same and not self._is_written(waiting):
                return self._with(
                    *self.outbox[:at], replace(waiting, command=command), *self.outbox[at + 1 :]
                )
        return self._with(*self.outbox, Waiting(command=command))

    def offered(self) -> "ClientEnd":
        """What waited in the session is under way: what found no place may find one now."""
        return replace(self, outbox=(*self.outbox, *self.held), held=()) if self.held else self

    def turn_over(self) -> "ClientEnd":
        """The log shows a stop or the end of a turn: a stop that was not written yet must not hit the next one."""
        first = next(iter(self.outbox), None)
        if first is None or not isinstance(first.command, Stop) or self._is_written(first):
            return self
        rest = self._with(*self.outbox[1:])
        return rest if first.n == 0 else rest.renumbered()

    def renumbered(self) -> "ClientEnd":
        """A new epoch, in which the outbox is numbered from 1."""
        outbox = tuple(replace(waiting, n=0) for waiting in self.outbox)
        return replace(self, epoch=self.epoch + 1, outbox=outbox, numbered=0, written=0)

    # --- frames -----------------------------------------------------------------------------------------------------

    def generate(self, cursor: Cursor) -> tuple["ClientEnd", list[ClientMessage]]:
        """What is to be sent now, given what is held; the new end when it is."""
        match self.phase:
            case "opened":
                return replace(self, phase="greeted"), [self._hello(cursor)]
            case "replaying" if self.behind:
                return replace(self, behind=False), [Next(after=cursor.seq, position=cursor.position)]
            case "live":
                return self._commands()
            case _:
                return self, []

    def receive(self, frame: ServerMessage) -> "ClientEnd":
        """Take a frame, after the fold took it."""
        match frame:
            case Welcome() if self.phase == "greeted":
                return self._welcome(frame)
            case More() if self.phase == "replaying":
                return replace(self, behind=True)
            case Synced() if self.phase == "replaying":
                return replace(self, phase="live")
            case Ack() if frame.epoch == self.epoch:
                return self._settle(frame.n)
            case NumberGap() if frame.epoch == self.epoch:
                # What came before was taken, even where its answer is not here yet.
                return self._settle(frame.expected - 1).renumbered()
            case ErrorFrame(code="unknown_tools") if self.phase == "greeted":
                return replace(self, phase="opened", declared=False)
            case ErrorFrame(code="queue_full", producer=Number() as number) if number.epoch == self.epoch:
                full = tuple(replace(waiting, n=0) for waiting in self.outbox if waiting.n == number.n)
                return replace(self._settle(number.n), held=(*self.held, *full))
            case ErrorFrame(producer=Number() as number) if number.epoch == self.epoch:
                return self._settle(number.n)
            case _:
                return self

    def _hello(self, cursor: Cursor) -> Hello:
        full = self.tools if not self.declared else None
        named = digest(self.tools) if self.tools is not None and self.declared else None
        return Hello(
            v=PROTOCOL_VERSION,
            client=self.client,
            epoch=self.epoch,
            after=cursor.seq,
            log=cursor.log,
            tools=full,
            tools_digest=named,
            position=cursor.position,
        )

    def _welcome(self, frame: Welcome) -> "ClientEnd":
        end = replace(self, phase="replaying", declared=True)
        if frame.reset:
            # Another log: the calls and questions of the old one are gone, and its turn with them.
            end = end._with(*(w for w in end.outbox if isinstance(w.command, SendMessage | Autonomy)))
        acked = frame.acked or 0
        end = end._settle(acked)
        numbers = [waiting.n for waiting in end.outbox if waiting.n]
        expected = numbers[0] if numbers else end.numbered + 1
        return end if expected == acked + 1 else end.renumbered()

    def _settle(self, n: int) -> "ClientEnd":
        return self._with(*(waiting for waiting in self.outbox if not 0 < waiting.n <= n))

    def _commands(self) -> tuple["ClientEnd", list[ClientMessage]]:
        frames: list[ClientMessage] = []
        outbox: list[Waiting] = []
        numbered = self.numbered
        for waiting in self.outbox:
            if waiting.n == 0:
                numbered += 1
                waiting = replace(waiting, n=numbered)
            outbox.append(waiting)
            if waiting.n > self.written:
                number = Number(epoch=self.epoch, n=waiting.n)
                frames.append(waiting.command.model_copy(update={"producer": number}))
        return replace(self, outbox=tuple(outbox), numbered=numbered, written=numbered), frames

    def _is_written(self, waiting: Waiting) -> bool:
        return 0 < waiting.n <= self.written

    def _with(self, *outbox: Waiting) -> "ClientEnd":
        return replace(self, outbox=outbox)
