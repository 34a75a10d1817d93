"""Client <-> session: every frame and HTTP body, as pydantic models. `docs/protocol.md` and the JSON Schema are made from here.

Frames are JSON text with a type tag `t`. Knows no socket. Two rules keep the wire at O(delta):

* a client that was sent a block's text as deltas is not sent it again: it gets `block_streamed` in place of `block_finished`;
* a client is not sent back what it brought: its own message and tool results come back as `accepted`, its tools as `tools_taken`.

Events travel as they are stored (codec.py): fields with their default value are left out.

Offsets and lengths of text are in UTF-8 bytes; times are ms since the epoch.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from edgeloop.autonomy import MAX_RULES, Mode, Rule
from edgeloop.errors import BadFrame
from edgeloop.events import (
    BlockFinished,
    BlockType,
    Event,
    Outcome,
    Recorded,
    StepError,
    ToolFinished,
    ToolsDeclared,
    Usage,
    UserMessageReceived,
)
from edgeloop.limits import (
    MAX_AUTONOMY_BYTES,
    MAX_BODY_BYTES,
    MAX_FRAME_BYTES,
    MAX_HELLO_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_RESULT_BYTES,
    MAX_TOOLS,
)
from edgeloop.model import NAME, Frozen
from edgeloop.producers import Number, Producer
from edgeloop.state import Phase
from edgeloop.tools import ToolSpec, digest

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


class Question(Frozen):
    """A call that waits for a person's answer until `expires`; `by` is the rule or mode that asks."""

    call: str
    name: str
    arguments: str
    by: str
    expires: int


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

# --- HTTP -----------------------------------------------------------------------------------------------------------


class PostMessage(Frozen):
    """Body of `POST /v1/agents/{id}/messages`."""

    id: Id
    text: str = Field(min_length=1)
    model: str | None = Field(default=None, min_length=1, max_length=200)


class Posted(Frozen):
    """Answer to a posted message or stop: the log's head; `duplicate` if it had been recorded before."""

    seq: int
    duplicate: bool = False


class EventsPage(Frozen):
    """Answer of `GET events?after=N`: events after N in order; ask again from `next` until it equals `head`."""

    log: str
    events: tuple[Recorded, ...]
    next: int
    head: int


class Fork(Frozen):
    """Body of `POST fork`: make the new agent `to` out of the events up to and with `at` (absent: all)."""

    to: Id
    at: int | None = Field(default=None, ge=1)


class Forked(Frozen):
    """Answer of `POST fork`: the new agent, its log and head."""

    agent: str
    log: str
    head: int


class Imported(Frozen):
    """Answer of `POST import`: how many lines of the file were taken; send on from there. Once `done`, the log and its head."""

    lines: int
    done: bool = False
    log: str | None = None
    head: int | None = None


class Origin(Frozen):
    """Where a copied session is from: the first `seq` events of the log named `log`."""

    log: str
    seq: int


class OpenCall(Frozen):
    """A call without a result; `runner` is absent while it waits for a client that has the tool."""

    call: str
    name: str
    runner: str | None = None


class StateView(Frozen):
    """Answer of `GET state`.

    `spent_usd` is what its model calls have cost, as far as prices are known. `awake_since` is when the session last came to
    life (it hibernates while nothing is under way). `rows_written`, `rows_read` and `statements` are what its SQL has
    cost since, by the platform's own count; each alarm set is a row written too.
    """

    v: int = PROTOCOL_VERSION
    agent: str
    log: str
    head: int
    phase: str
    provider: str
    model: str
    step: int
    turns: int
    mode: Mode
    calls: tuple[OpenCall, ...]
    questions: tuple[Question, ...]
    queued: int
    usage: Usage
    message_tokens: int
    spent_usd: float
    attached: int
    awake_since: int
    rows_written: int
    rows_read: int
    statements: int
    last_error: StepError | None = None
    origin: Origin | None = None


_client = TypeAdapter[ClientMessage](ClientFrame)
_decide = TypeAdapter(Decide)
_autonomy = TypeAdapter(Autonomy)
_server = TypeAdapter[ServerMessage](ServerFrame)
_post = TypeAdapter(PostMessage)
_fork = TypeAdapter(Fork)


def _explain(error: ValidationError) -> str:
    """Say what was wrong without echoing the peer's data back (it may be large or secret)."""
    return "; ".join(
        _explain_one(item["type"], item["loc"], item["msg"]) for item in error.errors(include_input=False)[:3]
    )


def _explain_one(kind: str, loc: tuple[int | str, ...], message: str) -> str:
    if kind == "union_tag_invalid":
        loc, message = (), "unknown t"
    if kind == "extra_forbidden":
        loc, message = (
            loc[:-1],
            "a field that is not part of it",
        )  # the last part of `loc` is the peer's own word
    return f"{'.'.join(str(part) for part in loc) or 'frame'}: {message}"


def _parse(adapter: TypeAdapter[Any], data: str | bytes, limit: int, expected: str) -> Any:
    _check_text("", data, limit)
    try:
        return adapter.validate_json(data)
    except ValidationError as error:
        raise BadFrame(code="bad_frame", message=_explain(error), expected=expected) from None


def _check_message(text: str) -> None:
    _check_text("text", text, MAX_MESSAGE_BYTES)
    if not text.strip():
        raise BadFrame(
            code="bad_frame", message="text: blank", expected="something to say: providers refuse blank text"
        )


def _check_text(name: str, text: str | bytes, limit: int) -> None:
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > limit:
        what = f"{name}: {size} bytes" if name else f"{size} bytes"
        raise BadFrame(code="too_large", message=what, expected=f"at most {limit} bytes")


def encode(frame: ClientMessage | ServerMessage) -> str:
    """A frame as it travels: its tag, and the fields that do not have their default value."""
    text = frame.model_dump_json(exclude_defaults=True)[1:]
    tag = f'{{"t":"{frame.t}"' + ("," if text != "}" else "")
    return tag + text


def events_frame(batch: Iterable[Recorded], *, streamed: bool = False, own: str | None = None) -> str:
    """Encode an `events` frame.

    Args:
        batch: consecutive events.
        streamed: the receivers were sent these blocks as deltas.
        own: the id of the message or call whose content the receiver itself sent.
    """
    return frame_of_records(event_record(recorded, streamed=streamed, own=own) for recorded in batch)


def frame_of_records(records: Iterable[str]) -> str:
    """An `events` frame of events that are encoded already, as by `event_record` or as stored."""
    return f'{{"t":"events","events":[{",".join(records)}]}}'


def event_record(
    recorded: Recorded, *, streamed: bool = False, own: str | None = None, tools: str | None = None
) -> str:
    """Encode one event of a frame; `tools` is the digest of the tools that the receiver runs, the rest as in `events_frame`."""
    event = _travelling(recorded.event, streamed, own, tools)
    text = event.model_dump_json(exclude_defaults=True)[1:]
    kind = f'{{"kind":"{event.kind}"' + ("," if text != "}" else "")
    return f'{{"seq":{recorded.seq},"at":{recorded.at},"event":{kind}{text}}}'


def _travelling(
    event: Event, streamed: bool, own: str | None, tools: str | None
) -> Event | BlockStreamed | Accepted | ToolsTaken:
    match event:
        case BlockFinished() if streamed and event.type != "opaque":
            return BlockStreamed(
                step=event.step,
                block=event.block,
                type=event.type,
                bytes=len(event.text.encode()),
                tokens=event.tokens,
                partial=event.partial,
            )
        case UserMessageReceived() if event.id == own:
            return Accepted(of=event.kind, ref=event.id, tokens=event.tokens)
        case ToolFinished() if event.call == own:
            return Accepted(of=event.kind, ref=event.call, tokens=event.tokens)
        case ToolsDeclared() if tools is not None and digest(event.local) == tools:
            edge = tuple(tool.spec for tool in event.tools if tool.place == "edge")
            return ToolsTaken(client=event.client, digest=tools, edge=edge)
        case _:
            return event


def parse_client_frame(data: str | bytes) -> ClientMessage:
    """Parse what a client sent.

    Raises:
        BadFrame: not a frame of the protocol, of another version, or over a limit.
    """
    frame = _parse(
        _client,
        data,
        MAX_FRAME_BYTES,
        "a JSON frame with t = hello, next, message, tool_result, decide, autonomy or stop",
    )
    match frame:
        case Hello() if frame.v != PROTOCOL_VERSION:
            raise BadFrame(code="version", message=f"v = {frame.v}", expected=f"v = {PROTOCOL_VERSION}")
        case Hello():
            _check_text("hello", data, MAX_HELLO_BYTES)
        case Autonomy():
            _check_text("autonomy", data, MAX_AUTONOMY_BYTES)
        case SendMessage():
            _check_message(frame.text)
        case ToolResult():
            _check_text("content", frame.content, MAX_RESULT_BYTES)
        case _:
            pass
    return frame


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


def parse_post(data: bytes) -> SendMessage:
    """Parse the body of `POST messages` into the same command a socket sends.

    Raises:
        BadFrame: as `parse_client_frame`.
    """
    body = _parse(_post, data, MAX_BODY_BYTES, 'a JSON object like {"id": "m1", "text": "..."}')
    _check_message(body.text)
    return SendMessage(id=body.id, text=body.text, model=body.model)


def parse_decide(data: bytes) -> Decide:
    """Parse the body of `POST approvals`.

    Raises:
        BadFrame: as `parse_client_frame`.
    """
    return _parse(_decide, data, MAX_BODY_BYTES, 'a JSON object like {"call": "3.1", "allow": true}')


def parse_autonomy(data: bytes) -> Autonomy:
    """Parse the body of `PUT autonomy`.

    Raises:
        BadFrame: as `parse_client_frame`.
    """
    return _parse(_autonomy, data, MAX_AUTONOMY_BYTES, 'a JSON object like {"mode": "edit", "rules": []}')


def parse_fork(data: bytes) -> Fork:
    """Parse the body of `POST fork`.

    Raises:
        BadFrame: as `parse_client_frame`.
    """
    return _parse(_fork, data, MAX_FRAME_BYTES, 'a JSON object like {"to": "name", "at": 12}')


def parse_server_frame(data: str | bytes) -> ServerMessage:
    """Parse what the session sent (the client's side).

    Raises:
        ValidationError: not a frame of this protocol version.
    """
    return _server.validate_json(data)


Events.model_rebuild()
