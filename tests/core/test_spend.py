"""The account of a session, folded from its log: what calls cost, what the next may cost, and when a cap says no."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from edgeloop.codec import decode_state, encode_state
from edgeloop.events import (
    BlockFinished,
    ConfigChanged,
    Event,
    Recorded,
    RetryScheduled,
    StepError,
    StepFailed,
    StepFinished,
    StepStarted,
    Timing,
    ToolsDeclared,
    TurnFinished,
    Usage,
    UserMessageReceived,
)
from edgeloop.prompt import build_request
from edgeloop.providers import PROVIDERS, Target
from edgeloop.schedule import World, due
from edgeloop.session import Session
from edgeloop.spend import OUTPUT_LEAST
from edgeloop.state import State
from edgeloop.tools import PlacedTool, ToolSpec

AT = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp() * 1000)
SONNET, UNKNOWN = "claude-sonnet-5-5", "somebody-elses"
INPUT, WRITE, OUTPUT = 2 / 1e6, 2.5 / 1e6, 10 / 1e6
"""Sonnet's rates; a cache write is the dearest an input token can be."""
TIMING = Timing(first_ms=1, wall_ms=1, request_bytes=1, response_bytes=1)
REFUSED = Timing(wall_ms=1, request_bytes=1, response_bytes=1)
UNANSWERED = Timing(wall_ms=1, request_bytes=1, response_bytes=0)
UNSENT = Timing(wall_ms=1, request_bytes=0, response_bytes=0)


@dataclass
class Book:
    """A session that events are told to."""

    session: Session

    @classmethod
    def of(cls, model: str = SONNET) -> "Book":
        book = cls(Session())
        book.tell(ConfigChanged(provider="anthropic", model=model, system=""))
        return book

    @property
    def state(self) -> State:
        return self.session.state

    def tell(self, *events: Event) -> "Book":
        for event in events:
            self.session.apply(Recorded(seq=self.state.seq + 1, at=AT, event=event))
        return self

    def say(self, tokens: int) -> "Book":
        return self.tell(UserMessageReceived(id=f"m{self.state.seq}", text="plain words", tokens=tokens))

    def start(self) -> "Book":
        return self.tell(StepStarted(step=self.state.step + 1, attempt=1))

    def finish(self, output: int = 100, **usage: Any) -> "Book":
        told = Usage(**({"input_uncached": 1_000} | usage), output=output)
        return self.tell(StepFinished(step=self.state.step, stop="end", usage=told, timing=TIMING))

    def fail(self, error: StepError, *, usage: Usage = Usage(), timing: Timing | None = TIMING) -> "Book":
        return self.tell(
            StepFailed(step=self.state.step, attempt=1, error=error, jitter=0.0, usage=usage, timing=timing)
        )

    @property
    def next_usd(self) -> float:
        """What the call under way may cost."""
        assert self.state.spend.call_usd is not None
        return self.state.spend.call_usd


def test_what_calls_cost_adds_up():
    """Each ended call at its list price; the last one by its step and attempt, for the ledger."""
    book = Book.of().say(10).start().finish(output=1_000, cache_read=5_000).say(10).start().finish(output=50)
    first, second = 1_000 * INPUT + 5_000 * 0.1 / 1e6 + 1_000 * OUTPUT, 1_000 * INPUT + 50 * OUTPUT
    assert book.state.spend.usd == pytest.approx(first + second)
    last = book.state.spend.last
    assert last is not None
    assert (last.step, last.attempt, last.at) == (2, 1, AT)
    assert last.usd == pytest.approx(second)


def test_the_first_call_is_estimated_from_all_it_sends():
    """Before a provider told anything: the messages by their tokens, tools and system prompt by their lengths, no cache."""
    book = Book.of().say(10_000).start()
    least = 10_000 * WRITE + OUTPUT_LEAST * OUTPUT
    assert least <= book.next_usd < least * 1.05
    tool = ToolSpec(name="a", description="x" * 3_000, parameters={"type": "object"}, effect="read")
    tooled = Book.of().tell(ToolsDeclared(tools=(PlacedTool(place="edge", spec=tool),))).say(10_000).start()
    assert tooled.next_usd - book.next_usd >= 1_000 * WRITE


def test_the_next_call_is_the_last_prompt_and_what_came():
    """The provider's figure, and what came since; all of it dear, though most will be read from the cache."""
    book = Book.of().say(500).start().finish(input_uncached=50_000, cache_read=50_000)
    book.say(2_000).start()
    least = 102_000 * WRITE + OUTPUT_LEAST * OUTPUT
    assert least <= book.next_usd < least * 1.02


def test_what_the_model_said_is_part_of_the_next_prompt():
    """Texts of a step are not in its own prompt, and are in the next one's."""
    book = Book.of().say(500).start()
    book.tell(BlockFinished(step=1, block=0, type="text", text="word " * 100, tokens=7_000))
    book.finish(input_uncached=50_000).say(1).start()
    assert book.next_usd >= 57_000 * WRITE + OUTPUT_LEAST * OUTPUT


def test_long_answers_are_expected_again():
    """Twice the longest answer so far, where that is more than the least."""
    book = Book.of().say(10).start().finish(output=20_000).say(10).start()
    assert book.next_usd == pytest.approx(1_010 * WRITE + 40_000 * OUTPUT, rel=0.01)


def test_a_long_prompt_is_priced_by_its_tier():
    """Beyond a model's border the whole call is dearer."""
    book = Book.of("gpt-6-sol").say(10).start().finish(input_uncached=272_001).say(10).start()
    assert book.next_usd >= 272_011 * 5 / 1e6 + OUTPUT_LEAST * 15 / 1e6


def test_another_model_begins_anew():
    """Nothing is known of how it counts: the messages' own tokens, and its own prices."""
    book = Book.of().say(5_000).start().finish(output=30_000, input_uncached=90_000)
    book.tell(ConfigChanged(provider="anthropic", model="claude-opus-5", system="")).say(1).start()
    assert book.next_usd == pytest.approx(5_001 * 6.25 / 1e6 + OUTPUT_LEAST * 25 / 1e6, rel=0.05)


def test_a_change_of_model_in_mid_call_is_priced_as_it_began():
    """The call under way is the old model's."""
    book = Book.of().say(10).start()
    book.tell(ConfigChanged(provider="anthropic", model=UNKNOWN, system="")).finish(output=100)
    assert book.state.spend.usd == pytest.approx(1_000 * INPUT + 100 * OUTPUT)


def error(cls: Any) -> StepError:
    return StepError(cls=cls, message="", retryable=True)


FAILURES: dict[str, tuple[StepError, Timing | None, bool]] = {
    "refused": (error("rate_limit"), REFUSED, False),
    "not reached": (error("connection"), UNANSWERED, False),
    "our own limit": (error("budget"), UNSENT, False),
    "stopped before it was sent": (error("aborted"), UNSENT, False),
    "an error in the answer": (error("overloaded"), TIMING, True),
    "cut": (error("truncated"), TIMING, True),
    "no answer in time": (error("timeout"), UNANSWERED, True),
    "stopped": (error("aborted"), UNANSWERED, True),
    "we went away": (error("interrupted"), None, True),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failed_call_that_may_be_billed_counts_as_estimated(name: str):
    """A provider that took a call and told no usage is taken to bill it; one that refused it is not."""
    failure, timing, billed = FAILURES[name]
    book = Book.of().say(1_000).start()
    expected = book.next_usd if billed else 0.0
    assert book.fail(failure, timing=timing).state.spend.usd == expected
    assert book.state.spend.call_usd is None


def test_a_failed_call_counts_what_was_told_and_shown():
    """Usage of a stream that broke off: its input, and at least what was shown of its output."""
    book = Book.of().say(1_000).start()
    book.tell(BlockFinished(step=1, block=0, type="text", text="word", tokens=900, partial=True))
    book.fail(error("truncated"), usage=Usage(input_uncached=2_000, output=1))
    assert book.state.spend.usd == pytest.approx(2_000 * INPUT + 900 * OUTPUT)


# --- what a rate limit counts ---------------------------------------------------------------------------------------

ALL, FRESH = True, False
COUNTED = (
    ("before the first answer", Book.of().say(500).start(), 500, 500),
    ("what came since", Book.of().say(500).start().finish(input_uncached=9_000).say(300).start(), 9_300, 300),
    (
        "cached or written, it was in the last prompt",
        Book.of()
        .say(5)
        .start()
        .finish(input_uncached=1_000, cache_read=7_000, cache_write_5m=1_000)
        .say(300)
        .start(),
        9_300,
        300,
    ),
    (
        "a failed attempt answers nothing",
        Book.of()
        .say(500)
        .start()
        .fail(error("overloaded"))
        .tell(RetryScheduled(due=AT), StepStarted(step=1, attempt=2)),
        500,
        500,
    ),
    ("nothing new", Book.of().say(500).start().finish(input_uncached=9_000).start(), 9_000, 1),
)


@pytest.mark.parametrize(("name", "book", "whole", "fresh"), COUNTED, ids=[row[0] for row in COUNTED])
def test_what_a_rate_limit_counts_of_the_begun_call(name: str, book: Book, whole: int, fresh: int):
    """The whole prompt, or what the last answered one did not hold."""
    spend = book.state.spend
    assert [spend.input_tokens((), cached=cached) for cached in (ALL, FRESH)] == [whole, fresh]


def test_the_head_counts_until_the_provider_has_told():
    """Its figure holds the system prompt and the tools; before the first there is their length."""
    head = ("words " * 100,)
    assert Book.of().say(500).start().state.spend.input_tokens(head, cached=False) > 650
    told = Book.of().say(500).start().finish(input_uncached=9_000).say(300).start().state.spend
    assert told.input_tokens(head, cached=False) == 300


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_request_knows_what_its_provider_counts(name: str):
    """Anthropic does not count what a cache held; the others do."""
    book = Book.of().tell(ConfigChanged(provider=name, model="m", system="")).say(500)
    book.start().finish(input_uncached=9_000).say(300).start()
    request = build_request(book.state, Target(base_url="http://model.test"))
    assert request.tokens == (300 if name == "anthropic" else 9_300)


# --- the cap --------------------------------------------------------------------------------------------------------


def test_a_cap_stops_the_call_that_would_pass_it():
    """The border is exact: a call that fits is let go, a cent less and it is not, and the figures are told."""
    spend = Book.of().say(10).start().finish().say(10).start().state.spend
    total = spend.usd + (spend.call_usd or 0)
    assert spend.refusal(total) is None
    assert spend.refusal(None) is None
    refusal = spend.refusal(total - 1e-6)
    assert refusal is not None
    assert f"${spend.usd:.4f}" in refusal
    assert f"${spend.call_usd:.4f}" in refusal


def test_no_cap_can_be_kept_without_a_price():
    """A model that nobody knows the price of is refused in plain words, whatever the cap; its calls cost nothing known."""
    spend = Book.of(UNKNOWN).say(10).start().state.spend
    for cap in (None, 1_000.0):
        refusal = spend.refusal(cap)
        assert refusal is not None
        assert UNKNOWN in refusal
    assert Book.of(UNKNOWN).say(10).start().finish().state.spend.usd == 0.0


def test_a_refused_call_ends_the_turn_as_budget():
    """It is not tried again, costs nothing, and the person reads why."""
    failure = StepError(cls="budget", message="the next call may cost up to $1", retryable=False)
    book = Book.of().say(10).start().fail(failure, timing=UNANSWERED)
    end = due(book.state, World(now=AT))
    assert isinstance(end, TurnFinished)
    assert (end.reason, end.detail) == ("budget", "the next call may cost up to $1")
    assert book.state.spend.usd == 0.0


def test_the_account_survives_storage_and_replay():
    """Snapshot and log tell the same account, in the middle of a call too."""
    book = Book.of().say(100).start().finish(output=9_000).say(50).start()
    assert decode_state(encode_state(book.state)) == book.state
    assert book.state.spend.given_up(2, 1) is not None
