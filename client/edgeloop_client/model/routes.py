"""Which provider's API a path belongs to."""

from edgeloop_client.model import gemini_request, workers_ai
from edgeloop_client.model.anthropic import Messages
from edgeloop_client.model.dialect import Dialect
from edgeloop_client.model.gemini import Gemini
from edgeloop_client.model.openai_chat import Chat
from edgeloop_client.model.openai_responses import Responses

_PATHS: dict[str, Dialect] = {
    "/v1/messages": Messages(),
    "/v1/chat/completions": Chat(),
    "/v1/responses": Responses(),
}
_GEMINI = Gemini()
_WORKERS_AI = workers_ai.WorkersAI()


def find_dialect(path: str) -> Dialect | None:
    """The dialect that answers a path."""
    if gemini_request.PATH.fullmatch(path):
        return _GEMINI
    if workers_ai.PATH.fullmatch(path):
        return _WORKERS_AI
    return _PATHS.get(path)
