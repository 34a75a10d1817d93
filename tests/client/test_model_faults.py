"""Faults of the model server: each shows itself as a real provider's would, as often and where the options say."""

import json
import time
from collections.abc import Iterator

import httpx
import pytest

from edgeloop_client.model.limits import RequestLimits
from edgeloop_client.model.options import OptionError, make_options, parse_options
from tests.support.model_client import ANTHROPIC, BODIES, CLIENT, anthropic_body, post, said, stream
from tests.support.model_server import ModelServerHandle, start_model_server

WORDS = " ".join(f"word{number}" for number in range(50))
BOTH = pytest.mark.parametrize("dialect", ["anthropic", "openai"])


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServerHandle]:
    with start_model_server() as handle:
        yield handle


@BOTH
@pytest.mark.parametrize(
    ("fault", "anthropic", "openai"),
    [
        ("429", "rate_limit_error", "rate_limit_exceeded"),
        ("500", "api_error", "server_error"),
        ("503", "api_error", "server_is_overloaded"),
        ("529", "overloaded_error", "server_is_overloaded"),
    ],
)
def test_status_fault_is_the_providers_own_error(
    server: ModelServerHandle, dialect: str, fault: str, anthropic: str, openai: str
):
    """The status, the type in the provider's words, and a hint with 429 only."""
    response = stream_status(server, dialect, f"echo:fault={fault},retry_after=2.5")
    error = response.json()["error"]
    assert response.status_code == int(fault)
    assert response.headers.get("retry-after") == ("2.5" if fault == "429" else None)
    assert error["type"] == anthropic if dialect == "anthropic" else openai in (error["type"], error["code"])


def stream_status(server: ModelServerHandle, dialect: str, model: str) -> httpx.Response:
    return post(server.url, dialect, {**BODIES[dialect](model, WORDS), "stream": True})


@BOTH
def test_fault_times_lets_the_retry_succeed(server: ModelServerHandle, dialect: str):
    """Two failures, then success; another conversation and another fault_key count for themselves."""
    model = f"echo:fault=529,fault_times=2,fault_key={dialect}"
    assert [stream_status(server, dialect, model).status_code for _ in range(4)] == [529, 529, 200, 200]
    other = BODIES[dialect](model, "another conversation")
    assert post(server.url, dialect, other).status_code == 529
    assert stream_status(server, dialect, model + "b").status_code == 529


def test_fault_after_spares_the_first_requests(server: ModelServerHandle):
    """The second request of a conversation fails, once."""
    model = "echo:fault=500,fault_after=1,fault_times=1"
    statuses = [stream_status(server, "anthropic", model).status_code for _ in range(4)]
    assert statuses == [200, 500, 200, 200]


@BOTH
def test_cut_closes_the_connection_after_so_many_deltas(server: ModelServerHandle, dialect: str):
    """What was sent before arrives; the end does not."""
    answer = stream(server.url, dialect, BODIES[dialect]("echo:fault=cut,fault_at=7", WORDS))
    assert answer.status == 200
    assert isinstance(answer.broke, httpx.RemoteProtocolError)
    assert WORDS.startswith(said(dialect, answer))
    assert len([part for part in answer.data if "delta" in json.dumps(part)]) >= 7
    assert not any("stop_reason" in json.dumps(event.get("delta", "")) for event in answer.data)


@BOTH
def test_cut_of_a_short_answer_comes_before_its_end(server: ModelServerHandle, dialect: str):
    """An answer with fewer deltas than `fault_at` is cut all the same."""
    answer = stream(server.url, dialect, BODIES[dialect]("echo:fault=cut,fault_at=99", "hi"))
    assert said(dialect, answer) == "hi"
    assert answer.broke is not None


@BOTH
def test_error_event_ends_a_stream_that_began_well(server: ModelServerHandle, dialect: str):
    """HTTP says 200 and ends well; the error is an event."""
    answer = stream(server.url, dialect, BODIES[dialect]("echo:fault=error,fault_at=2", WORDS))
    assert (answer.status, answer.broke) == (200, None)
    assert "error" in answer.data[-1]
    assert answer.data[-1]["error"]["message"] == "Overloaded"


@BOTH
def test_malformed_event_stands_among_good_ones(server: ModelServerHandle, dialect: str):
    """One event is broken JSON; those around it are whole."""
    answer = stream(server.url, dialect, BODIES[dialect]("echo:fault=malformed,fault_at=2", WORDS))
    broken = [event for event in answer.data if isinstance(event, bytes) and event != b"[DONE]"]
    assert len(broken) == 1
    assert said(dialect, answer) == WORDS


@BOTH
def test_silence_keeps_the_connection_and_says_no_more(server: ModelServerHandle, dialect: str):
    """A client with a deadline gives up by itself; the server is none the worse."""
    body = BODIES[dialect]("echo:fault=silence,fault_at=2", WORDS)
    started = time.monotonic()
    answer = stream(server.url, dialect, body, timeout=0.5)
    assert isinstance(answer.broke, httpx.ReadTimeout)
    assert time.monotonic() - started >= 0.5
    assert 0 < len(said(dialect, answer)) < len(WORDS)
    assert stream_status(server, dialect, "echo").status_code == 200


@pytest.mark.parametrize(
    ("fault", "error"),
    [("cut", httpx.RemoteProtocolError), ("silence", httpx.ReadTimeout), ("malformed", ValueError)],
)
def test_faults_of_an_answer_that_is_no_stream(server: ModelServerHandle, fault: str, error: type[Exception]):
    """Half a body, no answer at all, or broken JSON."""
    body = anthropic_body(f"echo:fault={fault}", WORDS)
    with pytest.raises(error):
        CLIENT.post(server.url + "/v1/messages", json=body, headers=ANTHROPIC, timeout=0.5).json()


def test_client_that_leaves_ends_its_answer():
    """An answer of hours stops being made when nobody reads it any more."""
    script = json.dumps({"steps": [{"deltas": 100_000, "per_s": 100}]})
    body = {**anthropic_body("script", script, max_tokens=10_000_000), "stream": True}
    with start_model_server() as server:
        with CLIENT.stream("POST", server.url + "/v1/messages", json=body, headers=ANTHROPIC) as response:
            next(response.iter_raw())
        assert [answer.get("gone") for answer in server.await_answers(1)] == [True]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tps", "has no value"),
        ("speed=1", "unknown option 'speed'"),
        ("fault=fire", "fault='fire'"),
        ("tps=-1", "tps='-1'"),
    ],
)
def test_options_say_what_was_expected(text: str, says: str):
    """A wrong option is told by name."""
    with pytest.raises(OptionError, match=says):
        make_options(parse_options(text))


# --- the limit of requests -----------------------------------------------------------------------------------------


def test_bucket_refills_all_the_time():
    """One second's worth at once, then one per interval; the wait is what is really missing."""
    now = 0.0
    limits = RequestLimits(lambda: now)
    first = [limits.take("a", 120) for _ in range(3)]
    assert [(a.wait > 0, a.remaining) for a in first] == [(False, 1), (False, 0), (True, 0)]
    assert first[2].wait == pytest.approx(0.5)
    assert limits.take("b", 120).wait == 0
    now = 0.5
    assert limits.take("a", 120).wait == 0
    assert limits.take("a", 120).wait == pytest.approx(0.5)


@BOTH
def test_limit_of_requests_is_told_and_kept(server: ModelServerHandle, dialect: str):
    """Headers on every answer, then a 429 with the time until there is room; it is the adapter's limiter that reads them."""
    good = stream_status(server, dialect, "echo:rpm=6")
    refused = stream_status(server, dialect, "echo:rpm=6")
    prefix = "anthropic-ratelimit-requests" if dialect == "anthropic" else "x-ratelimit"
    told = {name: value for name, value in good.headers.items() if name.startswith(prefix)}
    assert len(told) == 3
    assert {"6", "0"} < set(told.values())
    assert (good.status_code, refused.status_code) == (200, 429)
    assert 8 < float(refused.headers["retry-after"]) <= 10
    assert refused.headers.keys() > told.keys()
