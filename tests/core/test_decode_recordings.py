"""Recorded streams of real providers decode to what their index says; skipped where there are none beside the repository."""

import json
from typing import Any

import pytest

from tests.support.recordings import RECORDINGS, Row, needs_recordings, rows_of
from tests.support.streams import Outcome, feed, fold, outcome, pieces

DIALECTS = {
    "anthropic": "anthropic",
    "chat": "openai-chat",
    "responses": "openai-responses",
    "gemini": "gemini",
    "interactions": "gemini-interactions",
    "workers-ai": "workers-ai",
}

# Where the index, made by another reducer, says something else, and why ours stands.
TRUNCATED = "a stream without its terminal event is an error, however much it said"
DIFFERENCES: dict[str, tuple[str, str]] = {
    "cloudflare/native-truncated-no-done.sse": ("stop", TRUNCATED),
    "openai-responses/vercel-openai-parallel-tool-call-wrapper.1.chunks.txt": (
        "stop",
        TRUNCATED + "; here the terminal event is broken JSON",
    ),
    "anthropic/vercel-anthropic-programmatic-tool-calling.1.part2.chunks.txt": (
        "stop",
        "the stop reason stands in message_start, which the index did not read",
    ),
    "openai-compatible/pydai-snowflake_thinking_streaming.sse": (
        "reasoning",
        "reasoning_details alone carry the reasoning; it is shown too",
    ),
    "openai-compatible/rubyllm-sr_azure_grok-4-1-fast-non-reasoning_supports_streaming_responses.sse": (
        "usage",
        "more cached than prompt tokens: the prompt leaves the cached part out",
    ),
    **dict.fromkeys(
        (
            "openai-compatible/vercel-openai-compatible-xai-text.chunks.txt",
            "openai-compatible/vercel-openai-compatible-xai-tool-call.chunks.txt",
            "openai-compatible/vercel-xai-tool-call.chunks.txt",
        ),
        ("usage", "xAI's completion_tokens leave reasoning out; output is what is billed"),
    ),
}


ROWS = rows_of(DIALECTS)
pytestmark = needs_recordings


def _outcome(row: Row) -> Outcome:
    return outcome(fold(feed(DIALECTS[row["api"]], [(RECORDINGS / row["file"]).read_bytes()])))


def _stop(found: Outcome) -> str:
    return str(found.end.get("raw") or "") if found.end["op"] == "stop" else f"error:{found.end['code']}"


def _total(found: Outcome, *names: str) -> int:
    return sum((found.usage or {}).get(name) or 0 for name in names)


def _usage(found: Outcome) -> tuple[int, int]:
    """Whole prompt and whole output."""
    return _total(found, "input_uncached", "cache_read", "cache_write_5m", "cache_write_1h"), _total(
        found, "output"
    )


INPUTS = {
    "anthropic": ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
    "chat": ("prompt_tokens",),
    "responses": ("input_tokens",),
    "gemini": ("promptTokenCount", "toolUsePromptTokenCount"),
    "interactions": ("total_input_tokens", "total_tool_use_tokens"),
    "workers-ai": (),
}
OUTPUTS = {
    "anthropic": ("output_tokens",),
    "chat": ("completion_tokens",),
    "responses": ("output_tokens",),
    "gemini": ("candidatesTokenCount", "thoughtsTokenCount"),
    "interactions": ("total_output_tokens", "total_thought_tokens"),
    "workers-ai": (),
}


def _expected(row: Row) -> dict[str, Any]:
    usage = json.loads(row["usage"])
    return {
        "text": int(row["text_len"]),
        "reasoning": int(row["reasoning_len"]),
        "calls": json.loads(row["tool_calls"]),
        "stop": "" if row["stop_reason"] == "None" else row["stop_reason"],
        "usage": tuple(sum(usage.get(key) or 0 for key in names[row["api"]]) for names in (INPUTS, OUTPUTS)),
    }


def _found(found: Outcome) -> dict[str, Any]:
    return {
        "text": sum(map(len, found.texts.values())),
        "reasoning": sum(map(len, found.reasoning.values())),
        "calls": [
            [call["name"], json.loads(call["arguments"])] for call in found.calls if call["invalid"] is None
        ],
        "stop": _stop(found),
        "usage": _usage(found),
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_a_recording_decodes_to_its_index(row: Row) -> None:
    """Text and reasoning lengths, calls in order, the stop reason, and usage; the differences are listed with their reasons."""
    found, expected = _found(_outcome(row)), _expected(row)
    different = [name for name in expected if found[name] != expected[name]]
    assert different == ([DIFFERENCES[row["file"]][0]] if row["file"] in DIFFERENCES else [])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_a_recording_decodes_the_same_in_pieces(row: Row) -> None:
    """Small pieces of a prime length, so that every kind of boundary is cut somewhere."""
    stream = (RECORDINGS / row["file"]).read_bytes()
    dialect = DIALECTS[row["api"]]
    whole = fold(feed(dialect, [stream]))
    for size in (61, 7) if len(stream) < 50_000 else (997,):
        assert fold(feed(dialect, pieces(stream, range(size, len(stream), size)))) == whole


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_a_recording_is_consistent_with_itself(row: Row) -> None:
    """What was shown of a block is what it came to, echoes are JSON, and every block is numbered once, from 0."""
    found = _outcome(row)
    if any(op["op"] == "restart" for op in found.others):
        return
    if "trimmed_deltas" in row["flags"]:  # whoever recorded it left deltas out
        return
    for block in found.blocks:
        shown = found.texts | found.reasoning
        assert block["text"] == shown.get(block["block"], "")
        assert block["echo"] is None or isinstance(json.loads(block["echo"]), dict)
    numbers = [op["block"] for op in found.blocks + found.calls]
    assert len(set(numbers)) == len(numbers)
