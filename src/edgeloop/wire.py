"""Client <-> session: every frame, as a pydantic model. `docs/protocol.md` and the JSON Schema are made from here and bodies.py.

Frames are JSON text with a type tag `t`. Knows no socket, and not how they are written (frames.py). Two rules keep the wire at
O(delta):

* a client that was sent a block's text as deltas is not sent it again: it gets `block_streamed` in place of `block_finished`;
* a client is not sent back what it brought: its own message and tool results come back as `accepted`, its tools as `tools_taken`.

Offsets and lengths of text are in UTF-8 bytes; times are ms since the epoch.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from edgeloop.autonomy import MAX_RULES, Mode, Rule
from edgeloop.events import BlockType, Event, Outcome, Usage
from edgeloop.limits import MAX_TOOLS
from edgeloop.model import NAME, Frozen
from edgeloop.producers import Number, Producer
from edgeloop.state import Phase
from edgeloop.tools import ToolSpec

PROTOCOL_VERSION = 1

Id = Annotated[str, Field(pattern=rf"^{NAME}$")]


_OURS = {
    "edge": "the edge itself as a runner",
    "http": "who answers a question over HTTP",
    "expiry": "the end of a question's time",
}


def _not_ours(client: str) -> str:
    if client in _OURS:
        raise ValueError(f"{client!r} names {_OURS[client]}")
    return client


ClientId = Annotated[Id, AfterValidator(_not_ours)]

# --- client to session ----------------------------------------------------------------------------------------------


class StreamPosition(Frozen):
    """How much of the block being streamed the client already holds: `off` UTF-8 bytes."""

    step: int
    attempt: int
    block: int
    off: int = Field(ge=0)


class Hello(Frozen):
    """The first frame on a socket. Nothing live is sent before it is answered.

    `after` is the client's cursor: the last `seq` it holds (0: none) of the log named `log` (absent on the first visit).
    `tools` are the local tools this client runs. A client that declared them before sends `tools_digest` alone; if the session
    does not hold them any more it refuses with `unknown_tools`, and the next `hello` on this socket brings them in full.
    Neither means that it runs none. `epoch` is the one in which it numbers its commands.
    """

    t: Literal["hello"] = "hello"
    v: int
    client: ClientId
    epoch: int | None = Field(default=None, ge=0, lt=1 << 53)
    after: int = Field(default=0, ge=0)
    log: Id | None = None
    tools: tuple[ToolSpec, ...] | None = Field(default=None, max_length=MAX_TOOLS)
    tools_digest: Id | None = None
    position: StreamPosition | None = None


class Next(Frozen):
    """Ask for the next page of what was missed, after `more` told of one. `after` is the cursor by now."""

    t: Literal["next"] = "next"
    after: int = Field(ge=0)
    position: StreamPosition | None = None


class Command(Frozen):
    """What a client asks for. With a `producer` number it is taken once and in order, and answered by `ack`, `gap` or `error`."""

    producer: Number | None = None


class SendMessage(Command):
    """A person's message. `id` is minted once by the client; sending it again is answered as before and changes nothing.

    `model` changes the session's model from this message on.
    """

    t: Literal["message"] = "message"
    id: Id
    text: str = Field(min_length=1)
    model: str | None = Field(default=None, min_length=1, max_length=200)


class ToolResult(Command):
    """The result of a call this client was assigned by `tool_started`. `epoch` is that event's."""

    t: Literal["tool_result"] = "tool_result"
    call: Id
    epoch: int
    outcome: Outcome
    content: str
    ms: int = Field(default=0, ge=0)


class Decide(Command):
    """Answer the question about a call. `session` allows its like for the rest of the session; `reason` is told to the model."""

    t: Literal["decide"] = "decide"
    call: Id
    allow: bool
    scope: Literal["once", "session"] = "once"
    reason: str = Field(default="", max_length=2_000)


class Autonomy(Command):
    """Set what the agent may do without asking (docs/design/autonomy.md)."""

    t: Literal["autonomy"] = "autonomy"
    mode: Mode
    rules: tuple[Rule, ...] = Field(default=(), max_length=MAX_RULES)
    eager: bool = True


class Stop(Command):
    """Stop the turn. A no-op when nothing is under way."""

    t: Literal["stop"] = "stop"


ClientCommand = SendMessage | ToolResult | Decide | Autonomy | Stop
ClientMessage = Hello | Next | ClientCommand
ClientFrame = Annotated[ClientMessage, Field(discriminator="t")]

# --- session to client ----------------------------------------------------------------------------------------------


class Welcome(Frozen):
    """The answer to `hello`: the log's identity and head. Events after the cursor follow, then `synced`, then live frames.

    `reset` means the client's cursor was of no use (another log, or from the future): drop what you hold, all events follow.
    `acked` is the last of the client's commands that was taken, by its `n` in the epoch of its `hello`.
    """

    t: Literal["welcome"] = "welcome"
    v: int
    agent: str
    log: str
    head: int
    reset: bool = False
    acked: int | None = None


class Events(Frozen):
    """Consecutive events of the log. Short forms (`block_streamed`, `accepted`) stand for events whose content you hold."""

    t: Literal["events"] = "events"
    events: tuple["WireEvent", ...]


class BlockStreamed(Frozen):
    """Stands for `block_finished` of a block whose deltas this socket was sent: its text is those, `bytes` long."""

    kind: Literal["block_streamed"] = "block_streamed"
    step: int
    block: int
    type: BlockType
    bytes: int
    tokens: int = 0
    partial: bool = False


class Accepted(Frozen):
    """Stands for the event made of what this client itself sent: `ref` is the message's id or the call's."""

    kind: Literal["accepted"] = "accepted"
    of: Literal["user_message_received", "tool_finished"]
    ref: str
    tokens: int = 0


class ToolsTaken(Frozen):
    """Stands for `tools_declared` of the tools with this `digest`, which this client runs, beside the edge's own."""

    kind: Literal["tools_taken"] = "tools_taken"
    client: str | None = None
    digest: str
    edge: tuple[ToolSpec, ...] = ()


class WireEvent(Frozen):
    """An event as it travels: the log's envelope around the event or its short form. `v` is the schema version that wrote it."""

    v: int | None = None
    seq: int
    at: int
    event: Event | BlockStreamed | Accepted | ToolsTaken
    producer: Producer | None = None


class More(Frozen):
    """Everything up to `seq` was sent and there is more: ask for it with `next`."""

    t: Literal["more"] = "more"
    seq: int


class Synced(Frozen):
    """Everything up to `seq` was sent; what follows is live."""

    t: Literal["synced"] = "synced"
    seq: int


class Snapshot(Frozen):
    """Stands for all events up to `seq`, where a cursor is older than what is kept of the log; `events` go on from there.

    What the session was after that event, a turn's end: drop what you hold and go on from this.
    """

    t: Literal["snapshot"] = "snapshot"
    seq: int
    phase: Phase
    provider: str
    model: str
    step: int
    turns: int
    usage: Usage
    message_tokens: int


class Delta(Frozen):
    """A piece of a block being streamed, live only: `off` is the UTF-8 offset of `text` in its block."""

    t: Literal["delta"] = "delta"
    step: int
    attempt: int
    block: int
    kind: Literal["text", "reasoning"]
    off: int
    text: str


class CallOpened(Frozen):
    """The model began to write a tool call, live only; its arguments come complete with `tool_call_completed`."""

    t: Literal["call"] = "call"
    step: int
    attempt: int
    block: int
    name: str


class Ack(Frozen):
    """Your commands up to `n` of `epoch` were taken or answered: none of them needs to be sent again."""

    t: Literal["ack"] = "ack"
    epoch: int
    n: int


class NumberGap(Frozen):
    """A command of `epoch` was not applied, for the one numbered `expected` did not come before it.

    Send again from there on, or begin a higher epoch with 1.
    """

    t: Literal["gap"] = "gap"
    epoch: int
    expected: int


class Duplicate(Frozen):
    """What you sent without a number was already recorded; nothing changed. `ref` is the message's id or the call's."""

    t: Literal["duplicate"] = "duplicate"
    ref: str


ErrorCode = Literal[
    "unauthorized",
    "expired",
    "forbidden",
    "not_configured",
    "not_found",
    "bad_frame",
    "too_large",
    "version",
    "hello_expected",
    "conflict",
    "gone",
    "bad_log",
    "unknown_call",
    "unknown_tools",
    "not_yours",
    "fenced",
    "too_frequent",
    "too_many_sockets",
    "queue_full",
    "session_full",
    "internal",
    "corrupt_log",
]


class ErrorFrame(Frozen):
    """A refusal: what was wrong, what was expected. `ref` names the message or call, `producer` the command's number."""

    t: Literal["error"] = "error"
    code: ErrorCode
    message: str
    expected: str | None = None
    ref: str | None = None
    producer: Number | None = None


ServerMessage = (
    Welcome
    | Snapshot
    | Events
    | More
    | Synced
    | Delta
    | CallOpened
    | Ack
    | NumberGap
    | Duplicate
    | ErrorFrame
)
ServerFrame = Annotated[ServerMessage, Field(discriminator="t")]

Events.model_rebuild()

# --- what is said about a frame --------------------------------------------------------------------------------------


def needed_for(frame: ClientMessage) -> str:
    """What a frame is called in `access.NEEDS`."""
    runs_tools = isinstance(frame, Hello) and (frame.tools, frame.tools_digest) != (None, None)
    return "hello with tools" if runs_tools else frame.t


def ref_of(frame: ClientMessage) -> str | None:
    """What a refusal of the frame names: the message's id or the call's."""
    match frame:
        case SendMessage():
            return frame.id
        case ToolResult() | Decide():
            return frame.call
        case _:
            return None
