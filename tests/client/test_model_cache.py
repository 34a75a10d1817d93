"""The model server's prompt cache: tables over the providers' rules, with a clock of the test's, and the usage on the wire."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from edgeloop_client.hot import count_tokens
from edgeloop_client.model.cache import PrefixCache, Segment, Ttl, Use
from tests.support.model_client import anthropic_body, openai_body, post, stream
from tests.support.model_server import ModelServerHandle, start_model_server


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _segments(text: str) -> list[Segment]:
    """One segment of 500 tokens per letter; `*` behind it is a breakpoint of 5 minutes, `+` one of an hour."""
    marks: dict[str, Ttl] = {"*": "5m", "+": "1h"}
    answer: list[Segment] = []
    for letter, after in itertools.zip_longest(text, text[1:]):
        if letter not in marks:
            answer.append(Segment(data=letter.encode(), tokens=500, mark=marks.get(after)))
    return answer


def _ask(cache: PrefixCache, text: str, scope: str = "") -> Use:
    use = cache.marked(scope, _segments(text), 1024)
    use.commit()
    return use


@dataclass(frozen=True, kw_only=True)
class Case:
    """Requests one after another with the seconds between them; the last one's read, written (5m, 1h) and fresh tokens."""

    name: str
    requests: list[str]
    seconds: float = 0
    read: int = 0
    short: int = 0
    long: int = 0
    fresh: int = 0


ANTHROPIC = [
    Case(name="no breakpoint", requests=["abcd", "abcd"], fresh=2000),
    Case(name="first write", requests=["abc*d"], short=1500, fresh=500),
    Case(name="read again", requests=["abc*d", "abc*d"], read=1500, fresh=500),
    Case(name="grows", requests=["abc*", "abcde*"], read=1500, short=1000),
    Case(name="grows twice", requests=["abc*", "abcd*", "abcde*"], read=2000, short=500),
    Case(name="below the minimum", requests=["ab*c", "ab*c"], fresh=1500),
    Case(name="minimum at a later breakpoint", requests=["ab*c*", "ab*c*d"], read=1500, fresh=500),
    Case(name="changed in the middle", requests=["abc*defg*", "abc*dXfg*"], read=1500, short=2000),
    Case(name="changed before the first", requests=["abc*defg*", "aXc*defg*"], short=3500),
    Case(name="changed, one breakpoint", requests=["abcdefg*", "abcdeXg*"], short=3500),
    Case(name="breakpoint moved back", requests=["abcde*", "abc*de"], short=1500, fresh=1000),
    Case(name="within the lookback", requests=["abc*", "abc" + "x" * 19 + "*"], read=1500, short=9500),
    Case(name="past the lookback", requests=["abc*", "abc" + "x" * 20 + "*"], short=11500),
    Case(
        name="an own breakpoint helps past it",
        requests=["abc*", "abc*" + "x" * 20 + "*"],
        read=1500,
        short=10000,
    ),
    Case(name="alive", requests=["abc*", "abc*"], seconds=299, read=1500),
    Case(name="expired", requests=["abc*", "abc*"], seconds=301, short=1500),
    Case(name="reading refreshes", requests=["abc*", "abc*", "abc*"], seconds=200, read=1500),
    Case(name="an hour lives on", requests=["abc+", "abc+"], seconds=3599, read=1500),
    Case(name="an hour and it is over", requests=["abc+", "abc+"], seconds=3601, long=1500),
    Case(name="both kinds", requests=["abc+def*g"], long=1500, short=1500, fresh=500),
    Case(
        name="the short one expires alone",
        requests=["abc+def*", "abc+def*"],
        seconds=400,
        read=1500,
        short=1500,
    ),
]


@pytest.mark.parametrize("case", ANTHROPIC, ids=lambda case: case.name)
def test_breakpoint_cache(case: Case):
    """Anthropic's rules: written at breakpoints, read at most 20 positions back, a minimum, two lifetimes."""
    clock = Clock()
    cache = PrefixCache(clock)
    for request in case.requests[:-1]:
        _ask(cache, request)
        clock.now += case.seconds
    use = _ask(cache, case.requests[-1])
    assert (use.read, use.write_5m, use.write_1h, use.fresh) == (case.read, case.short, case.long, case.fresh)


def test_parallel_cold_starts_all_pay():
    """An entry can be read only once the response that writes it began."""
    cache = PrefixCache(Clock())
    first, second = (cache.marked("", _segments("abc*"), 1024) for _ in range(2))
    assert (first.write_5m, second.write_5m) == (1500, 1500)
    first.commit()
    assert _ask(cache, "abc*").read == 1500


def test_scopes_do_not_share():
    """Another key or model reads nothing."""
    cache = PrefixCache(Clock())
    _ask(cache, "abc*", "one")
    assert _ask(cache, "abc*", "two").read == 0


def _automatic(cache: PrefixCache, *texts: str) -> Use:
    segments = [Segment(data=text.encode(), tokens=count_tokens(text)) for text in texts]
    use = cache.automatic("", segments, 1024, lambda data: count_tokens(data))
    use.commit()
    return use


WORDS = " ".join(f"w{number}" for number in range(3000))


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ([WORDS], [WORDS], 1.0, 1.0),
        ([WORDS], [WORDS, "more"], 1.0, 1.0),
        ([WORDS], [WORDS[:-6] + "X" * 6], 0.95, 0.99),
        ([WORDS], ["X" + WORDS], 0, 0),
        ([WORDS[:1000]], [WORDS[:1000]], 0, 0),
        (["a", WORDS], ["b", WORDS], 0, 0),
        ([WORDS, WORDS], [WORDS, "X" + WORDS], 0.48, 0.5),
    ],
    ids="same grows end-changed start-changed short other-start second-changed".split(),
)
def test_automatic_cache(first: list[str], second: list[str], low: float, high: float):
    """OpenAI's rules: the longest known prefix from 1,024 tokens on, in steps of 128."""
    cache = PrefixCache(Clock())
    assert _automatic(cache, *first).read == 0
    use = _automatic(cache, *second)
    assert use.read % 128 == 0
    assert low * use.total - 128 <= use.read <= high * use.total


@pytest.mark.parametrize(("seconds", "hit"), [(599, True), (601, False)])
def test_automatic_cache_expires(seconds: float, hit: bool):
    """Ten minutes without use."""
    clock = Clock()
    cache = PrefixCache(clock)
    _automatic(cache, WORDS)
    clock.now += seconds
    assert (_automatic(cache, WORDS).read > 0) is hit


def test_store_is_bounded(monkeypatch: pytest.MonkeyPatch):
    """The least recently used prefixes go first."""
    monkeypatch.setattr("edgeloop_client.model.cache.MAX_ENTRIES", 3)
    cache = PrefixCache(Clock())
    for letter in "abcd":
        _ask(cache, letter * 3 + "*")
    assert _ask(cache, "aaa*").read == 0
    assert _ask(cache, "ddd*").read == 1500


# --- on the wire ---------------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[ModelServerHandle]:
    with start_model_server(clock=clock) as handle:
        yield handle


def _usage(server: ModelServerHandle, **more: Any) -> dict[str, Any]:
    body = {**anthropic_body("echo", "hello"), "cache_control": {"type": "ephemeral"}, **more}
    return post(server.url, "anthropic", body).json()["usage"]


def test_anthropic_usage_adds_up_and_expires(server: ModelServerHandle, clock: Clock):
    """Input, written and read tokens are those of the request's content; streamed usage says the same."""
    system = [{"type": "text", "text": WORDS, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    first = _usage(server, system=system)
    written = first["cache_creation_input_tokens"]
    assert first["input_tokens"] == first["cache_read_input_tokens"] == 0
    assert first["cache_creation"]["ephemeral_1h_input_tokens"] == pytest.approx(
        count_tokens(WORDS), rel=0.01
    )
    assert first["cache_creation"]["ephemeral_5m_input_tokens"] < 50
    assert sum(first["cache_creation"].values()) == written
    body = {**anthropic_body("echo", "hello"), "system": system, "cache_control": {"type": "ephemeral"}}
    events = stream(server.url, "anthropic", body).data
    assert events[0]["message"]["usage"]["cache_read_input_tokens"] == written
    assert events[-2]["usage"]["cache_read_input_tokens"] == written
    clock.now += 400
    again = _usage(server, system=system)
    assert again["cache_read_input_tokens"] == first["cache_creation"]["ephemeral_1h_input_tokens"]


def test_anthropic_tools_and_settings_invalidate_what_stands_behind_them(server: ModelServerHandle):
    """Another tool list moves everything, another tool_choice only the messages."""
    schema = {"type": "object"}
    tools = [{"name": "f", "description": WORDS, "input_schema": schema}]
    system = [{"type": "text", "text": WORDS, "cache_control": {"type": "ephemeral"}}]
    first = _usage(server, tools=tools, system=system)["cache_creation_input_tokens"]
    assert _usage(server, tools=tools, system=system)["cache_read_input_tokens"] == first
    chosen = _usage(server, tools=tools, system=system, tool_choice={"type": "none"})
    assert first - 50 < chosen["cache_read_input_tokens"] < first
    more = [{"name": "a", "input_schema": schema}, *tools]
    assert _usage(server, tools=more, system=system)["cache_read_input_tokens"] == 0


def test_openai_usage_tells_cached_tokens(server: ModelServerHandle):
    """The second request of a conversation reads the first; the chunk with the usage comes last."""
    body = openai_body("echo", WORDS, stream_options={"include_usage": True})
    first, second = (stream(server.url, "openai", body).data[-2]["usage"] for _ in range(2))
    assert first["prompt_tokens"] == pytest.approx(count_tokens(WORDS), rel=0.01)
    assert first["prompt_tokens_details"]["cached_tokens"] == 0
    assert (
        second["prompt_tokens"] - 128
        < second["prompt_tokens_details"]["cached_tokens"]
        <= second["prompt_tokens"]
    )
    other = stream(server.url, "openai", {**body, "prompt_cache_key": "other"}).data[-2]["usage"]
    assert other["prompt_tokens_details"]["cached_tokens"] == 0


def test_output_tokens_are_exact(server: ModelServerHandle):
    """What is reported as output is what tiktoken counts, however the deltas were cut."""
    for model in ("echo", "echo:chunk_tokens=7"):
        usage = post(server.url, "openai", openai_body(model, WORDS)).json()["usage"]
        assert usage["completion_tokens"] == count_tokens(WORDS)
