"""A refusal is the same thing wherever it is told: by an HTTP status (Python reads it) or inside a 200 stream (Rust does)."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from edgeloop.events import ErrorClass, StepError, StepFailed, Timing
from edgeloop.providers.failures import HINT_MAX_MS, from_answer
from edgeloop.reader import StepReader
from tests.support.streams import data, feed, sse

Error = dict[str, Any]


def google(*, quota: str = "TokensPerModelPerMinute", delay: Any = None, message: str = "m") -> Error:
    """Google's error object of a 429."""
    info = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}] if delay else []
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]},
        *info,
    ]
    return {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}


def framed(dialect: str, error: Error) -> list[bytes]:
    """The streams of a dialect that tell of an error: as it documents, and as its gateways do."""
    bare, event = {"error": error}, {"type": "error", "error": error}
    match dialect:
        case "anthropic":
            return [sse(event)]
        case "openai-responses":
            failed = {"type": "response.failed", "response": {"id": "r", "error": error}}
            # In the flat form the event's own name stands where the error's type would.
            flat = [] if error.get("type") else [{**error, "type": "error"}]
            return [sse(told, dialect=dialect) for told in (event, failed, *flat)]
        case "openai-chat":
            return [data(bare), json.dumps(bare).encode()]
        case "workers-ai":
            return [data(bare), data({"errors": [error], "success": False})]
        case "gemini-interactions":
            return [data({"event_type": "error", "error": error})]
        case _:
            return [data(bare, done=False), json.dumps([bare]).encode()]


def inside(dialect: str, stream: bytes) -> StepError:
    """The error that a stream's attempt ends with."""
    reader = StepReader(step=1, attempt=1)
    reader.feed(feed(dialect, [stream]), lambda texts: [0] * len(texts))
    end = reader.finish(Timing(wall_ms=1, request_bytes=1, response_bytes=1), 0.0)
    assert isinstance(end, StepFailed)
    return end.error


@dataclass(frozen=True, kw_only=True)
class Told:
    """An error object, the status it is sent with before a stream, and what it is."""

    name: str
    status: int
    error: Error
    cls: ErrorClass
    again: bool
    hint: int | None = None


def code(word: str, status: int, cls: ErrorClass, *, again: bool = False, kind: str | None = None) -> Told:
    return Told(
        name=word, status=status, error={"code": word, "type": kind, "message": "m"}, cls=cls, again=again
    )


def kind(word: str, status: int, cls: ErrorClass, *, again: bool = False) -> Told:
    return Told(name=word, status=status, error={"type": word, "message": "m"}, cls=cls, again=again)


def number(value: int, status: int, cls: ErrorClass, *, again: bool = False) -> Told:
    return Told(name=str(value), status=status, error={"code": value, "message": "m"}, cls=cls, again=again)


def limited(message: str, hint: int | None, word: str = "rate_limit_exceeded") -> Told:
    error = {"code": word, "type": "tokens", "message": message}
    return Told(name=message, status=429, error=error, cls="rate_limit", again=True, hint=hint)


STATUSES: tuple[tuple[int, ErrorClass, bool], ...] = (
    (400, "invalid_request", False),
    (401, "auth", False),
    (402, "billing", False),
    (403, "auth", False),
    (408, "timeout", True),
    (409, "server", True),
    (413, "too_large", False),
    (422, "invalid_request", False),
    (429, "rate_limit", True),
    (498, "overloaded", True),
    (500, "server", True),
    (502, "server", True),
    (503, "overloaded", True),
    (504, "timeout", True),
    (529, "overloaded", True),
)
GOOGLES: tuple[tuple[str, int, ErrorClass, bool], ...] = (
    ("RESOURCE_EXHAUSTED", 429, "rate_limit", True),
    ("UNAVAILABLE", 503, "overloaded", True),
    ("INTERNAL", 500, "server", True),
    ("DEADLINE_EXCEEDED", 504, "timeout", True),
    ("PERMISSION_DENIED", 403, "auth", False),
    ("INVALID_ARGUMENT", 400, "invalid_request", False),
    ("FAILED_PRECONDITION", 400, "invalid_request", False),
    ("NOT_FOUND", 404, "invalid_request", False),
)
SPENT = (
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "billing_not_active",
)
TOLD = (
    # Anthropic
    kind("overloaded_error", 529, "overloaded", again=True),
    kind("rate_limit_error", 429, "rate_limit", again=True),
    kind("api_error", 500, "server", again=True),
    kind("timeout_error", 504, "timeout", again=True),
    kind("invalid_request_error", 400, "invalid_request"),
    kind("authentication_error", 401, "auth"),
    kind("billing_error", 402, "billing"),
    kind("permission_error", 403, "auth"),
    kind("not_found_error", 404, "invalid_request"),
    kind("request_too_large", 413, "too_large"),
    Told(name="spend limit", status=429, cls="billing", again=False,
         error={"type": "rate_limit_error", "message": "m", "details": {"error_code": "enforced_spend_limit_reached"}}),
    # OpenAI
    *(code(word, 429, "billing", kind="insufficient_quota") for word in SPENT),
    *(code(word, 429, "billing", kind="rate_limit_error") for word in SPENT),
    Told(name="a new word of a spent account", status=429, cls="billing", again=False,
         error={"code": "some_limit_exceeded", "type": "insufficient_quota", "message": "m"}),
    Told(name="a rate limit of a spent account", status=429, cls="billing", again=False,
         error={"code": "rate_limit_exceeded", "type": "insufficient_quota", "message": "m"}),
    code("slow_down", 429, "rate_limit", again=True, kind="rate_limit_error"),
    code("slow_down", 429, "rate_limit", again=True),
    code("rate_limit_exceeded", 429, "rate_limit", again=True, kind="requests"),
    code("server_is_overloaded", 503, "overloaded", again=True, kind="service_unavailable_error"),
    kind("service_unavailable_error", 503, "overloaded", again=True),
    code("server_error", 500, "server", again=True),
    code("invalid_prompt", 400, "invalid_request"),
    code("context_length_exceeded", 400, "invalid_request"),
    code("invalid_api_key", 401, "auth"),
    code("content_filter", 400, "content_filter"),
    code("content_policy_violation", 400, "content_filter"),
    # Compatible servers: Moonshot, Groq, OpenRouter
    kind("exceeded_current_quota_error", 429, "billing"),
    kind("engine_overloaded_error", 429, "overloaded", again=True),
    code("tool_use_failed", 400, "malformed", again=True, kind="invalid_request_error"),
    code("capacity_exceeded", 498, "overloaded", again=True),
    *(number(status, status, cls, again=again) for status, cls, again in STATUSES),
    # Workers AI
    number(3006, 413, "too_large"),
    number(3007, 408, "timeout", again=True),
    number(3008, 408, "timeout", again=True),
    number(3036, 429, "billing"),
    number(3040, 429, "overloaded", again=True),
    number(5004, 400, "invalid_request"),
    number(5007, 400, "invalid_request"),
    # Google
    *(Told(name=word, status=status, error={"code": status, "status": word, "message": "m"}, cls=cls, again=again)
      for word, status, cls, again in GOOGLES),
    Told(name="Google by the day", status=429, cls="billing", again=False, hint=48_000,
         error=google(quota="GenerateRequestsPerDayPerProjectPerModel-FreeTier", delay="48s")),
    # Hints
    *(Told(name=f"RetryInfo {delay}", status=429, cls="rate_limit", again=True, hint=hint, error=google(delay=delay))
      for delay, hint in (("48s", 48_000), ("1.5s", 1_500), ("0.250s", 250), ("0s", None), ("-3s", None), ("soon", None),
                          (48, None), ("99999999999s", None), ("9" * 400 + "s", None))),
    Told(name="RetryInfo before prose", status=429, cls="rate_limit", again=True, hint=48_000,
         error=google(delay="48s", message="Please retry in 48.939935699s.")),
    Told(name="prose alone of Google", status=429, cls="rate_limit", again=True, hint=48_939,
         error=google(message="Quota exceeded.\nPlease retry in 48.939935699s.")),
    limited("Rate limit reached for m. Please try again in 1.2s. Visit https://example.org.", 1_200),
    limited("Rate limit reached for m. Please try again in 20ms.", 20),
    limited("Limit 30000. Please try again in 6m0s. More.", 360_000),
    limited("Please try again in 1h2m3.5s.", 3_723_500),
    limited("Please retry after 26 seconds.", 26_000),
    limited("PLEASE TRY AGAIN IN 1 minute", 60_000, "slow_down"),
    limited("Please try again in 0s.", None),
    limited("Please try again in 5.", None),
    limited("Please try again in 5 parsecs.", None),
    limited("Please try again in a moment.", None),
    limited("Please try again in -5s.", None),
    limited("Please try again in nans.", None),
    limited("Please try again in 900 days.", None),
    limited(f"Please try again in {'9' * 300}s.", None),
    limited("Please try again in 1.2.3s.", None),
    limited("Please try again in \uff12s.", None),
    Told(name="prose of overload", status=503, cls="overloaded", again=True, hint=3_000,
         error={"code": "server_is_overloaded", "message": "Try again in 3s."}),
    Told(name="a hint that the model wrote", status=400, cls="malformed", again=True,
         error={"code": "tool_use_failed", "message": "Failed to call: {'note': 'try again in 300 days'}"}),
)  # fmt: skip

DIALECTS = ("anthropic", "openai-chat", "openai-responses", "gemini", "workers-ai", "gemini-interactions")


def wrapped(error: Error) -> list[Error]:
    """The bodies of refusals before a stream: everyone's, and Cloudflare's."""
    return [{"error": error}, {"errors": [error], "success": False}]


def facts(error: StepError) -> tuple[str, bool, int | None]:
    return error.cls, error.retryable, error.retry_after_ms


@pytest.mark.parametrize("told", TOLD, ids=lambda told: told.name[:40])
def test_a_refusal_is_the_same_wherever_it_is_told(told: Told) -> None:
    """Class, whether to try again and when: by status, and inside a stream of every dialect."""
    heard = {
        f"HTTP {index}": facts(from_answer(told.status, {}, json.dumps(body).encode()))
        for index, body in enumerate(wrapped(told.error))
    }
    for dialect in DIALECTS:
        for index, stream in enumerate(framed(dialect, told.error)):
            heard[f"{dialect} {index}"] = facts(inside(dialect, stream))
    assert heard == dict.fromkeys(heard, (told.cls, told.again, told.hint))


def test_a_hint_is_believed_up_to_a_year() -> None:
    """The bound is the same for both readers."""
    longest = HINT_MAX_MS // 1_000 - 1
    for seconds, hint in ((longest, longest * 1_000), (longest + 1, None)):
        body = {"error": google(delay=f"{seconds}s")}
        assert from_answer(429, {}, json.dumps(body).encode()).retry_after_ms == hint
        assert inside("gemini", data(body, done=False)).retry_after_ms == hint
