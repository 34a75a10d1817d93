"""OpenAI Responses, stateless: requests. The decoder is the Rust dialect `openai-responses`.

Nothing is stored at the provider: every request carries the whole conversation, and the model's reasoning comes and goes
encrypted, item by item, byte for byte.
"""

import json
from typing import Any

from edgeloop.providers.base import (
    Deadlines,
    Plan,
    Request,
    Target,
    assemble,
    bearer,
    endpoint,
    own_echo,
    request_headers,
    safe_name,
    to_json,
)
from edgeloop.transcript import Block, CallBlock, Entry, ModelEntry, ResultsEntry, UserEntry

_NO_REASONING = ("gpt-3", "gpt-4", "chatgpt-", "gpt-5-chat")
"""Models that refuse a request which asks for their encrypted reasoning."""


class OpenAIResponses:
    """The adapter of `/responses`."""

    name = "openai-responses"
    counts_cached = True

    def encode(self, entry: Entry) -> bytes:
        """One item per message, block, call and result."""
        match entry:
            case UserEntry():
                return to_json(
                    {
                        "type": "message",
                        "role": "user",
                        "content": [{"type": "input_text", "text": entry.text}],
                    }
                )
            case ResultsEntry():
                return b",".join(
                    to_json(
                        {
                            "type": "function_call_output",
                            "call_id": result.provider_id,
                            "output": result.content,
                        }
                    )
                    for result in entry.results
                )
            case ModelEntry():
                items = [self._item(block, entry.provider) for block in _followed(entry.blocks)]
                return b",".join(item for item in items if item)

    def _item(self, block: Block | CallBlock, maker: str) -> bytes:
        """A block's item: the provider's own where that can stand without a store, else ours; empty for foreign reasoning."""
        echo = own_echo(block, maker, self.name)
        if isinstance(block, CallBlock):
            return echo if echo and _is_call(echo, block) else _call(block)
        if block.type == "text":
            said = {"type": "message", "role": "assistant", "content": block.text}
            return echo or (to_json(said) if block.text else b"")
        return echo if echo and _stands_alone(echo) else b""

    def build_request(self, plan: Plan, target: Target) -> Request:
        """Build the request. The API sends no ping while the model thinks, so silence is allowed for long."""
        head: dict[str, Any] = {"model": plan.model, "stream": True, "store": False}
        if not plan.model.rpartition("/")[2].startswith(_NO_REASONING):
            head["include"] = ["reasoning.encrypted_content"]
        if target.session:
            head["prompt_cache_key"] = target.session[:64]
        if plan.tools:
            head["tools"] = [
                {
                    "type": "function",
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                    "strict": False,  # its default is true, and refuses schemas with optional properties
                }
                for tool in plan.tools
            ]
        if plan.system:
            head["instructions"] = plan.system
        return Request(
            url=endpoint(target.base_url, "v1", "responses"),
            headers=request_headers(target, authorization=bearer(target)),
            body=assemble(head, [], plan.messages, key="input"),
            dialect="openai-responses",
            deadlines=Deadlines(first_ms=300_000, idle_ms=600_000),
        )


def _call(block: CallBlock) -> bytes:
    return to_json(
        {
            "type": "function_call",
            "call_id": block.provider_id,
            "name": safe_name(block.name),
            "arguments": block.arguments,
        }
    )


def _followed(blocks: tuple[Block | CallBlock, ...]) -> tuple[Block | CallBlock, ...]:
    """The blocks without reasoning at the end: the API refuses a reasoning item whose following item is missing."""
    whole = [n for n, block in enumerate(blocks) if isinstance(block, CallBlock) or _is_whole_output(block)]
    last = whole[-1] if whole else -1
    return tuple(
        block
        for n, block in enumerate(blocks)
        if n <= last or isinstance(block, CallBlock) or block.type != "reasoning"
    )


def _is_whole_output(block: Block) -> bool:
    return block.type != "reasoning" and not block.partial


def _is_call(echo: bytes, block: CallBlock) -> bool:
    """Whether the item is the very call that will be answered: invented names and spoilt arguments do not go back."""
    item: Any = json.loads(echo)
    return (
        item.get("type") == "function_call"
        and item.get("call_id") == block.provider_id
        and item.get("name") == safe_name(block.name)
        and str(item.get("arguments", "")).strip()
        in (block.arguments, "" if block.arguments == "{}" else None)
    )


def _stands_alone(echo: bytes) -> bool:
    """Whether an item carries what it means; an id alone is looked up in a store that we do not use."""
    item: Any = json.loads(echo)
    return item.get("type") != "reasoning" or bool(item.get("encrypted_content") or item.get("content"))
