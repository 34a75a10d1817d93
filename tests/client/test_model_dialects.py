"""Every dialect in a closed loop: the session's own adapters ask, the model server answers, the edge's decoders read."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from edgeloop.providers import PROVIDERS, Plan, Request, Target
from edgeloop.tools import ToolSpec
from edgeloop.transcript import Block, CallBlock, Entry, ModelEntry, Result, ResultsEntry, UserEntry
from edgeloop_client.decode import Decoder
from tests.support.model_client import CLIENT
from tests.support.model_server import ModelServerHandle, start_model_server

RUN = "/client/v4/accounts/me/ai/run"
BASES = {
    "anthropic": "",
    "openai": "/v1",
    "openai-responses": "/v1",
    "gemini": "",
    "workers-ai": "/client/v4/accounts/me",
}
WAYS = [(name, base, "") for name, base in BASES.items()] + [
    ("workers-ai", RUN, f"shape={shape}") for shape in ("chat", "native", "mixed")
]
EVERY_WAY = pytest.mark.parametrize(
    ("provider", "base", "options"), WAYS, ids=["-".join((n, b.rpartition("/")[2], o)) for n, b, o in WAYS]
)
EVERY_PROVIDER = pytest.mark.parametrize("provider", sorted(BASES))
TOOL = ToolSpec(name="look", description="", parameters={"type": "object", "properties": {}}, effect="read")
SEPARATORS = "ü\u2028\u2029\x85 \U0001f600"


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServerHandle]:
    with start_model_server() as handle:
        yield handle


@dataclass(kw_only=True)
class Talk:
    """A conversation with one provider."""

    url: str
    provider: str
    model: str
    entries: list[Entry] = field(default_factory=lambda: list[Entry]())

    def request(self) -> Request:
        adapter = PROVIDERS[self.provider]
        messages = tuple(adapter.encode(entry) for entry in self.entries)
        plan = Plan(model=self.model, system="Be brief.", tools=(TOOL,), messages=messages)
        return adapter.build_request(plan, Target(base_url=self.url, api_key="key", session="s"))

    def post(self, tamper: tuple[bytes, bytes] | None = None) -> httpx.Response:
        request = self.request()
        body = request.body.replace(*tamper) if tamper else request.body
        return CLIENT.post(request.url, content=body, headers=request.headers)

    def ask(self) -> list[dict[str, Any]]:
        """Send what there is; the answer's operations, kept as the model's entry."""
        response = self.post()
        assert response.status_code == 200, response.text
        with Decoder(self.request().dialect) as decoder:
            ops = decoder.feed(response.content) + decoder.finish()
        blocks = [
            _block(op) for op in sorted(ops, key=_place) if op["op"] in ("block_complete", "call_complete")
        ]
        self.entries.append(ModelEntry(provider=self.provider, blocks=tuple(blocks)))
        return ops

    def answer_calls(self) -> None:
        last = self.entries[-1]
        assert isinstance(last, ModelEntry)
        calls = [block for block in last.blocks if isinstance(block, CallBlock)]
        results = [
            Result(
                provider_id=c.provider_id, name=c.name, outcome="ok" if n else "error", content=f"seen {n}"
            )
            for n, c in enumerate(calls)
        ]
        self.entries.append(ResultsEntry(results=tuple(results)))


def _place(op: dict[str, Any]) -> int:
    return op.get("block", -1)


def _block(op: dict[str, Any]) -> Block | CallBlock:
    if op["op"] == "call_complete":
        return CallBlock(
            provider_id=op["provider_id"] or f"el_{op['block']}",
            name=op["name"],
            arguments=op["arguments"],
            echo=op["echo"],
        )
    return Block(type=op["kind"], text=op["text"], echo=op["echo"], partial=False)


def _said(ops: list[dict[str, Any]]) -> str:
    return "".join(op["text"] for op in ops if op["op"] == "text")


def _last(ops: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return [op for op in ops if op["op"] == kind][-1]


SCRIPT = json.dumps(
    {
        "turns": [
            [
                {"think": "let me see"},
                {"text": f"I look. {SEPARATORS}"},
                {"call": "look", "arguments": {"at": SEPARATORS, "n": [1, {"deep": None}]}},
                {"call": "look", "arguments": {}},
            ],
            [{"text": "two"}, {"call": "look", "arguments": {"n": 3}}],
            [{"text": "done"}],
        ]
    }
)


@EVERY_WAY
def test_whole_conversation(server: ModelServerHandle, provider: str, base: str, options: str):
    """Three messages with parallel calls: what is said, called, counted and echoed survives the round through both sides."""
    talk = Talk(url=server.url + base, provider=provider, model=f"script:{options}")
    talk.entries.append(UserEntry(text=SCRIPT))
    first = talk.ask()
    calls = [op for op in first if op["op"] == "call_complete"]
    assert _said(first) == f"I look. {SEPARATORS}"
    assert [json.loads(op["arguments"]) for op in calls] == [{"at": SEPARATORS, "n": [1, {"deep": None}]}, {}]
    assert _last(first, "stop")["reason"] == "tool_use"
    assert _last(first, "usage")["output"] > 20
    talk.answer_calls()
    second = talk.ask()
    assert _said(second) == "two"
    talk.answer_calls()
    third = talk.ask()
    assert _said(third) == "done"
    assert _last(third, "stop")["reason"] == "end"
    assert _last(third, "usage")["input_uncached"] > _last(first, "usage")["input_uncached"]


@EVERY_PROVIDER
def test_results_are_reported_with_their_failure(server: ModelServerHandle, provider: str):
    """The scenario sees each result in order; a failure where the API can tell one."""
    talk = Talk(url=server.url + BASES[provider], provider=provider, model="tools")
    talk.entries.append(UserEntry(text='call look {"n": 1}\ncall look {"n": 2}'))
    talk.ask()
    talk.answer_calls()
    answer = _said(talk.ask())
    failed = "failed: " if provider in ("anthropic", "gemini") else ""
    assert answer == f"2 results:\nlook: {failed}seen 0\nlook: seen 1"


@EVERY_PROVIDER
def test_long_conversation_is_read_from_the_cache(server: ModelServerHandle, provider: str):
    """The second request of a conversation reads what the first one had, as the edge's decoder tells it."""
    talk = Talk(url=server.url + BASES[provider], provider=provider, model=f"echo:fault_key={provider}")
    talk.entries.append(UserEntry(text=" ".join(f"{provider}{number}" for number in range(4000))))
    first = _last(talk.ask(), "usage")
    talk.entries.append(UserEntry(text="again"))
    second = _last(talk.ask(), "usage")
    assert not first["cache_read"]
    whole = first["input_uncached"] + (first["cache_write_5m"] or 0)
    assert whole - 130 < second["cache_read"] <= whole


@EVERY_PROVIDER
def test_token_limit_cuts_a_call_off(
    server: ModelServerHandle, provider: str, monkeypatch: pytest.MonkeyPatch
):
    """A call that the limit cut is never complete; the stop says `max_tokens`."""
    talk = Talk(url=server.url + BASES[provider], provider=provider, model="script")
    steps = [{"text": "a"}, {"call": "look", "arguments": {"text": "word " * 100}}]
    talk.entries.append(UserEntry(text=json.dumps({"steps": steps})))
    request = talk.request()
    body = json.loads(request.body)
    match provider:
        case "gemini":
            body["generationConfig"] = {"maxOutputTokens": 30}
        case "openai-responses":
            body["max_output_tokens"] = 30
        case _:
            body["max_tokens"] = 30
    response = CLIENT.post(request.url, json=body, headers=request.headers)
    with Decoder(request.dialect) as decoder:
        ops = decoder.feed(response.content) + decoder.finish()
    assert _last(ops, "stop")["reason"] == "max_tokens"
    assert all(op["invalid"] for op in ops if op["op"] == "call_complete")


@EVERY_PROVIDER
@pytest.mark.parametrize(("fault", "said"), [("error", "overloaded"), ("cut", "truncated")])
def test_fault_in_the_stream_is_an_error_to_the_decoder(
    server: ModelServerHandle, provider: str, fault: str, said: str
):
    """What broke in the middle never looks like an answer that ended well."""
    talk = Talk(url=server.url + BASES[provider], provider=provider, model=f"echo:fault={fault},fault_at=3")
    talk.entries.append(UserEntry(text="one two three four five six"))
    request = talk.request()
    data = b""
    with CLIENT.stream("POST", request.url, content=request.body, headers=request.headers) as response:
        try:
            for chunk in response.iter_raw():
                data += chunk
        except httpx.RemoteProtocolError:
            assert fault == "cut"
    with Decoder(request.dialect) as decoder:
        ops = decoder.feed(data) + decoder.finish()
    assert _said(ops).startswith("one two")
    assert not [op for op in ops if op["op"] == "stop"]
    assert (_last(ops, "error")["class"], _last(ops, "error")["retryable"]) == (said, True)


@EVERY_PROVIDER
@pytest.mark.parametrize("fault", ["429", "500", "503"])
def test_status_faults_are_understood_by_the_adapter(server: ModelServerHandle, provider: str, fault: str):
    """A status, a body in the provider's shape, and a hint where the provider gives one."""
    talk = Talk(
        url=server.url + BASES[provider], provider=provider, model=f"echo:fault={fault},retry_after=3"
    )
    talk.entries.append(UserEntry(text="hi"))
    response = talk.post()
    assert response.status_code == int(fault)
    hint = response.headers.get("retry-after")
    if fault == "429" and provider == "gemini":
        hint = response.json()["error"]["details"][0]["retryDelay"].removesuffix("s")
    assert hint == ("3" if fault == "429" and provider != "workers-ai" else None)


@EVERY_PROVIDER
def test_prompt_over_the_context_is_refused(server: ModelServerHandle, provider: str):
    """As a 400 that says so."""
    talk = Talk(url=server.url + BASES[provider], provider=provider, model="echo:context=50")
    talk.entries.append(UserEntry(text="word " * 200))
    response = talk.post()
    assert response.status_code == 400
    assert any(word in response.text for word in ("too long", "context", "exceeds the maximum"))


@pytest.mark.parametrize(
    ("provider", "tamper", "says"),
    [
        ("gemini", (b'"deep":null', b'"deep":1'), "Thought signature is not valid"),
        (
            "gemini",
            (b'"thoughtSignature"', b'"thought_signatures"'),
            "Function call is missing a thought_signature",
        ),
        ("openai-responses", (b'"encrypted_content":"', b'"encrypted_content":"x'), "could not be verified"),
        (
            "openai-responses",
            (b'"encrypted_content"', b'"other"'),
            "not persisted when `store` is set to false",
        ),
        ("openai-responses", (b'"call_id":"call_', b'"call_id":"fall_'), ""),
        (
            "openai-responses",
            (b'"type":"function_call_output"', b'"type":"function_result"'),
            "Invalid value",
        ),
        ("anthropic", (b"let me see", b"let me sea"), "Invalid `signature` in `thinking` block"),
    ],
)
def test_echo_that_was_tampered_with_is_refused(
    server: ModelServerHandle, provider: str, tamper: tuple[bytes, bytes], says: str
):
    """Signed and encrypted parts are good only as they came; an id changed everywhere still fits."""
    talk = Talk(url=server.url + BASES[provider], provider=provider, model="script")
    talk.entries.append(UserEntry(text=SCRIPT))
    talk.ask()
    talk.answer_calls()
    response = talk.post(tamper)
    assert response.status_code == (200 if not says else 404 if "persisted" in says else 400)
    assert not says or says in response.text


# --- what is refused -----------------------------------------------------------------------------------------------


def _post(server: ModelServerHandle, path: str, body: dict[str, Any]) -> httpx.Response:
    headers = {"authorization": "Bearer k", "x-goog-api-key": "k"}
    return CLIENT.post(server.url + path, json=body, headers=headers)


STRICT: dict[str, Any] = {
    "type": "function",
    "name": "f",
    "parameters": {"type": "object", "properties": {"a": {}}},
}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "1"}
SAID = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"model": None}, "Missing required parameter: 'model'"),
        ({"input": None}, "Missing required parameter: 'input'"),
        ({"input": []}, "non-empty array"),
        ({"foo": 1}, "Unknown parameter: 'foo'"),
        ({"previous_response_id": "resp_1"}, "Previous response with id 'resp_1' not found"),
        ({"background": True}, "'background' is not supported"),
        ({"max_output_tokens": 3}, "Expected a value >= 16"),
        ({"input": [{"role": "tool", "content": "x"}]}, "Invalid value: 'tool'"),
        ({"input": [{"role": "user", "content": [{"type": "output_text", "text": "x"}]}]}, "'input_text'"),
        ({"input": [SAID, CALL]}, "No tool output found for function call c"),
        ({"input": [SAID, OUTPUT]}, "No tool call found for function call output with call_id c"),
        ({"tools": [STRICT]}, "'additionalProperties' is required"),
        (
            {"tools": [{**STRICT, "strict": False, "parameters": {"type": "string"}}]},
            "Invalid schema for function",
        ),
        ({"tools": [{"type": "web_search"}]}, "functions only"),
    ],
)
def test_responses_refuses(server: ModelServerHandle, body: dict[str, Any], says: str):
    """What the Responses API would not take."""
    full = {"model": "echo", "input": "hi", **body}
    response = _post(
        server, "/v1/responses", {name: value for name, value in full.items() if value is not None}
    )
    assert response.status_code == 400
    assert says in response.json()["error"]["message"]


def _content(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "parts": list(parts)}


ASKED = _content("user", {"text": "hi"})
CALLED = _content("model", {"functionCall": {"name": "f", "args": {}}})
ANSWERED = _content("user", {"functionResponse": {"name": "f", "response": {"output": "1"}}})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"contents": []}, "contents is not specified"),
        ({"messages": []}, 'Unknown name "messages"'),
        ({"contents": [_content("assistant", {"text": "x"})]}, "valid role: user, model"),
        ({"contents": [_content("user")]}, "parts must not be empty"),
        ({"contents": [_content("user", {"inlineData": {}})]}, "required oneof field 'data'"),
        ({"contents": [ASKED, _content("model", {"text": "x"})]}, "end with a user turn"),
        ({"contents": [ASKED, ANSWERED]}, "response turn comes immediately after a function call turn"),
        ({"contents": [ASKED, CALLED, ASKED]}, "number of function response parts is equal"),
        ({"contents": [CALLED, ANSWERED]}, "call turn comes immediately after a user turn"),
        ({"contents": [ASKED, CALLED, ANSWERED]}, "missing a thought_signature"),
        ({"generationConfig": {"maxTokens": 1}}, 'Unknown name "maxTokens"'),
        ({"tools": [{"functionDeclarations": [{"name": "a b"}]}]}, "Invalid function name"),
        (
            {"tools": [{"functionDeclarations": [{"name": "f"}, {"name": "f"}]}]},
            "Duplicate function declaration",
        ),
    ],
)
def test_gemini_refuses(server: ModelServerHandle, body: dict[str, Any], says: str):
    """What generateContent would not take."""
    full = {"contents": [ASKED], **body}
    response = _post(server, "/v1beta/models/echo:streamGenerateContent?alt=sse", full)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert says in error["message"]


def test_gemini_answers_whole_and_wants_a_key(server: ModelServerHandle):
    """`:generateContent` gives one object; without a key it is a 403."""
    path = "/v1beta/models/echo:generateContent"
    answer = _post(server, path, {"contents": [ASKED]}).json()
    assert answer["candidates"][0]["content"]["parts"] == [{"text": "hi"}]
    assert answer["candidates"][0]["finishReason"] == "STOP"
    refused = CLIENT.post(server.url + path, json={"contents": [ASKED]})
    assert (refused.status_code, refused.json()["error"]["status"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize("shape", ["chat", "native"])
def test_workers_ai_answers_whole(server: ModelServerHandle, shape: str):
    """In Cloudflare's envelope, with the native tool declaration too."""
    body = {
        "messages": [{"role": "user", "content": 'call f {"a": 1}'}],
        "tools": [{"name": "f", "description": "", "parameters": {"type": "object"}}],
    }
    answer = _post(server, f"{RUN}/tools:shape={shape}", body).json()
    assert answer["success"] is True
    result = answer["result"]
    if shape == "native":
        assert result["tool_calls"] == [{"name": "f", "arguments": {"a": 1}}]
    else:
        assert result["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "f"


def test_workers_ai_refuses_in_its_envelope(server: ModelServerHandle):
    """An unknown model is a 400 with a code, and 256 tokens are all one gets without asking for more."""
    response = _post(server, f"{RUN}/@cf/meta/llama", {"messages": [SAID]})
    assert (response.status_code, response.json()["errors"][0]["code"]) == (400, 5007)
    answer = _post(server, f"{RUN}/echo", {"messages": [{"role": "user", "content": "word " * 900}]}).json()
    assert answer["result"]["usage"]["completion_tokens"] == 256
