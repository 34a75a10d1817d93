"""What the model server says no with. A dialect puts it in its provider's shape.

Refused                 the request is one the real API would not take: a status, a kind and the words for it
"""

from collections.abc import Sequence
from typing import Literal

Kind = Literal[
    "invalid_request",
    "authentication",
    "not_found",
    "too_large",
    "rate_limit",
    "api",
    "unavailable",
    "overloaded",
]

STATUS: dict[Kind, int] = {
    "invalid_request": 400,
    "authentication": 401,
    "not_found": 404,
    "too_large": 413,
    "rate_limit": 429,
    "api": 500,
    "unavailable": 503,
    "overloaded": 529,
}


class Refused(Exception):
    """A request that is not answered; `param` and `code` are OpenAI's, `retry_after` is in seconds (0: no hint)."""

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float = 0,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after
        self.headers = headers


def bad(message: str, *, param: str | None = None, code: str | None = None) -> Refused:
    """A 400."""
    return Refused("invalid_request", message, param=param, code=code)
