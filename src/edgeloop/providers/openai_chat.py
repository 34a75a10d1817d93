"""OpenAI Chat Completions and the many servers that speak it: requests (providers.md sections 1.3, 1.4).

The decoder is the Rust dialect `openai-chat`.
"""

from typing import Any

from edgeloop.providers.base import Deadlines, Plan, Request, Target, assemble, endpoint, safe_name, to_json
from edgeloop.transcript import CallBlock, Entry, ModelEntry, ResultsEntry, UserEntry


class OpenAIChat:
    """The adapter of `/chat/completions`."""

    name = "openai"

    def encode(self, entry: Entry) -> bytes:
        """One message per entry, but one `tool` message per result."""
        match entry:
            case UserEntry():
                return to_json({"role": "user", "content": entry.text})
            case ResultsEntry():
                return b",".join(
                    to_json({"role": "tool", "tool_call_id": result.provider_id, "content": result.content})
                    for result in entry.results
                )
            case ModelEntry():
                return self._model(entry)

    def _model(self, entry: ModelEntry) -> bytes:
        calls = [
            {
                "id": block.provider_id,
                "type": "function",
                "function": {"name": safe_name(block.name), "arguments": block.arguments},
            }
            for block in entry.blocks
            if isinstance(block, CallBlock)
        ]
        text = "".join(
            block.text for block in entry.blocks if not isinstance(block, CallBlock) and block.type == "text"
        )
        if not calls and not text:
            return b""
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        if calls:
            message["tool_calls"] = calls
        return to_json(message)

    def build_request(self, plan: Plan, target: Target) -> Request:
        """Build the request; usage must be asked for, or the stream has none."""
        head: dict[str, Any] = {
            "model": plan.model,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if plan.tools:
            head["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": tool.parameters,
                    },
                }
                for tool in plan.tools
            ]
        system = [to_json({"role": "system", "content": plan.system})] if plan.system else []
        headers = {"content-type": "application/json"}
        if target.api_key:
            headers["authorization"] = f"Bearer {target.api_key}"
        return Request(
            url=endpoint(target.base_url, "v1", "chat/completions"),
            headers=headers,
            body=assemble(head, system, plan.messages),
            dialect="openai-chat",
            deadlines=Deadlines(first_ms=300_000, idle_ms=300_000),
        )
