"""OpenAI Chat, its imitators and Workers AI: their quirks, one by one."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from edgeloop_client.decode import Decoder
from tests.support.streams import chat, data, decode, decoded

Delta = dict[str, Any]
Called = tuple[str, str, str, str | None]


def call(index: int | None = 0, id: str | None = None, name: str | None = None, args: Any = None) -> Delta:  # noqa: A002
    function = {key: value for key, value in (("name", name), ("arguments", args)) if value is not None}
    fragment = {"index": index, "id": id, "function": function}
    return {"tool_calls": [{key: value for key, value in fragment.items() if value is not None}]}


def both(*deltas: Delta) -> Delta:
    return {"tool_calls": [fragment for delta in deltas for fragment in delta["tool_calls"]]}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Deltas, and the calls they amount to."""

    name: str
    deltas: list[Delta]
    calls: list[Called]
    finish: str | None = "tool_calls"
    ended: str = "stop tool_use"


A, B = '{"a":1}', '{"b":2}'
CASES = [
    Case(
        name="as documented",
        deltas=[call(0, "c1", "f", ""), call(0, args='{"a"'), call(0, args=":1}")],
        calls=[("c1", "f", A, None)],
    ),
    Case(
        name="parallel by index",
        deltas=[call(0, "c1", "f", ""), call(0, args=A), call(1, "c2", "g", ""), call(1, args=B)],
        calls=[("c1", "f", A, None), ("c2", "g", B, None)],
    ),
    Case(
        name="same index, other ids",
        deltas=[call(0, "c1", "f", A), call(0, "c2", "f", B)],
        calls=[("c1", "f", A, None), ("c2", "f", B, None)],
    ),
    Case(
        name="same index, no ids, whole calls",
        deltas=[call(0, None, "f", A), call(0, None, "f", B)],
        calls=[("", "f", A, None), ("", "f", B, None)],
    ),
    Case(
        name="the id on every delta",
        deltas=[call(0, "c1", "f", '{"a"'), call(0, "c1", args=":"), call(0, "c1", "", "1}")],
        calls=[("c1", "f", A, None)],
    ),
    Case(
        name="empty id and name later",
        deltas=[call(0, "c1", "f", '{"a"'), call(0, "", "", ":1}")],
        calls=[("c1", "f", A, None)],
    ),
    Case(
        name="a new id per fragment",
        deltas=[call(0, "c1", "f", '{"a"'), call(0, "x2", args=":"), call(0, "x3", args="1}")],
        calls=[("c1", "f", A, None)],
    ),
    Case(
        name="a new id per fragment and the name again",
        deltas=[call(0, "c1", "f", '{"a"'), call(0, "x2", "f", ":1}")],
        calls=[("c1", "f", A, None)],
    ),
    Case(
        name="no index",
        deltas=[call(None, "c1", "f", A), call(None, "c2", "g", '{"b"'), call(None, "c2", args=":2}")],
        calls=[("c1", "f", A, None), ("c2", "g", B, None)],
    ),
    Case(
        name="no index and no id",
        deltas=[call(None, None, "f", '{"a"'), call(None, None, None, ":1}"), call(None, None, "g", B)],
        calls=[("", "f", A, None), ("", "g", B, None)],
    ),
    Case(
        name="index from 1, with a gap",
        deltas=[call(1, "c1", "f", A), call(3, "c2", "g", B)],
        calls=[("c1", "f", A, None), ("c2", "g", B, None)],
    ),
    Case(
        name="two whole calls in one chunk",
        deltas=[both(call(0, "c1", "f", A), call(1, "c2", "g", B))],
        calls=[("c1", "f", A, None), ("c2", "g", B, None)],
    ),
    Case(
        name="two without index in one chunk",
        deltas=[both(call(None, "c1", "f", A), call(None, "c2", "g", B))],
        calls=[("c1", "f", A, None), ("c2", "g", B, None)],
    ),
    Case(
        name="all opened before any arguments",
        deltas=[call(0, "c1", "f", ""), call(1, "c2", "g", ""), call(0, args=A), call(1, args=B)],
        calls=[("c1", "f", A, None), ("c2", "g", B, None)],
    ),
    Case(
        name="arguments before the name",
        deltas=[call(0, None, None, '{"a"'), call(0, "c1", "f", ":1}")],
        calls=[("c1", "f", A, None)],
    ),
    Case(
        name="arguments as an object",
        deltas=[call(0, "c1", "f", {"a": [1, "é"]})],
        calls=[("c1", "f", '{"a": [1, "\\u00e9"]}', None)],
    ),
    Case(
        name="arguments null",
        deltas=[call(0, "c1", "f"), call(0, None, None, None)],
        calls=[("c1", "f", "{}", None)],
    ),
    Case(
        name="arguments the word null", deltas=[call(0, "c1", "f", "null")], calls=[("c1", "f", "{}", None)]
    ),
    Case(name="empty arguments", deltas=[call(0, "c1", "f", "")], calls=[("c1", "f", "{}", None)]),
    Case(
        name="arguments encoded twice",
        deltas=[call(0, "c1", "f", json.dumps(A))],
        calls=[("c1", "f", A, None)],
    ),
    Case(
        name="unparseable arguments",
        deltas=[call(0, "c1", "f", "{a:1}")],
        calls=[("c1", "f", "{a:1}", "unparseable")],
    ),
    Case(
        name="a list as arguments",
        deltas=[call(0, "c1", "f", "[1]")],
        calls=[("c1", "f", "[1]", "not_object")],
    ),
    Case(name="never a name", deltas=[call(0, "c1", None, A)], calls=[("c1", "", A, "unnamed")]),
    Case(
        name="braces in strings",
        deltas=[call(0, "c1", "f", '{"a":"}\\"{'), call(0, args='"}'), call(1, "c2", "g", B)],
        calls=[("c1", "f", '{"a":"}\\"{"}', None), ("c2", "g", B, None)],
    ),
    Case(
        name="one id for all",
        deltas=[both(call(None, "c", "f", A), call(None, "c", "g", B))],
        calls=[("c", "f", A, None), ("c", "g", B, None)],
    ),
    Case(
        name="kimi's ids",
        deltas=[call(0, "functions.f:0", "f", A), call(1, "functions.f:1", "f", B)],
        calls=[("functions.f:0", "f", A, None), ("functions.f:1", "f", B, None)],
    ),
    Case(name="finish stop", deltas=[call(0, "c1", "f", A)], calls=[("c1", "f", A, None)], finish="stop"),
    Case(
        name="finish missing, [DONE] there",
        deltas=[call(0, "c1", "f", A)],
        calls=[("c1", "f", A, None)],
        finish=None,
    ),
    Case(
        name="finish length",
        deltas=[call(0, "c1", "f", A), call(1, "c2", "g", '{"b"')],
        calls=[("c1", "f", A, None), ("c2", "g", '{"b"', "truncated")],
        finish="length",
        ended="stop max_tokens",
    ),
    Case(
        name="finish length after whole arguments",
        deltas=[call(0, "c1", "f", A)],
        calls=[("c1", "f", A, "truncated")],
        finish="length",
        ended="stop max_tokens",
    ),
    Case(
        name="the old function_call",
        deltas=[
            {"function_call": {"name": "f", "arguments": '{"a"'}},
            {"function_call": {"arguments": ":1}"}},
        ],
        calls=[("", "f", A, None)],
        finish="function_call",
    ),
    Case(
        name="flat fragments",
        deltas=[
            {"tool_calls": [{"name": "f", "arguments": {"a": 1}}]},
            {"tool_calls": [{"name": "f", "arguments": {"b": 2}}]},
        ],
        calls=[("", "f", '{"a": 1}', None), ("", "f", '{"b": 2}', None)],
    ),
    Case(
        name="null closers",
        deltas=[
            call(0, "c1", "f", A),
            {"tool_calls": [{"id": None, "type": None, "function": {"name": None, "arguments": ""}}]},
            call(1, "c2", "f", B),
            {"tool_calls": [{"id": None, "type": None, "function": {"name": None, "arguments": ""}}]},
        ],
        calls=[("c1", "f", A, None), ("c2", "f", B, None)],
    ),
    Case(
        name="the call said again at the end",
        deltas=[call(0, "c1", "f", A), call(1, "c2", "g", B), call(0, "c1", "f", A)],
        calls=[("c1", "f", A, None), ("c2", "g", B, None)],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_calls(case: Case) -> None:
    """Fragments become the calls they were meant to be, in either dialect that speaks Chat."""
    stream = chat(*case.deltas, finish=case.finish)
    for dialect in ("openai-chat", "workers-ai"):
        found = decoded(dialect, stream)
        assert (found.call_tuples(), found.ended()) == (case.calls, case.ended)
        assert sorted(call["block"] for call in found.calls) == list(range(len(case.calls)))


def _ops_at(*deltas: Delta) -> list[list[str]]:
    with Decoder("openai-chat") as decoder:
        return [[op["op"] for op in decoder.feed(chat(delta, finish=None, done=False))] for delta in deltas]


def test_a_call_is_complete_when_the_next_one_opens() -> None:
    """That is the earliest moment: there is no event for it."""
    assert _ops_at(call(0, "c1", "f", A), call(1, "c2", "g", "")) == [
        ["start", "call_started", "args"],
        ["call_complete", "call_started"],
    ]


def test_a_call_without_arguments_waits_for_the_finish() -> None:
    """Its arguments may still come: some servers open all calls first."""
    assert _ops_at(call(0, "c1", "f", ""), call(1, "c2", "g", ""))[1] == ["call_started"]


def test_the_last_call_is_complete_at_finish_reason() -> None:
    """Not earlier, though its braces are balanced; and not as late as [DONE]."""
    with Decoder("openai-chat") as decoder:
        assert "call_complete" not in {
            op["op"] for op in decoder.feed(chat(call(0, "c1", "f", A), finish=None, done=False))
        }
        assert [op["op"] for op in decoder.feed(chat(finish="tool_calls", done=False))] == ["call_complete"]


def test_two_finish_chunks_complete_a_call_once() -> None:
    """OpenRouter repeats the finish; empty choices and role-only trailers follow."""
    stream = chat(call(0, "c1", "f", A), finish=None, done=False)
    stream += chat(finish="tool_calls", done=False) + chat(
        {"role": "assistant", "content": ""}, finish="tool_calls", done=False
    )
    found = decoded("openai-chat", stream + data({"choices": []}))
    assert (found.call_tuples(), found.ended()) == ([("c1", "f", A, None)], "stop tool_use")


def test_text_is_one_block_wherever_its_pieces_stand() -> None:
    """Chat sends one content back, so it is one block, numbered by first appearance."""
    found = decoded(
        "openai-chat", chat({"content": "a"}, call(0, "c1", "f", A), {"content": "b"}, finish="tool_calls")
    )
    assert (found.texts, [b["text"] for b in found.blocks], found.calls[0]["block"]) == ({0: "ab"}, ["ab"], 1)


@pytest.mark.parametrize(
    "nothing", [{"content": ""}, {"content": None}, {"role": "assistant"}, {"content": []}, {"refusal": ""}]
)
def test_nothing_said_is_no_block(nothing: Delta) -> None:
    """Empty content opens nothing."""
    assert decoded("openai-chat", chat(nothing)).blocks == []


@pytest.mark.parametrize(
    ("deltas", "text", "echo"),
    [
        ([{"reasoning_content": "a"}, {"reasoning_content": "b"}], "ab", {"reasoning_content": "ab"}),
        ([{"reasoning": "a"}, {"reasoning": "b"}], "ab", {"reasoning": "ab"}),
        ([{"reasoning": "a", "reasoning_content": "a"}], "a", {"reasoning_content": "a"}),
        ([{"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}]}], "a", None),
        ([{"content": [{"type": "thinking", "thinking": "a"}]}], "a", None),
        (
            [
                {
                    "reasoning": "a",
                    "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "a", "format": "x"}],
                },
                {
                    "reasoning": "b",
                    "reasoning_details": [
                        {"type": "reasoning.text", "index": 0, "text": "b", "signature": "s"}
                    ],
                },
                {"reasoning_details": [{"type": "reasoning.encrypted", "index": 1, "data": "e"}]},
            ],
            "ab",
            {
                "reasoning_details": [
                    {"type": "reasoning.text", "index": 0, "text": "ab", "format": "x", "signature": "s"},
                    {"type": "reasoning.encrypted", "index": 1, "data": "e"},
                ]
            },
        ),
        (
            [{"reasoning_details": [{"type": "reasoning.summary", "summary": "s"}]}],
            "s",
            {"reasoning_details": [{"type": "reasoning.summary", "summary": "s"}]},
        ),
        (
            [{"reasoning_details": [{"type": "reasoning.encrypted", "data": "e"}]}],
            "",
            {"reasoning_details": [{"type": "reasoning.encrypted", "data": "e"}]},
        ),
    ],
)
def test_reasoning_under_its_many_names(deltas: list[Delta], text: str, echo: Delta | None) -> None:
    """Shown once, and echoed under the name it came by."""
    found = decoded("openai-chat", chat(*deltas, {"content": "x"}))
    block = next(b for b in found.blocks if b["kind"] == "reasoning")
    assert ("".join(found.reasoning.values()), block["text"]) == (text, text)
    assert (json.loads(block["echo"]) if block["echo"] else None) == echo


def test_gemini_signatures_behind_the_compatible_endpoint_are_echoed() -> None:
    """`extra_content` of a call must be sent back with it."""
    delta = call(0, "c1", "f", A)
    delta["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": "s"}}
    echo = decoded("openai-chat", chat(delta, finish="tool_calls")).calls[0]["echo"]
    assert json.loads(echo) == {"extra_content": {"google": {"thought_signature": "s"}}}


@pytest.mark.parametrize(
    ("finish", "ended"),
    [
        ("stop", "stop end"),
        ("length", "stop max_tokens"),
        ("content_filter", "stop content_filter"),
        ("tool_calls", "stop end"),
        ("eos", "stop end"),
        ("eos_token", "stop end"),
        ("stop_sequence", "stop end"),
        ("end_turn", "stop end"),
        ("model_length", "stop max_tokens"),
        ("model_context_window_exceeded", "stop max_tokens"),
        ("sensitive", "stop content_filter"),
        ("content_filter: RECITATION", "stop content_filter"),
        ("SAFETY", "stop content_filter"),
        ("function_call_filter: MALFORMED_FUNCTION_CALL", "stop other"),
        ("weird", "stop other"),
        (None, "stop end"),
    ],
)
def test_finish_reasons_without_calls(finish: str | None, ended: str) -> None:
    """The reason is ours, the word theirs."""
    found = decoded("openai-chat", chat({"content": "a"}, finish=finish))
    assert (found.ended(), found.end["raw"]) == (ended, finish)


@pytest.mark.parametrize("finish", ["eos_token", "end_turn", "tool_use", "STOP"])
def test_calls_end_well_under_any_word_for_it(finish: str) -> None:
    """Else the calls that change things would not be run."""
    assert decoded("openai-chat", chat(call(0, "c1", "f", A), finish=finish)).ended() == "stop tool_use"


@pytest.mark.parametrize("finish", ["model_length", "sensitive"])
def test_a_call_cut_off_under_any_word_for_it(finish: str) -> None:
    """Its arguments are not to be trusted, whole as they look."""
    assert (
        decoded("openai-chat", chat(call(0, "c1", "f", A), finish=finish)).calls[0]["invalid"] == "truncated"
    )


@pytest.mark.parametrize(
    ("finish", "cls"),
    [("abort", "server"), ("network_error", "server"), ("insufficient_system_resource", "overloaded")],
)
def test_a_server_that_gave_up_in_one_word(finish: str, cls: str) -> None:
    """vLLM, Z.ai and DeepSeek say it as a reason to finish, and send [DONE]: what was open is not complete."""
    found = decoded("openai-chat", chat({"content": "a"}, call(0, "c1", "f", A), finish=finish))
    assert (found.ended(), found.end["retryable"], found.calls) == (f"error {cls}", True, [])


def test_a_refusal_is_shown_and_named() -> None:
    """Its text is what the person sees; the end says what it was."""
    found = decoded("openai-chat", chat({"refusal": "I will "}, {"refusal": "not."}))
    assert (found.texts, found.ended()) == ({0: "I will not."}, "stop refusal")


def test_no_done_is_needed_after_a_finish() -> None:
    """Writer and others just close; the end is reported then."""
    assert decoded("openai-chat", chat({"content": "a"}, done=False)).ended() == "stop end"


@pytest.mark.parametrize("stream", [b"", chat({"content": "a"}, finish=None, done=False), data()])
def test_no_finish_and_no_done_is_truncated(stream: bytes) -> None:
    """So is a stream that holds nothing but its end, which Workers AI sends at times."""
    assert decoded("openai-chat", stream).ended() == "error truncated"


def test_a_call_in_a_truncated_stream_is_not_complete() -> None:
    """However whole it looks."""
    assert decoded("openai-chat", chat(call(0, "c1", "f", A), finish=None, done=False)).calls == []


ERRORS: list[tuple[Any, str, str]] = [
    ({"error": {"message": "m", "code": 502}}, "server", "502"),
    ({"error": {"message": "m", "code": 429, "metadata": {}}}, "rate_limit", "429"),
    ({"error": {"message": "m", "type": "server_error", "code": None}}, "server", "server_error"),
    (
        {"error": {"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}},
        "billing",
        "insufficient_quota",
    ),
    (
        {"error": {"message": "m", "type": "invalid_request_error", "code": "tool_use_failed"}},
        "malformed",
        "tool_use_failed",
    ),
    (
        {"error": {"message": "context", "code": "context_length_exceeded"}},
        "invalid_request",
        "context_length_exceeded",
    ),
    ({"error": "Rate limit reached"}, "rate_limit", ""),
    ({"error": "Internal server error"}, "server", ""),
    ({"error": {"message": "m", "type": "engine_overloaded_error"}}, "overloaded", "engine_overloaded_error"),
    (
        {"error": {"message": "m", "type": "exceeded_current_quota_error"}},
        "billing",
        "exceeded_current_quota_error",
    ),
    ({"error": {"message": "m", "type": None, "code": "524"}}, "server", "524"),
    ({"error": {"message": "m", "code": 415}}, "invalid_request", "415"),
    ({"object": "error", "message": "m", "code": 400}, "invalid_request", "400"),
    ({"errors": [{"code": 3040, "message": "Capacity exceeded"}], "success": False}, "overloaded", "3040"),
    ({"errors": [{"code": 3036, "message": "daily"}], "success": False}, "billing", "3036"),
    ({"errors": [{"code": 3007, "message": "slow"}], "success": False}, "timeout", "3007"),
    ({"errors": [{"code": 5007, "message": "no model"}], "success": False}, "invalid_request", "5007"),
    ({"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}, "server", ""),
    (
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": {"code": 503}}]},
        "overloaded",
        "503",
    ),
]


@pytest.mark.parametrize(("event", "cls", "code"), ERRORS)
def test_errors_inside_the_stream(event: Delta, cls: str, code: str) -> None:
    """With HTTP 200 before; the open call is not complete, and [DONE] after it changes nothing."""
    stream = chat(call(0, "c1", "f", A), finish=None, done=False) + data(event)
    found = decoded("workers-ai", stream)
    assert (found.end["class"], found.end["code"], found.calls) == (cls, code, [])


def test_an_error_as_the_whole_body() -> None:
    """JSON instead of SSE."""
    body = json.dumps({"error": {"message": "Overloaded", "code": 529}}, indent=2)
    assert decoded("workers-ai", body.encode()).ended() == "error overloaded"


def test_a_completion_as_the_whole_body() -> None:
    """A server that does not stream is understood all the same."""
    message = {
        "role": "assistant",
        "content": "Hi",
        "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": A}}],
    }
    body = {
        "id": "r",
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
    }
    found = decoded("openai-chat", json.dumps(body, indent=1).encode())
    assert (found.texts, found.call_tuples(), found.ended()) == (
        {0: "Hi"},
        [("c1", "f", A, None)],
        "stop tool_use",
    )


def test_workers_ai_chunks() -> None:
    """`response` is the text, also where a token is a number; `p` is padding; chat chunks may be mixed in."""
    stream = data(
        {"response": "Count: ", "p": "abc"},
        {"response": 4},
        {"choices": [{"index": 0, "delta": {"content": "2"}}]},
        {"response": "", "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}},
    )
    found = decoded("workers-ai", stream)
    assert (found.texts, found.ended()) == ({0: "Count: 42"}, "stop end")


def test_workers_ai_rest_envelope() -> None:
    """The answer of the REST API to a request it did not stream."""
    body: Delta = {
        "result": {"response": "Hi", "usage": {"prompt_tokens": 2, "completion_tokens": 1}},
        "success": True,
        "errors": [],
    }
    found = decoded("workers-ai", json.dumps(body).encode())
    assert (found.texts, found.ended()) == ({0: "Hi"}, "stop end")


def usage_of(*usages: Delta | None, **more: Any) -> Delta:
    chunks = [{"choices": [{"index": 0, "delta": {"content": "x"}}], "usage": usage} for usage in usages]
    found = decoded(
        "workers-ai",
        data(*chunks, {"choices": [{"delta": {}, "finish_reason": "stop"}]}, *([more] if more else [])),
    )
    usage = found.usage or {}
    return {key: value for key, value in usage.items() if value is not None and key != "op"}


def test_usage_in_the_normal_form() -> None:
    """Cached and written tokens are no part of the uncached; reasoning is part of the output; the price is kept."""
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 30,
        "total_tokens": 130,
        "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
        "completion_tokens_details": {"reasoning_tokens": 20},
        "cost": 0.0125,
    }
    assert usage_of(None, usage) == {
        "input_uncached": 30,
        "cache_read": 60,
        "cache_write_5m": 10,
        "output": 30,
        "output_visible": 10,
        "output_reasoning": 20,
        "cost_reported": 0.0125,
    }


def test_usage_that_is_missing_stays_missing() -> None:
    """Without include_usage there is none, and no zero is made up."""
    assert usage_of(None) == {}
    assert usage_of({"prompt_tokens": 5, "completion_tokens": 2}) == {"input_uncached": 5, "output": 2}


def test_usage_repeated_in_each_chunk_is_not_summed() -> None:
    """The last that is not zero counts."""
    grows = [{"prompt_tokens": 9, "completion_tokens": n} for n in (1, 2, 3)]
    assert usage_of(*grows, {"prompt_tokens": 0, "completion_tokens": 0}) == {
        "input_uncached": 9,
        "output": 3,
    }


def test_usage_under_other_names() -> None:
    """Groq's `x_groq.usage`, DeepSeek's cache hits."""
    assert usage_of(None, choices=[], x_groq={"usage": {"prompt_tokens": 4, "completion_tokens": 1}}) == {
        "input_uncached": 4,
        "output": 1,
    }
    hits = {
        "prompt_tokens": 10,
        "completion_tokens": 1,
        "prompt_cache_hit_tokens": 8,
        "prompt_cache_miss_tokens": 2,
    }
    assert usage_of(hits) == {"input_uncached": 2, "cache_read": 8, "output": 1}


@pytest.mark.parametrize(
    ("reported", "cost"),
    [
        ({"cost": 0.0125}, 0.0125),
        ({"cost": 0}, 0),
        ({"cost": 1.2e-05}, 1.2e-05),
        ({"cost_in_usd_ticks": 37756000}, 0.0037756),
        ({"cost_in_usd_ticks": 0}, None),
        ({"cost": -1}, None),
        ({"cost": "1"}, None),
        ({"cost": {"total_cost": 1}}, None),
    ],
)
def test_the_cost_that_the_provider_reports(reported: Delta, cost: float | None) -> None:
    """OpenRouter's in USD, xAI's in ticks (Azure sends none); what no call can cost is not known."""
    usage = {"prompt_tokens": 5, "completion_tokens": 1, **reported}
    assert usage_of(usage).get("cost_reported") == cost


def test_a_cost_without_end_is_not_known() -> None:
    """It would be infinite as a float, and stop every session that has a cap."""
    usage = '{"usage":{"prompt_tokens":5,"completion_tokens":1,"cost":1e999},"choices":[]}'
    found = decoded("openai-chat", data(usage, {"choices": [{"delta": {}, "finish_reason": "stop"}]})).usage
    assert found is not None
    assert found["cost_reported"] is None


def test_usage_as_kimi_reports_it() -> None:
    """Inside the choice, with the cached tokens beside the others."""
    usage = {"prompt_tokens": 19, "completion_tokens": 13, "total_tokens": 32, "cached_tokens": 12}
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage}]}
    found = decoded("openai-chat", data({"choices": [{"delta": {"content": "a"}}]}, last)).usage
    assert found is not None
    assert (found["input_uncached"], found["cache_read"], found["output"]) == (7, 12, 13)


@pytest.mark.parametrize("count", [2**53, 2**64 - 1, 2**80, -1, 1.5])
def test_usage_past_belief_is_not_known(count: float) -> None:
    """No sum overflows, and no number is handed on that a store cannot hold."""
    usage = {"prompt_tokens": count, "completion_tokens": count}
    assert usage_of(usage, {"prompt_tokens": count, "completion_tokens": 1}) == {"output": 1}


def test_usage_of_workers_ai_mixed_streams() -> None:
    """Its own report is cumulative; what chat chunks say beside it is not."""
    found = usage_of(None, response="", usage={"prompt_tokens": 50, "completion_tokens": 20})
    assert found == {"input_uncached": 50, "output": 20}
    stream = data(
        {"response": "a", "usage": {"prompt_tokens": 50, "completion_tokens": 20}},
        {"choices": [{"delta": {"content": "b"}}], "usage": {"prompt_tokens": 50, "completion_tokens": 1}},
    )
    usage = decoded("workers-ai", stream).usage
    assert usage is not None
    assert usage["output"] == 20


def test_usage_where_reasoning_is_apart() -> None:
    """xAI's completion_tokens leave reasoning out; the total shows it."""
    usage = {
        "prompt_tokens": 12,
        "completion_tokens": 2,
        "total_tokens": 354,
        "completion_tokens_details": {"reasoning_tokens": 340},
    }
    assert usage_of(usage) == {
        "input_uncached": 12,
        "output": 342,
        "output_visible": 2,
        "output_reasoning": 340,
    }


def test_usage_with_more_cached_than_prompt() -> None:
    """There the prompt leaves the cached part out: nothing goes below zero."""
    usage = {"prompt_tokens": 7, "completion_tokens": 8, "prompt_tokens_details": {"cached_tokens": 161}}
    assert usage_of(usage) == {"input_uncached": 7, "cache_read": 161, "output": 8}


def test_the_first_id_is_the_responses_id() -> None:
    """Groq's compound models change it per chunk; empty ones are none."""
    first: Delta = {"id": "", "model": "", "choices": []}
    found = decode(
        "openai-chat",
        data(first, {"id": "r2", "choices": []}, {"choices": [{"delta": {}, "finish_reason": "stop"}]}),
    )
    assert found[0] == {"op": "start", "response_id": None, "model": None}


def test_only_the_first_choice_is_read() -> None:
    """We never ask for more."""
    stream = data(
        {
            "choices": [
                {"index": 1, "delta": {"content": "no"}},
                {"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"},
            ]
        }
    )
    assert decoded("openai-chat", stream).texts == {0: "a"}


def test_odd_json_is_ignored() -> None:
    """Wrong types where objects are expected change nothing."""
    odd: list[Any] = [
        {"choices": None},
        {"choices": 5},
        {"choices": [7]},
        {"choices": [{"delta": 3}]},
        {"choices": [{"delta": {"tool_calls": {}}}]},
        {"choices": [{"delta": {"tool_calls": [5, None, []]}}]},
        {"choices": [{"delta": {"content": 5, "reasoning": []}}]},
        {"usage": 3},
        {"error": None},
        {"error": {}},
        {"error": ""},
        {"error": False},
        {"x_groq": {}},
    ]
    found = decoded("openai-chat", data(*odd, done=False) + chat({"content": "a"}))
    assert (found.texts, found.ended()) == ({0: "a"}, "stop end")
