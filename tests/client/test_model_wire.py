"""The model server on the wire: what the vendors' own SDKs read from it, its framing, and what it refuses in whose words."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.support.model_client import (
    ANTHROPIC,
    BODIES,
    PATHS,
    anthropic_body,
    openai_body,
    post,
    said,
    stream,
)
from tests.support.model_server import ModelServerHandle, start_model_server

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"path": {"type": "string"}}}
TWO_CALLS = 'call read_file {"path": "a b"}\ncall search {"pattern": "ü\\\\d"}'


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServerHandle]:
    with start_model_server(ttft_ms=0, tps=0) as handle:
        yield handle


# --- the vendors' clients ------------------------------------------------------------------------------------------


def test_anthropic_sdk_reads_the_stream_and_answers_calls(server: ModelServerHandle):
    """The official client folds parallel calls out of the stream; their results are taken back and reported."""
    client = anthropic.Anthropic(base_url=server.url, api_key="key", max_retries=0)
    tools: Any = [{"name": name, "input_schema": SCHEMA} for name in ("read_file", "search")]
    messages: list[Any] = [{"role": "user", "content": TWO_CALLS}]
    with client.messages.stream(model="tools", max_tokens=500, tools=tools, messages=messages) as events:
        first = events.get_final_message()
    calls = [block for block in first.content if block.type == "tool_use"]
    assert first.stop_reason == "tool_use"
    assert [(call.name, call.input) for call in calls] == [
        ("read_file", {"path": "a b"}),
        ("search", {"pattern": "ü\\d"}),
    ]
    results = [
        {"type": "tool_result", "tool_use_id": calls[0].id, "content": "whale"},
        {"type": "tool_result", "tool_use_id": calls[1].id, "content": "no such thing", "is_error": True},
    ]
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    whole = client.messages.create(model="tools", max_tokens=500, tools=tools, messages=messages)
    assert whole.stop_reason == "end_turn"
    text = "".join(block.text for block in whole.content if block.type == "text")
    assert "read_file: whale" in text
    assert "search: failed: no such thing" in text


def test_openai_sdk_reads_the_stream_and_answers_calls(server: ModelServerHandle):
    """The same with the other official client, usage included."""
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="key", max_retries=0)
    tools: Any = [
        {"type": "function", "function": {"name": name, "parameters": SCHEMA}}
        for name in ("read_file", "search")
    ]
    messages: list[Any] = [{"role": "user", "content": TWO_CALLS}]
    with client.chat.completions.stream(
        model="tools", messages=messages, tools=tools, stream_options={"include_usage": True}
    ) as events:
        first = events.get_final_completion()
    message = first.choices[0].message
    calls = message.tool_calls or []
    assert first.choices[0].finish_reason == "tool_calls"
    assert first.usage is not None
    assert first.usage.completion_tokens > 10
    assert [(c.function.name, json.loads(c.function.arguments)) for c in calls] == [
        ("read_file", {"path": "a b"}),
        ("search", {"pattern": "ü\\d"}),
    ]
    echoed = [
        {"id": c.id, "type": "function", "function": c.function.model_dump(include={"name", "arguments"})}
        for c in calls
    ]
    messages.append({"role": "assistant", "content": None, "tool_calls": echoed})
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "whale"} for call in calls]
    whole = client.chat.completions.create(model="tools", messages=messages, tools=tools)
    assert "search: whale" in (whole.choices[0].message.content or "")


def test_thinking_is_signed_and_only_its_very_bytes_are_taken_back(server: ModelServerHandle):
    """A thinking block echoed as it came is accepted; one changed byte is a 400, as at the real API."""
    script = json.dumps(
        {"turns": [[{"think": "let me see"}, {"call": "f", "arguments": {}}], [{"text": "ok"}]]}
    )
    body = anthropic_body("script", script, tools=[{"name": "f", "input_schema": SCHEMA}])
    content = post(server.url, "anthropic", body).json()["content"]
    assert [block["type"] for block in content] == ["thinking", "tool_use"]
    result = {"type": "tool_result", "tool_use_id": content[1]["id"], "content": "1"}

    def follow_up(thinking: str) -> httpx.Response:
        echoed = [{**content[0], "thinking": thinking}, content[1]]
        more = [{"role": "assistant", "content": echoed}, {"role": "user", "content": [result]}]
        return post(server.url, "anthropic", {**body, "messages": body["messages"] + more})

    assert follow_up("let me see").json()["content"][0]["text"] == "ok"
    refused = follow_up("let me sea")
    assert refused.status_code == 400
    assert "Invalid `signature` in `thinking` block" in refused.json()["error"]["message"]


def test_shapes_that_the_real_api_refuses(server: ModelServerHandle):
    """A message that ends with thinking, and an error that says nothing: both make every later request a 400."""
    script = json.dumps({"turns": [[{"think": "hm"}, {"call": "f", "arguments": {}}], [{"text": "ok"}]]})
    body = anthropic_body("script", script, tools=[{"name": "f", "input_schema": SCHEMA}])
    thinking, call = post(server.url, "anthropic", body).json()["content"]

    def refusal(said: list[Any], answer: list[Any]) -> str:
        more = [{"role": "assistant", "content": said}, {"role": "user", "content": answer}]
        answered = post(server.url, "anthropic", {**body, "messages": body["messages"] + more})
        assert answered.status_code == 400
        return answered.json()["error"]["message"]

    assert "cannot be `thinking`" in refusal([thinking], [{"type": "text", "text": "go on"}])
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": " ", "is_error": True}
    assert "cannot be empty" in refusal([thinking, call], [result])


# --- framing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
@pytest.mark.parametrize("text", ["plain", "ä€\U0001f600 \u2028\u2029\x85 end", 'quo"te\\ \t\x00', "\n\n\n"])
def test_text_arrives_unchanged_streamed_or_whole(server: ModelServerHandle, dialect: str, text: str):
    """What the scenario says is what the deltas add up to, for line separators, quotes and controls too."""
    body = BODIES[dialect]("echo", "x" + text)
    assert said(dialect, stream(server.url, dialect, body)) == "x" + text
    whole = post(server.url, dialect, body).json()
    answer = (
        whole["content"][0]["text"] if dialect == "anthropic" else whole["choices"][0]["message"]["content"]
    )
    assert answer == "x" + text


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_each_event_is_one_http_chunk(server: ModelServerHandle, dialect: str):
    """Chunk boundaries are event boundaries: a reader may lean on neither, a measurement needs both."""
    body = json.dumps({**BODIES[dialect]("echo", "one two three four"), "stream": True}).encode()
    head = (
        f"POST {PATHS[dialect]} HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\nauthorization: Bearer k\r\n"
        f"anthropic-version: 1\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + body)
        raw = b"".join(iter(lambda: connection.recv(65536), b""))
    rest = raw.partition(b"\r\n\r\n")[2]
    chunks: list[bytes] = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        chunks.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    assert chunks.pop() == b""
    assert len(chunks) > 6
    assert all(chunk.endswith(b"\n\n") and chunk.count(b"\n\n") == 1 for chunk in chunks)


def test_one_connection_serves_many_requests(server: ModelServerHandle):
    """Keep-alive, streams and errors mixed."""
    with httpx.Client(base_url=server.url, headers=ANTHROPIC) as client:
        for _ in range(3):
            assert client.get("/healthz").json() == {"ok": True}
            assert client.post("/v1/messages", json={}).status_code == 400
            body = {**anthropic_body("echo", "hi"), "stream": True}
            assert client.post("/v1/messages", json=body).text.endswith('{"type":"message_stop"}\n\n')
            assert "survey" in [model["id"] for model in client.get("/v1/models").json()["data"]]
            assert client.get("/nowhere").status_code == 404


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\x02", b"GET\r\n\r\n", b"POST /v1/messages HTTP/1.1\r\ncontent-length: x\r\n\r\n"],
)
def test_no_http_is_answered_and_closed(server: ModelServerHandle, garbage: bytes):
    """A peer that speaks something else gets a 400 and the end of the connection; the server lives on."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(garbage + b"\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")
        assert connection.recv(65536) == b""
    assert httpx.get(server.url + "/healthz").status_code == 200


def test_body_over_the_limit_is_refused(server: ModelServerHandle):
    """More than 32 MB is a 413 in the provider's shape, and the connection ends."""
    response = post(server.url, "anthropic", b" " * (33 << 20))
    assert response.status_code == 413
    assert response.json()["error"]["type"] == "request_too_large"


def test_received_requests_are_kept_byte_for_byte():
    """Tests of the prompt's prefix see what was really sent."""
    raw = b'{"model":"echo",  "max_tokens":9,"messages":[{"role":"user","content":"\\u00e9"}]}'
    with start_model_server() as own:
        post(own.url, "anthropic", raw)
        assert own.bodies() == [raw]
        assert [answer["status"] for answer in own.await_answers(1)] == [200]


# --- what is refused -----------------------------------------------------------------------------------------------


def _user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def _model(*content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(content)}


def _use(identifier: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": identifier, "name": "f", "input": {}}


def _result(identifier: str) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": identifier, "content": "r"}


TEXT = {"type": "text", "text": "hi"}
MARK = {"cache_control": {"type": "ephemeral"}}
HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request's fields over a good one; None takes a field away."""

    name: str
    body: dict[str, Any]
    says: str
    status: int = 400


def _talk(name: str, says: str, *messages: Any) -> Case:
    return Case(name=name, says=says, body={"messages": messages})


REFUSED_BY_ANTHROPIC = [
    Case(name="no max_tokens", body={"max_tokens": None}, says="max_tokens: Field required"),
    Case(name="zero max_tokens", body={"max_tokens": 0}, says="greater than or equal to 1"),
    Case(name="no model", body={"model": None}, says="model: Field required"),
    Case(name="unknown model", body={"model": "gpt-4"}, says="model: gpt-4", status=404),
    Case(name="unknown option", body={"model": "echo:speed=3"}, says="unknown option 'speed'", status=404),
    Case(name="bad option", body={"model": "echo:tps=fast"}, says="option tps='fast'", status=404),
    Case(name="unknown field", body={"foo": 1}, says="foo: Extra inputs are not permitted"),
    Case(name="no messages", body={"messages": []}, says="at least one message is required"),
    _talk("system role", 'role "system"', {"role": "system", "content": "x"}),
    _talk("unknown role", "'user' or 'assistant'", {"role": "tool", "content": "x"}),
    _talk("model first", 'must use the "user" role', _model(TEXT), _user(TEXT)),
    _talk("prefill", "does not support assistant message prefill", _user(TEXT), _model(TEXT)),
    _talk("empty content", "must have non-empty content", _user()),
    _talk("empty text", "must be non-empty", _user({"type": "text", "text": ""})),
    _talk("blank text", "non-whitespace text", _user({"type": "text", "text": " \n"})),
    _talk("image", "text only", _user({"type": "image"})),
    _talk("surrogate", "not valid JSON", _user({"type": "text", "text": "\ud800"})),
    _talk(
        "unanswered call",
        "without `tool_result` blocks immediately after: a",
        _user(TEXT),
        _model(_use("a")),
        _user(TEXT),
    ),
    _talk(
        "half answered",
        "immediately after: b",
        _user(TEXT),
        _model(_use("a"), _use("b")),
        _user(_result("a")),
    ),
    _talk("result without call", "unexpected `tool_use_id`", _user(_result("a"))),
    _talk(
        "late result",
        "unexpected `tool_use_id`",
        _user(TEXT),
        _model(_use("a")),
        _user(_result("a")),
        _model(TEXT),
        _user(_result("a")),
    ),
    _talk("result twice", "single result", _user(TEXT), _model(_use("a")), _user(_result("a"), _result("a"))),
    _talk("result after text", "must come first", _user(TEXT), _model(_use("a")), _user(TEXT, _result("a"))),
    _talk("ids twice", "must be unique", _user(TEXT), _model(_use("a"), _use("a")), _user(_result("a"))),
    _talk("bad id", "tool_use.id", _user(TEXT), _model(_use("a.b")), _user(_result("a.b"))),
    Case(name="tool without schema", body={"tools": [{"name": "f"}]}, says="input_schema: Field required"),
    Case(
        name="schema no object",
        body={"tools": [{"name": "f", "input_schema": {"type": "array"}}]},
        says="Input should be 'object'",
    ),
    Case(
        name="tool name",
        body={"tools": [{"name": "a b", "input_schema": SCHEMA}]},
        says="should match pattern",
    ),
    Case(
        name="tools twice",
        body={"tools": [{"name": "f", "input_schema": SCHEMA}] * 2},
        says="Tool names must be unique",
    ),
    _talk(
        "five marks",
        "maximum of 4 blocks with cache_control may be provided. Found 5",
        _user(*[{**TEXT, **MARK}] * 5),
    ),
    Case(
        name="automatic is a fifth",
        body={**MARK, "messages": [_user(*[{**TEXT, **MARK}] * 4, TEXT)]},
        says="Found 5",
    ),
    _talk("long after short", "must not come after", _user({**TEXT, **MARK}, {**TEXT, **HOUR})),
    Case(name="bad ttl", body={"cache_control": {"type": "ephemeral", "ttl": "2h"}}, says="'5m' or '1h'"),
]


@pytest.mark.parametrize("case", REFUSED_BY_ANTHROPIC, ids=lambda case: case.name)
def test_anthropic_refuses(server: ModelServerHandle, case: Case):
    """What the Messages API would not take is refused with its status, shape and words."""
    body = {**anthropic_body("echo", "hi"), **case.body}
    response = post(
        server.url, "anthropic", {name: value for name, value in body.items() if value is not None}
    )
    answer = response.json()
    assert response.status_code == case.status
    assert answer["type"] == "error"
    assert answer["error"]["type"] == {400: "invalid_request_error", 404: "not_found_error"}[case.status]
    assert case.says in answer["error"]["message"]
    assert response.headers["request-id"] == answer["request_id"]


@pytest.mark.parametrize(
    ("headers", "status", "says"),
    [
        ({"x-api-key": "k"}, 400, "anthropic-version: header is required"),
        ({"anthropic-version": "2023-06-01"}, 401, "x-api-key header is required"),
    ],
)
def test_anthropic_wants_its_headers(
    server: ModelServerHandle, headers: dict[str, str], status: int, says: str
):
    """A key, any key, and the version."""
    response = post(server.url, "anthropic", anthropic_body("echo", "hi"), headers)
    assert (response.status_code, response.json()["error"]["message"]) == (status, says)


def _called(*identifiers: str) -> dict[str, Any]:
    function = {"name": "f", "arguments": "{}"}
    calls = [{"id": identifier, "type": "function", "function": function} for identifier in identifiers]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def _tool(identifier: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identifier, "content": "r"}


ASK = {"role": "user", "content": "hi"}

REFUSED_BY_OPENAI = [
    Case(name="no model", body={"model": None}, says="you must provide a model parameter"),
    Case(name="unknown model", body={"model": "claude"}, says="model: claude", status=404),
    Case(name="unknown field", body={"foo": 1}, says="Unrecognized request argument supplied: foo"),
    Case(name="unsupported field", body={"stop": ["x"]}, says="'stop' is not supported with this model"),
    Case(name="no messages", body={"messages": None}, says="Missing required parameter: 'messages'"),
    Case(name="empty messages", body={"messages": []}, says="Invalid 'messages': empty array"),
    _talk("unknown role", "Invalid value: 'model'", {"role": "model", "content": "x"}),
    _talk("null content", "got null", {"role": "user", "content": None}),
    _talk("empty calls", "tool_calls': empty array", ASK, _called()),
    _talk("unanswered call", "did not have response messages: a", ASK, _called("a"), ASK),
    _talk("half answered", "did not have response messages: b", ASK, _called("a", "b"), _tool("a")),
    _talk("result without call", "must be a response to a preceeding message", _tool("a")),
    _talk("result twice", "must be a response", ASK, _called("a"), _tool("a"), _tool("a")),
    Case(name="empty tools", body={"tools": []}, says="Invalid 'tools': empty array"),
    Case(
        name="schema no object",
        body={"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]},
        says="Invalid schema for function 'f'",
    ),
    Case(
        name="usage without stream",
        body={"stream_options": {"include_usage": True}},
        says="only allowed when 'stream' is enabled",
    ),
    Case(name="zero tokens", body={"max_tokens": 0}, says="Expected a value >= 1"),
]


@pytest.mark.parametrize("case", REFUSED_BY_OPENAI, ids=lambda case: case.name)
def test_openai_refuses(server: ModelServerHandle, case: Case):
    """What Chat Completions would not take is refused with its status, shape and words."""
    body = {**openai_body("echo", "hi"), **case.body}
    response = post(server.url, "openai", {name: value for name, value in body.items() if value is not None})
    error = response.json()["error"]
    assert response.status_code == case.status
    assert error["type"] == "invalid_request_error"
    assert error.keys() == {"message", "type", "param", "code"}
    assert case.says in error["message"]


def test_openai_wants_a_key(server: ModelServerHandle):
    """Any key, but one."""
    response = post(server.url, "openai", openai_body("echo", "hi"), {})
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_no_json_object_is_refused(server: ModelServerHandle, dialect: str, body: bytes):
    """Bytes that are no JSON object, however hostile."""
    assert post(server.url, dialect, body).status_code == 400


def test_unknown_models_are_served_where_a_fallback_is_set():
    """`--scenario` plays one scenario for every name, so that any client can be pointed here."""
    with start_model_server(fallback="echo:tps=0") as server:
        body = anthropic_body("claude-opus-5", "hi")
        assert post(server.url, "anthropic", body).json()["content"][0]["text"] == "hi"
