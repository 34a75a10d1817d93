"""The providers Edgeloop speaks to, by the name that `EDGELOOP_PROVIDER` takes.

`openai` is Chat Completions, the dialect of nearly every compatible server; OpenAI's own models are best met at
`openai-responses`.
"""

from edgeloop.providers.anthropic import Anthropic
from edgeloop.providers.base import Plan, Provider, Request, Target
from edgeloop.providers.gemini import Gemini
from edgeloop.providers.openai_chat import OpenAIChat
from edgeloop.providers.openai_responses import OpenAIResponses
from edgeloop.providers.workers_ai import WorkersAI

_ALL: tuple[Provider, ...] = (Anthropic(), Gemini(), OpenAIChat(), OpenAIResponses(), WorkersAI())

PROVIDERS: dict[str, Provider] = {provider.name: provider for provider in _ALL}

__all__ = ["PROVIDERS", "Plan", "Provider", "Request", "Target"]
