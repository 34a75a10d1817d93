"""OpenAI Chat Completions and the many servers that speak it: requests.

The decoder is the Rust dialect `openai-chat`. Only what all these servers take is sent; the few that differ are told apart by
their host, because they refuse the whole request over one unknown field.
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
    is_host,
    own_echo,
    request_headers,
    safe_name,
    to_json,
)
from edgeloop.tools import ToolSpec
from edgeloop.transcript import Block, CallBlock, Entry, ModelEntry, ResultsEntry, UserEntry


class OpenAIChat:
    """The adapter of `/chat/completions`."""

    name = "openai"
    counts_cached = True

    def encode(self, entry: Entry) -> bytes:
        """One message per entry, but one `tool` message per result."""
        return chat_messages(entry, reader=self.name, silent=None)

    def build_request(self, plan: Plan, target: Target) -> Request:
        """Build the request; usage must be asked for, or the stream has none."""
        head: dict[str, Any] = {"model": plan.model, "stream": True}
        if not is_host(target.base_url, "mistral.ai"):  # refuses the field, and reports usage anyway
            head["stream_options"] = {"include_usage": True}
        if target.session and is_host(target.base_url, "openai.com"):
            head["prompt_cache_key"] = target.session[:64]
        return Request(
            url=endpoint(target.base_url, "v1", "chat/completions"),
            headers=request_headers(target, authorization=bearer(target)),
            body=chat_body(head, plan),
            dialect="openai-chat",
            deadlines=Deadlines(first_ms=300_000, idle_ms=300_000),
        )


def chat_body(head: dict[str, Any], plan: Plan) -> bytes:
    """The body: the head's fields, the tools, and the messages with the system prompt first."""
    if plan.tools:
        head = head | {"tools": chat_tools(plan.tools)}
    system = [to_json({"role": "system", "content": plan.system})] if plan.system else []
    return assemble(head, system, plan.messages)


def chat_tools(tools: tuple[ToolSpec, ...]) -> list[dict[str, Any]]:
    """Tools as Chat wants them."""
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
        }
        for tool in tools
    ]


def chat_messages(entry: Entry, *, reader: str, silent: str | None) -> bytes:
    """Encode an entry for the provider named `reader`; `silent` is the content of a message that only calls."""
    match entry:
        case UserEntry():
            return to_json({"role": "user", "content": entry.text})
        case ResultsEntry():
            return b",".join(
                to_json({"role": "tool", "tool_call_id": result.provider_id, "content": result.content})
                for result in entry.results
            )
        case ModelEntry():
            return _model_message(entry, reader, silent)


def _model_message(entry: ModelEntry, reader: str, silent: str | None) -> bytes:
    """The whole message; the members of reasoning echoes go back beside its content.

    DeepSeek refuses a history whose calls have lost their `reasoning_content`, OpenRouter wants its `reasoning_details`.
    """
    calls = [_call(block, entry.provider, reader) for block in entry.blocks if isinstance(block, CallBlock)]
    spoken = [block for block in entry.blocks if isinstance(block, Block)]
    text = "".join(block.text for block in spoken if block.type == "text")
    if not calls and not text:
        return b""
    message: dict[str, Any] = {"role": "assistant", "content": text or silent}
    if calls:
        message["tool_calls"] = calls
    echoes = [own_echo(block, entry.provider, reader) for block in spoken if block.type == "reasoning"]
    return b",".join([to_json(message)[:-1], *(echo[1:-1] for echo in echoes if len(echo) > 2)]) + b"}"


def _call(block: CallBlock, maker: str, reader: str) -> dict[str, Any]:
    call: dict[str, Any] = {
        "id": block.provider_id,
        "type": "function",
        "function": {"name": safe_name(block.name), "arguments": block.arguments},
    }
    echo = own_echo(block, maker, reader)
    return call | json.loads(echo) if echo else call
