"""Delta sync as a value: the two ends of a connection as plain state machines. What comes in gives a new end and what to do.

Theory
======
The session's end of one socket is `new` until a `hello` was taken, `replaying` while the client fetches what it missed, then
`live`. The handshake is subscribe, watermark, replay, `synced`, live, and its last part is atomic: the page that reaches the
head, `synced`, and the text of the blocks being streamed are made in one go with becoming live. A replay longer than a page
is paged by the client: a page ends with `more`, and the next is made when the client asks with `next` and its cursor. So a
slow client holds one page of the session's memory at most, nothing is kept for it in between, and what is recorded meanwhile
is simply in a later page: not lost, not doubled, in order.

The client's end knows its unanswered commands, the outbox. While live it numbers and writes them in order (producers.py),
each once per socket; an answer settles all up to its number. After a loss it says nothing before `synced`. `welcome.acked`
then tells what was taken; what was not is written again under the same numbers. Where the session has forgotten a number, or
asks for one that the client holds no more, the client begins a new epoch and numbers the outbox from 1.

Both are frozen values without I/O. `receive` takes one frame; `generate` gives what is to be sent now, and asked again at
once gives nothing. The cursor is the fold's (`client/edgeloop_client/view.py`), which alone knows what is held; the log is
the store's.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from edgeloop.errors import Refused
from edgeloop.producers import Number, judge, taken
from edgeloop.replay import missed_frames, streaming_frames
from edgeloop.tools import ToolSpec, digest
from edgeloop.wire import (
    PROTOCOL_VERSION,
    Ack,
    Autonomy,
    ClientMessage,
    Decide,
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
    encode,
)

ClientCommand = SendMessage | ToolResult | Decide | Autonomy | Stop

# --- the session's end ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the session knows when a frame comes: its log, the digest of the tools it holds, the client's last command."""

    log: str
    head: int
    tools_digest: str
    last: Number | None


@dataclass(frozen=True, kw_only=True)
class Declare:
    """Record that this client runs tools: those it brought, or (None) those that are held of it."""

    tools: tuple[ToolSpec, ...] | None


@dataclass(frozen=True, kw_only=True)
class Heard:
    """Remember this number as the client's last."""

    number: Number


@dataclass(frozen=True, kw_only=True)
class Greet:
    """Answer with `welcome`."""

    hello: Hello


@dataclass(frozen=True, kw_only=True)
class Page:
    """Read a page of what is stored after a cursor, and send what `SessionEnd.page` makes of it."""

    after: int
    position: StreamPosition | None


@dataclass(frozen=True, kw_only=True)
class Take:
    """Apply a command; then do what `answered` or `refused` says."""

    command: ClientCommand


@dataclass(frozen=True, kw_only=True)
class Tell:
    """Send a frame."""

    frame: ServerMessage


Deed = Declare | Heard | Greet | Page | Take | Tell


@dataclass(frozen=True, kw_only=True)
class SessionEnd:
    """The session's end of a socket. `digest` names the tools that its client runs; None: it runs none.

    `broken` is the last epoch in which a gap was told on this socket: the client numbers anew what it has no answer to, so
    nothing more of that epoch may be taken here, even if it would be the next one.
    """

    phase: Literal["new", "replaying", "live"] = "new"
    client: str = ""
    digest: str | None = None
    broken: int = -1

    def receive(self, frame: ClientMessage, known: Known) -> "tuple[SessionEnd, list[Deed]]":
        """Take a frame; the deeds are to be done in order, and the new end to be kept once they are.

        Raises:
            Refused: not now, or not from this client; the end is unchanged.
        """
        match frame:
            case Hello():
                return self._hello(frame, known) if self.phase == "new" else (self, [])
            case Next():
                return self, [
                    Page(after=frame.after, position=frame.position)
                ] if self.phase == "replaying" else []
            case _ if self.phase == "live":
                return self._command(frame, known.last)
            case _:
                raise Refused(
                    code="hello_expected",
                    message=f"{frame.t} before hello was answered",
                    expected="hello first",
                )

    def _hello(self, hello: Hello, known: Known) -> "tuple[SessionEnd, list[Deed]]":
        number = None if hello.epoch is None else Number(epoch=hello.epoch, n=0)
        if number is not None and judge(known.last, number) == "fenced":
            raise _fenced(known.last)
        brings = hello.tools is not None
        if not brings and hello.tools_digest not in (None, known.tools_digest):
            raise Refused(
                code="unknown_tools",
                message="no tools of this digest are held",
                expected="hello with tools in full",
            )
        named = digest(hello.tools) if hello.tools is not None else hello.tools_digest
        deeds: list[Deed] = [Declare(tools=hello.tools)] if named is not None else []
        if number is not None and taken(known.last, number.epoch) == 0:
            deeds.append(Heard(number=number))
        after = 0 if is_useless(hello, known) else hello.after
        position = hello.position if after == hello.after else None
        deeds += [Greet(hello=hello), Page(after=after, position=position)]
        return SessionEnd(phase="replaying", client=hello.client, digest=named), deeds

    def _command(self, command: ClientCommand, last: Number | None) -> "tuple[SessionEnd, list[Deed]]":
        number = command.producer
        if number is None:
            return self, [Take(command=command)]
        verdict = judge(last, number)
        if verdict == "fenced":
            raise _fenced(last)
        if verdict == "gap" or number.epoch <= self.broken:
            gap = NumberGap(epoch=number.epoch, expected=taken(last, number.epoch) + 1)
            return replace(self, broken=max(self.broken, number.epoch)), [Tell(frame=gap)]
        if verdict == "repeated":
            return self, [Tell(frame=Ack(epoch=number.epoch, n=number.n))]
        return self, [Take(command=command)]

    def page(
        self,
        asked: Page,
        batches: list[tuple[int, str]],
        head: int,
        streaming: tuple[int, int, list[dict[str, Any]]] | None,
    ) -> "tuple[SessionEnd, Iterator[str]]":
        """The frames of a page, and the end after it: live, if nothing more is missed.

        Args:
            asked: the page asked for.
            batches: what is stored after its cursor, each batch with the last `seq` in it.
            head: of the log.
            streaming: step, attempt and the blocks being streamed, if a model speaks.
        """
        reached = batches[-1][0] if batches else asked.after
        missed = missed_frames((text for _, text in batches), asked.after, asked.position, tools=self.digest)
        if reached < head:
            return self, _chain(missed, [encode(More(seq=reached))])
        blocks = streaming_frames(*streaming, asked.position) if streaming is not None else ()
        return replace(self, phase="live"), _chain(missed, [encode(Synced(seq=head))], blocks)


def is_useless(hello: Hello, known: Known) -> bool:
    """Whether a cursor is of another log or from the future."""
    return hello.after > known.head or (hello.log not in (None, known.log) and hello.after > 0)


def welcome(hello: Hello, known: Known, agent: str) -> Welcome:
    """The answer to a `hello` that was taken."""
    return Welcome(
        v=PROTOCOL_VERSION,
        agent=agent,
        log=known.log,
        head=known.head,
        reset=is_useless(hello, known),
        acked=None if hello.epoch is None else taken(known.last, hello.epoch),
    )


def answered(command: ClientCommand) -> list[Deed]:
    """What follows a command that was taken, whether it changed anything or not."""
    number = command.producer
    return [] if number is None else [Heard(number=number), Tell(frame=Ack(epoch=number.epoch, n=number.n))]


def refused(command: ClientCommand, frame: ErrorFrame) -> list[Deed]:
    """What follows a command that was refused: it is answered, so the next one may come."""
    number = command.producer
    if number is None:
        return [Tell(frame=frame)]
    return [Heard(number=number), Tell(frame=frame.model_copy(update={"producer": number}))]


def _fenced(last: Number | None) -> Refused:
    epoch = last.epoch if last is not None else 0
    return Refused(
        code="fenced",
        message="a later life of this client was heard of",
        expected=f"an epoch of {epoch} or more",
    )


def _chain(*parts: Iterable[str]) -> Iterator[str]:
    for part in parts:
        yield from part


# --- the client's end -----------------------------------------------------------------------------------------------


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
