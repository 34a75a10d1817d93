"""Workers AI: Chat requests over Cloudflare's REST API or the `AI` binding.

The base URL says which of three ways is meant; the decoder is the Rust dialect `workers-ai` for all of them:

    .../accounts/{id}           `/ai/v1/chat/completions`, the model in the body
    .../accounts/{id}/ai/run    `/{model}`, the model in the path
    binding:AI                  no HTTP: the edge runs `env.AI.run(model, body)`; the URL is `binding:AI/{model}`
"""

from typing import Any

from edgeloop.providers.base import Deadlines, Plan, Request, Target, bearer, endpoint, request_headers
from edgeloop.providers.openai_chat import chat_body, chat_messages
from edgeloop.transcript import Entry

BINDING = "binding:"


class WorkersAI:
    """The adapter of Workers AI, and of the models behind its gateway."""

    name = "workers-ai"
    counts_cached = True

    def encode(self, entry: Entry) -> bytes:
        """As Chat, but its schemas refuse a content of null."""
        return chat_messages(entry, reader=self.name, silent="")

    def build_request(self, plan: Plan, target: Target) -> Request:
        """Build the request; the session's affinity is what makes its prompt meet the same cache."""
        base = target.base_url.rstrip("/")
        head: dict[str, Any] = {"stream": True}
        if base.startswith(BINDING) or base.endswith("/ai/run"):
            url = f"{base}/{plan.model}"
        else:
            url = endpoint(base, "ai/v1", "chat/completions")
            head |= {"model": plan.model, "stream_options": {"include_usage": True}}
        auth = "" if base.startswith(BINDING) else bearer(target)
        return Request(
            url=url,
            headers=request_headers(target, authorization=auth, x_session_affinity=target.session),
            body=chat_body(head, plan),
            dialect="workers-ai",
            deadlines=Deadlines(first_ms=300_000, idle_ms=120_000),
        )
