"""Client <-> session: every frame and HTTP body, as pydantic models. `docs/protocol.md` and the JSON Schema are made from here.

Frames are JSON text with a type tag `t`. Knows no socket. Two rules keep the wire at O(delta):

* a client that was sent a block's text as deltas is not sent it again: it gets `block_streamed` in place of `block_finished`;
* a client is not sent back what it brought: its own message and tool results come back as `accepted`.

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
from edgeloop.model import Frozen
from edgeloop.tools import ToolSpec

PROTOCOL_VERSION = 1

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]


def _not_the_edge(client: str) -> str:
    if client == "edge":
        raise ValueError("'edge' names the edge itself as a runner")
    return client


ClientId = Annotated[Id, AfterValidator(_not_the_edge)]

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
    `tools` are the local tools this client runs; absent means it runs none.
    """

    t: Literal["hello"] = "hello"
    v: int
    client: ClientId
    after: int = Field(default=0, ge=0)
    log: Id | None = None
    tools: tuple[ToolSpec, ...] | None = Field(default=None, max_length=MAX_TOOLS)
    position: StreamPosition | None = None


class SendMessage(Frozen):
    """A person's message. `id` is minted once by the client; sending it again is answered as before and changes nothing.

    `model` changes the session's model from this message on.
    """

    t: Literal["message"] = "message"
    id: Id
    text: str = Field(min_length=1)
    model: str | None = Field(default=None, min_length=1, max_length=200)


class ToolResult(Frozen):
    """The result of a call this client was assigned by `tool_started`. `epoch` is that event's."""

    t: Literal["tool_result"] = "tool_result"
    call: Id
    epoch: int
    outcome: Outcome
    content: str
    ms: int = Field(default=0, ge=0)


class Decide(Frozen):
    """Answer the question about a call. `session` allows its like for the rest of the session; `reason` is told to the model."""

    t: Literal["decide"] = "decide"
    call: Id
    allow: bool
    scope: Literal["once", "session"] = "once"
    reason: str = Field(default="", max_length=2_000)


class Autonomy(Frozen):
    """Set what the agent may do without asking (docs/design/autonomy.md)."""

    t: Literal["autonomy"] = "autonomy"
    mode: Mode
    rules: tuple[Rule, ...] = Field(default=(), max_length=MAX_RULES)
    eager: bool = True


class Stop(Frozen):
    """Stop the turn. A no-op when nothing is under way."""

    t: Literal["stop"] = "stop"


ClientMessage = Hello | SendMessage | ToolResult | Decide | Autonomy | Stop
ClientFrame = Annotated[ClientMessage, Field(discriminator="t")]

# --- session to client ----------------------------------------------------------------------------------------------


class PendingCall(Frozen):
    """A call that this client was assigned before its cursor and that has no result yet."""

    call: str
    epoch: int
    name: str
    arguments: str
    deadline_ms: int


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
    """

    t: Literal["welcome"] = "welcome"
    v: int
    agent: str
    log: str
    head: int
    reset: bool = False
    pending: tuple[PendingCall, ...] = ()
    questions: tuple[Question, ...] = ()


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


class WireEvent(Frozen):
    """An event as it travels: the log's envelope around the event or its short form."""

    seq: int
    at: int
    event: Event | BlockStreamed | Accepted


class Synced(Frozen):
    """Everything up to `seq` was sent; what follows is live."""

    t: Literal["synced"] = "synced"
    seq: int


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


class Duplicate(Frozen):
    """What you sent was already recorded; nothing changed. `ref` is the message's id or the call's."""

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
    "not_yours",
    "too_frequent",
    "too_many_sockets",
    "queue_full",
    "session_full",
    "internal",
    "corrupt_log",
]


class ErrorFrame(Frozen):
    """A refusal: what was wrong, what was expected. `ref` names the message or call it is about."""

    t: Literal["error"] = "error"
    code: ErrorCode
    message: str
    expected: str | None = None
    ref: str | None = None


ServerFrame = Annotated[
    Welcome | Events | Synced | Delta | CallOpened | Duplicate | ErrorFrame,
    Field(discriminator="t"),
]

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

    `awake_since` is when the session last came to life (it hibernates while nothing is under way). `rows_written`, `rows_read`
    and `statements` are what its SQL has cost since, by the platform's own count; each alarm set is a row written too.
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
_server = TypeAdapter[Welcome | Events | Synced | Delta | CallOpened | Duplicate | ErrorFrame](ServerFrame)
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


def events_frame(batch: Iterable[Recorded], *, streamed: bool = False, own: str | None = None) -> str:
    """Encode an `events` frame.

    Args:
        batch: consecutive events.
        streamed: the receivers were sent these blocks as deltas.
        own: the id of the message or call whose content the receiver itself sent.
    """
    events = (f'{{"seq":{r.seq},"at":{r.at},"event":{_travelling(r.event, streamed, own)}}}' for r in batch)
    return f'{{"t":"events","events":[{",".join(events)}]}}'


def _travelling(event: Event, streamed: bool, own: str | None) -> str:
    short: Frozen = event
    match event:
        case BlockFinished() if streamed and event.type != "opaque":
            short = BlockStreamed(
                step=event.step,
                block=event.block,
                type=event.type,
                bytes=len(event.text.encode()),
                tokens=event.tokens,
                partial=event.partial,
            )
        case UserMessageReceived() if event.id == own:
            short = Accepted(of=event.kind, ref=event.id, tokens=event.tokens)
        case ToolFinished() if event.call == own:
            short = Accepted(of=event.kind, ref=event.call, tokens=event.tokens)
        case _:
            pass
    return short.model_dump_json(exclude_none=True)


def parse_client_frame(data: str | bytes) -> ClientMessage:
    """Parse what a client sent.

    Raises:
        BadFrame: not a frame of the protocol, of another version, or over a limit.
    """
    frame = _parse(
        _client,
        data,
        MAX_FRAME_BYTES,
        "a JSON frame with t = hello, message, tool_result, decide, autonomy or stop",
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
    return "hello with tools" if isinstance(frame, Hello) and frame.tools is not None else frame.t


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


def parse_server_frame(
    data: str | bytes,
) -> Welcome | Events | Synced | Delta | CallOpened | Duplicate | ErrorFrame:
    """Parse what the session sent (the client's side).

    Raises:
        ValidationError: not a frame of this protocol version.
    """
    return _server.validate_json(data)


Events.model_rebuild()
