"""Anthropic Messages: requests. The decoder is the Rust dialect `anthropic`."""

import json
from typing import Any

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
    safe_id,
    safe_name,
    to_json,
)
from edgeloop.transcript import Block, CallBlock, Entry, ModelEntry, Result, ResultsEntry, UserEntry

MAX_TOKENS = 32_000
"""What every Claude since 4 allows. Only what is written counts against the rate limit, and thinking counts as written."""
_EPHEMERAL = {"type": "ephemeral"}


class Anthropic:
    """The adapter of the Messages API and servers that speak it."""

    name = "anthropic"
    counts_cached = False

    def encode(self, entry: Entry) -> bytes:
        """One message per entry; all results of a batch are one user message, results only (section 1.1)."""
        match entry:
            case UserEntry():
                text = (
                    entry.text if entry.text.strip() else "(blank)"
                )  # blank text is refused, for ever after
                return to_json({"role": "user", "content": [{"type": "text", "text": text}]})
            case ResultsEntry():
                return to_json({"role": "user", "content": [_result(result) for result in entry.results]})
            case ModelEntry():
                parts = [(block, self._block(block, entry.provider)) for block in entry.blocks]
                said = [(block, part) for block, part in parts if part]
                while said and _is_thought(said[-1][0]):
                    said.pop()
                blocks = [part for _, part in said]
                return b'{"role":"assistant","content":[' + b",".join(blocks) + b"]}" if blocks else b""

    def _block(self, block: Block | CallBlock, maker: str) -> bytes:
        """A block's JSON, empty where it may not be sent back: unsigned or foreign reasoning, blank text."""
        echo = own_echo(block, maker, self.name)
        if isinstance(block, CallBlock):
            # Its own words (a caller, say) go back only under the id and name that its result will answer to.
            if echo and (block.provider_id, block.name) == (
                safe_id(block.provider_id),
                safe_name(block.name),
            ):
                return echo
            head = {"type": "tool_use", "id": safe_id(block.provider_id), "name": safe_name(block.name)}
            return to_json(head)[:-1] + b',"input":' + raw_json(block.arguments) + b"}"
        if block.type == "text" and not echo:
            return to_json({"type": "text", "text": block.text}) if block.text.strip() else b""
        return echo

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
        if plan.system.strip():  # a breakpoint on blank text is refused
            head["system"] = [{"type": "text", "text": plan.system, "cache_control": _EPHEMERAL}]
        return Request(
            url=endpoint(target.base_url, "v1", "messages"),
            headers=request_headers(target, anthropic_version="2023-06-01", x_api_key=target.api_key),
            body=assemble(head, [], plan.messages),
            dialect="anthropic",
            deadlines=Deadlines(first_ms=300_000, idle_ms=120_000),
        )


def _is_thought(block: Block | CallBlock) -> bool:
    """Whether it is thinking, which no message may end with: cut off behind it, an answer is refused for ever."""
    if isinstance(block, CallBlock) or block.type == "text":
        return False
    return block.type == "reasoning" or json.loads(block.echo or "{}").get("type") == "redacted_thinking"


def _result(result: Result) -> dict[str, Any]:
    """A result's block. An error that says nothing is refused, and with it every later request: its outcome stands in."""
    head = {"type": "tool_result", "tool_use_id": safe_id(result.provider_id)}
    if result.outcome == "ok":
        return head | {"content": result.content}
    said = result.content if result.content.strip() else f"({result.outcome})"
    return head | {"content": said, "is_error": True}
