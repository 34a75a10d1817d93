"""Gemini's two APIs: every rule of their streams that the decoders keep."""

import json
from typing import Any

import pytest

from edgeloop_client.decode import Decoder
from tests.support.streams import data, decoded, gemini

Part = dict[str, Any]


def fc(name: str | None = None, **fields: Any) -> Part:
    return {"functionCall": {**({"name": name} if name else {}), **fields}}


def piece(path: str, goes_on: bool = True, **value: Any) -> Part:
    call: Part = {"partialArgs": [{"jsonPath": path, **value}], **({"willContinue": True} if goes_on else {})}
    return {"functionCall": call}


def test_thoughts_text_and_calls() -> None:
    """Parts append to blocks of their kind; a call is complete on arrival, in order."""
    stream = gemini(
        {"text": "Hm, ", "thought": True},
        {"text": "so.", "thought": True},
        {"text": "Let me "},
        {"text": "look."},
        fc("f", args={"a": 1}, id="x1"),
        fc("g"),
        usageMetadata={"promptTokenCount": 9, "candidatesTokenCount": 2},
    )
    found = decoded("gemini", stream)
    assert found.others[0] == {"op": "start", "response_id": "r1", "model": "m"}
    assert (found.reasoning, found.texts) == ({0: "Hm, so."}, {1: "Let me look."})
    assert [(b["kind"], b["text"], b["echo"]) for b in found.blocks] == [
        ("reasoning", "Hm, so.", None),
        ("text", "Let me look.", None),
    ]
    assert found.call_tuples() == [("x1", "f", '{"a": 1}', None), ("", "g", "{}", None)]
    assert (found.ended(), found.end["raw"]) == ("stop tool_use", "STOP")


@pytest.mark.parametrize("indent", [None, 2])
def test_a_list_of_responses(indent: int | None) -> None:
    """What comes without `alt=sse`: nothing of it is lost, however its lines stand."""
    first = {"candidates": [{"content": {"parts": [{"text": "a"}]}}]}
    last = {"candidates": [{"content": {"parts": [{"text": "b"}]}, "finishReason": "STOP"}]}
    body = "[" + "\n,\r\n".join(json.dumps(one, indent=indent) for one in (first, last)) + "\n]"
    found = decoded("gemini", body.encode())
    assert (found.texts, found.ended()) == ({0: "ab"}, "stop end")


def test_a_call_is_complete_with_its_part() -> None:
    """Long before the finish."""
    with Decoder("gemini") as decoder:
        ops = [op["op"] for op in decoder.feed(gemini(fc("f", args={}), finish=None))]
    assert ops == ["start", "call_started", "args", "call_complete"]


def test_a_signed_part_is_a_block_of_its_own() -> None:
    """The signature must go back with that very part: the echo is the part as it came, also when its text is empty."""
    call = {**fc("f", args={"b": 2, "a": 1}), "thoughtSignature": "c2ln"}
    last = {"text": "", "thoughtSignature": "bGFzdA=="}
    found = decoded(
        "gemini", gemini({"text": "a"}, {"text": "b", "thoughtSignature": "eA=="}, {"text": "c"}, call, last)
    )
    assert found.texts == {0: "a", 1: "b", 2: "c"}
    assert [json.loads(b["echo"]) if b["echo"] else b["text"] for b in found.blocks] == [
        "a",
        {"text": "b", "thoughtSignature": "eA=="},
        "c",
        last,
    ]
    assert json.loads(found.calls[0]["echo"]) == call
    assert found.calls[0]["arguments"] == '{"b": 2, "a": 1}'


def test_parts_only_google_understands_are_opaque() -> None:
    """Code it ran, files, things to come."""
    parts = [
        {"executableCode": {"code": "1"}, "thoughtSignature": "s"},
        {"codeExecutionResult": {"output": "1"}},
        {"inlineData": {"data": "eA=="}},
    ]
    found = decoded("gemini", gemini(*parts))
    assert [(b["kind"], json.loads(b["echo"])) for b in found.blocks] == [("opaque", part) for part in parts]


@pytest.mark.parametrize(
    "closing", [[fc()], [fc("g", args={})], []], ids=["empty call", "next name", "finish"]
)
def test_streamed_arguments_are_put_together(closing: list[Part]) -> None:
    """By JSON path; closed by the empty call, which can be missing, by the next name, or by the finish."""
    found = decoded(
        "gemini",
        gemini(
            {**fc("f", willContinue=True), "thoughtSignature": "s"},
            piece("$.path", stringValue="a/", willContinue=True),
            piece("$.path", stringValue="b.txt"),
            piece("$.edits[0].line", numberValue=3),
            piece("$.edits[0].text", stringValue='say "hi"'),
            piece("$.edits[1].line", numberValue=0.5),
            piece("$['odd key'].deep", boolValue=True),
            piece("$.none", nullValue=None),
            *closing,
        ),
    )
    expected = {
        "path": "a/b.txt",
        "edits": [{"line": 3, "text": 'say "hi"'}, {"line": 0.5}],
        "odd key": {"deep": True},
        "none": None,
    }
    assert (json.loads(found.calls[0]["arguments"]), found.calls[0]["invalid"]) == (expected, None)
    assert json.loads(found.calls[0]["echo"]) == {
        "functionCall": {"name": "f", "args": expected},
        "thoughtSignature": "s",
    }
    assert found.ended() == "stop tool_use"


def test_streamed_arguments_end_with_a_part_that_does_not_go_on() -> None:
    """No `willContinue`: that was the last piece."""
    with Decoder("gemini") as decoder:
        decoder.feed(gemini(fc("f", willContinue=True), finish=None))
        ops = decoder.feed(gemini(piece("$.a", goes_on=False, stringValue="x"), finish=None))
    assert [op["arguments"] for op in ops if op["op"] == "call_complete"] == ['{"a":"x"}']


@pytest.mark.parametrize(
    "path", ["", "a", "$.a[5]", "$.a[99999999999999999999]", "$.a[", "$[0]", "$" + ".a" * 65, "$.a['x"]
)
def test_pieces_that_cannot_be_placed_make_the_call_invalid(path: str) -> None:
    """Nothing is guessed, and no hole is filled at a peer's word."""
    found = decoded("gemini", gemini(fc("f", willContinue=True), piece(path, stringValue="x"), fc()))
    assert found.calls[0]["invalid"] == "damaged"


@pytest.mark.parametrize(
    ("finish", "ended"),
    [("MAX_TOKENS", "stop max_tokens"), ("SAFETY", "stop content_filter"), ("OTHER", "stop other")],
)
def test_streamed_arguments_cut_off(finish: str, ended: str) -> None:
    """By the limit or a filter, in the middle of a call."""
    found = decoded(
        "gemini", gemini(fc("f", willContinue=True), piece("$.a", stringValue="x"), finish=finish)
    )
    assert (found.calls[0]["invalid"], found.ended()) == ("truncated", ended)


def test_streamed_arguments_keep_their_calls_id() -> None:
    """Its result names it, so the call that goes back must."""
    found = decoded(
        "gemini", gemini(fc("f", id="x1", willContinue=True), piece("$.a", stringValue="x"), fc())
    )
    assert json.loads(found.calls[0]["echo"]) == {
        "functionCall": {"id": "x1", "name": "f", "args": {"a": "x"}}
    }


@pytest.mark.parametrize(
    ("raw", "ended"),
    [
        ("STOP", "stop end"),
        ("MAX_TOKENS", "stop max_tokens"),
        ("SAFETY", "stop content_filter"),
        ("RECITATION", "stop content_filter"),
        ("PROHIBITED_CONTENT", "stop content_filter"),
        ("MALFORMED_FUNCTION_CALL", "stop other"),
        ("BRAND_NEW", "stop other"),
    ],
)
def test_finish_reasons(raw: str, ended: str) -> None:
    """STOP with no call is the end; what the filters stop is named."""
    found = decoded("gemini", gemini({"text": "a"}, finish=raw))
    assert (found.ended(), found.end["raw"]) == (ended, raw)


def test_a_blocked_prompt() -> None:
    """There are no candidates then, only the reason."""
    found = decoded("gemini", gemini(finish=None, promptFeedback={"blockReason": "SAFETY"}))
    assert (found.ended(), found.end["raw"]) == ("stop content_filter", "SAFETY")


def test_a_prompt_blocked_while_its_answer_comes() -> None:
    """There is no finishReason then; the text that was shown is kept."""
    stream = gemini({"text": "a"}, finish=None, promptFeedback={"blockReason": "PROHIBITED_CONTENT"})
    found = decoded("gemini", stream)
    assert ([block["text"] for block in found.blocks], found.ended()) == (["a"], "stop content_filter")


@pytest.mark.parametrize(
    "parts", [[], [{"text": "a"}], [fc("f", willContinue=True), piece("$.a", stringValue="x")]]
)
def test_no_finish_reason_is_truncated(parts: list[Part]) -> None:
    """And a call that was still growing is not complete."""
    found = decoded("gemini", gemini(*parts, finish=None))
    assert (found.ended(), found.calls) == ("error truncated", [])


@pytest.mark.parametrize(
    ("status", "code", "cls"),
    [
        ("RESOURCE_EXHAUSTED", 429, "rate_limit"),
        ("UNAVAILABLE", 503, "overloaded"),
        ("INTERNAL", 500, "server"),
        ("INVALID_ARGUMENT", 400, "invalid_request"),
        ("PERMISSION_DENIED", 403, "auth"),
        ("DEADLINE_EXCEEDED", 504, "timeout"),
    ],
)
def test_errors_in_every_framing(status: str, code: int, cls: str) -> None:
    """As an event, as bare lines in mid-stream, as a bare array."""
    error = {"error": {"code": code, "message": "m", "status": status}}
    before = gemini({"text": "a"}, finish=None)
    pretty = json.dumps(error, indent=2).replace("\n", "\r\n").encode()
    for tail in (data(error, done=False), pretty, b"[" + pretty + b"\r\n]\r\n"):
        found = decoded("gemini", before + tail)
        assert (found.ended(), found.end["code"]) == (f"error {cls}", str(code))


def test_usage_is_the_last_report() -> None:
    """Cumulative in every chunk; thoughts are output beside the candidates; tool prompts are input; missing stays missing."""
    reports: list[dict[str, int]] = [
        {"promptTokenCount": 10},
        {"promptTokenCount": 10, "candidatesTokenCount": 1},
        {
            "promptTokenCount": 10,
            "cachedContentTokenCount": 4,
            "candidatesTokenCount": 7,
            "thoughtsTokenCount": 5,
            "toolUsePromptTokenCount": 3,
        },
    ]
    stream = data(*({"usageMetadata": report} for report in reports), done=False) + gemini({"text": "a"})
    usage = decoded("gemini", stream).usage
    assert usage is not None
    assert {key: value for key, value in usage.items() if value is not None and key != "op"} == {
        "input_uncached": 9,
        "cache_read": 4,
        "output": 12,
        "output_visible": 7,
        "output_reasoning": 5,
    }


def test_odd_json_is_ignored() -> None:
    """Wrong types and empty parts change nothing."""
    odd: list[Any] = [
        {"candidates": 5},
        {"candidates": [{"content": 3}]},
        {"candidates": [{"content": {"parts": [5, {}, {"text": 7}, {"functionCall": 3}]}}]},
        {"candidates": [{"index": 1, "content": {"parts": [{"text": "no"}]}}]},
        {"usageMetadata": 3},
        {"usageMetadata": {"trafficType": "ON_DEMAND"}},
    ]
    found = decoded("gemini", data(*odd, done=False) + gemini({"text": "a"}))
    assert (found.texts, found.calls, found.ended()) == ({0: "a"}, [], "stop end")


def step(kind: str, index: int | None = None, **fields: Any) -> dict[str, Any]:
    return {"event_type": kind, **({} if index is None else {"index": index}), **fields}


def test_interactions() -> None:
    """Steps with deltas; a call is complete at its `step.stop`; signatures and results go into the echoes."""
    stream = data(
        step("interaction.created", interaction={"id": "v1", "model": "m"}),
        step("interaction.status_update", status="in_progress"),
        step("step.start", 0, step={"type": "thought"}),
        step("step.delta", 0, delta={"type": "thought_summary", "content": {"type": "text", "text": "Hm."}}),
        step("step.delta", 0, delta={"type": "thought_signature", "signature": ""}),
        step("step.delta", 0, delta={"type": "thought_signature", "signature": "sig"}),
        step("step.stop", 0),
        step("step.start", 1, step={"type": "model_output"}),
        step("step.delta", 1, delta={"type": "text", "text": "Look"}),
        step("step.delta", 1, delta={"type": "text", "text": "ing."}),
        step("step.stop", 1),
        step(
            "step.start",
            2,
            step={"type": "function_call", "id": "c1", "name": "f", "arguments": {}, "signature": ""},
        ),
        step("step.delta", 2, delta={"type": "arguments_delta", "arguments": '{"a"'}),
        step("step.delta", 2, delta={"type": "arguments_delta", "arguments": ":1}"}),
        step("step.stop", 2),
        step(
            "interaction.completed",
            interaction={
                "status": "requires_action",
                "usage": {
                    "total_input_tokens": 5,
                    "total_output_tokens": 2,
                    "total_thought_tokens": 4,
                    "total_cached_tokens": 1,
                },
            },
        ),
    )
    found = decoded("gemini-interactions", stream)
    assert (found.reasoning, found.texts, found.call_tuples()) == (
        {0: "Hm."},
        {1: "Looking."},
        [("c1", "f", '{"a":1}', None)],
    )
    assert json.loads(found.blocks[0]["echo"]) == {
        "type": "thought",
        "signature": "sig",
        "summary": [{"type": "text", "text": "Hm."}],
    }
    assert json.loads(found.calls[0]["echo"])["arguments"] == {"a": 1}
    assert found.usage is not None
    assert (found.usage["input_uncached"], found.usage["cache_read"], found.usage["output"]) == (4, 1, 6)
    assert found.ended() == "stop tool_use"


def test_interactions_keep_text_without_its_stop() -> None:
    """Shown text is whole at the end."""
    events = [
        step("step.start", 0, step={"type": "model_output"}),
        step("step.delta", 0, delta={"type": "text", "text": "abc"}),
        step("interaction.completed", interaction={"status": "incomplete"}),
    ]
    assert [block["text"] for block in decoded("gemini-interactions", data(*events)).blocks] == ["abc"]


@pytest.mark.parametrize(
    ("events", "ended"),
    [
        ([step("error", error={"code": "internal", "message": "m"})], "error server"),
        ([step("step.start", 0, step={"type": "function_call", "name": "f"})], "error truncated"),
        ([step("interaction.completed", interaction={"status": "completed"})], "stop end"),
        (
            [step("interaction.completed", interaction={"status": "failed", "error": {"code": 503}})],
            "error overloaded",
        ),
        ([step("interaction.completed")], "stop other"),
    ],
)
def test_interactions_end(events: list[dict[str, Any]], ended: str) -> None:
    """By its own word, or truncated."""
    found = decoded("gemini-interactions", data(*events))
    assert (found.ended(), found.calls) == (ended, [])
