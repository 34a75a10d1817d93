"""Frames and bodies as text: how they are written, and how what peers send is read. What they are is in wire.py and bodies.py.

Events travel as they are stored (codec.py): fields with their default value are left out. What was wrong with a peer's text is
told without saying it again, for it may be large or secret.
"""

from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edgeloop.bodies import Fork, PostMessage
from edgeloop.errors import BadFrame
from edgeloop.events import BlockFinished, Event, Recorded, ToolFinished, ToolsDeclared, UserMessageReceived
from edgeloop.limits import (
    MAX_AUTONOMY_BYTES,
    MAX_BODY_BYTES,
    MAX_FRAME_BYTES,
    MAX_HELLO_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_RESULT_BYTES,
)
from edgeloop.tools import digest
from edgeloop.wire import (
    PROTOCOL_VERSION,
    Accepted,
    Autonomy,
    BlockStreamed,
    ClientFrame,
    ClientMessage,
    Decide,
    Hello,
    SendMessage,
    ServerFrame,
    ServerMessage,
    ToolResult,
    ToolsTaken,
)

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
