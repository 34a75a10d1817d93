"""OpenAI Responses: every rule of its stream that the decoder keeps."""

import json
from typing import Any

import pytest

from tests.support.streams import decoded, sse

Event = dict[str, Any]


def stream(*events: Event) -> bytes:
    return sse(*events, dialect="openai-responses")


def created() -> Event:
    return {
        "type": "response.created",
        "response": {"id": "resp_1", "model": "gpt", "status": "in_progress"},
        "sequence_number": 0,
    }


def added(index: int, **item: Any) -> Event:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(index: int, **item: Any) -> Event:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def said(index: int, delta: str, kind: str = "output_text") -> Event:
    return {
        "type": f"response.{kind}.delta",
        "output_index": index,
        "item_id": "x",
        "delta": delta,
        "obfuscation": "ab",
    }


def end(status: str = "completed", **response: Any) -> Event:
    return {"type": f"response.{status}", "response": {"id": "resp_1", "status": status, **response}}


def message(text: str, **extra: Any) -> Event:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text}],
        **extra,
    }


def call(arguments: str = '{"a":1}', **extra: Any) -> Event:
    return {
        "id": "fc_1",
        "type": "function_call",
        "call_id": "call_1",
        "name": "f",
        "arguments": arguments,
        **extra,
    }


def test_reasoning_text_and_a_call() -> None:
    """Items complete at `output_item.done`, and are echoed as they came."""
    reasoning = {
        "id": "rs_1",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "Hm."}],
        "encrypted_content": "e",
    }
    found = decoded(
        "openai-responses",
        stream(
            created(),
            {"type": "response.in_progress", "response": {"id": "resp_1"}},
            added(0, id="rs_1", type="reasoning", summary=[]),
            said(0, "Hm.", "reasoning_summary_text"),
            done(0, **reasoning),
            added(1, id="msg_1", type="message", content=[]),
            said(1, "Let me "),
            said(1, "look."),
            {"type": "response.output_text.done", "output_index": 1, "text": "Let me look."},
            done(1, **message("Let me look.", phase="commentary")),
            added(2, **call("")),
            said(2, '{"a"', "function_call_arguments"),
            said(2, ":1}", "function_call_arguments"),
            {"type": "response.function_call_arguments.done", "output_index": 2, "arguments": '{"a":1}'},
            done(2, **call()),
            end(usage={"input_tokens": 10, "output_tokens": 5}),
        ),
    )
    assert found.others[0] == {"op": "start", "response_id": "resp_1", "model": "gpt"}
    assert (found.reasoning, found.texts, found.args) == ({0: "Hm."}, {1: "Let me look."}, {2: '{"a":1}'})
    assert [json.loads(block["echo"]) for block in found.blocks] == [
        reasoning,
        message("Let me look.", phase="commentary"),
    ]
    assert found.call_tuples() == [("call_1", "f", '{"a":1}', None)]
    assert json.loads(found.calls[0]["echo"]) == call()
    assert (found.ended(), found.end["raw"]) == ("stop tool_use", "completed")


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (call(), ("call_1", "f", '{"a":1}', None)),
        (call(status="in_progress", caller={"type": "program"}), ("call_1", "f", '{"a":1}', None)),
        (call('{"a":', status="incomplete"), ("call_1", "f", '{"a":', "truncated")),
        (call(""), ("call_1", "f", "{}", None)),
        ({**call(), "arguments": {"a": 2}}, ("call_1", "f", '{"a": 2}', None)),
        ({**call(), "call_id": None}, ("fc_1", "f", '{"a":1}', None)),
        (
            {"id": "ctc", "type": "custom_tool_call", "call_id": "c", "name": "g", "input": 'say "hi"'},
            ("c", "g", '{"input":"say \\"hi\\""}', None),
        ),
    ],
)
def test_the_finished_item_is_the_authority(item: Event, expected: tuple[str, str, str, str | None]) -> None:
    """With argument deltas or without (LM Studio), announced or not, whatever its status says."""
    deltas = [said(0, '{"a":', "function_call_arguments")]
    for before in ([], [added(0, **item)], [added(0, **item), *deltas]):
        assert decoded(
            "openai-responses", stream(created(), *before, done(0, **item), end())
        ).call_tuples() == [expected]


def test_items_overlap() -> None:
    """Keyed by output_index: ids may change between events, and OpenRouter interleaves items."""
    found = decoded(
        "openai-responses",
        stream(
            created(),
            added(0, id="a", type="reasoning"),
            added(1, id="b", type="message"),
            said(1, "x"),
            said(0, "r", "reasoning_text"),
            said(1, "y"),
            done(1, **message("xy")),
            done(0, id="c", type="reasoning", content=[{"type": "reasoning_text", "text": "r"}]),
            end(),
        ),
    )
    assert (found.reasoning, found.texts) == ({0: "r"}, {1: "xy"})


def unindexed(*events: Event) -> list[Event]:
    """As llama.cpp sends them, its calls without an id of their own."""
    bare = [{key: value for key, value in event.items() if key != "output_index"} for event in events]
    for event in bare:
        if event.get("item", {}).get("type") == "function_call":
            event["item"] = {key: value for key, value in event["item"].items() if key != "id"}
    return bare


OUTPUT = [
    {"id": "rs_1", "type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "r"}]},
    {"id": "msg_1", "type": "message", "content": [{"type": "output_text", "text": "xy"}]},
    call(),
    call('{"b":2}', id="fc_2", call_id="call_2", name="g"),
]
"""Reasoning, a message and two calls; `TOLD` are their events."""
TOLD = [
    added(0, id="rs_1", type="reasoning"),
    said(0, "r", "reasoning_text"),
    done(0, **OUTPUT[0]),
    added(1, id="msg_1", type="message"),
    said(1, "x"),
    said(1, "y"),
    done(1, **OUTPUT[1]),
    added(2, **call("")),
    said(2, '{"a":1}', "function_call_arguments"),
    done(2, **OUTPUT[2]),
    added(3, **{**OUTPUT[3], "arguments": ""}),
    said(3, '{"b":2}', "function_call_arguments"),
    done(3, **OUTPUT[3]),
]


@pytest.mark.parametrize(
    "events",
    [
        TOLD,
        unindexed(*TOLD),
        [event | {"output_index": 0} for event in TOLD],
        [event | {"output_index": event["output_index"] + 1} for event in TOLD],
    ],
    ids=["as documented", "no index", "one index for all", "counted from one"],
)
@pytest.mark.parametrize("listed", [[], OUTPUT], ids=["not listed", "listed again"])
def test_items_of_any_index(events: list[Event], listed: list[Event]) -> None:
    """Each item counts once, with all that was said of it, whatever its index and whether or not the end lists it again."""
    found = decoded("openai-responses", stream(created(), *events, end(output=listed)))
    assert (found.reasoning, found.texts) == ({0: "r"}, {1: "xy"})
    assert (found.args, [block["text"] for block in found.blocks]) == (
        {2: '{"a":1}', 3: '{"b":2}'},
        ["r", "xy"],
    )
    assert found.call_tuples() == [("call_1", "f", '{"a":1}', None), ("call_2", "g", '{"b":2}', None)]
    assert found.ended() == "stop tool_use"


def test_calls_that_share_an_id() -> None:
    """At two places they are two calls, told or only listed."""
    items = [call(call_id="call_0", id=None), call('{"b":2}', call_id="call_0", id=None)]
    for events in ([done(0, **items[0]), done(1, **items[1])], []):
        found = decoded("openai-responses", stream(created(), *events, end(output=items)))
        assert [one["arguments"] for one in found.calls] == ['{"a":1}', '{"b":2}']


def test_what_was_shown_is_kept_without_its_items_end() -> None:
    """Servers without item events, and answers that were cut by the limit: the text is in the log all the same."""
    shown = [said(0, "hm", "reasoning_text"), said(1, "abc")]
    for last in (end(output=[]), end("incomplete", incomplete_details={"reason": "max_output_tokens"})):
        found = decoded("openai-responses", stream(created(), *shown, last))
        assert [(block["kind"], block["text"]) for block in found.blocks] == [
            ("reasoning", "hm"),
            ("text", "abc"),
        ]


def test_a_cut_answer_that_was_not_streamed() -> None:
    """Its text counts, its unfinished call does not."""
    body = {
        "object": "response",
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": [message("abc", status="incomplete"), call('{"a"', status="incomplete")],
    }
    found = decoded("openai-responses", json.dumps(body).encode())
    assert (found.texts, found.calls, found.ended()) == ({0: "abc"}, [], "stop max_tokens")


@pytest.mark.parametrize(
    ("shown", "final", "live", "kept"),
    [
        (["a", "b"], "ab", "ab", "ab"),
        (["a"], "ab", "ab", "ab"),
        ([], "ab", "ab", "ab"),
        (["ax"], "ab", "ax", "ab"),
        (["ab"], "", "ab", "ab"),
    ],
)
def test_the_finished_text_counts(shown: list[str], final: str, live: str, kept: str) -> None:
    """What deltas left out is shown; a text that differs is replaced in the block, since the item is what is sent back."""
    found = decoded(
        "openai-responses",
        stream(created(), *(said(0, delta) for delta in shown), done(0, **message(final)), end()),
    )
    assert (found.texts, [block["text"] for block in found.blocks]) == ({0: live}, [kept])


def test_a_refusal() -> None:
    """It is shown as text and named at the end."""
    item = {"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}
    found = decoded("openai-responses", stream(created(), said(0, "No.", "refusal"), done(0, **item), end()))
    assert (found.texts, found.ended()) == ({0: "No."}, "stop refusal")


def test_server_tools_are_opaque() -> None:
    """Their events are not ours; their items are echoed."""
    item = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search"}}
    events = [
        added(0, **item),
        {"type": "response.web_search_call.searching", "output_index": 0},
        done(0, **item),
    ]
    found = decoded("openai-responses", stream(created(), *events, end()))
    assert [(b["kind"], json.loads(b["echo"])) for b in found.blocks] == [("opaque", item)]
    assert found.ended() == "stop end"


@pytest.mark.parametrize(
    ("status", "details", "ended", "raw"),
    [
        ("incomplete", {"reason": "max_output_tokens"}, "stop max_tokens", "max_output_tokens"),
        ("incomplete", {"reason": "content_filter"}, "stop content_filter", "content_filter"),
        ("incomplete", {"reason": "steered"}, "stop other", "steered"),
        ("cancelled", None, "stop other", "cancelled"),
        ("completed", None, "stop end", "completed"),
    ],
)
def test_statuses(status: str, details: Event | None, ended: str, raw: str) -> None:
    """Each terminal status has its reason; a call that never finished is none."""
    events = [created(), added(0, **call("")), said(0, '{"a":1}', "function_call_arguments")]
    found = decoded("openai-responses", stream(*events, end(status, incomplete_details=details)))
    assert (found.ended(), found.end["raw"], found.calls) == (ended, raw, [])


@pytest.mark.parametrize(
    ("event", "cls"),
    [
        ({"type": "error", "code": "rate_limit_exceeded", "message": "m"}, "rate_limit"),
        ({"type": "error", "error": {"type": "server_error", "message": "m"}}, "server"),
        (
            {
                "type": "response.failed",
                "response": {"error": {"code": "insufficient_quota", "message": "m"}},
            },
            "billing",
        ),
        (
            {
                "type": "response.failed",
                "response": {"error": {"code": "server_is_overloaded", "message": "m"}},
            },
            "overloaded",
        ),
        ({"type": "response.failed", "response": {}}, "unknown"),
        ({"error": {"code": 500, "message": "m"}}, "server"),
    ],
)
def test_errors_inside_the_stream(event: Event, cls: str) -> None:
    """In an `error` event, a `response.failed`, or a gateway's own shape; the failed event after an error is not read."""
    failed = {"type": "response.failed", "response": {"error": {"code": "server_error"}}}
    found = decoded("openai-responses", stream(created(), event, failed))
    assert found.ended() == f"error {cls}"


def test_the_end_of_the_bytes_before_the_terminal_event_is_an_error() -> None:
    """A finished call in it stays reported."""
    found = decoded("openai-responses", stream(created(), done(0, **call())) + b"data: [DONE]\n\n")
    assert (found.ended(), len(found.calls)) == ("error truncated", 1)


def test_items_that_only_the_last_event_lists() -> None:
    """Servers without item events, and answers that were not streamed, are read from `output`, each item once."""
    output = [message("Hi"), call()]
    listed = stream(created(), done(0, **message("Hi")), end(output=output))
    whole = json.dumps({"object": "response", "id": "r", "status": "completed", "output": output}).encode()
    for body in (listed, whole):
        found = decoded("openai-responses", body)
        assert (found.texts, len(found.calls), found.ended()) == ({0: "Hi"}, 1, "stop tool_use")


def test_usage_in_the_normal_form() -> None:
    """`input_tokens` holds the cached and the written ones; reasoning is part of the output."""
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 20},
    }
    found = decoded("openai-responses", stream(created(), end(usage=usage))).usage
    assert found is not None
    assert {key: value for key, value in found.items() if value is not None and key != "op"} == {
        "input_uncached": 30,
        "cache_read": 60,
        "cache_write_5m": 10,
        "output": 30,
        "output_visible": 10,
        "output_reasoning": 20,
    }


def test_odd_json_is_ignored() -> None:
    """Missing indices, wrong types, unknown events."""
    odd: list[Event] = [
        {"type": "response.output_text.delta", "delta": "no"},
        {"type": "response.output_text.delta", "output_index": "0", "delta": "no"},
        {"type": "response.output_text.delta", "output_index": 0, "delta": {"x": 1}},
        {"type": "response.function_call_arguments.delta", "output_index": 7, "delta": "x"},
        {"type": "response.output_item.added", "output_index": 0},
        {"type": "response.output_item.done", "item": {}},
        {"type": "response.brand_new"},
        {"type": None},
        {},
    ]
    found = decoded("openai-responses", stream(created(), *odd, done(1, **message("a")), end()))
    assert (found.ended(), "".join(found.texts.values())) == ("stop end", "a")
