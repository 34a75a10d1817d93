"""The wire: every frame there and back, hostile ones refused without an echo, the documents current."""

import json
from importlib import import_module
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edgeloop import bodies, events, wire
from edgeloop.errors import BadFrame
from edgeloop.events import BlockFinished, Recorded, ToolFinished, TurnFinished, UserMessageReceived
from edgeloop.frames import (
    events_frame,
    parse_autonomy,
    parse_client_frame,
    parse_decide,
    parse_post,
    parse_server_frame,
)
from edgeloop.limits import MAX_FRAME_BYTES, MAX_MESSAGE_BYTES, MAX_RESULT_BYTES
from edgeloop.model import Frozen
from edgeloop.wire import Accepted, BlockStreamed, Events, Hello, SendMessage
from scripts import gen_docs

CLIENT_FRAMES = gen_docs.members(wire.ClientFrame)
SERVER_FRAMES = gen_docs.members(wire.ServerFrame)
EVENTS = gen_docs.members(events.Event)
BODIES: list[type[Frozen]] = [bodies.PostMessage, bodies.Posted, bodies.EventsPage, bodies.StateView]
SECRET = "S3CRET"


def name_of(model: type[Frozen]) -> str:
    """A test's id."""
    return model.__name__


@pytest.mark.parametrize("model", CLIENT_FRAMES, ids=name_of)
@pytest.mark.parametrize("encode", [str, str.encode], ids=["text", "bytes"])
def test_a_client_frame_is_read_back(model: type[Frozen], encode: Any) -> None:
    """Each frame a client may send parses into its model."""
    text = gen_docs.example(model)
    assert parse_client_frame(encode(text)) == model.model_validate_json(text)


@pytest.mark.parametrize("model", SERVER_FRAMES, ids=name_of)
def test_a_server_frame_is_read_back(model: type[Frozen]) -> None:
    """Each frame a session sends parses into its model."""
    text = gen_docs.example(model)
    assert parse_server_frame(text) == model.model_validate_json(text)


@pytest.mark.parametrize("model", [*EVENTS, BlockStreamed, Accepted], ids=name_of)
def test_every_event_travels(model: type[Frozen]) -> None:
    """Each event and short form comes out of an `events` frame as what it was."""
    event = model.model_validate_json(gen_docs.example(model))
    frame = f'{{"t":"events","events":[{{"seq":1,"at":2,"event":{event.model_dump_json()}}}]}}'
    parsed = parse_server_frame(frame)
    assert isinstance(parsed, Events)
    assert parsed.events[0].event == event


def hello(**fields: Any) -> str:
    """A hello with some fields changed."""
    return json.dumps({"t": "hello", "v": 1, "client": "laptop"} | fields)


def tool(**fields: Any) -> list[dict[str, Any]]:
    """One declared tool with some fields changed."""
    return [{"name": "t", "description": "", "parameters": {"type": "object"}, "effect": "read"} | fields]


def message(**fields: Any) -> str:
    """A message with some fields changed."""
    return json.dumps({"t": "message", "id": "m", "text": "hi"} | fields)


def result(**fields: Any) -> str:
    """A tool result with some fields changed."""
    return json.dumps(
        {"t": "tool_result", "call": "1.0", "epoch": 1, "outcome": "ok", "content": ""} | fields
    )


HOSTILE: dict[str, tuple[str, str | bytes]] = {
    "empty": ("bad_frame", ""),
    "not JSON": ("bad_frame", f"{SECRET}"),
    "an array": ("bad_frame", f'["{SECRET}"]'),
    "no tag": ("bad_frame", f'{{"v":"{SECRET}"}}'),
    "unknown tag": ("bad_frame", f'{{"t":"{SECRET}"}}'),
    "tag of another type": ("bad_frame", '{"t":1}'),
    "unknown field": ("bad_frame", hello(**{SECRET: SECRET})),
    "unknown field within": ("bad_frame", hello(tools=tool(**{SECRET: SECRET}))),
    "wrong type": ("bad_frame", hello(after=SECRET)),
    "negative cursor": ("bad_frame", hello(after=-1)),
    "client of bad characters": ("bad_frame", hello(client=f"{SECRET} x")),
    "client too long": ("bad_frame", hello(client="x" * 129)),
    "a client that claims to be the edge": ("bad_frame", hello(client="edge")),
    "a client that claims to be HTTP": ("bad_frame", hello(client="http")),
    "a client that claims to be a question's end": ("bad_frame", hello(client="expiry")),
    "a newline behind the client": ("bad_frame", hello(client="laptop\n")),
    "tool of a bad name": ("bad_frame", hello(tools=tool(name=f"{SECRET}!"))),
    "tool of a bad effect": ("bad_frame", hello(tools=tool(effect=SECRET))),
    "too many tools": ("bad_frame", hello(tools=tool() * 65)),
    "negative position": ("bad_frame", hello(position={"step": 1, "attempt": 1, "block": 0, "off": -1})),
    "empty text": ("bad_frame", message(text="")),
    "blank text": ("bad_frame", message(text=" \n")),
    "text of another type": ("bad_frame", message(text=[SECRET])),
    "lone surrogate": ("bad_frame", '{"t":"message","id":"m","text":"\\ud800"}'),
    "lone surrogate outside JSON": ("bad_frame", "\ud800"),
    "invalid UTF-8": ("bad_frame", b'{"t":"message","id":"m","text":"\xff"}'),
    "unknown outcome": ("bad_frame", result(outcome=SECRET)),
    "nested beyond reason": ("bad_frame", '{"t":' + "[" * 100_000),
    "version to come": ("version", hello(v=2)),
    "too long a frame": ("too_large", '"' + SECRET * (MAX_FRAME_BYTES // len(SECRET) + 1)),
    "too long a message": ("too_large", message(text="é" * (MAX_MESSAGE_BYTES // 2 + 1))),
    "too long a result": ("too_large", result(content="x" * (MAX_RESULT_BYTES + 1))),
}


@pytest.mark.parametrize(("code", "frame"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_frame_is_refused_without_an_echo(code: str, frame: str | bytes) -> None:
    """A bad frame gets its code and what was expected, short, and nothing of what was in it."""
    with pytest.raises(BadFrame) as caught:
        parse_client_frame(frame)
    error = caught.value
    assert error.code == code
    assert error.expected
    assert SECRET not in f"{error} {error.ref}"
    assert len(str(error)) < 600
    assert error.__cause__ is None


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_any_json_is_a_frame_or_refused(value: Any) -> None:
    """No JSON value raises anything but the typed refusal."""
    with pytest.raises(BadFrame):
        parse_client_frame(json.dumps(value))


@settings(max_examples=60)
@given(st.binary(max_size=60))
def test_any_bytes_are_refused_with_a_type(data: bytes) -> None:
    """No bytes raise anything but the typed refusal."""
    with pytest.raises(BadFrame):
        parse_client_frame(data)


def test_limits_are_inclusive() -> None:
    """A message and a result of just the limit are taken."""
    frame = parse_client_frame(message(text="x" * MAX_MESSAGE_BYTES))
    assert isinstance(frame, SendMessage)
    assert parse_client_frame(result(content="x" * MAX_RESULT_BYTES))


def test_a_posted_message_is_the_command_a_socket_sends() -> None:
    """HTTP and WebSocket make the same command."""
    posted = parse_post(b'{"id":"m","text":"hi","model":"n"}')
    assert posted == SendMessage(id="m", text="hi", model="n")


@pytest.mark.parametrize("parse", [parse_post, parse_decide, parse_autonomy], ids=lambda f: f.__name__)
@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"id":"m","text":""}', b'{"S3CRET":1}', b"\xff"])
def test_a_bad_body_is_refused(parse: Any, body: bytes) -> None:
    """HTTP bodies are held to the same rules."""
    with pytest.raises(BadFrame) as caught:
        parse(body)
    assert (caught.value.code, SECRET in str(caught.value)) == ("bad_frame", False)


def test_other_bodies_are_read() -> None:
    """An answer to a question and a change of autonomy come as bodies without a tag, too."""
    assert parse_decide(b'{"call":"1.0","allow":false}').allow is False
    assert parse_autonomy(b'{"mode":"plan"}').mode == "plan"


def test_an_oversized_post_is_refused() -> None:
    """The limit on text holds over HTTP."""
    with pytest.raises(BadFrame, match="too_large"):
        parse_post(json.dumps({"id": "m", "text": "x" * (MAX_MESSAGE_BYTES + 1)}).encode())


@pytest.mark.parametrize("text", ["", "{}", '{"t":"nope"}', '{"t":"synced","seq":1,"extra":1}'])
def test_a_client_refuses_what_is_not_of_this_version(text: str) -> None:
    """A frame of no known kind is the client's error to handle."""
    with pytest.raises(ValidationError):
        parse_server_frame(text)


# --- short forms ----------------------------------------------------------------------------------------------------

BLOCK = BlockFinished(step=1, block=0, type="text", text="né", tokens=2)
OPAQUE = BlockFinished(step=1, block=1, type="opaque", text="", echo="{}")
SAID = UserMessageReceived(id="m", text="hi", tokens=1)
DONE = ToolFinished(call="1.0", outcome="ok", content="long", tokens=3)
END = TurnFinished(reason="done")


def travelled(*batch: events.Event, streamed: bool = False, own: str | None = None) -> list[object]:
    """What a receiver gets for these events."""
    recorded = [Recorded(seq=n, at=n, event=event) for n, event in enumerate(batch, 1)]
    parsed = parse_server_frame(events_frame(recorded, streamed=streamed, own=own))
    assert isinstance(parsed, Events)
    assert [event.seq for event in parsed.events] == list(range(1, len(batch) + 1))
    return [event.event for event in parsed.events]


def test_without_reason_nothing_is_shortened() -> None:
    """A receiver that holds nothing gets everything."""
    batch = (BLOCK, OPAQUE, SAID, DONE, END)
    assert travelled(*batch) == list(batch)


def test_a_streamed_block_is_not_sent_again() -> None:
    """Its short form names its length in UTF-8 bytes; blocks without deltas go whole."""
    short = BlockStreamed(step=1, block=0, type="text", bytes=3, tokens=2)
    assert travelled(BLOCK, OPAQUE, END, streamed=True) == [short, OPAQUE, END]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("m", [Accepted(of="user_message_received", ref="m", tokens=1), DONE]),
        ("1.0", [SAID, Accepted(of="tool_finished", ref="1.0", tokens=3)]),
        ("other", [SAID, DONE]),
    ],
)
def test_a_sender_is_not_sent_its_own_content(own: str, expected: list[object]) -> None:
    """Its own message or result comes back as `accepted`."""
    assert travelled(SAID, DONE, own=own) == expected


# --- documents ------------------------------------------------------------------------------------------------------


def test_generated_documents_are_current() -> None:
    """protocol.md, its schema and the state diagram are what the code makes of them now."""
    stale = [path.name for path, text in gen_docs.documents() if path.read_text("utf-8") != text]
    assert stale == [], "run `python -m scripts.gen_docs`"


@pytest.mark.parametrize("model", [*CLIENT_FRAMES, *SERVER_FRAMES, *BODIES, *EVENTS], ids=name_of)
def test_every_frame_is_documented_with_an_example(model: type[Frozen]) -> None:
    """No frame, body or event is left out of the protocol."""
    text = gen_docs.protocol()
    assert f"# {model.__name__}\n" in text
    assert gen_docs.example(model) in text


def test_the_schema_is_valid_and_takes_the_examples() -> None:
    """The JSON Schema is one, accepts every example and refuses what is not a frame."""
    jsonschema = import_module("jsonschema")  # untyped
    validator = jsonschema.Draft202012Validator(gen_docs.schema())
    validator.check_schema(gen_docs.schema())
    for model in (*CLIENT_FRAMES, *SERVER_FRAMES):
        validator.validate(json.loads(gen_docs.example(model)))
    assert not validator.is_valid({"t": "nope"})


def test_every_error_code_is_explained() -> None:
    """The table of codes holds those of the wire, and no others."""
    assert set(gen_docs.ERRORS) == set(get_args(wire.ErrorCode))


def test_hello_is_the_only_frame_with_a_version() -> None:
    """The version is settled once, at the handshake."""
    assert [model for model in CLIENT_FRAMES if "v" in model.model_fields] == [Hello]


@pytest.mark.parametrize("text", ["no markers", f"{gen_docs.BEGIN} but no end"])
def test_a_document_without_markers_is_refused(text: str) -> None:
    """The diagram is never written into the wrong place."""
    with pytest.raises(ValueError):
        gen_docs.with_diagram(text)


def test_check_names_what_is_stale(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--check` fails for a document that was changed by hand, and writing makes it pass."""
    session = tmp_path / "session.md"
    session.write_text(f"{gen_docs.BEGIN}{gen_docs.END}", "utf-8")
    for name, path in (("PROTOCOL", "protocol.md"), ("SCHEMA", "schema.json"), ("SESSION", "session.md")):
        monkeypatch.setattr(gen_docs, name, tmp_path / path)
    root = gen_docs.ROOT
    monkeypatch.setattr(gen_docs, "ROOT", tmp_path)
    monkeypatch.setattr(gen_docs, "_statuses", dict[str, int])
    assert gen_docs.main(["--check"]) == 1
    assert "protocol.md is not current" in capsys.readouterr().err
    assert (gen_docs.main([]), gen_docs.main(["--check"])) == (0, 0)
    assert root != tmp_path
