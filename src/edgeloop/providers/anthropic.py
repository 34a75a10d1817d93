"""Anthropic Messages: requests (providers.md sections 1.1 and 2.1). The decoder is the Rust dialect `anthropic`."""

from typing import Any

from edgeloop.providers.base import (
    Deadlines,
    Plan,
    Request,
    Target,
    assemble,
    endpoint,
    safe_id,
    safe_name,
    to_json,
)
from edgeloop.transcript import Block, CallBlock, Entry, ModelEntry, ResultsEntry, UserEntry

MAX_TOKENS = 16_000
_EPHEMERAL = {"type": "ephemeral"}


class Anthropic:
    """The adapter of the Messages API and servers that speak it."""

    name = "anthropic"

    def encode(self, entry: Entry) -> bytes:
        """One message per entry; all results of a batch are one user message, results only (section 1.1)."""
        match entry:
            case UserEntry():
                return to_json({"role": "user", "content": [{"type": "text", "text": entry.text}]})
            case ResultsEntry():
                results = [
                    {
                        "type": "tool_result",
                        "tool_use_id": safe_id(result.provider_id),
                        "content": result.content,
                        **({"is_error": True} if result.outcome != "ok" else {}),
                    }
                    for result in entry.results
                ]
                return to_json({"role": "user", "content": results})
            case ModelEntry():
                blocks = [part for block in entry.blocks if (part := self._block(block, entry.provider))]
                return b'{"role":"assistant","content":[' + b",".join(blocks) + b"]}" if blocks else b""

    def _block(self, block: Block | CallBlock, provider: str) -> bytes:
        """A block's JSON, empty where it may not be sent back: unsigned or foreign reasoning, blank text."""
        if isinstance(block, CallBlock):
            head = {"type": "tool_use", "id": safe_id(block.provider_id), "name": safe_name(block.name)}
            return to_json(head)[:-1] + b',"input":' + block.arguments.encode() + b"}"
        if block.type == "text":
            return to_json({"type": "text", "text": block.text}) if block.text.strip() else b""
        return block.echo.encode() if block.echo and not block.partial and provider == self.name else b""

    def build_request(self, plan: Plan, target: Target) -> Request:
        """Build the request: a fixed breakpoint behind tools and system, and the automatic one that moves with the end."""
        head: dict[str, Any] = {
            "model": plan.model,
            "max_tokens": MAX_TOKENS,
            "stream": True,
            "cache_control": _EPHEMERAL,
        }
        if plan.tools:
            head["tools"] = [
                {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
                for tool in plan.tools
            ]
        if plan.system:
            head["system"] = [{"type": "text", "text": plan.system, "cache_control": _EPHEMERAL}]
        headers = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
        if target.api_key:
            headers["x-api-key"] = target.api_key
        return Request(
            url=endpoint(target.base_url, "v1", "messages"),
            headers=headers,
            body=assemble(head, [], plan.messages),
            dialect="anthropic",
            deadlines=Deadlines(first_ms=300_000, idle_ms=120_000),
        )
