"""OpenAI Chat Completions, as a server: its cache rules and its chunks."""

import time

from edgeloop_client.model.cache import PrefixCache, Segment, Use
from edgeloop_client.model.counting import TokenCounter
from edgeloop_client.model.dialect import (
    Headers,
    Incoming,
    Json,
    Prompt,
    Refusal,
    ended,
    quote,
    render,
    sse,
    stamped,
)
from edgeloop_client.model.errors import Refused, bad
from edgeloop_client.model.limits import Allowance
from edgeloop_client.model.openai_chat_request import parse_request
from edgeloop_client.model.openai_errors import error_object, limit_headers, refusal
from edgeloop_client.model.options import Options
from edgeloop_client.model.play import Closed, Delta, Ended, Op, Opened, Reason

_REASONS: dict[Reason, str] = {
    "stop": "stop",
    "calls": "tool_calls",
    "length": "length",
    "refusal": "content_filter",
}


class Chat:
    """`POST /v1/chat/completions`."""

    name = "openai"
    cache_minimum = 1024

    def parse(self, incoming: Incoming) -> Prompt:
        """See `Dialect.parse`."""
        return parse_request(incoming)

    def charge(self, prompt: Prompt, minimum: int, cache: PrefixCache, counter: TokenCounter) -> Use:
        """See `Dialect.charge`."""
        return charge_automatic(self.name, prompt, minimum, cache, counter)

    def encoder(self, prompt: Prompt, use: Use, _options: Options, /) -> "ChatEncoder":
        """See `Dialect.encoder`."""
        return ChatEncoder(prompt, use)

    def refusal(self, refused: Refused, request_id: str) -> Refusal:
        """See `Dialect.refusal`."""
        return refusal(refused, request_id)

    def limit_headers(self, allowance: Allowance, /) -> Headers:
        """See `Dialect.limit_headers`."""
        return limit_headers(allowance)

    def too_long(self, tokens: int, limit: int) -> Refused:
        """See `Dialect.too_long`."""
        return bad(
            f"This model's maximum context length is {limit} tokens. However, your messages resulted in {tokens}"
            " tokens. Please reduce the length of the messages.",
            param="messages",
            code="context_length_exceeded",
        )


def charge_automatic(
    name: str, prompt: Prompt, minimum: int, cache: PrefixCache, counter: TokenCounter
) -> Use:
    """OpenAI's automatic cache, the same for both of its APIs."""
    counts = counter.of([block.data for block in prompt.blocks])
    segments = [
        Segment(data=block.data, tokens=tokens) for block, tokens in zip(prompt.blocks, counts, strict=True)
    ]
    return cache.automatic(f"{name}\n{prompt.scope}", segments, minimum, lambda data: counter.of([data])[0])


class ChatEncoder:
    """The chunks of one completion. Reasoning is counted but not shown by OpenAI; others have a field for it."""

    def __init__(self, prompt: Prompt, use: Use, *, shows_reasoning: bool = False) -> None:
        self._shows_reasoning = shows_reasoning
        self._use = use
        self._with_usage: bool = prompt.extra["include_usage"]
        self._calls = -1
        self._head: Json = {
            "id": f"chatcmpl-{prompt.id}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": prompt.conversation.model,
            "service_tier": "default",
            "system_fingerprint": "fp_edgeloop",
        }
        # A delta's chunk is this, then a JSON string, then the tail: the path of every token stays short.
        self._before = b"data: " + render(self._head)[:-1] + b',"choices":[{"index":0,"delta":'
        self._after = b',"logprobs":null,"finish_reason":null}]' + (
            b',"usage":null}\n\n' if self._with_usage else b"}\n\n"
        )

    def start(self) -> list[bytes]:
        """See `Encoder.start`."""
        return [self._chunk({"role": "assistant", "content": "", "refusal": None})]

    def _chunk(self, delta: Json, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        usage = {"usage": None} if self._with_usage else {}
        return sse("", {**self._head, "choices": [choice], **usage})

    def events(self, op: Op) -> list[bytes]:
        """See `Encoder.events`."""
        match op:
            case Delta(kind="text"):
                text = stamped(op.text) if op.stamp else op.text
                return [self._before + b'{"content":' + quote(text) + b"}" + self._after]
            case Delta(kind="call"):
                call = b'{"tool_calls":[{"index":%d,"function":{"arguments":' % self._calls
                return [self._before + call + quote(op.text) + b"}}]}" + self._after]
            case Delta(kind="thinking") if self._shows_reasoning:
                return [self._before + b'{"reasoning_content":' + quote(op.text) + b"}" + self._after]
            case Opened(kind="call"):
                self._calls += 1
                call = {
                    "index": self._calls,
                    "id": f"call_{op.id}",
                    "type": "function",
                    "function": {"name": op.name, "arguments": ""},
                }
                return [self._chunk({"tool_calls": [call]})]
            case Ended():
                return self._end(op)
            case Opened() | Delta() | Closed():
                return []

    def _end(self, op: Ended) -> list[bytes]:
        last = [self._chunk({}, _REASONS[op.reason])]
        if self._with_usage:
            last.append(sse("", {**self._head, "choices": [], "usage": self.usage(op)}))
        return [*last, b"data: [DONE]\n\n"]

    def usage(self, op: Ended) -> Json:
        """The usage of the whole message."""
        return {
            "prompt_tokens": self._use.total,
            "completion_tokens": op.tokens,
            "total_tokens": self._use.total + op.tokens,
            "prompt_tokens_details": {"cached_tokens": self._use.read, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": op.thinking_tokens, "audio_tokens": 0},
        }

    def failure(self, refused: Refused) -> list[bytes]:
        """See `Encoder.failure`."""
        return [sse("", {"error": error_object(refused)})]

    def whole(self, ops: list[Op]) -> Json:
        """See `Encoder.whole`."""
        text: list[str] = []
        calls: list[Json] = []
        for op in ops:
            if isinstance(op, Opened) and op.kind == "call":
                function = {"name": op.name, "arguments": ""}
                calls.append({"id": f"call_{op.id}", "type": "function", "function": function})
            elif isinstance(op, Delta) and op.kind == "call":
                calls[-1]["function"]["arguments"] += op.text
            elif isinstance(op, Delta) and op.kind == "text":
                text.append(stamped(op.text) if op.stamp else op.text)
        last = ended(ops)
        message: Json = {"role": "assistant", "content": "".join(text) or None, "refusal": None}
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _REASONS[last.reason]}
        head = {**self._head, "object": "chat.completion"}
        return {**head, "choices": [choice], "usage": self.usage(last)}
