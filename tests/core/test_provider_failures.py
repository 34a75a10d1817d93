"""Refusals as typed errors. The bodies follow what providers document and were seen to send."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop.events import ErrorClass
from edgeloop.providers.failures import from_answer, local
from tests.support.recordings import RECORDINGS, needs_recordings

QUOTA = "type.googleapis.com/google.rpc.QuotaFailure"
RETRY = "type.googleapis.com/google.rpc.RetryInfo"


def google(quota: str, delay: str = "48s") -> dict[str, Any]:
    """A 429 body as Google sends it."""
    details = [
        {"@type": QUOTA, "violations": [{"quotaId": quota}]},
        {"@type": RETRY, "retryDelay": delay},
    ]
    return {"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": details}}


@dataclass(frozen=True, kw_only=True)
class Case:
    """An answer and what it must be."""

    name: str
    status: int
    body: Any = b""
    headers: dict[str, str] = field(default_factory=lambda: dict[str, str]())
    cls: ErrorClass
    retryable: bool
    after: int | None = None
    code: str | None = None


CASES = [
    Case(name="anthropic overloaded", status=529, body={"type": "error", "error": {"type": "overloaded_error"}},
         cls="overloaded", retryable=True, code="overloaded_error"),
    Case(name="anthropic rate limit", status=429, headers={"retry-after": "12"},
         body={"type": "error", "error": {"type": "rate_limit_error", "message": "m"}},
         cls="rate_limit", retryable=True, after=12_000),
    Case(name="anthropic spend limit", status=429,
         body={"error": {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}}},
         cls="billing", retryable=False, code="enforced_spend_limit_reached"),
    Case(name="anthropic key", status=401, body={"error": {"type": "authentication_error"}},
         cls="auth", retryable=False),
    Case(name="too large", status=413, cls="too_large", retryable=False),
    Case(name="bad request", status=400, body={"error": {"type": "invalid_request_error"}},
         cls="invalid_request", retryable=False),
    Case(name="openai quota", status=429, body={"error": {"code": "insufficient_quota"}},
         cls="billing", retryable=False),
    Case(name="openai quota, though told to retry", status=429, headers={"x-should-retry": "true"},
         body={"error": {"code": "insufficient_quota"}}, cls="billing", retryable=False),
    Case(name="openai slow down", status=429, body={"error": {"code": "slow_down"}},
         cls="rate_limit", retryable=True),
    Case(name="openai ms hint", status=429, headers={"retry-after-ms": "250", "retry-after": "1"},
         cls="rate_limit", retryable=True, after=250),
    Case(name="azure's zero hint", status=429, headers={"retry-after-ms": "0", "retry-after": "1"},
         cls="rate_limit", retryable=True, after=1_000),
    Case(name="told not to retry", status=500, headers={"x-should-retry": "false"},
         cls="server", retryable=False),
    Case(name="told to retry", status=400, headers={"x-should-retry": "true"},
         cls="invalid_request", retryable=True),
    Case(name="google by the minute", status=429, body=google("TokensPerModelPerMinute"),
         cls="rate_limit", retryable=True, after=48_000, code="RESOURCE_EXHAUSTED"),
    Case(name="google by the day", status=429, body=google("RequestsPerDayPerProject-FreeTier"),
         cls="billing", retryable=False, after=48_000),
    Case(name="google in a list", status=429, body=[google("TokensPerMinute", "1.5s")],
         cls="rate_limit", retryable=True, after=1_500),
    Case(name="google's zero hint", status=429, body=google("TokensPerMinute", "0s"),
         cls="rate_limit", retryable=True),
    Case(name="moonshot's quota", status=429, body={"error": {"type": "exceeded_current_quota_error", "message": "m"}},
         cls="billing", retryable=False),
    Case(name="groq's flexible tier", status=498, body={"error": {"type": "", "code": "capacity_exceeded"}},
         cls="overloaded", retryable=True, code="capacity_exceeded"),
    Case(name="openrouter credits", status=402, body={"error": {"code": 402, "message": "m"}},
         cls="billing", retryable=False, code="402"),
    Case(name="openrouter moderation", status=403, body={"error": {"code": 403}}, cls="auth", retryable=False),
    Case(name="workers ai, day's allowance", status=429,
         body={"success": False, "errors": [{"code": 3036, "message": "used up"}]},
         cls="billing", retryable=False, code="3036"),
    Case(name="workers ai, no capacity", status=429, body={"errors": [{"code": 3040, "message": "m"}]},
         cls="overloaded", retryable=True, code="3040"),
    Case(name="workers ai, timeout", status=408, body={"errors": [{"code": 3007}]},
         cls="timeout", retryable=True),
    Case(name="mistral", status=422, body={"detail": [{"type": "extra_forbidden"}]},
         cls="invalid_request", retryable=False),
    Case(name="a proxy's page", status=502, body=b"<html>bad gateway</html>",
         cls="server", retryable=True, code="502"),
    Case(name="an error that is a string", status=400, body={"error": "no such model"},
         cls="invalid_request", retryable=False),
    Case(name="nothing at all", status=503, cls="overloaded", retryable=True),
    Case(name="teapot", status=418, cls="invalid_request", retryable=False),
    Case(name="a hint that is a date, but of when", status=429, headers={"retry-after": "Sat, 21 Nov 2026 10:00:00 GMT"},
         cls="rate_limit", retryable=True),
    Case(name="a hint past belief", status=429, headers={"retry-after": "1e300"},
         cls="rate_limit", retryable=True),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_refusal_has_its_class(case: Case) -> None:
    """Class, whether to try again, and when."""
    body = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
    error = from_answer(case.status, case.headers, body)
    assert (error.cls, error.retryable, error.retry_after_ms) == (case.cls, case.retryable, case.after)
    assert case.code is None or error.code == case.code


@pytest.mark.parametrize(
    "body",
    [b"[]", b"[1]", b"null", b'"x"', b'{"error":null}', b'{"error":[]}', b'{"errors":{}}', b'{"error":{"details":[1]}}',
     b'{"error":{"details":{"error_code":7}}}', b'{"error":{"details":[{"violations":[3]}]}}', b"[" * 9_000,
     b'{"error":{"message":"\\ud800"}}', b'{"error":{"code":true}}', b'{"errors":[null]}', b"\xff\xfe"],
)  # fmt: skip
def test_a_hostile_body_is_only_a_poor_message(body: bytes) -> None:
    """No body of a refusal raises, and its class is its status's."""
    error = from_answer(429, {}, body)
    assert (error.cls, error.retryable) == ("rate_limit", True)
    error.model_dump_json().encode()


@given(st.binary(max_size=200), st.integers(min_value=100, max_value=999))
def test_no_body_raises(body: bytes, status: int) -> None:
    """Whatever the bytes, the message is bounded and can be stored."""
    error = from_answer(status, {}, body)
    assert len(error.message.encode()) < 5_000


def test_our_own_errors_are_classed_alike() -> None:
    """A broken connection may be tried again, a missing key may not."""
    assert local("connection", "reset").retryable
    assert not local("configuration", "no key").retryable


RECORDED = {
    "http-error-401-auth-anthropic": ("auth", False, None),
    "http-error-429-ctxlen-gemini": ("rate_limit", True, 48_000),
    "http-error-404-test-chat": ("invalid_request", False, None),
    "http-error-400-ctxlen-openrouter": ("invalid_request", False, None),
    "http-error-400-test-deepseek": ("invalid_request", False, None),
    "http-error-401-auth-openrouter": ("auth", False, None),
    "http-error-429-ctxlen-azure": ("rate_limit", True, 1_000),
}


@needs_recordings
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_refusals(name: str) -> None:
    """Refusals as providers really sent them."""
    (path,) = RECORDINGS.glob(f"*/{name}*.json")
    seen = json.loads(path.read_text())
    error = from_answer(seen["status"], seen["headers"], json.dumps(seen["body"]).encode())
    assert (error.cls, error.retryable, error.retry_after_ms) == RECORDED[name]
