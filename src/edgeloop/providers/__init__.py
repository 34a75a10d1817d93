"""The providers Edgeloop speaks to, by the name that `EDGELOOP_PROVIDER` takes."""

from edgeloop.providers.anthropic import Anthropic
from edgeloop.providers.base import Plan, Provider, Request, Target
from edgeloop.providers.openai_chat import OpenAIChat

PROVIDERS: dict[str, Provider] = {"anthropic": Anthropic(), "openai": OpenAIChat()}

__all__ = ["PROVIDERS", "Plan", "Provider", "Request", "Target"]
