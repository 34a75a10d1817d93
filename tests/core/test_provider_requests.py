"""What every adapter must do: keep the prefix, put the messages last, answer each call, echo only what is its own.

Expected messages are written by hand from the providers' documentation.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop.providers import PROVIDERS, Plan, Request, Target
from edgeloop.providers.base import endpoint, is_host, safe_id, safe_name
from edgeloop.transcript import Block, Entry, UserEntry
from tests.support.conversations import TOOL, answered, called, conversations, model, said, thought

NAMES = sorted(PROVIDERS)
MESSAGES = {"openai-responses": "input", "gemini": "contents"}
BASE = "https://model.test"


def request(
    name: str, *entries: Entry, model: str = "m", system: str = "Be brief.", **target: Any
) -> Request:
    """The request that an adapter builds for a conversation."""
    provider = PROVIDERS[name]
    messages = tuple(provider.encode(entry) for entry in entries)
    plan = Plan(model=model, system=system, tools=(TOOL,), messages=messages)
    return provider.build_request(plan, Target(**cast("Any", {"base_url": BASE, **target})))


def body(name: str, *entries: Entry, **options: Any) -> dict[str, Any]:
    """The request's body, read back."""
    return json.loads(request(name, *entries, **options).body)


def messages(name: str, *entries: Entry) -> list[Any]:
    """The conversation as the provider gets it, without the system prompt."""
    return body(name, *entries, system="")[MESSAGES.get(name, "messages")]


# --- laws that hold for all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@given(st.data())
def test_a_request_is_a_prefix_of_the_next(name: str, data: st.DataObject) -> None:
    """Law 4: with every entry the body only grows, up to its two closing brackets; and it is always JSON."""
    entries = data.draw(conversations(name))
    before = b""
    for count in range(len(entries) + 1):
        built = request(name, *entries[:count], session="s").body
        assert built.endswith(b"]}")
        assert built[:-2].startswith(before)
        before = built[:-2]
        found = json.loads(built)
        assert list(found)[-1] == MESSAGES.get(name, "messages")


@pytest.mark.parametrize("name", NAMES)
@given(st.data())
def test_every_call_is_answered_under_its_own_id(name: str, data: st.DataObject) -> None:
    """Ids and names of calls and results agree, in order, whatever the model made up."""
    entries = data.draw(conversations(name))
    calls, results = pairs(name, messages(name, *entries))
    assert calls == results


def pairs(name: str, found: list[Any]) -> tuple[list[Any], list[Any]]:
    """The ids (for Gemini with names) of calls and of results, in order."""
    calls: list[Any] = []
    results: list[Any] = []
    for message in found:
        match name:
            case "anthropic":
                calls += [part["id"] for part in message["content"] if part["type"] == "tool_use"]
                results += [
                    part["tool_use_id"] for part in message["content"] if part["type"] == "tool_result"
                ]
            case "openai-responses":
                calls += [message["call_id"]] if message["type"] == "function_call" else []
                results += [message["call_id"]] if message["type"] == "function_call_output" else []
            case "gemini":
                parts = message["parts"]
                calls += [who(part["functionCall"]) for part in parts if "functionCall" in part]
                results += [who(part["functionResponse"]) for part in parts if "functionResponse" in part]
            case _:
                calls += [call["id"] for call in message.get("tool_calls", [])]
                results += [message["tool_call_id"]] if message["role"] == "tool" else []
    return calls, results


def who(part: dict[str, Any]) -> tuple[str | None, str]:
    """A Gemini call's or result's id and name."""
    return part.get("id"), part["name"]


@pytest.mark.parametrize("name", NAMES)
def test_arguments_go_back_as_they_came(name: str) -> None:
    """Arguments are spliced or quoted, never parsed and written anew: big numbers and spaces stay."""
    raw = '{"n": 12345678901234567890.10,  "path":"a\\u00e9"}'
    built = request(name, model(name, called(arguments=raw)), answered()).body.decode()
    assert raw in built or json.dumps(raw, ensure_ascii=False) in built


@pytest.mark.parametrize("name", NAMES)
def test_a_key_is_in_its_header_and_nowhere_else(name: str) -> None:
    """No key in a repr, in the URL or in the body; without one there is no header for it."""
    built = request(name, UserEntry(text="hi"), api_key="k-secret", headers={"x-own": "h-secret"})
    target = Target(base_url=BASE, api_key="k-secret", headers={"x-own": "h-secret"})
    assert "secret" not in repr(built) + repr(target) + built.url + built.body.decode()
    assert sum("k-secret" in value for value in built.headers.values()) == 1
    assert built.headers["x-own"] == "h-secret"
    bare = request(name, UserEntry(text="hi")).headers
    assert not {"authorization", "x-api-key", "x-goog-api-key"} & set(bare)


@pytest.mark.parametrize("name", NAMES)
def test_a_request_without_tools_names_none(name: str) -> None:
    """An empty list of tools is refused by some."""
    plan = Plan(model="m", system="", tools=(), messages=(PROVIDERS[name].encode(UserEntry(text="hi")),))
    assert "tools" not in json.loads(PROVIDERS[name].build_request(plan, Target(base_url=BASE)).body)


@pytest.mark.parametrize("name", NAMES)
def test_a_deployments_header_wins_in_any_case(name: str) -> None:
    """A gateway's own token stands in the place of ours, not beside it."""
    headers = request(name, api_key="k", headers={"Authorization": "Bearer own", "X-Api-Key": "own"}).headers
    assert [value for key, value in headers.items() if key.lower() == "authorization"] == ["Bearer own"]
    assert [value for key, value in headers.items() if key.lower() == "x-api-key"] == ["own"]


@pytest.mark.parametrize("name", NAMES)
def test_foreign_and_broken_reasoning_stays_behind(name: str) -> None:
    """Signed reasoning goes to its maker only, and only whole; the text beside it always goes."""
    foreign = model("elsewhere", thought("hm", '{"x":"KEEP-OUT"}'), said("hello"))
    broken = model(name, thought("hm", '{"x":"KEEP-OUT"}', partial=True), said("world"))
    built = request(name, foreign, UserEntry(text="a"), broken, UserEntry(text="b")).body.decode()
    assert "KEEP-OUT" not in built
    assert "hello" in built
    assert "world" in built


@pytest.mark.parametrize("name", NAMES)
def test_each_provider_has_its_deadlines_and_dialect(name: str) -> None:
    """The first byte may take minutes; the silence between two reads is bounded, and so is the whole."""
    built = request(name, UserEntry(text="hi"))
    assert built.deadlines.first_ms == 300_000
    idle = {"anthropic": 120_000, "workers-ai": 120_000, "openai-responses": 600_000}
    assert built.deadlines.idle_ms == idle.get(name, 300_000)
    assert built.deadlines.total_ms == 3_600_000
    assert built.dialect == {"openai": "openai-chat"}.get(name, name)


# --- messages, one by one --------------------------------------------------------------------------------------------

CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "read_file", "arguments": '{"path": "a.txt"}'},
}
ITEM = {"type": "function_call", "call_id": "call_1", "name": "read_file", "arguments": '{"path": "a.txt"}'}
MINTED = "e00001000"
RS = '{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"xyz=="}'
THINKING = '{"type":"thinking","thinking":"hm","signature":"c2ln"}'
SIGNED = '{"functionCall":{"name":"read_file","args":{"path": "a.txt"}},"thoughtSignature":"c2ln"}'


@dataclass(frozen=True, kw_only=True)
class Case:
    """Entries, and the messages they must become."""

    name: str
    provider: str
    entries: tuple[Entry, ...]
    want: list[Any]


CASES = [
    Case(name="anthropic: a call and a failed result", provider="anthropic",
         entries=(model("anthropic", thought("hm", THINKING), said("Let me look."), called("toolu_1")),
                  answered("toolu_1", outcome="error", content="no such file")),
         want=[{"role": "assistant", "content": [
                   json.loads(THINKING), {"type": "text", "text": "Let me look."},
                   {"type": "tool_use", "id": "toolu_1", "name": "read_file", "input": {"path": "a.txt"}}]},
               {"role": "user", "content": [
                   {"type": "tool_result", "tool_use_id": "toolu_1", "content": "no such file", "is_error": True}]}]),
    Case(name="anthropic: an error that says nothing", provider="anthropic",
         entries=(answered("toolu_1", outcome="error", content=" \n"), answered("toolu_2", content="")),
         want=[{"role": "user", "content": [
                   {"type": "tool_result", "tool_use_id": "toolu_1", "content": "(error)", "is_error": True}]},
               {"role": "user", "content": [
                   {"type": "tool_result", "tool_use_id": "toolu_2", "content": ""}]}]),
    Case(name="anthropic: thinking that nothing follows stays behind", provider="anthropic",
         entries=(model("anthropic", thought("hm", THINKING), said("a"), thought("hm", THINKING), said(" "),
                        Block(type="opaque", text="", echo='{"type":"redacted_thinking","data":"x"}', partial=False)),
                  model("anthropic", thought("hm", THINKING))),
         want=[{"role": "assistant", "content": [json.loads(THINKING), {"type": "text", "text": "a"}]}]),
    Case(name="anthropic: a call keeps who called it", provider="anthropic",
         entries=(model("anthropic", called("toolu_1", echo='{"type":"tool_use","id":"toolu_1","name":"read_file",'
                                            '"input":{},"caller":{"type":"direct"}}')), answered("toolu_1")),
         want=[{"role": "assistant", "content": [
                   {"type": "tool_use", "id": "toolu_1", "name": "read_file", "input": {},
                    "caller": {"type": "direct"}}]},
               {"role": "user", "content": [
                   {"type": "tool_result", "tool_use_id": "toolu_1", "content": "done"}]}]),
    Case(name="anthropic: ids and names it would refuse", provider="anthropic",
         entries=(model("openai", called("functions.x:0", "a.b")), answered("functions.x:0", "a.b")),
         want=[{"role": "assistant", "content": [
                   {"type": "tool_use", "id": "functions_x_0", "name": "a_b", "input": {"path": "a.txt"}}]},
               {"role": "user", "content": [
                   {"type": "tool_result", "tool_use_id": "functions_x_0", "content": "done"}]}]),
    Case(name="anthropic: a blank message", provider="anthropic", entries=(UserEntry(text=" \n"),),
         want=[{"role": "user", "content": [{"type": "text", "text": "(blank)"}]}]),
    Case(name="anthropic: blank text beside a call", provider="anthropic",
         entries=(model("anthropic", said("\n"), called()),),
         want=[{"role": "assistant", "content": [
                   {"type": "tool_use", "id": "call_1", "name": "read_file", "input": {"path": "a.txt"}}]}]),
    Case(name="chat: text, a call and its result", provider="openai",
         entries=(UserEntry(text="hi"), model("openai", said("Let me "), said("look."), called()), answered()),
         want=[{"role": "user", "content": "hi"},
               {"role": "assistant", "content": "Let me look.", "tool_calls": [CALL]},
               {"role": "tool", "tool_call_id": "call_1", "content": "done"}]),
    Case(name="chat: calls alone have no content", provider="openai", entries=(model("openai", called()),),
         want=[{"role": "assistant", "content": None, "tool_calls": [CALL]}]),
    Case(name="chat: DeepSeek's reasoning goes back", provider="openai",
         entries=(model("openai", thought("hm", '{"reasoning_content":"hm"}'), called()),),
         want=[{"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "hm"}]),
    Case(name="chat: Gemini's signature goes back", provider="openai",
         entries=(model("openai", called(echo='{"extra_content":{"google":{"thought_signature":"c2ln"}}}')),),
         want=[{"role": "assistant", "content": None, "tool_calls": [
                   {**CALL, "extra_content": {"google": {"thought_signature": "c2ln"}}}]}]),
    Case(name="chat: a message of reasoning alone says nothing", provider="openai",
         entries=(model("openai", thought("hm", '{"reasoning_content":"hm"}')),), want=[]),
    Case(name="workers ai: content is never null", provider="workers-ai",
         entries=(model("workers-ai", called()), answered()),
         want=[{"role": "assistant", "content": "", "tool_calls": [CALL]},
               {"role": "tool", "tool_call_id": "call_1", "content": "done"}]),
    Case(name="responses: reasoning before its call", provider="openai-responses",
         entries=(UserEntry(text="hi"), model("openai-responses", thought("", RS), called()), answered()),
         want=[{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
               json.loads(RS), ITEM,
               {"type": "function_call_output", "call_id": "call_1", "output": "done"}]),
    Case(name="responses: reasoning that only names itself stays behind", provider="openai-responses",
         entries=(model("openai-responses", thought("", '{"id":"rs_1","type":"reasoning","summary":[]}'), called()),),
         want=[ITEM]),
    Case(name="responses: reasoning that nothing follows stays behind", provider="openai-responses",
         entries=(model("openai-responses", thought("", RS), called(), thought("", RS)),),
         want=[json.loads(RS), ITEM]),
    Case(name="responses: reasoning before a cut text stays behind", provider="openai-responses",
         entries=(model("openai-responses", thought("", RS), said("a"), thought("", RS)),),
         want=[json.loads(RS), {"type": "message", "role": "assistant", "content": "a"}]),
    Case(name="responses: the call's own item", provider="openai-responses",
         entries=(model("openai-responses", called(echo=json.dumps({**ITEM, "id": "fc_1", "status": "completed"}))),),
         want=[{**ITEM, "id": "fc_1", "status": "completed"}]),
    Case(name="responses: a name it would refuse", provider="openai-responses",
         entries=(model("openai-responses", called(name="multi_tool_use.parallel", echo=json.dumps(
             {**ITEM, "name": "multi_tool_use.parallel"}))),),
         want=[{**ITEM, "name": "multi_tool_use_parallel"}]),
    Case(name="responses: arguments that could not be read", provider="openai-responses",
         entries=(model("openai-responses", called(arguments="{}", echo=json.dumps({**ITEM, "arguments": '{"pa'}))),),
         want=[{**ITEM, "arguments": "{}"}]),
    Case(name="responses: no arguments at all", provider="openai-responses",
         entries=(model("openai-responses", called(arguments="{}", echo=json.dumps({**ITEM, "arguments": ""}))),),
         want=[{**ITEM, "arguments": ""}]),
    Case(name="responses: a custom call is answered as a function", provider="openai-responses",
         entries=(model("openai-responses", called(echo=json.dumps({**ITEM, "type": "custom_tool_call"}))),),
         want=[ITEM]),
    Case(name="gemini: arguments that are no object", provider="gemini",
         entries=(model("gemini", called("id1", arguments="{}", echo='{"functionCall":{"name":"read_file","args":[1]},'
                                         '"thoughtSignature":"c2ln"}')),),
         want=[{"role": "model", "parts": [{"functionCall": {"name": "read_file", "id": "id1", "args": {}},
                                            "thoughtSignature": "c2ln"}]}]),
    Case(name="gemini: the call's own part", provider="gemini",
         entries=(UserEntry(text="hi"), model("gemini", said("Look."), called(MINTED, echo=SIGNED), called(MINTED)),),
         want=[{"role": "user", "parts": [{"text": "hi"}]},
               {"role": "model", "parts": [
                   {"text": "Look."}, json.loads(SIGNED),
                   {"functionCall": {"name": "read_file", "args": {"path": "a.txt"}}}]}]),
    Case(name="gemini: only the signature is known", provider="gemini",
         entries=(model("gemini", called("id1", echo='{"thoughtSignature":"c2ln"}'), called("id2")),),
         want=[{"role": "model", "parts": [
                   {"functionCall": {"name": "read_file", "id": "id1", "args": {"path": "a.txt"}},
                    "thoughtSignature": "c2ln"},
                   {"functionCall": {"name": "read_file", "id": "id2", "args": {"path": "a.txt"}}}]}]),
    Case(name="gemini: another model's calls, and ids we minted", provider="gemini",
         entries=(model("openai", called("e00001000"), called("e00001001")), answered("e00001000", outcome="denied")),
         want=[{"role": "model", "parts": [
                   {"functionCall": {"name": "read_file", "args": {"path": "a.txt"}},
                    "thoughtSignature": "skip_thought_signature_validator"},
                   {"functionCall": {"name": "read_file", "args": {"path": "a.txt"}}}]},
               {"role": "user", "parts": [
                   {"functionResponse": {"name": "read_file", "response": {"error": "done"}}}]}]),
    Case(name="gemini: signed text", provider="gemini",
         entries=(model("gemini", thought("", '{"text":"","thoughtSignature":"c2ln"}'), said("")),),
         want=[{"role": "model", "parts": [{"text": "", "thoughtSignature": "c2ln"}]}]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_entries_become_messages(case: Case) -> None:
    """Each entry as the provider documents it."""
    assert messages(case.provider, *case.entries) == case.want


# --- the head of the request -----------------------------------------------------------------------------------------

FUNCTION = {"name": TOOL.name, "description": TOOL.description, "parameters": TOOL.parameters}


def test_anthropic_marks_what_stays_and_what_moves() -> None:
    """One breakpoint behind tools and system, and the automatic one; two of the four slots."""
    built = body("anthropic")
    assert built["system"] == [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    assert built["cache_control"] == {"type": "ephemeral"}
    assert json.dumps(built).count("cache_control") == 2
    assert built["tools"][0]["input_schema"] == TOOL.parameters
    assert request("anthropic").headers["anthropic-version"] == "2023-06-01"


def test_anthropic_is_not_given_a_blank_system_prompt() -> None:
    """A breakpoint on it is refused."""
    assert "system" not in body("anthropic", system=" \n")


def test_chat_asks_for_usage_where_that_is_understood() -> None:
    """Mistral refuses `stream_options`; only OpenAI itself is given a cache key."""
    assert body("openai")["stream_options"] == {"include_usage": True}
    assert "stream_options" not in body("openai", base_url="https://api.mistral.ai/v1")
    assert "prompt_cache_key" not in body("openai", session="s")
    assert body("openai", session="s", base_url="https://api.openai.com")["prompt_cache_key"] == "s"
    assert body("openai")["tools"] == [{"type": "function", "function": FUNCTION}]
    assert body("openai")["messages"] == [{"role": "system", "content": "Be brief."}]


def test_responses_stores_nothing_and_asks_for_encrypted_reasoning() -> None:
    """Stateless; but models that do not reason refuse to be asked for it."""
    built = body("openai-responses", model="gpt-6-sol", session="s" * 80)
    assert built["store"] is False
    assert built["include"] == ["reasoning.encrypted_content"]
    assert built["prompt_cache_key"] == "s" * 64
    assert built["instructions"] == "Be brief."
    assert built["tools"] == [{"type": "function", "strict": False, **FUNCTION}]
    for plain in ("gpt-4.1-mini", "openai/gpt-4o", "gpt-5-chat-latest"):
        assert "include" not in body("openai-responses", model=plain)


def test_gemini_takes_the_schema_as_it_is() -> None:
    """`parametersJsonSchema` takes JSON Schema; the older `parameters` would refuse `additionalProperties`."""
    built = body("gemini")
    declaration = {
        "name": TOOL.name,
        "description": TOOL.description,
        "parametersJsonSchema": TOOL.parameters,
    }
    assert built["tools"] == [{"functionDeclarations": [declaration]}]
    assert built["system_instruction"] == {"parts": [{"text": "Be brief."}]}


def test_workers_ai_goes_three_ways() -> None:
    """The base URL says whether the model is in the body, in the path, or run through the binding."""
    account = "https://api.cloudflare.com/client/v4/accounts/a1"
    chat = request("workers-ai", base_url=account, model="@cf/x/y", session="s", api_key="k")
    assert chat.url == f"{account}/ai/v1/chat/completions"
    assert json.loads(chat.body)["model"] == "@cf/x/y"
    assert chat.headers["x-session-affinity"] == "s"
    run = request("workers-ai", base_url=f"{account}/ai/run/", model="@cf/x/y", api_key="k")
    assert run.url == f"{account}/ai/run/@cf/x/y"
    assert run.headers["authorization"] == "Bearer k"
    binding = request("workers-ai", base_url="binding:AI", model="@cf/x/y", api_key="k", session="s")
    assert binding.url == "binding:AI/@cf/x/y"
    assert binding.headers["x-session-affinity"] == "s"
    assert "authorization" not in binding.headers
    assert not {"model", "stream_options"} & set(json.loads(run.body)) | set(json.loads(binding.body)) & {
        "model"
    }


@pytest.mark.parametrize("name", NAMES)
def test_behind_an_ai_gateway_we_alone_retry(name: str) -> None:
    """Its retries are set to one attempt and its cache of whole answers is skipped; a deployment's own header wins."""
    base = "https://gateway.ai.cloudflare.com/v1/acct/gw/x"
    headers = request(name, base_url=base).headers
    assert (headers["cf-aig-max-attempts"], headers["cf-aig-skip-cache"]) == ("1", "true")
    assert request(name, headers={"cf-aig-gateway-id": "gw"}).headers["cf-aig-max-attempts"] == "1"
    own = request(name, base_url=base, headers={"cf-aig-max-attempts": "2"}).headers
    assert own["cf-aig-max-attempts"] == "2"
    assert "cf-aig-max-attempts" not in request(name).headers


@pytest.mark.parametrize(
    ("name", "base", "url"),
    [
        ("anthropic", "https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
        ("anthropic", "https://api.deepseek.com/anthropic/", "https://api.deepseek.com/anthropic/v1/messages"),
        ("anthropic", "https://gateway.ai.cloudflare.com/v1/a/g/anthropic",
         "https://gateway.ai.cloudflare.com/v1/a/g/anthropic/v1/messages"),
        ("openai", "http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/chat/completions"),
        ("openai", "https://openrouter.ai/api/v1/", "https://openrouter.ai/api/v1/chat/completions"),
        ("openai", "https://generativelanguage.googleapis.com/v1beta/openai",
         "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions"),
        ("openai", "https://api.z.ai/api/paas/v4", "https://api.z.ai/api/paas/v4/chat/completions"),
        ("openai", "https://gateway.ai.cloudflare.com/v1/a/g/compat",
         "https://gateway.ai.cloudflare.com/v1/a/g/compat/chat/completions"),
        ("openai-responses", "https://api.openai.com/v1", "https://api.openai.com/v1/responses"),
        ("openai-responses", "https://gateway.ai.cloudflare.com/v1/a/g/openai",
         "https://gateway.ai.cloudflare.com/v1/a/g/openai/responses"),
        ("gemini", "https://generativelanguage.googleapis.com",
         "https://generativelanguage.googleapis.com/v1beta/models/m:streamGenerateContent?alt=sse"),
        ("gemini", "https://vertex.test/v1/projects/p/locations/l/publishers/google",
         "https://vertex.test/v1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent?alt=sse"),
        ("gemini", "https://generativelanguage.googleapis.com/v1beta",
         "https://generativelanguage.googleapis.com/v1beta/models/m:streamGenerateContent?alt=sse"),
    ],
)  # fmt: skip
def test_urls(name: str, base: str, url: str) -> None:
    """A base URL is taken with or without its version, as its server documents it."""
    assert request(name, base_url=base).url == url


def test_a_gemini_model_cannot_leave_its_path() -> None:
    """The model's name is a person's or a client's word; it stays one segment."""
    assert "/models/..%2F..%2Fx%3Fy:stream" in request("gemini", model="../../x?y").url
    assert "/models/gemini-3:stream" in request("gemini", model="models/gemini-3").url


@pytest.mark.parametrize(
    ("clean", "given_", "want"),
    [(safe_name, "a.b/c", "a_b_c"), (safe_name, "n" * 80, "n" * 64), (safe_name, "", "_"),
     (safe_id, "functions.x:0", "functions_x_0"), (safe_id, "", "_")],
)  # fmt: skip
def test_safe_words(clean: Callable[[str], str], given_: str, want: str) -> None:
    """What a provider would refuse is replaced, never dropped to nothing."""
    assert clean(given_) == want


def test_hosts_are_compared_by_domain() -> None:
    """A host is the domain or below it, never one that merely ends alike; what is no URL is no host."""
    assert is_host("https://api.openai.com/v1", "openai.com")
    assert not is_host("https://notopenai.com", "openai.com")
    assert not is_host("http://[", "openai.com")
    assert endpoint("http://[", "v1", "x") == "http://[/v1/x"
