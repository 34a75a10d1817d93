"""Workers AI over REST, as a server: Chat's requests, its own envelope, and either shape of chunks."""

import re
from urllib.parse import unquote

from edgeloop_client.model.cache import PrefixCache, Use
from edgeloop_client.model.counting import TokenCounter
from edgeloop_client.model.dialect import (
    Encoder,
    Headers,
    Incoming,
    Prompt,
    Refusal,
    object_of,
    read_json,
    render,
    sse,
    stamped,
)
from edgeloop_client.model.errors import STATUS, Kind, Refused, bad
from edgeloop_client.model.limits import Allowance
from edgeloop_client.model.openai_chat import ChatEncoder, charge_automatic
from edgeloop_client.model.openai_chat_request import parse_body
from edgeloop_client.model.openai_errors import bearer
from edgeloop_client.model.options import Options
from edgeloop_client.model.play import Closed, Delta, Ended, Op, Opened
from edgeloop_client.model.shapes import Json, objects

PATH = re.compile(r"(?:/client/v4)?/accounts/[^/]+/ai/(?:run/(?P<model>.+)|v1/chat/completions)")
DEFAULT_TOKENS = 256
"""What this API gives where `max_tokens` is not said."""
_CODES: dict[Kind, int] = {
    "invalid_request": 5004,
    "authentication": 10000,
    "not_found": 5007,
    "too_large": 3006,
    "rate_limit": 3040,
    "api": 3043,
    "unavailable": 3043,
    "overloaded": 3043,
}


class WorkersAI:
    """`POST /client/v4/accounts/{account}/ai/run/{model}`, and `.../ai/v1/chat/completions`."""

    name = "workers-ai"
    cache_minimum = 1024

    def parse(self, incoming: Incoming) -> Prompt:
        """See `Dialect.parse`."""
        match = PATH.fullmatch(incoming.path)
        assert match is not None, "routes.py sends no other path here"
        key = bearer(incoming.headers)
        body = read_json(incoming.body)
        if model := match["model"]:
            body["model"] = unquote(model)
        # The native form of a declaration is what Chat has inside `function`.
        if tools := objects(body.get("tools")):
            body["tools"] = [t if "function" in t else {"type": "function", "function": t} for t in tools]
        body.setdefault("max_tokens", DEFAULT_TOKENS)
        affinity = incoming.headers.get("x-session-affinity", "")
        prompt = parse_body(body, f"{key}\n{affinity}")
        prompt.extra["native"] = model is not None
        return prompt

    def charge(self, prompt: Prompt, minimum: int, cache: PrefixCache, counter: TokenCounter) -> Use:
        """See `Dialect.charge`."""
        return charge_automatic(self.name, prompt, minimum, cache, counter)

    def encoder(self, prompt: Prompt, use: Use, options: Options, /) -> Encoder:
        """See `Dialect.encoder`. The path with `v1` has Chat's shape only."""
        if not prompt.extra["native"]:
            return ChatEncoder(prompt, use, shows_reasoning=True)
        prompt.extra["include_usage"] = True
        return _Run(prompt, use, options)

    def refusal(self, refused: Refused, request_id: str) -> Refusal:
        """See `Dialect.refusal`."""
        status = 400 if refused.kind == "not_found" else STATUS[refused.kind]
        return Refusal(status=status, headers=[("cf-ray", request_id[4:20])], body=_envelope(None, refused))

    def limit_headers(self, _allowance: Allowance, /) -> Headers:
        """See `Dialect.limit_headers`. This API tells nothing."""
        return []

    def too_long(self, tokens: int, limit: int) -> Refused:
        """See `Dialect.too_long`."""
        return bad(
            f"AiError: The estimated number of input and maximum output tokens ({tokens}) exceeded this model"
            f" context window limit ({limit})."
        )


def _envelope(result: Json | None, refused: Refused | None = None) -> Json:
    errors = [{"code": _CODES[refused.kind], "message": refused.message}] if refused else []
    return {"result": result, "success": refused is None, "errors": errors, "messages": []}


class _Run:
    """An answer of `/ai/run`: text and calls each in the shape that was asked for."""

    def __init__(self, prompt: Prompt, use: Use, options: Options) -> None:
        self._chat = ChatEncoder(prompt, use, shows_reasoning=True)
        self._use = use
        self._native_text = options.shape != "chat"
        self._native_calls = options.shape == "native"
        self._call = Opened(kind="call")
        self._arguments: list[str] = []

    def start(self) -> list[bytes]:
        """See `Encoder.start`."""
        return [] if self._native_text else self._chat.start()

    def events(self, op: Op) -> list[bytes]:
        """See `Encoder.events`."""
        match op:
            case Delta(kind="text") if self._native_text:
                text = stamped(op.text) if op.stamp else op.text
                return [sse("", {"response": text, "p": "ab"})]
            case Ended() if self._native_text:
                return self._end(op)
            case Opened(kind="call") | Delta(kind="call") | Closed(kind="call") if self._native_calls:
                return self._call_events(op)
            case _:
                return self._chat.events(op)

    def _call_events(self, op: Op) -> list[bytes]:
        """A native call comes whole, and one that was cut off never comes."""
        match op:
            case Opened():
                self._call, self._arguments = op, []
            case Delta():
                self._arguments.append(op.text)
            case Closed(cut=False):
                return [sse("", {"response": "", "tool_calls": [self._native_call()]})]
            case _:
                pass
        return []

    def _native_call(self) -> Json:
        return {"name": self._call.name, "arguments": object_of("".join(self._arguments))}

    def _end(self, op: Ended) -> list[bytes]:
        finish = [] if self._native_calls else self._chat.events(op)[:1]
        return [*finish, sse("", {"response": "", "usage": self._chat.usage(op)}), b"data: [DONE]\n\n"]

    def failure(self, refused: Refused) -> list[bytes]:
        """See `Encoder.failure`."""
        return [b"data: " + render(_envelope(None, refused)) + b"\n\n"]

    def whole(self, ops: list[Op]) -> Json:
        """See `Encoder.whole`."""
        chat = self._chat.whole(ops)
        if not self._native_text:
            return _envelope(chat)
        message: Json = chat["choices"][0]["message"]
        calls = [
            {"name": call["function"]["name"], "arguments": object_of(call["function"]["arguments"])}
            for call in objects(message.get("tool_calls"))
        ]
        result = {"response": message["content"] or "", "tool_calls": calls, "usage": chat["usage"]}
        return _envelope(result)
