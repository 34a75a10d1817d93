"""OpenAI Responses, as a server: its items and numbered events. Its cache is Chat's."""

import time
from typing import Any

from edgeloop_client.model.cache import PrefixCache, Use
from edgeloop_client.model.counting import TokenCounter
from edgeloop_client.model.dialect import Headers, Incoming, Prompt, Refusal, ended, quote, sse, stamped
from edgeloop_client.model.errors import Refused, bad
from edgeloop_client.model.limits import Allowance
from edgeloop_client.model.openai_chat import charge_automatic
from edgeloop_client.model.openai_errors import error_object, limit_headers, refusal
from edgeloop_client.model.openai_responses_request import ENCRYPTED, encrypted, parse_request
from edgeloop_client.model.options import Options
from edgeloop_client.model.play import Closed, Delta, Ended, Op, Opened
from edgeloop_client.model.shapes import Json, is_object

_PREFIXES = {"text": "msg", "thinking": "rs", "call": "fc"}
_WHY = {"length": "max_output_tokens", "refusal": "content_filter"}


class Responses:
    """`POST /v1/responses`."""

    name = "openai-responses"
    cache_minimum = 1024

    def parse(self, incoming: Incoming) -> Prompt:
        """See `Dialect.parse`."""
        return parse_request(incoming)

    def charge(self, prompt: Prompt, minimum: int, cache: PrefixCache, counter: TokenCounter) -> Use:
        """See `Dialect.charge`."""
        return charge_automatic(self.name, prompt, minimum, cache, counter)

    def encoder(self, prompt: Prompt, use: Use, _options: Options, /) -> "ResponseEncoder":
        """See `Dialect.encoder`."""
        return ResponseEncoder(prompt, use)

    def refusal(self, refused: Refused, request_id: str) -> Refusal:
        """See `Dialect.refusal`."""
        return refusal(refused, request_id)

    def limit_headers(self, allowance: Allowance, /) -> Headers:
        """See `Dialect.limit_headers`."""
        return limit_headers(allowance)

    def too_long(self, tokens: int, limit: int) -> Refused:
        """See `Dialect.too_long`."""
        return bad(
            "Your input exceeds the context window of this model. Please adjust your input and try again."
            f" ({tokens} tokens > {limit})",
            param="input",
            code="context_length_exceeded",
        )


class ResponseEncoder:
    """The events of one response. Reasoning is summed up and encrypted only for those who ask for it."""

    def __init__(self, prompt: Prompt, use: Use) -> None:
        self._use = use
        self._id = prompt.id
        self._sequence = -1
        self._output: list[Json] = []
        self._text: list[str] = []
        asked: Json = prompt.extra
        reasoning = asked.get("reasoning")
        self._summary = is_object(reasoning) and reasoning.get("summary") is not None
        self._encrypted = ENCRYPTED in (asked.get("include") or [])
        self._response: Json = {
            "id": f"resp_{prompt.id}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": asked.get("instructions"),
            "max_output_tokens": asked.get("max_output_tokens"),
            "model": prompt.conversation.model,
            "output": [],
            "parallel_tool_calls": asked.get("parallel_tool_calls", True),
            "previous_response_id": None,
            "prompt_cache_key": asked.get("prompt_cache_key"),
            "reasoning": reasoning or {"effort": None, "summary": None},
            "service_tier": "default",
            "store": asked.get("store", True),
            "temperature": asked.get("temperature", 1.0),
            "text": asked.get("text", {"format": {"type": "text"}}),
            "tool_choice": asked.get("tool_choice", "auto"),
            "tools": asked.get("tools", []),
            "top_p": asked.get("top_p", 1.0),
            "truncation": "disabled",
            "usage": None,
            "metadata": asked.get("metadata") or {},
        }

    @property
    def _at(self) -> Json:
        """Where the open item stands."""
        return {"item_id": self._output[-1]["id"], "output_index": len(self._output) - 1}

    def _event(self, kind: str, **members: Any) -> bytes:
        self._sequence += 1
        return sse(kind, {"type": kind, "sequence_number": self._sequence, **members})

    def start(self) -> list[bytes]:
        """See `Encoder.start`."""
        kinds = ("response.created", "response.in_progress")
        return [self._event(kind, response=self._response) for kind in kinds]

    def events(self, op: Op) -> list[bytes]:
        """See `Encoder.events`."""
        match op:
            case Delta():
                return self._delta(op)
            case Opened():
                return self._open(op)
            case Closed():
                return self._close(op)
            case Ended():
                return [self._event(f"response.{self._end(op)}", response=self._response)]

    def _open(self, op: Opened) -> list[bytes]:
        self._add(op)
        events = [
            self._event(
                "response.output_item.added", output_index=len(self._output) - 1, item=self._output[-1]
            )
        ]
        if op.kind == "text":
            events.append(
                self._event("response.content_part.added", **self._at, content_index=0, part=_text_part(""))
            )
        elif op.kind == "thinking" and self._summary:
            events.append(
                self._event(
                    "response.reasoning_summary_part.added",
                    **self._at,
                    summary_index=0,
                    part={"type": "summary_text", "text": ""},
                )
            )
        return events

    def _add(self, op: Opened) -> None:
        self._text = []
        identifier = f"{_PREFIXES[op.kind]}_{self._id}{len(self._output):02}"
        item: Json = {"id": identifier}
        match op.kind:
            case "text":
                item |= {"type": "message", "status": "in_progress", "role": "assistant", "content": []}
            case "thinking":
                item |= {"type": "reasoning", "summary": []}
            case "call":
                call = {"call_id": f"call_{op.id}", "name": op.name, "arguments": ""}
                item |= {"type": "function_call", "status": "in_progress", **call}
        self._output.append(item)

    def _delta(self, op: Delta) -> list[bytes]:
        text = stamped(op.text) if op.stamp else op.text
        self._text.append(text)
        if op.kind == "thinking" and not self._summary:
            return []
        kind, place = _DELTAS[op.kind]
        self._sequence += 1
        # Written by hand: the path of every token stays short.
        head = (
            f'event: {kind}\ndata: {{"type":"{kind}","sequence_number":{self._sequence},'
            f'"item_id":"{self._output[-1]["id"]}","output_index":{len(self._output) - 1}{place},"delta":'
        )
        return [head.encode() + quote(text) + b"}\n\n"]

    def _close(self, op: Closed) -> list[bytes]:
        events: list[bytes] = []
        text = "".join(self._text)
        self._finish(op)
        match op.kind:
            case "text":
                at = {**self._at, "content_index": 0}
                events.append(self._event("response.output_text.done", **at, text=text, logprobs=[]))
                events.append(self._event("response.content_part.done", **at, part=_text_part(text)))
            case "thinking" if self._summary:
                at = {**self._at, "summary_index": 0}
                part = {"type": "summary_text", "text": text}
                events.append(self._event("response.reasoning_summary_text.done", **at, text=text))
                events.append(self._event("response.reasoning_summary_part.done", **at, part=part))
            case "call":
                events.append(
                    self._event("response.function_call_arguments.done", **self._at, arguments=text)
                )
            case _:
                pass
        last = len(self._output) - 1
        return [*events, self._event("response.output_item.done", output_index=last, item=self._output[-1])]

    def _finish(self, op: Closed) -> None:
        item, text = self._output[-1], "".join(self._text)
        if "status" in item:
            item["status"] = "incomplete" if op.cut else "completed"
        match op.kind:
            case "text":
                item["content"] = [_text_part(text)]
            case "thinking":
                item["summary"] = [{"type": "summary_text", "text": text}] if self._summary else []
                if self._encrypted:
                    item["encrypted_content"] = encrypted(item["id"])
            case "call":
                item["arguments"] = text

    def _end(self, op: Ended) -> str:
        """Complete the response; its status."""
        why = _WHY.get(op.reason)
        self._response |= {
            "status": "incomplete" if why else "completed",
            "incomplete_details": {"reason": why} if why else None,
            "output": self._output,
            "usage": {
                "input_tokens": self._use.total,
                "input_tokens_details": {"cached_tokens": self._use.read},
                "output_tokens": op.tokens,
                "output_tokens_details": {"reasoning_tokens": op.thinking_tokens},
                "total_tokens": self._use.total + op.tokens,
            },
        }
        return self._response["status"]

    def failure(self, refused: Refused) -> list[bytes]:
        """See `Encoder.failure`."""
        error = error_object(refused)
        code = error["code"] or "server_error"
        self._response |= {"status": "failed", "error": {"code": code, "message": refused.message}}
        return [
            self._event("error", code=code, message=refused.message, param=None),
            self._event("response.failed", response=self._response),
        ]

    def whole(self, ops: list[Op]) -> Json:
        """See `Encoder.whole`."""
        for op in ops:
            match op:
                case Opened():
                    self._add(op)
                case Delta():
                    self._text.append(stamped(op.text) if op.stamp else op.text)
                case Closed():
                    self._finish(op)
                case Ended():
                    pass
        self._end(ended(ops))
        return self._response


_DELTAS = {
    "text": ("response.output_text.delta", ',"content_index":0,"logprobs":[]'),
    "thinking": ("response.reasoning_summary_text.delta", ',"summary_index":0'),
    "call": ("response.function_call_arguments.delta", ""),
}


def _text_part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
