"""Gemini generateContent, as a server: whole parts in CRLF events, signed calls, its shape of errors."""

import json

from edgeloop_client.model.cache import PrefixCache, Use
from edgeloop_client.model.counting import TokenCounter
from edgeloop_client.model.dialect import (
    Headers,
    Incoming,
    Prompt,
    Refusal,
    ended,
    object_of,
    quote,
    render,
    stamped,
)
from edgeloop_client.model.errors import STATUS, Kind, Refused, bad
from edgeloop_client.model.gemini_request import parse_request, signature
from edgeloop_client.model.limits import Allowance
from edgeloop_client.model.openai_chat import charge_automatic
from edgeloop_client.model.options import Options
from edgeloop_client.model.play import Closed, Delta, Ended, Op, Opened, Reason
from edgeloop_client.model.shapes import Json

_NAMES: dict[Kind, str] = {
    "invalid_request": "INVALID_ARGUMENT",
    "authentication": "PERMISSION_DENIED",
    "not_found": "NOT_FOUND",
    "too_large": "INVALID_ARGUMENT",
    "rate_limit": "RESOURCE_EXHAUSTED",
    "api": "INTERNAL",
    "unavailable": "UNAVAILABLE",
    "overloaded": "UNAVAILABLE",
}
_REASONS: dict[Reason, str] = {"stop": "STOP", "calls": "STOP", "length": "MAX_TOKENS", "refusal": "SAFETY"}


class Gemini:
    """`POST /v1beta/models/{model}:streamGenerateContent?alt=sse`, and `:generateContent`."""

    name = "gemini"
    cache_minimum = 4096

    def parse(self, incoming: Incoming) -> Prompt:
        """See `Dialect.parse`."""
        return parse_request(incoming)

    def charge(self, prompt: Prompt, minimum: int, cache: PrefixCache, counter: TokenCounter) -> Use:
        """See `Dialect.charge`. Google documents no step and no lifetime of its implicit cache; these are OpenAI's."""
        return charge_automatic(self.name, prompt, minimum, cache, counter)

    def encoder(self, prompt: Prompt, use: Use, _options: Options, /) -> "GeminiEncoder":
        """See `Dialect.encoder`."""
        return GeminiEncoder(prompt, use)

    def refusal(self, refused: Refused, request_id: str) -> Refusal:
        """See `Dialect.refusal`. There is no header with a hint: it is in the body."""
        status = 403 if refused.kind == "authentication" else STATUS[refused.kind]
        return Refusal(
            status=status, headers=[("x-request-id", request_id)], body={"error": _error(refused, status)}
        )

    def limit_headers(self, _allowance: Allowance, /) -> Headers:
        """See `Dialect.limit_headers`. This API tells nothing."""
        return []

    def too_long(self, tokens: int, limit: int) -> Refused:
        """See `Dialect.too_long`."""
        return bad(
            f"The input token count ({tokens}) exceeds the maximum number of tokens allowed ({limit})."
        )


def _error(refused: Refused, status: int) -> Json:
    error: Json = {"code": status, "message": refused.message, "status": _NAMES[refused.kind]}
    if refused.retry_after:
        retry = {
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": f"{refused.retry_after:g}s",
        }
        error["details"] = [retry]
    return error


class GeminiEncoder:
    """The chunks of one answer. A call comes whole, when its block is closed; a call that was cut off never comes."""

    def __init__(self, prompt: Prompt, use: Use) -> None:
        self._use = use
        self._thoughts: bool = prompt.extra["thoughts"]
        self._model = prompt.conversation.model
        self._id = prompt.id
        self._calls = 0
        self._call = Opened(kind="call")
        self._arguments: list[str] = []
        self._tokens = {"text": 0, "thinking": 0, "call": 0}

    def start(self) -> list[bytes]:
        """See `Encoder.start`."""
        return []

    def events(self, op: Op) -> list[bytes]:
        """See `Encoder.events`."""
        part = self._take(op)
        reason = _REASONS[op.reason] if isinstance(op, Ended) else None
        return [self._event(part, reason)] if part else []

    def _take(self, op: Op) -> bytes:
        """The part that an operation completes; empty if there is none."""
        match op:
            case Delta():
                return self._delta(op)
            case Opened(kind="call"):
                self._call, self._arguments = op, []
                return b""
            case Closed(kind="call", cut=False):
                self._calls += 1
                return render(self._call_part())
            case Ended():
                return b'{"text":""}'
            case Opened() | Closed():
                return b""

    def _delta(self, op: Delta) -> bytes:
        self._tokens[op.kind] += op.tokens
        if op.kind == "call":
            self._arguments.append(op.text)
            return b""
        text = quote(stamped(op.text) if op.stamp else op.text)
        if op.kind == "text":
            return b'{"text":' + text + b"}"
        return b'{"text":' + text + b',"thought":true}' if self._thoughts else b""

    def _call_part(self) -> Json:
        arguments = object_of("".join(self._arguments))
        part: Json = {"functionCall": {"name": self._call.name, "args": arguments, "id": self._call.id[:8]}}
        if self._calls == 1:
            part["thoughtSignature"] = signature(self._call.name, arguments)
        return part

    def _event(self, part: bytes, reason: str | None) -> bytes:
        end = f',"finishReason":"{reason}"' if reason else ""
        usage = json.dumps(self._usage())
        return (
            b'data: {"candidates":[{"content":{"parts":['
            + part
            + f'],"role":"model"}}{end},"index":0}}],"usageMetadata":{usage},"modelVersion":'.encode()
            + quote(self._model)
            + f',"responseId":"{self._id}"}}\r\n\r\n'.encode()
        )

    def _usage(self) -> Json:
        """Cumulative, in every chunk; what was thought is beside what was said, not in it."""
        said, thought = self._tokens["text"] + self._tokens["call"], self._tokens["thinking"]
        usage: Json = {
            "promptTokenCount": self._use.total,
            "candidatesTokenCount": said,
            "totalTokenCount": self._use.total + said + thought,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": self._use.total}],
        }
        if thought:
            usage["thoughtsTokenCount"] = thought
        if self._use.read:
            usage["cachedContentTokenCount"] = self._use.read
        return usage

    def failure(self, refused: Refused) -> list[bytes]:
        """See `Encoder.failure`."""
        error = {"error": _error(refused, 503 if refused.kind == "overloaded" else STATUS[refused.kind])}
        return [b"data: " + render(error) + b"\r\n\r\n"]

    def whole(self, ops: list[Op]) -> Json:
        """See `Encoder.whole`."""
        parts: list[Json] = []
        for op in ops[:-1]:
            if not (made := self._take(op)):
                continue
            part: Json = json.loads(made)
            same = parts and "text" in part and "text" in parts[-1]
            if same and part.get("thought") == parts[-1].get("thought"):
                parts[-1]["text"] += part["text"]
            else:
                parts.append(part)
        content = {"parts": parts, "role": "model"}
        return {
            "candidates": [{"content": content, "finishReason": _REASONS[ended(ops).reason], "index": 0}],
            "usageMetadata": self._usage(),
            "modelVersion": self._model,
            "responseId": self._id,
        }
