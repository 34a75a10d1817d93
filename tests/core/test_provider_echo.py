"""From a provider's stream through the decoder and the log to its next request: what it wants back comes back, byte for byte."""

import json
from typing import Any

import pytest

from edgeloop.events import Recorded, StepStarted, ToolCallCompleted, ToolFinished
from edgeloop.providers import PROVIDERS, Plan, Target
from edgeloop.reader import StepReader
from edgeloop.transcript import Transcript
from tests.support.conversations import TOOL
from tests.support.recordings import RECORDINGS, Row, needs_recordings, rows_of
from tests.support.streams import chat, feed, gemini, sse

READERS = {
    "anthropic": ("anthropic", "anthropic"),
    "chat": ("openai-chat", "openai"),
    "responses": ("openai-responses", "openai-responses"),
    "gemini": ("gemini", "gemini"),
    "workers-ai": ("workers-ai", "workers-ai"),
}
"""The index's name of an API: the decoder's dialect and the adapter."""


def next_request(stream: bytes, dialect: str, provider: str) -> bytes:
    """The body of the request that follows an answer, its calls all answered."""
    reader = StepReader(step=1, attempt=1)
    events = reader.feed(feed(dialect, [stream]), lambda texts: [0] * len(texts))
    calls = [event for event in events if isinstance(event, ToolCallCompleted)]
    results = [ToolFinished(call=event.call, outcome="ok", content="done") for event in calls]
    transcript = Transcript(provider=provider)
    transcript.apply(Recorded(seq=1, at=0, event=StepStarted(step=1, attempt=1)))
    for number, event in enumerate([*events, *results, StepStarted(step=2, attempt=1)], 2):
        transcript.apply(Recorded(seq=number, at=0, event=event))
    adapter = PROVIDERS[provider]
    messages = tuple(adapter.encode(entry) for entry in transcript.entries)
    plan = Plan(model="m", system="", tools=(TOOL,), messages=messages)
    body = adapter.build_request(plan, Target(base_url="http://model.test")).body
    json.loads(body)
    return body


def test_anthropic_thinking() -> None:
    """The thinking with its signature, put together from its deltas, stands before its call."""
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "m", "model": "c", "content": [], "usage": {}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm\u00e9 "}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": "x=="}},
        {"type": "content_block_stop", "index": 1},
        {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "t1", "name": "f", "input": {}}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"n": 1.0}'}},
        {"type": "content_block_stop", "index": 2},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {}},
        {"type": "message_stop"},
    ]  # fmt: skip
    body = next_request(sse(*events), "anthropic", "anthropic").decode()
    thinking = '{"type":"thinking","thinking":"hm\u00e9 ","signature":"c2ln"}'
    assert f'{thinking},{{"type":"redacted_thinking","data":"x=="}},{{"type":"tool_use"' in body.replace(
        '": ', '":'
    ).replace(', "', ',"')
    assert '"input":{"n": 1.0}' in body


def test_responses_reasoning() -> None:
    """The reasoning item as it was sent, members we do not know and all, before its call."""
    item: dict[str, Any] = {
        "id": "rs_1",
        "type": "reasoning",
        "summary": [],
        "encrypted_content": "gAAA\u00e9==",
        "new": {"b": 1, "a": 1.50},
    }
    call = {
        "id": "fc_1",
        "type": "function_call",
        "call_id": "call_1",
        "name": "f",
        "arguments": '{"n": 1.0}',
        "status": "completed",
    }
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {"id": "r", "model": "g"}},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.output_item.done", "output_index": 1, "item": call},
        {"type": "response.completed", "response": {"id": "r", "status": "completed"}},
    ]
    body = next_request(
        sse(*events, dialect="openai-responses"), "openai-responses", "openai-responses"
    ).decode()
    sent = [json.dumps(one, ensure_ascii=False) for one in (item, call)]
    assert ",".join(sent) + ',{"type":"function_call_output","call_id":"call_1","output":"done"}' in body


def test_gemini_signatures() -> None:
    """Each signed part by itself, at its own place, as it was sent."""
    parts: list[dict[str, Any]] = [
        {"text": "hm", "thought": True},
        {"text": "I look. "},
        {"functionCall": {"name": "f", "args": {"n": 1.0}, "id": "id1"}, "thoughtSignature": "c2ln+/="},
        {"functionCall": {"name": "g"}},
        {"text": "", "thoughtSignature": "ZW5k"},
    ]
    body = next_request(gemini(*parts), "gemini", "gemini").decode()
    kept = ",".join(json.dumps(part) for part in parts[2:])
    assert f'"parts":[{{"text":"I look. "}},{kept}]}},' in body
    assert '{"functionResponse":{"id":"id1","name":"f","response":{"output":"done"}}}' in body
    assert '{"functionResponse":{"name":"g","response":{"output":"done"}}}' in body


@pytest.mark.parametrize("provider", ["openai", "workers-ai"])
def test_chat_reasoning(provider: str) -> None:
    """Reasoning goes back under the name it came under."""
    call = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{}"}}
    dialect = "workers-ai" if provider == "workers-ai" else "openai-chat"
    stream = chat(
        {"reasoning_content": "h"}, {"reasoning_content": "m"}, {"tool_calls": [call]}, finish="tool_calls"
    )
    assert b'"reasoning_content":"hm"' in next_request(stream, dialect, provider)
    details = [{"type": "reasoning.encrypted", "data": "x==", "index": 0}]
    stream = chat({"reasoning_details": details}, {"tool_calls": [call]}, finish="tool_calls")
    assert b'"data":"x=="' in next_request(stream, dialect, provider).replace(b'": ', b'":')


@needs_recordings
@pytest.mark.parametrize("row", rows_of(READERS), ids=lambda row: row["file"])
def test_every_recorded_answer_can_be_continued(row: Row) -> None:
    """Whatever a provider said, the next request is JSON, and what it must have back is in it."""
    dialect, provider = READERS[row["api"]]
    stream = (RECORDINGS / row["file"]).read_bytes()
    body = next_request(stream, dialect, provider).decode()
    ops = feed(dialect, [stream])
    restart = next((n for n, op in enumerate(ops) if op["op"] == "restart"), len(ops))
    whole = {"thinking", "redacted_thinking", "reasoning"}
    done = [
        op for op in ops[:restart] if op["op"] in ("block_complete", "call_complete")
    ]  # what began over ends it
    said = [
        number for number, op in enumerate(done) if op["op"] == "call_complete" or op.get("kind") == "text"
    ]
    for number, op in enumerate(done):
        echo = op.get("echo") if op["op"] == "block_complete" else None
        followed = bool(said) and number < said[-1]  # no message may end with thinking
        if echo and json.loads(echo).get("type") in whole and provider == "anthropic" and followed:
            assert echo in body
        if echo and json.loads(echo).get("encrypted_content") and "function_call" in body:
            assert echo in body
        if echo and '"thoughtSignature"' in echo and provider == "gemini":
            assert echo in body
