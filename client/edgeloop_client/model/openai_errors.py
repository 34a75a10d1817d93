"""OpenAI's way of saying no, the same for all of its APIs."""

from edgeloop_client.model.dialect import Headers, Json, Refusal, retry_after
from edgeloop_client.model.errors import STATUS, Kind, Refused
from edgeloop_client.model.limits import Allowance

_TYPES: dict[Kind, tuple[str, str | None]] = {
    "invalid_request": ("invalid_request_error", None),
    "authentication": ("invalid_request_error", "invalid_api_key"),
    "not_found": ("invalid_request_error", "model_not_found"),
    "too_large": ("invalid_request_error", "request_too_large"),
    "rate_limit": ("requests", "rate_limit_exceeded"),
    "api": ("server_error", None),
    "unavailable": ("server_error", "server_is_overloaded"),
    "overloaded": ("server_error", "server_is_overloaded"),
}


def error_object(refused: Refused) -> Json:
    """The `error` object of an answer or an event."""
    kind, code = _TYPES[refused.kind]
    return {
        "message": refused.message,
        "type": kind,
        "param": refused.param,
        "code": refused.code or code,
    }


def refusal(refused: Refused, request_id: str) -> Refusal:
    """An error answer."""
    headers = [("x-request-id", request_id), *retry_after(refused)]
    return Refusal(status=STATUS[refused.kind], headers=headers, body={"error": error_object(refused)})


def limit_headers(allowance: Allowance) -> Headers:
    """What is left of the limit of requests."""
    told = {
        "limit": str(allowance.limit),
        "remaining": str(allowance.remaining),
        "reset": f"{round(allowance.full * 1000)}ms",
    }
    return [(f"x-ratelimit-{name}-requests", value) for name, value in told.items()]


def bearer(headers: dict[str, str]) -> str:
    """The API key.

    Raises:
        Refused: there is none.
    """
    key = headers.get("authorization", "").removeprefix("Bearer ").strip()
    if not key:
        raise Refused(
            "authentication",
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer"
            " auth (i.e. Authorization: Bearer YOUR_KEY).",
        )
    return key
