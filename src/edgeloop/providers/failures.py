"""A provider's refusal as a typed error: its class, whether trying again can help, and when."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from edgeloop.events import ErrorClass, StepError

_BY_STATUS: dict[int, ErrorClass] = {
    400: "invalid_request",
    401: "auth",
    402: "billing",
    403: "auth",
    404: "invalid_request",
    408: "timeout",
    409: "server",
    413: "too_large",
    422: "invalid_request",
    429: "rate_limit",
    498: "overloaded",  # Groq: no room in its flexible tier
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}
_RETRYABLE: frozenset[ErrorClass] = frozenset(
    {"connection", "timeout", "rate_limit", "overloaded", "server", "truncated", "malformed", "interrupted"}
)
_BY_CODE: dict[str, ErrorClass] = {
    "insufficient_quota": "billing",
    "credit_balance_exhausted": "billing",
    "organization_spend_limit_exceeded": "billing",
    "project_spend_limit_exceeded": "billing",
    "organization_usage_limit_exceeded": "billing",
    "enforced_spend_limit_reached": "billing",
    "billing_error": "billing",
    "billing_not_active": "billing",
    "exceeded_current_quota_error": "billing",  # Moonshot
    "3036": "billing",  # Workers AI: the day's allowance
    "3040": "overloaded",  # Workers AI: no capacity, told as 429
    "engine_overloaded_error": "overloaded",  # Moonshot, as 429
    "tool_use_failed": "malformed",  # Groq: the model's own bad call, as 400; a fresh attempt writes another one
    "content_filter": "content_filter",
    "content_policy_violation": "content_filter",
}
"""Where the peer's own word says more than the status. The same words inside a stream are Rust's (`decode/failure.rs`)."""
_PROSE = re.compile(r"(?:try again|retry) in (.*)|retry after (.*)", re.IGNORECASE | re.DOTALL)
_SPAN = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?) ?([a-z]+)", re.IGNORECASE)
_UNITS_MS = {"ms": 1} | {
    word: scale
    for unit, scale in (("second", 1_000), ("minute", 60_000), ("hour", 3_600_000), ("day", 86_400_000))
    for word in (unit[0], unit, f"{unit}s")
}
_MESSAGE_CHARS = 1_000
HINT_MAX_MS = 366 * 24 * 3_600_000
"""A peer that says to come back in more than a year has said nothing."""
_DATES = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")
"""As HTTP writes dates (RFC 9110, 5.6.7): today's form and the two old ones."""


def retryable(cls: ErrorClass) -> bool:
    """Whether another attempt can end better."""
    return cls in _RETRYABLE


def from_answer(status: int, headers: Mapping[str, str], body: bytes, now: int | None = None) -> StepError:
    """Classify an HTTP answer that is not 200. `headers` keys are lower case; `now`, in ms, is for a hint that is a date where
    the answer does not say its own."""
    error = _error_object(body)
    code = next(_words(error), "")
    cls = _class(status, error)
    should = headers.get("x-should-retry")
    again = should == "true" if should in ("true", "false") and cls != "billing" else retryable(cls)
    message = error.get("message")
    text = message if isinstance(message, str) else body[:_MESSAGE_CHARS].decode("utf-8", "replace")
    return StepError(
        cls=cls,
        code=_clean(code) or str(status),
        message=f"HTTP {status}: {_clean(text[:_MESSAGE_CHARS])}",
        retryable=again,
        retry_after_ms=_header_hint_ms(headers, now) or _body_hint_ms(error, cls),
    )


def local(cls: ErrorClass, message: str) -> StepError:
    """An error of the connection or of our own making."""
    return StepError(cls=cls, message=message[:_MESSAGE_CHARS], retryable=retryable(cls))


def _error_object(body: bytes) -> dict[str, Any]:
    """The `error` object of the providers' JSON error bodies; `{}` where there is none (proxies answer HTML)."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    outer = next(iter(_objects(data)), _object(data))
    cloudflare = next(iter(_objects(outer.get("errors"))), outer)
    error = outer.get("error", cloudflare)
    return _object(error) if isinstance(error, dict) else {"message": str(error)}


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [_object(item) for item in cast("list[Any]", value)] if isinstance(value, list) else []


def _class(status: int, error: dict[str, Any]) -> ErrorClass:
    """An empty account goes before whatever else is said: a spend limit is told as a rate limit too."""
    known: list[ErrorClass] = [_BY_CODE[code] for code in map(str.lower, _words(error)) if code in _BY_CODE]
    if _is_daily(error) or "billing" in known:
        return "billing"
    unnamed: ErrorClass = "server" if status >= 500 else "invalid_request"
    return known[0] if known else _BY_STATUS.get(status, unnamed)


def _words(error: dict[str, Any]) -> Iterator[str]:
    """The peer's own words for an error, the most telling first."""
    inner = _object(error.get("details")).get("error_code")
    for value in (inner, error.get("code"), error.get("type"), error.get("status")):
        if isinstance(value, str) and value:
            yield value[:100]
        if isinstance(value, int) and value >= 1_000:  # a smaller one repeats the status
            yield str(value)


def _is_daily(error: dict[str, Any]) -> bool:
    """Whether a Google quota counts by the day: no retry helps before tomorrow, whatever the hint says."""
    violations = [v for detail in _objects(error.get("details")) for v in _objects(detail.get("violations"))]
    return any("perday" in str(violation.get("quotaId", "")).lower() for violation in violations)


def _header_hint_ms(headers: Mapping[str, str], now: int | None) -> int | None:
    """`retry-after-ms`, else `retry-after`: seconds or a date. Azure sends `retry-after-ms: 0` beside one that means it."""
    hint = headers.get("retry-after", "")
    return _ms(headers.get("retry-after-ms", ""), 1) or _ms(hint, 1_000) or _until_ms(hint, headers, now)


def _body_hint_ms(error: dict[str, Any], cls: ErrorClass) -> int | None:
    """Google's RetryInfo, else what the message says: of those that ask for patience alone, as others may quote the model."""
    delays = [detail.get("retryDelay") for detail in _objects(error.get("details"))]
    told = [delay for delay in delays if isinstance(delay, str)]
    prose = _PROSE.search(str(error.get("message"))[:_MESSAGE_CHARS])
    if prose is not None and cls in ("rate_limit", "overloaded"):
        told.append(prose[1] or prose[2])
    return next((hint for hint in map(_span_ms, told) if hint), None)


def _span_ms(text: str) -> int | None:
    """How long a text says at its start: `20ms`, `1.2s`, `6m0s`, `26 seconds`."""
    total, at = 0.0, 0
    while part := _SPAN.match(text, at):
        if (scale := _UNITS_MS.get(part[2].lower())) is None:
            return None
        total, at = total + float(part[1]) * scale, part.end()
    return _believed(total)


def _until_ms(text: str, headers: Mapping[str, str], now: int | None) -> int | None:
    """How long until a date, by the clock of the peer that named it, else by ours; None if it is past, or no date."""
    until = _date_ms(text)
    if until is None:
        return None
    answered = _date_ms(headers.get("date", "")) or now
    return _believed(until - answered) if answered is not None else None


def _date_ms(text: str) -> int | None:
    for form in _DATES:
        try:
            return int(datetime.strptime(text.strip(), form).replace(tzinfo=UTC).timestamp()) * 1_000
        except ValueError:
            continue
    return None


def _ms(text: str, scale: int) -> int | None:
    try:
        return _believed(float(text) * scale)
    except ValueError:
        return None


def _believed(ms: float) -> int | None:
    """A hint, if it is one: a zero, what is past and what is not a number say nothing."""
    return int(ms) if 1 <= ms < HINT_MAX_MS else None


def _clean(text: str) -> str:
    """JSON escapes can name lone surrogates, which no store or socket takes."""
    return text.encode("utf-8", "replace").decode()
