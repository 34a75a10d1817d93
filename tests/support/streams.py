"""Feeding provider streams to the decoders: building them, cutting them in every way, folding what comes out."""

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from edgeloop_client.decode import Decoder, Op

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "streams"
"""A stream of each dialect and of the servers that imitate one, with the operations that it decodes to."""
LIVE = {"text": "text", "reasoning": "text", "args": "bytes"}


def sse(*events: dict[str, Any], dialect: str = "anthropic") -> bytes:
    """Events as the dialect frames them: `event:` and `data:` where it names its events, `data:` alone elsewhere."""
    named = dialect in ("anthropic", "openai-responses")
    return b"".join(
        (f"event: {event['type']}\n" if named and "type" in event else "").encode()
        + b"data: "
        + json.dumps(event, ensure_ascii=False).encode()
        + b"\n\n"
        for event in events
    )


def data(*events: dict[str, Any] | str, done: bool = True) -> bytes:
    """`data:` lines, as Chat sends them; a string goes as it is."""
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    return "".join(f"data: {line}\n\n" for line in [*lines, *(["[DONE]"] if done else [])]).encode()


def chat(*deltas: dict[str, Any], finish: str | None = "stop", done: bool = True, **last: Any) -> bytes:
    """A Chat stream of these deltas, its finish, and the fields of its last chunk."""
    chunks: list[dict[str, Any]] = [
        {"id": "r1", "model": "m", "choices": [{"index": 0, "delta": d}]} for d in deltas
    ]
    if finish is not None:
        chunks.append(
            {"id": "r1", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
        )
    if last:
        chunks.append({"id": "r1", "model": "m", "choices": [], **last})
    return data(*chunks, done=done)


def gemini(*parts: dict[str, Any], finish: str | None = "STOP", **last: Any) -> bytes:
    """A Gemini stream with one part per chunk; CRLF, as Google sends it."""
    chunks: list[dict[str, Any]] = [
        {
            "candidates": [{"content": {"role": "model", "parts": [part]}}],
            "responseId": "r1",
            "modelVersion": "m",
        }
        for part in parts
    ]
    end = {"candidates": [{"content": {"parts": [{"text": ""}]}, "finishReason": finish}], "responseId": "r1"}
    chunks += [{**end, **last}] if finish else ([last] if last else [])
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in chunks)


def pieces(stream: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The stream cut at these offsets."""
    edges = [0, *sorted(cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


def feed(dialect: str, parts: Iterable[bytes]) -> list[Op]:
    """All operations of one decoder fed these parts and then the end."""
    with Decoder(dialect) as decoder:
        ops = [op for part in parts for op in decoder.feed(part)]
        return ops + decoder.finish()


def fold(ops: list[Op]) -> list[Op]:
    """Join neighbouring deltas of one block and leave pings out: what does not depend on how the bytes were cut."""
    folded: list[Op] = []
    for op in ops:
        last = folded[-1] if folded else None
        if op["op"] == "ping":
            continue
        if op["op"] in LIVE and last and last["op"] == op["op"] and last["block"] == op["block"]:
            name = LIVE[op["op"]]
            folded[-1] = {**last, name: last[name] + op[name]}
        else:
            folded.append(op)
    return folded


def decode(dialect: str, stream: bytes, *, seed: int = 0) -> list[Op]:
    """Decode the stream whole, byte by byte and in random pieces; all must say the same. Answers the folded operations."""
    whole = fold(feed(dialect, [stream]))
    assert fold(feed(dialect, pieces(stream, range(1, len(stream))))) == whole
    rng = random.Random(seed)
    for _ in range(3):
        cuts = (
            rng.sample(range(1, len(stream)), min(len(stream) - 1, rng.randrange(1, 12)))
            if len(stream) > 1
            else []
        )
        assert fold(feed(dialect, pieces(stream, cuts))) == whole
    return whole


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a response came to: live text by block, completed blocks and calls, and the end."""

    texts: dict[int, str] = field(default_factory=dict[int, str])
    reasoning: dict[int, str] = field(default_factory=dict[int, str])
    args: dict[int, str] = field(default_factory=dict[int, str])
    blocks: list[Op] = field(default_factory=list[Op])
    calls: list[Op] = field(default_factory=list[Op])
    usage: Op | None = None
    end: Op
    others: list[Op] = field(default_factory=list[Op])

    def call_tuples(self) -> list[tuple[str, str, str, str | None]]:
        """`(provider_id, name, arguments, invalid)` of each call, in order of completion."""
        return [
            (call["provider_id"], call["name"], call["arguments"], call["invalid"]) for call in self.calls
        ]

    def ended(self) -> str:
        """`stop tool_use`, `error overloaded`."""
        return f"{self.end['op']} {self.end.get('reason') or self.end.get('class')}"


def outcome(ops: list[Op]) -> Outcome:
    """Sort a stream's operations by what they are; exactly one ends it, and it is the last."""
    found = Outcome(end=ops[-1], usage=next((op for op in ops if op["op"] == "usage"), None))
    assert [op for op in ops if op["op"] in ("stop", "error")] == [ops[-1]]
    live = {"text": found.texts, "reasoning": found.reasoning, "args": found.args}
    lists = {"block_complete": found.blocks, "call_complete": found.calls}
    for op in ops[:-1]:
        if op["op"] in live:
            shown = live[op["op"]]
            shown[op["block"]] = shown.get(op["block"], "") + op[LIVE[op["op"]]]
        elif op["op"] != "usage":
            lists.get(op["op"], found.others).append(op)
    return found


def decoded(dialect: str, stream: bytes) -> Outcome:
    """`decode`, sorted."""
    return outcome(decode(dialect, stream))
