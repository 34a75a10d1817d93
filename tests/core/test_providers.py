"""Whole requests, byte by byte, for one conversation that has everything; and names, ids and texts that no API takes."""

import json
import re
from typing import Any

import pytest

from edgeloop.providers import PROVIDERS, Plan, Target
from edgeloop.providers.base import safe_id, safe_name, to_json
from edgeloop.tools import ToolSpec
from edgeloop.transcript import Block, CallBlock, Entry, ModelEntry, Result, ResultsEntry, UserEntry

HOSTILE_NAMES = ("", "a b", "rm -rf /", 'x","y":"', "näme", "\ud800", "t" * 200, "a.b:c", "\x00")
TOOL = ToolSpec(name="look", description="Look.", parameters={"type": "object"}, effect="read")


def words(text: str, **fields: Any) -> Block:
    """A block of text, or of what `fields` say."""
    shape: dict[str, Any] = {"type": "text", "text": text, "echo": None, "partial": False}
    return Block(**(shape | fields))


CONVERSATION: tuple[Entry, ...] = (
    UserEntry(text="né\u2028\n"),
    ModelEntry(
        provider="anthropic",
        blocks=(
            words("", type="reasoning", echo='{"type":"thinking", "thinking":"", "signature":"s/="}'),
            words("Looking. "),
            CallBlock(provider_id="toolu_1", name="look", arguments='{"b": 1,  "a": 1.0}'),
            CallBlock(provider_id="toolu_2", name="look", arguments="{}"),
        ),
    ),
    ResultsEntry(
        results=(
            Result(provider_id="toolu_1", name="look", outcome="ok", content="one"),
            Result(provider_id="toolu_2", name="look", outcome="denied", content=""),
        )
    ),
    ModelEntry(provider="anthropic", blocks=(words(" \n"), words("x", type="reasoning"))),
    UserEntry(text="go on"),
)

BODIES = {
    "anthropic": (
        '{"model":"m","max_tokens":32000,"stream":true,"cache_control":{"type":"ephemeral"},'
        '"tools":[{"name":"look","description":"Look.","input_schema":{"type":"object"}}],'
        '"system":[{"type":"text","text":"Be brief.","cache_control":{"type":"ephemeral"}}],"messages":['
        '{"role":"user","content":[{"type":"text","text":"né\u2028\\n"}]},'
        '{"role":"assistant","content":[{"type":"thinking", "thinking":"", "signature":"s/="},'
        '{"type":"text","text":"Looking. "},'
        '{"type":"tool_use","id":"toolu_1","name":"look","input":{"b": 1,  "a": 1.0}},'
        '{"type":"tool_use","id":"toolu_2","name":"look","input":{}}]},'
        '{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"one"},'
        '{"type":"tool_result","tool_use_id":"toolu_2","content":"(denied)","is_error":true}]},'
        '{"role":"user","content":[{"type":"text","text":"go on"}]}]}'
    ),
    "openai": (
        '{"model":"m","stream":true,"stream_options":{"include_usage":true},'
        '"tools":[{"type":"function","function":{"name":"look","description":"Look.","parameters":{"type":"object"}}}],'
        '"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"né\u2028\\n"},'
        '{"role":"assistant","content":"Looking. ","tool_calls":['
        '{"id":"toolu_1","type":"function","function":{"name":"look","arguments":"{\\"b\\": 1,  \\"a\\": 1.0}"}},'
        '{"id":"toolu_2","type":"function","function":{"name":"look","arguments":"{}"}}]},'
        '{"role":"tool","tool_call_id":"toolu_1","content":"one"},'
        '{"role":"tool","tool_call_id":"toolu_2","content":""},'
        '{"role":"assistant","content":" \\n"},{"role":"user","content":"go on"}]}'
    ),
}


def body(name: str, *entries: Entry, system: str = "", tools: tuple[ToolSpec, ...] = ()) -> bytes:
    """The request's body for a conversation."""
    provider = PROVIDERS[name]
    plan = Plan(model="m", system=system, tools=tools, messages=tuple(map(provider.encode, entries)))
    return provider.build_request(plan, Target(base_url="http://model.test", api_key="KEY")).body


@pytest.mark.parametrize("name", BODIES)
def test_a_whole_request_byte_by_byte(name: str) -> None:
    """Arguments and signed blocks go back as they came; blank text and foreign reasoning do not go at all."""
    made = body(name, *CONVERSATION, system="Be brief.", tools=(TOOL,))
    assert made.decode() == BODIES[name]
    assert json.loads(made)


def hostile(name: str) -> tuple[Entry, ...]:
    """A conversation in which a name, an id and texts are of the worst kind."""
    return (
        UserEntry(text=f"hi {name}"),
        ModelEntry(
            provider="anthropic",
            blocks=(
                words(f"text {name}"),
                CallBlock(provider_id=name or "x", name=name, arguments=json.dumps({"a": name})),
            ),
        ),
        ResultsEntry(results=(Result(provider_id=name or "x", name=name, outcome="ok", content=name),)),
    )


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=range(len(HOSTILE_NAMES)))
@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_hostile_words_make_valid_requests(provider: str, name: str) -> None:
    """Whatever a model invents, the request stays JSON in UTF-8, and a call and its result name the same id."""
    made = body(provider, *hostile(name), system=f"s {name}")
    parsed = json.loads(made.decode())
    if provider == "anthropic":
        call, result = parsed["messages"][1]["content"][1], parsed["messages"][2]["content"][0]
        assert call["id"] == result["tool_use_id"]
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", call["name"])
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", call["id"])


def test_raw_words_with_lone_surrogates_are_mended() -> None:
    """Raw JSON that Python holds with a lone surrogate is sent with a replacement character, not refused by us."""
    broken = ModelEntry(
        provider="anthropic",
        blocks=(
            words("", type="reasoning", echo='{"type":"thinking","thinking":"\ud800","signature":"s"}'),
            CallBlock(provider_id="x", name="t", arguments='{"a":"\udfff"}'),
        ),
    )
    for name in PROVIDERS:
        assert json.loads(body(name, broken))
    assert body("anthropic", broken).count("\ufffd".encode()) == 2


@pytest.mark.parametrize("clean", [safe_name, safe_id], ids=["name", "id"])
@pytest.mark.parametrize("given_name", HOSTILE_NAMES, ids=range(len(HOSTILE_NAMES)))
def test_safe_words_are_safe_and_stay(clean: Any, given_name: str) -> None:
    """Cleaning gives what APIs take, and cleaning again changes nothing."""
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", clean(given_name))
    assert clean(clean(given_name)) == clean(given_name)


def test_json_is_compact_and_keeps_its_order() -> None:
    """The same value gives the same bytes, keys as they stand."""
    assert to_json({"b": "é\ud800", "a": [1.0, None]}) == '{"b":"é\ufffd","a":[1.0,null]}'.encode()


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_a_key_is_never_in_a_repr(name: str) -> None:
    """A request and a target can be logged."""
    target = Target(base_url="http://model.test", api_key="KEY")
    request = PROVIDERS[name].build_request(Plan(model="m", system="", tools=(), messages=()), target)
    assert "KEY" not in f"{target!r}{request!r}".replace("api_key", "")
