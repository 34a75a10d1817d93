"""The Anthropic Messages API, as a server: what it takes and refuses, its cache rules, its events."""

from datetime import UTC, datetime, timedelta
from typing import Any

from edgeloop_client.model.anthropic_request import parse_request
from edgeloop_client.model.cache import PrefixCache, Segment, Use
from edgeloop_client.model.counting import TokenCounter
from edgeloop_client.model.dialect import (
    Headers,
    Incoming,
    Json,
    Prompt,
    Refusal,
    ended,
    object_of,
    quote,
    retry_after,
    sse,
    stamped,
)
from edgeloop_client.model.errors import STATUS, Kind, Refused, bad
from edgeloop_client.model.limits import Allowance
from edgeloop_client.model.options import Options
from edgeloop_client.model.play import Closed, Delta, Ended, Op, Opened, Reason
from edgeloop_client.model.signature import sign

_KINDS: dict[Kind, str] = {
    "invalid_request": "invalid_request_error",
    "authentication": "authentication_error",
    "not_found": "not_found_error",
    "too_large": "request_too_large",
    "rate_limit": "rate_limit_error",
    "api": "api_error",
    "unavailable": "api_error",
    "overloaded": "overloaded_error",
}
_REASONS: dict[Reason, str] = {
    "stop": "end_turn",
    "calls": "tool_use",
    "length": "max_tokens",
    "refusal": "refusal",
}


class Messages:
    """`POST /v1/messages`."""

    name = "anthropic"
    cache_minimum = 1024

    def parse(self, incoming: Incoming) -> Prompt:
        """See `Dialect.parse`."""
        return parse_request(incoming)

    def charge(self, prompt: Prompt, minimum: int, cache: PrefixCache, counter: TokenCounter) -> Use:
        """See `Dialect.charge`."""
        counts = counter.of([block.data for block in prompt.blocks])
        segments = [
            Segment(data=block.data, tokens=tokens, mark=block.mark)
            for block, tokens in zip(prompt.blocks, counts, strict=True)
        ]
        return cache.marked(f"{self.name}\n{prompt.scope}", segments, minimum)

    def encoder(self, prompt: Prompt, use: Use, _options: Options, /) -> "MessageEncoder":
        """See `Dialect.encoder`."""
        return MessageEncoder(prompt.conversation.model, use, prompt.id)

    def refusal(self, refused: Refused, request_id: str) -> Refusal:
        """See `Dialect.refusal`."""
        headers = [("request-id", request_id), *retry_after(refused)]
        return Refusal(
            status=STATUS[refused.kind],
            headers=headers,
            body=_error(refused) | {"request_id": request_id},
        )

    def limit_headers(self, allowance: Allowance, /) -> Headers:
        """See `Dialect.limit_headers`."""
        reset = datetime.now(UTC) + timedelta(seconds=allowance.full)
        told = {
            "limit": str(allowance.limit),
            "remaining": str(allowance.remaining),
            "reset": reset.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        return [(f"anthropic-ratelimit-requests-{name}", value) for name, value in told.items()]

    def too_long(self, tokens: int, limit: int) -> Refused:
        """See `Dialect.too_long`."""
        return bad(f"prompt is too long: {tokens} tokens > {limit} maximum")


def _error(refused: Refused) -> Json:
    return {"type": "error", "error": {"type": _KINDS[refused.kind], "message": refused.message}}


class MessageEncoder:
    """The events of one message."""

    def __init__(self, model: str, use: Use, identifier: str) -> None:
        self._model = model
        self._id = f"msg_{identifier}"
        self._input: Json = {
            "input_tokens": use.fresh,
            "cache_creation_input_tokens": use.write_5m + use.write_1h,
            "cache_read_input_tokens": use.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": use.write_5m,
                "ephemeral_1h_input_tokens": use.write_1h,
            },
        }
        self._index = 0
        self._thought: list[str] = []
        self._heads = {
            kind: b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":'
            b'{"type":"' + delta.encode() + b'","' + field.encode() + b'":'
            for kind, (delta, field) in _DELTAS.items()
        }

    def start(self) -> list[bytes]:
        """See `Encoder.start`."""
        message = self._message([], None, None)
        message["usage"] = {**self._input, "output_tokens": 1, "service_tier": "standard"}
        return [
            sse("message_start", {"type": "message_start", "message": message}),
            sse("ping", {"type": "ping"}),
        ]

    def events(self, op: Op) -> list[bytes]:
        """See `Encoder.events`."""
        match op:
            case Delta():
                return [self._delta(op)]
            case Opened():
                self._thought = []
                block = {"index": self._index, "content_block": _empty(op)}
                return [sse("content_block_start", {"type": "content_block_start", **block})]
            case Closed():
                return [*self._signature(op), self._stop()]
            case Ended():
                return self._end(op)

    def _delta(self, op: Delta) -> bytes:
        text = stamped(op.text) if op.stamp else op.text
        if op.kind == "thinking":
            self._thought.append(text)
        return self._heads[op.kind] % self._index + quote(text) + b"}}\n\n"

    def _signature(self, op: Closed) -> list[bytes]:
        if op.kind != "thinking":
            return []
        delta = {"type": "signature_delta", "signature": sign("".join(self._thought))}
        return [
            sse("content_block_delta", {"type": "content_block_delta", "index": self._index, "delta": delta})
        ]

    def _stop(self) -> bytes:
        self._index += 1
        return sse("content_block_stop", {"type": "content_block_stop", "index": self._index - 1})

    def _end(self, op: Ended) -> list[bytes]:
        delta = {"stop_reason": _REASONS[op.reason], "stop_sequence": None}
        usage = {**self._input, "output_tokens": op.tokens}
        return [
            sse("message_delta", {"type": "message_delta", "delta": delta, "usage": usage}),
            sse("message_stop", {"type": "message_stop"}),
        ]

    def failure(self, refused: Refused) -> list[bytes]:
        """See `Encoder.failure`."""
        return [sse("error", _error(refused))]

    def whole(self, ops: list[Op]) -> Json:
        """See `Encoder.whole`."""
        content: list[Json] = []
        for op in ops:
            if isinstance(op, Opened):
                content.append(_empty(op))
            elif isinstance(op, Delta):
                field = "input" if op.kind == "call" else op.kind
                before = "" if content[-1][field] == {} else content[-1][field]
                content[-1][field] = before + (stamped(op.text) if op.stamp else op.text)
        for block in content:
            if block["type"] == "tool_use":
                block["input"] = object_of(block["input"] or "")
            elif block["type"] == "thinking":
                block["signature"] = sign(block["thinking"])
        last = ended(ops)
        message = self._message(content, _REASONS[last.reason], None)
        message["usage"] = {**self._input, "output_tokens": last.tokens, "service_tier": "standard"}
        return message

    def _message(self, content: list[Json], reason: str | None, sequence: str | None) -> Json:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": sequence,
        }


_DELTAS = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "call": ("input_json_delta", "partial_json"),
}


def _empty(op: Opened) -> dict[str, Any]:
    match op.kind:
        case "text":
            return {"type": "text", "text": ""}
        case "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}
        case "call":
            return {"type": "tool_use", "id": f"toolu_{op.id}", "name": op.name, "input": {}}
