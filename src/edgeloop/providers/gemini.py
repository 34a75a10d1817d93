"""Gemini generateContent: requests. The decoder is the Rust dialect `gemini`.

Caching is implicit, so there is nothing to mark: the conversation comes last and only grows.
"""

import json
from typing import Any
from urllib.parse import quote

from edgeloop.providers.base import (
    Deadlines,
    Plan,
    Request,
    Target,
    assemble,
    endpoint,
    own_echo,
    raw_json,
    request_headers,
    safe_name,
    to_json,
)
from edgeloop.transcript import (
    CallBlock,
    Entry,
    ModelEntry,
    Result,
    ResultsEntry,
    UserEntry,
    is_minted,
)

_UNSIGNED = "skip_thought_signature_validator"
"""Gemini 3 refuses a turn whose first call has no signature; this stands in where another provider's model made the call."""


class Gemini:
    """The adapter of `:streamGenerateContent`."""

    name = "gemini"
    counts_cached = True

    def encode(self, entry: Entry) -> bytes:
        """One content per entry; all results of a batch are parts of one content, as many as there were calls."""
        match entry:
            case UserEntry():
                return _content("user", [to_json({"text": entry.text})])
            case ResultsEntry():
                return _content("user", [to_json({"functionResponse": _response(r)}) for r in entry.results])
            case ModelEntry():
                parts = self._parts(entry)
                return _content("model", parts) if parts else b""

    def _parts(self, entry: ModelEntry) -> list[bytes]:
        first = next((block for block in entry.blocks if isinstance(block, CallBlock)), None)
        parts: list[bytes] = []
        for block in entry.blocks:
            echo = own_echo(block, entry.provider, self.name)
            if isinstance(block, CallBlock):
                parts.append(_call_part(block, echo, unsigned=block is first))
            elif echo:
                parts.append(echo)
            elif block.type == "text" and block.text:
                parts.append(to_json({"text": block.text}))
        return parts

    def build_request(self, plan: Plan, target: Target) -> Request:
        """Build the request; the model is in the path, not in the body."""
        head: dict[str, Any] = {}
        if plan.system:
            head["system_instruction"] = {"parts": [{"text": plan.system}]}
        if plan.tools:
            declarations = [
                {"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.parameters}
                for tool in plan.tools
            ]
            head["tools"] = [{"functionDeclarations": declarations}]
        model = quote(plan.model.removeprefix("models/"), safe="")
        path = f"models/{model}:streamGenerateContent?alt=sse"
        return Request(
            url=endpoint(target.base_url, "v1beta", path),
            headers=request_headers(target, x_goog_api_key=target.api_key),
            body=assemble(head, [], plan.messages, key="contents"),
            dialect="gemini",
            deadlines=Deadlines(first_ms=300_000, idle_ms=300_000),
        )


def _content(role: str, parts: list[bytes]) -> bytes:
    return f'{{"role":"{role}","parts":['.encode() + b",".join(parts) + b"]}"


def _call_part(block: CallBlock, echo: bytes, *, unsigned: bool) -> bytes:
    """A call's part: the provider's own, else ours with what of it must go back (the thought signature)."""
    members: dict[str, Any] = json.loads(echo) if echo else {}
    own: Any = members.get("functionCall")
    if own and own.get("name") == safe_name(block.name) and isinstance(own.get("args") or {}, dict):
        return echo
    signature = members.get("thoughtSignature", _UNSIGNED if unsigned else None)
    head = to_json({"name": safe_name(block.name)} | _id(block.provider_id))
    call = b'{"functionCall":' + head[:-1] + b',"args":' + raw_json(block.arguments) + b"}"
    return call + (b',"thoughtSignature":' + to_json(signature) if signature else b"") + b"}"


def _response(result: Result) -> dict[str, Any]:
    key = "output" if result.outcome == "ok" else "error"
    name = {"name": safe_name(result.name)}
    return _id(result.provider_id) | name | {"response": {key: result.content}}


def _id(provider_id: str) -> dict[str, str]:
    """The call's id where the model gave one; older models give none and match by order."""
    return {} if is_minted(provider_id) else {"id": provider_id}
