"""A provider's refusal as a typed error: the table of classes, hostile bodies, and recorded ones."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeloop.events import ErrorClass
from edgeloop.providers.failures import from_answer, local, retryable
from tests.support.recordings import RECORDINGS, needs_recordings


@dataclass(frozen=True, kw_only=True)
class Case:
    """An answer and what it must be taken for."""

    name: str
    status: int
    body: Any = b""
    headers: dict[str, str] = field(default_factory=lambda: dict[str, str]())
    cls: ErrorClass
    again: bool
    code: str | None = None
    hint: int | None = None


def error(**fields: Any) -> dict[str, Any]:
    """An error body as OpenAI and Anthropic write it."""
    return {"error": fields}


def retry_info(delay: Any) -> dict[str, Any]:
    """Google's hint in the body."""
    return error(
        status="RESOURCE_EXHAUSTED", code=429, details=[{"@type": "x"}, {"retryDelay": delay}, "odd"]
    )


CASES = (
    Case(
        name="400",
        status=400,
        body=error(type="invalid_request_error"),
        cls="invalid_request",
        again=False,
        code="invalid_request_error",
    ),
    Case(name="401", status=401, cls="auth", again=False, code="401"),
    Case(name="402", status=402, cls="billing", again=False),
    Case(name="403", status=403, cls="auth", again=False),
    Case(name="404", status=404, cls="invalid_request", again=False),
    Case(name="408", status=408, cls="timeout", again=True),
    Case(name="409", status=409, cls="server", again=True),
    Case(name="413", status=413, cls="too_large", again=False),
    Case(name="418", status=418, cls="invalid_request", again=False),
    Case(name="422", status=422, cls="invalid_request", again=False),
    Case(name="429", status=429, cls="rate_limit", again=True),
    Case(name="500", status=500, body=error(type="api_error"), cls="server", again=True, code="api_error"),
    Case(
        name="502 of a proxy",
        status=502,
        body=b"<html>bad gateway</html>",
        cls="server",
        again=True,
        code="502",
    ),
    Case(name="503", status=503, body=error(code="server_is_overloaded"), cls="overloaded", again=True),
    Case(name="504", status=504, cls="timeout", again=True),
    Case(name="529", status=529, body=error(type="overloaded_error"), cls="overloaded", again=True),
    Case(name="quota spent", status=429, body=error(code="insufficient_quota"), cls="billing", again=False),
    Case(
        name="spend limit",
        status=429,
        cls="billing",
        again=False,
        code="enforced_spend_limit_reached",
        body=error(type="rate_limit_error", details={"error_code": "enforced_spend_limit_reached"}),
    ),
    Case(
        name="ramp", status=429, body=error(code="slow_down"), cls="rate_limit", again=True, code="slow_down"
    ),
    Case(
        name="told to try again",
        status=400,
        headers={"x-should-retry": "true"},
        cls="invalid_request",
        again=True,
    ),
    Case(name="told not to", status=529, headers={"x-should-retry": "false"}, cls="overloaded", again=False),
    Case(name="told nonsense", status=529, headers={"x-should-retry": "maybe"}, cls="overloaded", again=True),
    Case(
        name="spent, whatever it is told",
        status=429,
        body=error(code="insufficient_quota"),
        headers={"x-should-retry": "true"},
        cls="billing",
        again=False,
    ),
    Case(
        name="retry-after", status=429, headers={"retry-after": "7"}, cls="rate_limit", again=True, hint=7_000
    ),
    Case(
        name="retry-after in parts",
        status=429,
        headers={"retry-after": "0.25"},
        cls="rate_limit",
        again=True,
        hint=250,
    ),
    Case(
        name="retry-after-ms first",
        status=429,
        headers={"retry-after-ms": "120", "retry-after": "7"},
        cls="rate_limit",
        again=True,
        hint=120,
    ),
    Case(name="negative", status=429, headers={"retry-after": "-1"}, cls="rate_limit", again=True),
    Case(name="nan", status=429, headers={"retry-after": "nan"}, cls="rate_limit", again=True),
    Case(name="inf", status=429, headers={"retry-after": "inf"}, cls="rate_limit", again=True),
    Case(
        name="RetryInfo",
        status=429,
        body=retry_info("48s"),
        cls="rate_limit",
        again=True,
        hint=48_000,
        code="RESOURCE_EXHAUSTED",
    ),
    Case(
        name="RetryInfo in parts",
        status=429,
        body=retry_info("1.5s"),
        cls="rate_limit",
        again=True,
        hint=1_500,
    ),
    Case(name="RetryInfo of another kind", status=429, body=retry_info(48), cls="rate_limit", again=True),
    Case(
        name="RetryInfo that is no number", status=429, body=retry_info("soon"), cls="rate_limit", again=True
    ),
    Case(
        name="an array around it",
        status=400,
        body=[error(status="INVALID_ARGUMENT")],
        cls="invalid_request",
        again=False,
        code="INVALID_ARGUMENT",
    ),
    Case(name="a bare text", status=500, body={"error": "boom"}, cls="server", again=True),
    Case(name="not an object", status=500, body=[], cls="server", again=True, code="500"),
    Case(name="a number", status=500, body=3, cls="server", again=True, code="500"),
    Case(
        name="no error object",
        status=500,
        body={"message": "boom", "code": 3},
        cls="server",
        again=True,
        code="500",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_answer_is_classified(case: Case) -> None:
    """Status, body and headers give the class, whether to try again, and when."""
    body = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
    found = from_answer(case.status, case.headers, body)
    assert (found.cls, found.retryable, found.retry_after_ms) == (case.cls, case.again, case.hint)
    assert found.message.startswith(f"HTTP {case.status}: ")
    if case.code is not None:
        assert found.code == case.code


NOW = 1_795_255_200_000
"""Sat, 21 Nov 2026 10:00:00 GMT."""


@pytest.mark.parametrize(
    ("headers", "hint"),
    [
        ({"retry-after": "Sat, 21 Nov 2026 10:00:07 GMT"}, 7_000),
        ({"retry-after": "Saturday, 21-Nov-26 10:00:07 GMT"}, 7_000),
        ({"retry-after": "Sat Nov 21 10:00:07 2026"}, 7_000),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:07 GMT", "date": "Thu, 01 Jan 2026 00:00:00 GMT"}, 7_000),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:07 GMT", "date": "now"}, 7_000),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:07 GMT", "retry-after-ms": "20"}, 20),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:07 GMT", "retry-after-ms": "soon"}, 7_000),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:00 GMT"}, None),
        ({"retry-after": "Sat, 21 Nov 2026 09:00:00 GMT"}, None),
        ({"retry-after": "Sat, 31 Nov 2026 10:00:07 GMT"}, None),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, None),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:07 CET"}, None),
        ({"retry-after": "tomorrow"}, None),
    ],
)
def test_a_hint_may_be_a_date(headers: dict[str, str], hint: int | None) -> None:
    """Any form that HTTP knows, by the answer's own clock where it shows it, else by ours; what is past says nothing."""
    assert from_answer(429, headers, b"", NOW).retry_after_ms == hint


@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms"])
@pytest.mark.parametrize(
    "value", ["", "0", "-0", "-7", "nan", "-inf", "inf", "1e9999", "1e308", "1e12", "0x7", "7 s"]
)
def test_a_hint_beyond_belief_says_nothing(name: str, value: str) -> None:
    """Then our own backoff counts; the other hints are still read."""
    assert from_answer(429, {name: value}, b"").retry_after_ms is None
    assert from_answer(429, {name: value}, json.dumps(retry_info("2s")).encode()).retry_after_ms == 2_000


HOSTILE = (
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"error":' * 50_000,
    b'{"error":{"message":"\\ud800","code":"\\udfff"}}',
    b'{"error":{"message":' + b"1" * 5_000 + b"}}",
    b'{"error":{"message":"' + b"x" * 50_000 + b'"}}',
    b'{"error":{"details":{"error_code":["a"]},"code":{},"type":null}}',
    b'{"error":null}',
)


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_body_is_an_error_like_any_other(body: bytes) -> None:
    """What cannot be read neither raises nor grows; what is kept can be stored and sent."""
    found = from_answer(500, {}, body)
    assert (found.cls, found.retryable) == ("server", True)
    assert len(found.message.encode()) < 4_100
    assert found.model_dump_json()


@settings(max_examples=60)
@given(
    st.integers(300, 599),
    st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x-should-retry"]), st.text()),
    st.binary(),
)
def test_no_answer_raises(status: int, headers: dict[str, str], body: bytes) -> None:
    """Any status, headers and bytes are classified."""
    assert from_answer(status, headers, body).cls in get_args(ErrorClass)


def test_local_errors_are_bounded() -> None:
    """An error of our own is cut to size, and its class decides."""
    found = local("connection", "x" * 5_000)
    assert (len(found.message), found.retryable) == (1_000, True)
    assert not local("configuration", "no key").retryable


def test_every_class_is_decided() -> None:
    """What a person must act on is not tried again."""
    never = {
        "too_large",
        "aborted",
        "invalid_request",
        "auth",
        "billing",
        "content_filter",
        "configuration",
        "budget",
        "unknown",
    }
    assert {cls for cls in get_args(ErrorClass) if not retryable(cls)} == never


RECORDED: dict[str, tuple[ErrorClass, bool]] = {
    "400": ("invalid_request", False),
    "401": ("auth", False),
    "404": ("invalid_request", False),
    "429": ("rate_limit", True),
}


@needs_recordings
@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*/http-error-*.json")), ids=lambda path: path.stem)
def test_recorded_answers(path: Path) -> None:
    """Real refusals of real providers are classified by their status, with their own words."""
    answer = json.loads(path.read_text("utf-8"))
    body = answer["body"]
    found = from_answer(
        answer["status"],
        answer["headers"],
        body.encode() if isinstance(body, str) else json.dumps(body).encode(),
    )
    assert (found.cls, found.retryable) == RECORDED[str(answer["status"])]
    assert found.code
