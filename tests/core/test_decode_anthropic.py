"""Anthropic Messages: every rule of its stream that the decoder keeps."""

import json
from typing import Any

import pytest

from tests.support.streams import decode, decoded, fold, outcome, sse

Event = dict[str, Any]


def start(content: list[Event] | None = None, **fields: Any) -> Event:
    message = {
        "id": "msg_1",
        "model": "claude",
        "content": content or [],
        "usage": {"input_tokens": 7, "output_tokens": 1},
    }
    return {"type": "message_start", "message": {**message, **fields}}


def begin(index: int, **block: Any) -> Event:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **fields: Any) -> Event:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def end(index: int) -> Event:
    return {"type": "content_block_stop", "index": index}


def stop(reason: str | None = "end_turn", **usage: Any) -> list[Event]:
    usage = usage or {"output_tokens": 9}
    return [
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage},
        {"type": "message_stop"},
    ]


def tool(index: int, *fragments: str, id: str = "toolu_1", name: str = "read", **extra: Any) -> list[Event]:  # noqa: A002
    parts = [delta(index, "input_json_delta", partial_json=fragment) for fragment in fragments]
    return [begin(index, type="tool_use", id=id, name=name, input={}, **extra), *parts, end(index)]


def test_text_and_a_call() -> None:
    """Blocks complete at their stops, in order, with the message's ids and its end."""
    stream = sse(
        start(),
        {"type": "ping"},
        begin(0, type="text", text=""),
        delta(0, "text_delta", text="Let me "),
        delta(0, "text_delta", text="look."),
        end(0),
        *tool(1, "", '{"path": "a', '.txt"}'),
        *stop("tool_use"),
    )
    assert decode("anthropic", stream) == [
        {"op": "start", "response_id": "msg_1", "model": "claude"},
        {"op": "text", "block": 0, "text": "Let me look."},
        {"op": "block_complete", "block": 0, "kind": "text", "text": "Let me look.", "echo": None},
        {"op": "call_started", "block": 1, "provider_id": "toolu_1", "name": "read"},
        {"op": "args", "block": 1, "bytes": '{"path": "a.txt"}'},
        {
            "op": "call_complete",
            "block": 1,
            "provider_id": "toolu_1",
            "name": "read",
            "arguments": '{"path": "a.txt"}',
            "invalid": None,
            "echo": None,
        },
        {
            "op": "usage",
            "input_uncached": 7,
            "cache_read": None,
            "cache_write_5m": None,
            "cache_write_1h": None,
            "output": 9,
            "output_visible": None,
            "output_reasoning": None,
            "cost_reported": None,
            "server_tools": None,
            "iterations": None,
        },
        {"op": "stop", "reason": "tool_use", "raw": "tool_use"},
    ]


def test_a_call_is_complete_at_its_own_stop_not_at_the_end() -> None:
    """The operation comes with the bytes of `content_block_stop`, while the message goes on: eager tools rest on it."""
    from edgeloop_client.decode import Decoder

    with Decoder("anthropic") as decoder:
        decoder.feed(sse(start(), *tool(0, '{"a":1}')[:-1]))
        assert [op["op"] for op in decoder.feed(sse(end(0)))] == ["call_complete"]


@pytest.mark.parametrize(
    ("fragments", "arguments", "invalid"),
    [
        ([], "{}", None),
        ([""], "{}", None),
        (["null"], "{}", None),
        (['{"a":1}'], '{"a":1}', None),
        ([' {"a" : 1.0} '], '{"a" : 1.0}', None),
        (['{"a":'], '{"a":', "unparseable"),
        (["[1]"], "[1]", "not_object"),
        (["3"], "3", "not_object"),
        ([r'{"a":"\ud83d', r'\ude00"}'], r'{"a":"\ud83d\ude00"}', None),
        ([r'{"a":"\u00', r'e9"}'], r'{"a":"\u00e9"}', None),
        ([r'{"a":"x\ud83d"}'], r'{"a":"x\ufffd"}', None),
        ([r'{"a":"\\ud83d"}'], r'{"a":"\\ud83d"}', None),
        ([json.dumps('{"a":1}')], '{"a":1}', None),
        ([json.dumps("words")], '"words"', "not_object"),
    ],
)
def test_arguments_are_judged_once_complete(
    fragments: list[str], arguments: str, invalid: str | None
) -> None:
    """Nothing means no arguments; what is no object is reported as it came, never as `{}`; lone surrogates are healed."""
    found = decoded("anthropic", sse(start(), *tool(0, *fragments), *stop("tool_use")))
    assert found.call_tuples() == [("toolu_1", "read", arguments, invalid)]


def test_thinking_is_echoed_with_its_signature() -> None:
    """The echo parses to exactly what was streamed."""
    stream = sse(
        start(),
        begin(0, type="thinking", thinking="", signature=""),
        delta(0, "thinking_delta", thinking='Hm, "so" '),
        delta(0, "thinking_delta", thinking="é\n"),
        delta(0, "signature_delta", signature="c2ln"),
        end(0),
        *stop(),
    )
    found = decoded("anthropic", stream)
    assert found.reasoning == {0: 'Hm, "so" é\n'}
    assert json.loads(found.blocks[0]["echo"]) == {
        "type": "thinking",
        "thinking": 'Hm, "so" é\n',
        "signature": "c2ln",
    }


def test_thinking_that_is_not_displayed_still_has_its_echo() -> None:
    """A signature alone is all there is to send back."""
    stream = sse(
        start(),
        begin(0, type="thinking", thinking=""),
        delta(0, "signature_delta", signature="x"),
        end(0),
        *stop(),
    )
    block = decoded("anthropic", stream).blocks[0]
    assert (block["kind"], block["text"], json.loads(block["echo"])["signature"]) == ("reasoning", "", "x")


@pytest.mark.parametrize(
    "block",
    [
        {"type": "redacted_thinking", "data": "ZW5j"},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"url": "u", "title": "\u00e9"}]},
        {"type": "fallback", "model": "other"},
        {"type": "not_invented_yet", "x": [1, {"y": None}]},
    ],
)
def test_blocks_only_the_provider_understands_are_echoed_as_they_came(block: Event) -> None:
    """Opaque blocks keep the provider's own JSON text."""
    stream = sse(start(), begin(0, **block), end(0), *stop())
    found = decoded("anthropic", stream).blocks
    assert [(b["kind"], b["text"], b["echo"]) for b in found] == [
        ("opaque", "", json.dumps(block, ensure_ascii=False))
    ]


def test_a_server_tool_is_opaque_and_gets_its_streamed_input() -> None:
    """It never looks like a call of ours."""
    stream = sse(
        start(),
        begin(0, type="server_tool_use", id="s1", name="web_search", input={}),
        delta(0, "input_json_delta", partial_json='{"query":'),
        delta(0, "input_json_delta", partial_json='"x"}'),
        end(0),
        *stop(),
    )
    found = decoded("anthropic", stream)
    assert found.calls == []
    assert json.loads(found.blocks[0]["echo"]) == {
        "type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"},
    }  # fmt: skip


def test_compaction_and_citations_go_into_the_echo() -> None:
    """Members that only deltas bring belong to the block."""
    stream = sse(
        start(),
        begin(0, type="compaction", content=None),
        delta(0, "compaction_delta", content="short", encrypted_content="e"),
        end(0),
        begin(1, type="text", text="", citations=[]),
        delta(1, "text_delta", text="It is so"),
        delta(1, "citations_delta", citation={"url": "u", "cited_text": "so"}),
        end(1),
        *stop(),
    )
    echoes = [json.loads(block["echo"]) for block in decoded("anthropic", stream).blocks]
    assert echoes == [
        {"type": "compaction", "content": "short", "encrypted_content": "e"},
        {"type": "text", "text": "It is so", "citations": [{"url": "u", "cited_text": "so"}]},
    ]


def test_programmatic_calls_bring_their_input_at_the_start() -> None:
    """No argument delta at all: the block's own input counts, and the echo keeps the caller."""
    caller = {"type": "code_execution_20250825", "tool_id": "s1"}
    block = {"type": "tool_use", "id": "t", "name": "roll", "input": {"n": 1}, "caller": caller}
    found = decoded("anthropic", sse(start(), begin(0, **block), end(0), *stop("tool_use")))
    assert found.call_tuples() == [("t", "roll", '{"n": 1}', None)]
    assert json.loads(found.calls[0]["echo"]) == block


def test_a_whole_message_in_message_start() -> None:
    """The follow-up of programmatic calling has no block events: content and stop reason stand in the start."""
    content = [
        {"type": "text", "text": "Rolling."},
        {"type": "tool_use", "id": "t", "name": "roll", "input": {"n": 2}},
    ]
    found = decoded("anthropic", sse(start(content, stop_reason="tool_use"), {"type": "message_stop"}))
    assert (found.texts, found.call_tuples(), found.ended()) == (
        {0: "Rolling."},
        [("t", "roll", '{"n": 2}', None)],
        "stop tool_use",
    )


def test_a_message_that_was_not_streamed() -> None:
    """A plain JSON body in answer to `stream: true` is read as well."""
    body = {**start([{"type": "text", "text": "Hi"}], stop_reason="end_turn")["message"], "type": "message"}
    found = decoded("anthropic", json.dumps(body).encode())
    assert (found.texts, found.ended()) == ({0: "Hi"}, "stop end")


def test_blocks_are_keyed_by_index_even_when_interleaved() -> None:
    """Nobody was seen doing it; nothing would be mixed up."""
    stream = sse(
        start(),
        begin(4, type="text", text=""),
        begin(2, type="text", text=""),
        delta(4, "text_delta", text="A"),
        delta(2, "text_delta", text="x"),
        delta(4, "text_delta", text="B"),
        end(2),
        end(4),
        *stop(),
    )
    assert decoded("anthropic", stream).texts == {0: "AB", 1: "x"}


def test_a_second_message_start_makes_what_was_before_void() -> None:
    """Numbers of void blocks are not used again."""
    stream = sse(
        start(),
        begin(0, type="text", text=""),
        delta(0, "text_delta", text="lost"),
        start(),
        *tool(0, '{"a":1}'),
        *stop("tool_use"),
    )
    found = decoded("anthropic", stream)
    assert [op for op in found.others if op["op"] == "restart"] == [{"op": "restart", "from_block": 1}]
    assert [call["block"] for call in found.calls] == [1]
    assert found.blocks == []


def test_a_cut_call_is_never_complete() -> None:
    """The limit cut it off: no stop for its block, no operation for it; the text before is whole."""
    stream = sse(
        start(),
        begin(0, type="text", text="Writing"),
        end(0),
        begin(1, type="tool_use", id="t", name="write", input={}),
        delta(1, "input_json_delta", partial_json='{"text":"abc'),
        *stop("max_tokens"),
    )
    found = decoded("anthropic", stream)
    assert (found.calls, found.ended(), [b["text"] for b in found.blocks]) == (
        [],
        "stop max_tokens",
        ["Writing"],
    )


def test_a_call_without_its_stop_is_complete_where_the_message_ended_for_it() -> None:
    """`tool_use` says that the model came to the end of its calls; a server that forgot the block's stop changes nothing."""
    events = [*tool(0, '{"a":1}')[:-1], *tool(1, '{"b":', id="toolu_2")[:-1]]
    found = decoded("anthropic", sse(start(), *events, *stop("tool_use")))
    assert found.call_tuples() == [
        ("toolu_1", "read", '{"a":1}', None),
        ("toolu_2", "read", '{"b":', "unparseable"),
    ]


def test_arguments_as_an_object() -> None:
    """A server that does not make a string of them means what it says."""
    fragment: Any = {"a": 1}
    found = decoded("anthropic", sse(start(), *tool(0, fragment), *stop("tool_use")))
    assert found.call_tuples() == [("toolu_1", "read", '{"a": 1}', None)]


def test_text_without_its_stop_is_complete_at_message_stop() -> None:
    """Shown text is whole; a thought without its signature is not."""
    stream = sse(
        start(),
        begin(0, type="thinking", thinking="Hm"),
        begin(1, type="text", text=""),
        delta(1, "text_delta", text="So"),
        *stop(),
    )
    assert [(b["kind"], b["text"]) for b in decoded("anthropic", stream).blocks] == [("text", "So")]


def test_a_call_that_may_lack_a_fragment_is_invalid() -> None:
    """An event was lost while the call was open: that it still parses proves nothing."""
    events = tool(0, '{"a":"x', 'y"}')
    stream = sse(start(), *events[:2]) + b"data: {{{\n\n" + sse(*events[2:], *stop("tool_use"))
    assert decoded("anthropic", stream).call_tuples() == [("toolu_1", "read", '{"a":"xy"}', "damaged")]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("end_turn", "end"),
        ("tool_use", "tool_use"),
        ("max_tokens", "max_tokens"),
        ("model_context_window_exceeded", "max_tokens"),
        ("stop_sequence", "stop_sequence"),
        ("pause_turn", "pause"),
        ("refusal", "refusal"),
        ("something_new", "other"),
    ],
)
def test_stop_reasons(raw: str, reason: str) -> None:
    """Known reasons are ours, unknown ones keep their own word."""
    assert decoded("anthropic", sse(start(), *stop(raw))).end == {"op": "stop", "reason": reason, "raw": raw}


@pytest.mark.parametrize(
    ("kind", "cls", "again"),
    [
        ("overloaded_error", "overloaded", True),
        ("api_error", "server", True),
        ("rate_limit_error", "rate_limit", True),
        ("timeout_error", "timeout", True),
        ("invalid_request_error", "invalid_request", False),
        ("authentication_error", "auth", False),
        ("permission_error", "auth", False),
        ("billing_error", "billing", False),
        ("brand_new_error", "unknown", False),
    ],
)
def test_errors_inside_the_stream(kind: str, cls: str, again: bool) -> None:
    """The class comes from `error.type`; the open call is not complete, usage so far is said, nothing follows."""
    error = {"type": "error", "error": {"type": kind, "message": "no"}}
    found = decoded("anthropic", sse(start(), *tool(0, '{"a":')[:-1], error, *stop()))
    assert found.end == {"op": "error", "class": cls, "code": kind, "message": "no", "retryable": again}
    assert (found.calls, found.usage and found.usage["input_uncached"]) == ([], 7)


def test_an_error_event_that_is_flat() -> None:
    """A proxy's own: nothing is nested in it, and it is an error all the same."""
    found = decoded("anthropic", sse(start(), {"type": "error", "message": "Overloaded"}))
    assert (found.ended(), found.end["message"]) == ("error overloaded", "Overloaded")


@pytest.mark.parametrize("cut", range(8))
def test_the_end_of_the_bytes_before_message_stop_is_an_error(cut: int) -> None:
    """Wherever a stream is cut it ends as truncated, and only complete calls are reported."""
    events = [start(), *tool(0, '{"a":', "1}"), begin(1, type="text", text="x"), *stop("tool_use")]
    found = decoded("anthropic", sse(*events[:cut]))
    assert found.ended() == "error truncated"
    assert len(found.calls) == (1 if cut >= 5 else 0)


def test_usage_is_overwritten_never_added() -> None:
    """Reports are cumulative; a later one may leave fields out or raise them; missing stays missing."""
    first = {
        "input_tokens": 100,
        "cache_creation_input_tokens": 50,
        "cache_read_input_tokens": 1000,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
        "output_tokens": 1,
    }
    last = {
        "input_tokens": 120,
        "output_tokens": 44,
        "server_tool_use": {"web_search_requests": 2},
        "iterations": [{"a": 1}],
    }
    usage = decoded("anthropic", sse(start(usage=first), *stop("end_turn", **last))).usage
    assert usage == {
        "op": "usage",
        "input_uncached": 120,
        "cache_read": 1000,
        "cache_write_5m": 20,
        "cache_write_1h": 30,
        "output": 44,
        "output_visible": None,
        "output_reasoning": None,
        "cost_reported": None,
        "server_tools": {"web_search_requests": 2},
        "iterations": [{"a": 1}],
    }


def test_a_write_without_its_ttl_counts_as_the_short_one() -> None:
    """Older answers give only the sum."""
    usage = {"input_tokens": 1, "cache_creation_input_tokens": 50, "output_tokens": 1}
    found = decoded("anthropic", sse(start(usage=usage), *stop())).usage
    assert found is not None
    assert (found["cache_write_5m"], found["cache_write_1h"], found["cache_read"]) == (50, None, None)


def test_unknown_events_and_deltas_are_ignored() -> None:
    """New things do not break old decoders; odd JSON does not either."""
    odd: list[Event] = [
        {"type": "new_event", "x": 1},
        {"type": "content_block_delta"},
        {"type": "content_block_delta", "index": -1, "delta": {"type": "text_delta", "text": "no"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 5}},
        {"type": "content_block_start", "index": 9},
        {"type": "content_block_stop", "index": 8},
        {"type": 5},
        {},
    ]
    stream = sse(start(), begin(0, type="text", text="a"), *odd, delta(0, "new_delta", x=1), end(0), *stop())
    found = decoded("anthropic", stream)
    assert (found.texts, found.ended()) == ({0: "a"}, "stop end")


def test_nothing_follows_the_end() -> None:
    """Events after message_stop are not read."""
    found = fold(
        decode("anthropic", sse(start(), *stop(), begin(0, type="text", text="late"), *stop("refusal")))
    )
    assert outcome(found).texts == {}
