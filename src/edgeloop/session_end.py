"""The session's end of a socket, as a value: what comes in gives a new end and what to do.

Theory
======
The end is `new` until a `hello` was taken, `replaying` while the client fetches what it missed, then `live`. The handshake is
subscribe, watermark, replay, `synced`, live, and its last part is atomic: the page that reaches the head, `synced`, and the
text of the blocks being streamed are made in one go with becoming live. A replay longer than a page is paged by the client: a
page ends with `more`, and the next is made when the client asks with `next` and its cursor. So a slow client holds one page of
the session's memory at most, nothing is kept for it in between, and what is recorded meanwhile is simply in a later page: not
lost, not doubled, in order.

No I/O; the log is the store's. The other end is client_end.py.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from edgeloop.errors import Refused
from edgeloop.frames import encode
from edgeloop.producers import Number, judge, taken
from edgeloop.replay import missed_frames, streaming_frames
from edgeloop.tools import ToolSpec, digest
from edgeloop.wire import (
    PROTOCOL_VERSION,
    Ack,
    ClientCommand,
    ClientMessage,
    ErrorFrame,
    Hello,
    More,
    Next,
    NumberGap,
    ServerMessage,
    StreamPosition,
    Synced,
    Welcome,
)


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
