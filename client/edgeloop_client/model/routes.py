"""Which provider's API a path belongs to."""

from edgeloop_client.model.anthropic import Messages
from edgeloop_client.model.dialect import Dialect
from edgeloop_client.model.openai_chat import Chat

_PATHS: dict[str, Dialect] = {"/v1/messages": Messages(), "/v1/chat/completions": Chat()}


def find_dialect(path: str) -> Dialect | None:
    """The dialect that answers a path."""
    return _PATHS.get(path)
