"""The limiter: rules one by one, then against a simulated provider, then against anything a peer may send."""

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop.events import (
    ErrorClass,
    Event,
    Recorded,
    RetryScheduled,
    StepError,
    StepFailed,
    StepStarted,
    Timing,
    UserMessageReceived,
)
from edgeloop.limiter import (
    BACKOFF_MAX_MS,
    FORGET_MS,
    LEASE_MAX_MS,
    LIMITERS_MAX,
    POLL_MS,
    STOP_MAX_MS,
    Bucket,
    Lease,
    Limiter,
    Limiters,
    held_back,
    read_buckets,
)
from edgeloop.schedule import MAX_ATTEMPTS, World, due
from edgeloop.session import Session
from edgeloop.state import State

NOW = 1_795_255_200_000  # 2026-11-21T10:00:00Z


def refusal(cls: ErrorClass = "rate_limit", after: int | None = None) -> StepError:
    """A refusal as `failures.from_answer` gives it."""
    return StepError(cls=cls, retryable=True, retry_after_ms=after)


def admitted(limiter: Limiter, now: int = NOW, tokens: int = 1) -> Lease:
    """A call that must be let in."""
    lease = limiter.admit(now, 0.0, tokens)
    assert isinstance(lease, Lease)
    return lease


def held(limiter: Limiter, now: int = NOW, jitter: float = 0.0, tokens: int = 1) -> int:
    """The wait of a call that must not be let in."""
    wait = limiter.admit(now, jitter, tokens)
    assert not isinstance(wait, Lease)
    return wait


# --- rules ----------------------------------------------------------------------------------------------------------


def test_nothing_is_held_back_before_a_refusal() -> None:
    """Rule 1: a thousand sessions of one isolate may stream at once."""
    limiter = Limiter()
    for _ in range(1_000):
        limiter.answered(NOW, {}, admitted(limiter))
    assert limiter.under_way == 1_000
    assert limiter.ceiling == math.inf


def test_a_refusal_halves_and_good_answers_add_one_a_round() -> None:
    """Rule 1: 16 under way become 8, and after eight good answers nearly 9."""
    limiter = Limiter()
    leases = [admitted(limiter) for _ in range(16)]
    limiter.answered(NOW, {}, leases[0], refusal())
    assert limiter.ceiling == 8
    for lease in leases:
        limiter.released(lease)
    later = NOW + BACKOFF_MAX_MS
    for _ in range(8):
        lease = admitted(limiter, later)
        limiter.answered(later, {}, lease)
        limiter.released(lease)
    assert 8.9 < limiter.ceiling < 9


def test_the_ceiling_is_on_calls_under_way_and_never_below_one() -> None:
    """With one place, the second waits until the first is released; refusals cannot close it altogether."""
    limiter = Limiter()
    for wave in range(5):
        now = NOW + wave * STOP_MAX_MS
        lease = admitted(limiter, now)
        limiter.answered(now, {}, lease, refusal())
        limiter.released(lease)
    now = NOW + 5 * STOP_MAX_MS
    lease = admitted(limiter, now)
    assert POLL_MS <= held(limiter, now, 0.99) <= 4 * POLL_MS
    limiter.released(lease)
    limiter.released(lease)
    admitted(limiter, now)


def test_a_wave_of_refusals_counts_once() -> None:
    """Rule 3: twenty calls refused at once halve the ceiling once and back off by one step."""
    limiter = Limiter()
    leases = [admitted(limiter) for _ in range(20)]
    for lease in leases:
        limiter.answered(NOW + 5, {}, lease, refusal())
        limiter.released(lease)
    assert limiter.ceiling == 10
    assert held(limiter, NOW + 5) == 1_000


def test_backoff_doubles_per_wave_up_to_its_cap_and_ends_with_a_good_answer() -> None:
    """Rule 2: without a hint the stop doubles from 1 s to 30 s."""
    limiter, now, stops = Limiter(), NOW, list[int]()
    for _ in range(8):
        lease = admitted(limiter, now)
        limiter.answered(now, {}, lease, refusal("overloaded"))
        limiter.released(lease)
        stops.append(held(limiter, now))
        now += stops[-1]
    assert stops == [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]
    lease = admitted(limiter, now)
    limiter.answered(now, {}, lease)
    limiter.released(lease)
    limiter.answered(now, {}, admitted(limiter, now), refusal("overloaded"))
    assert held(limiter, now) == 1_000


def test_a_refusal_inside_an_answer_is_a_refusal_like_any_other() -> None:
    """Rule 3: that answers begin well says nothing while they end in overload; only one that ends well does."""
    limiter, now, stops = Limiter(), NOW, list[int]()
    for _ in range(4):
        lease = admitted(limiter, now)
        limiter.answered(now, {}, lease)
        limiter.answered(now, {}, lease, refusal("overloaded"))
        limiter.released(lease)
        stops.append(held(limiter, now))
        now += stops[-1]
    assert stops == [1_000, 2_000, 4_000, 8_000]


def test_an_answer_from_before_the_wall_does_not_lift_it() -> None:
    """Rule 3: a long answer that began in better times ends well, and the stops go on doubling."""
    limiter = Limiter()
    old = admitted(limiter)
    limiter.answered(NOW, {}, old)
    limiter.answered(NOW + 5, {}, admitted(limiter, NOW + 5), refusal())
    limiter.released(old)
    later = NOW + 2_000
    limiter.answered(later, {}, Lease(began=later), refusal())
    assert held(limiter, later) == 2_000


@pytest.mark.parametrize("cls", ["rate_limit", "overloaded"])
def test_a_hint_stops_everyone_of_the_key_and_model_and_nobody_else(cls: ErrorClass) -> None:
    """Rule 2: whoever shares both waits as told; another model of the key and another key do not."""
    limiters = Limiters()
    lease = admitted(limiters.of("k", "a"))
    limiters.of("k", "a").answered(NOW, {}, lease, refusal(cls, 7_000))
    limiters.of("k", "a").released(lease)
    assert held(limiters.of("k", "a")) == 7_000
    assert held(limiters.of("k", "a"), NOW + 3_000) == 4_000
    admitted(limiters.of("k", "b"))
    admitted(limiters.of("other", "a"))
    admitted(limiters.of("k", "a"), NOW + 7_000)


@pytest.mark.parametrize("wait", [1_001, STOP_MAX_MS, STOP_MAX_MS * 5 // 4])
def test_a_call_that_is_held_back_is_tried_again(wait: int) -> None:
    """However long the wait, spread and all, it costs the turn an attempt and never the turn; it is no shorter than a stop."""
    error = held_back(wait)
    state = State(phase="failed", failures=1, failed_at=NOW, error=error)
    event = due(state, World(now=NOW))
    assert isinstance(event, RetryScheduled)
    assert event.due >= NOW + min(wait, STOP_MAX_MS)


def test_a_shorter_hint_does_not_shorten_a_stop() -> None:
    """The longest hint of a wave holds, and none beyond belief does."""
    limiter = Limiter()
    leases = [admitted(limiter) for _ in range(3)]
    for lease, after in zip(leases, (9_000, 2_000, 10**12), strict=True):
        limiter.answered(NOW, {}, lease, refusal(after=after))
    assert held(limiter) == STOP_MAX_MS


def failures_after(times: int, failed: Callable[[int], StepFailed]) -> Session:
    """A turn whose first step's attempts end so, one after the other."""
    session, now = Session(), NOW

    def apply(event: Event) -> None:
        session.apply(Recorded(seq=session.state.seq + 1, at=now, event=event))

    apply(UserMessageReceived(id="1", text="hi", tokens=1))
    for number in range(1, times + 1):
        assert due(session.state, World(now=now)) == StepStarted(step=1, attempt=number)
        apply(StepStarted(step=1, attempt=number))
        apply(failed(number))
        after = due(session.state, World(now=now))
        assert after is not None
        apply(after)
        now = session.state.retry_at
    return session


def test_a_crowd_does_not_fail_who_only_waits() -> None:
    """However often the waves of others hold a call back, none of its attempts is spent; each has its own number."""
    silent = Timing(wall_ms=0, request_bytes=0, response_bytes=0)
    session = failures_after(
        3 * MAX_ATTEMPTS,
        lambda number: StepFailed(step=1, attempt=number, error=held_back(5_000), jitter=0.0, timing=silent),
    )
    assert (session.state.phase, session.state.failures) == ("backoff", 0)


def test_a_peer_that_says_so_is_a_failure_like_any_other() -> None:
    """The word alone does not make a refusal free: what was sent and refused counts."""
    sent = Timing(wall_ms=0, request_bytes=9, response_bytes=9)
    session = failures_after(
        MAX_ATTEMPTS,
        lambda number: StepFailed(step=1, attempt=number, error=held_back(5_000), jitter=0.0, timing=sent),
    )
    assert (session.state.phase, session.state.failures) == ("idle", 0)
    assert session.state.turns == 1


@pytest.mark.parametrize("cls", ["billing", "auth", "server", "timeout", "truncated", "invalid_request"])
def test_other_failures_teach_nothing(cls: ErrorClass) -> None:
    """Only rate limits and overload are about how much is under way."""
    limiter = Limiter()
    limiter.answered(NOW, {}, admitted(limiter), refusal(cls, 5_000))
    assert limiter.ceiling == math.inf
    admitted(limiter)


def test_waiters_are_let_go_spread_out() -> None:
    """Rule 2: jitter adds up to a quarter of the wait, never takes from it."""
    limiter = Limiter()
    limiter.answered(NOW, {}, admitted(limiter), refusal(after=20_000))
    rng = random.Random(1)
    waits = [held(limiter, NOW, rng.random()) for _ in range(200)]
    assert min(waits) >= 20_000
    assert max(waits) < 25_000
    assert max(waits) - min(waits) > 4_500


def test_old_refusals_and_lost_leases_are_forgotten() -> None:
    """Ten good minutes lift the ceiling; a lease whose holder died is not held for ever."""
    limiter = Limiter()
    limiter.answered(NOW, {}, admitted(limiter), refusal())
    assert limiter.ceiling == 1
    admitted(limiter, NOW + FORGET_MS + 1)
    assert limiter.ceiling == math.inf
    assert limiter.under_way == 2
    admitted(limiter, NOW + LEASE_MAX_MS + 1)
    assert limiter.under_way == 2  # the second and the new one


def test_a_clock_that_is_set_back_stops_nobody() -> None:
    """A stop that seems to be hours away is none."""
    limiter = Limiter()
    lease = admitted(limiter)
    limiter.answered(NOW, {}, lease, refusal(after=20_000))
    limiter.released(lease)
    held(limiter, NOW - 1_000)
    admitted(limiter, NOW - 3_600_000)


def test_limiters_are_bounded_and_keep_who_is_in_use() -> None:
    """Idle limiters make room, the longest unused first; one with a call under way stays, and so does its stop."""
    limiters = Limiters()
    busy = limiters.of("k", "busy")
    busy.answered(NOW, {}, admitted(busy), refusal(after=5_000))
    for number in range(LIMITERS_MAX + 50):
        limiters.of(f"k{number}", "m")
    assert limiters.of("k", "busy") is busy
    assert held(limiters.of("k", "busy")) == 5_000
    kept = limiters.of(f"k{LIMITERS_MAX}", "m")
    assert limiters.of(f"k{LIMITERS_MAX}", "m") is kept


# --- headers --------------------------------------------------------------------------------------------------------


def openai(kind: str, limit: str, remaining: str, reset: str) -> dict[str, str]:
    """OpenAI's three headers of one bucket."""
    parts = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"x-ratelimit-{part}-{kind}": value for part, value in parts.items()}


def anthropic(kind: str, limit: str, remaining: str, reset: str) -> dict[str, str]:
    """Anthropic's three headers of one bucket."""
    parts = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"anthropic-ratelimit-{kind}-{part}": value for part, value in parts.items()}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Headers, and how long a call of so many tokens then waits."""

    name: str
    headers: dict[str, str]
    wait: int
    tokens: int = 1


CASES = [
    Case(name="anthropic requests used up", headers=anthropic("requests", "60", "0", "2026-11-21T10:01:00Z"), wait=984),
    Case(name="anthropic input tokens", headers=anthropic("input-tokens", "100000", "10000", "2026-11-21T10:00:46Z"),
         tokens=30_000, wait=10_000),
    Case(name="an offset instead of Z", headers=anthropic("requests", "60", "0", "2026-11-21T11:01:00+01:00"), wait=984),
    Case(name="more than the bucket ever holds", tokens=10**9,
         headers=anthropic("tokens", "1000", "0", "2026-11-21T10:01:00Z"), wait=59_000),
    Case(name="full", headers=openai("requests", "500", "500", "0s"), wait=0),
    Case(name="openai minutes and seconds", headers=openai("requests", "121", "0", "2m1s"), wait=992),
    Case(name="a day to fill", headers=openai("requests", "200", "0", "24h0m0s"), wait=1_500),
    Case(name="openai ms", headers=openai("tokens", "1000", "0", "120ms"), wait=1),
    Case(name="fractions", headers=openai("tokens", "10", "0", "1h0m11.5s"), tokens=10, wait=STOP_MAX_MS),
    Case(name="bare seconds", headers=openai("requests", "10", "0", "11"), wait=1_000),
    Case(name="per project", headers=openai("project-tokens", "1000", "0", "11s"), tokens=500, wait=5_000),
    Case(name="in capitals", headers={k.upper(): v for k, v in openai("requests", "10", "0", "11").items()}, wait=1_000),
    Case(name="a part is missing", headers={"x-ratelimit-remaining-requests": "0"}, wait=0),
    Case(name="no number", headers=openai("requests", "lots", "0", "1m"), wait=0),
    Case(name="a time without a zone", headers=anthropic("requests", "60", "0", "2026-11-21T10:01:00"), wait=0),
    Case(name="a limit of nothing", headers=openai("requests", "0", "0", "1m"), wait=0),
    Case(name="a reset in the past", headers=anthropic("requests", "60", "0", "2026-11-21T09:00:00Z"), wait=1),
    Case(name="another bucket", headers=openai("images", "1", "0", "1h"), wait=0),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_headers(case: Case) -> None:
    """Rule 4: an empty bucket is waited for as long as its refill takes; what cannot be read holds nobody."""
    limiter = Limiter()
    lease = admitted(limiter)
    limiter.answered(NOW, case.headers, lease)
    got = limiter.admit(NOW, 0.0, case.tokens)
    assert (0 if isinstance(got, Lease) else got) == case.wait


def test_what_is_admitted_is_taken_from_the_bucket() -> None:
    """Three requests left are three calls; the fourth waits for the refill, and newer headers overrule the count."""
    limiter = Limiter()
    limiter.answered(NOW, openai("requests", "61", "3", "59s"), admitted(limiter))
    for _ in range(3):
        admitted(limiter)
    assert held(limiter) == 1_000
    admitted(limiter, NOW + 1_000)
    limiter.answered(NOW + 1_000, openai("requests", "61", "10", "52s"), Lease(began=NOW))
    admitted(limiter, NOW + 1_000)


# --- a provider -----------------------------------------------------------------------------------------------------


def simulate(capacity: int, sessions: int, seconds: int) -> tuple[int, int, int]:
    """Run sessions against a provider that refuses what exceeds its capacity; returns answers, refusals, most under way.

    Each session calls, streams for 2 s and calls again. Events lie in one heap: when, an order, the lease that ends or None.
    """
    limiter, rng = Limiter(), random.Random(7)
    heap: list[tuple[int, int, Lease | None]] = [(0, number, None) for number in range(sessions)]
    running = answers = refusals = most = 0
    for order in itertools.count(sessions):
        now, _, ended = heapq.heappop(heap)
        if now > seconds * 1_000:
            return answers, refusals, most
        if ended is not None:
            limiter.released(ended)
            running -= 1
        got = limiter.admit(now, rng.random())
        if not isinstance(got, Lease):
            heapq.heappush(heap, (now + got, order, None))
        elif running < capacity:
            running, answers, most = running + 1, answers + 1, max(most, running + 1)
            limiter.answered(now, {}, got)
            heapq.heappush(heap, (now + 2_000, order, got))
        else:
            refusals += 1
            limiter.answered(now, {}, got, refusal())
            limiter.released(got)
            heapq.heappush(heap, (now + 500, order, None))
    raise AssertionError("unreachable")


def test_it_finds_the_capacity_and_stays_near_it() -> None:
    """200 sessions meet a provider that takes 40 at once: most of it is used, and few calls are refused."""
    answers, refusals, most = simulate(capacity=40, sessions=200, seconds=180)
    possible = 180 * 40 // 2
    assert answers > 0.6 * possible
    assert refusals < 0.1 * answers
    assert most == 40


def test_it_costs_nothing_where_there_is_room() -> None:
    """With room for all, all run all the time."""
    answers, refusals, most = simulate(capacity=200, sessions=50, seconds=60)
    assert refusals == 0
    assert most == 50
    assert answers >= 50 * 29


# --- anything -------------------------------------------------------------------------------------------------------

HOSTILE = st.sampled_from(["requests", "tokens", "input-tokens", "project-tokens"]).flatmap(
    lambda kind: st.builds(
        openai if kind != "input-tokens" else anthropic,
        st.just(kind),
        *[st.one_of(st.text(max_size=12), st.integers(-5, 10**18).map(str), st.sampled_from(["1s", "6m0s", "٣s"]))] * 3,
    )
)  # fmt: skip
ERRORS = st.none() | st.builds(
    refusal, st.sampled_from(["rate_limit", "overloaded", "server"]), st.none() | st.integers(0, 10**15)
)


@given(
    st.lists(st.tuples(HOSTILE, ERRORS, st.integers(0, 10_000)), max_size=8),
    st.floats(0, 0.999),
    st.integers(0, 10**9),
)
def test_whoever_waits_as_told_gets_in(
    answers: list[tuple[dict[str, str], StepError | None, int]], jitter: float, tokens: int
) -> None:
    """No headers, hints or order of things lock anybody out: waits are positive and bounded, and end."""
    limiter, now = Limiter(), NOW
    for headers, error, pause in answers:
        lease = limiter.admit(now, jitter, tokens)
        limiter.answered(now, headers, lease if isinstance(lease, Lease) else Lease(began=now), error)
        if isinstance(lease, Lease):
            limiter.released(lease)
        now += pause
    waited = 0
    while not isinstance(wait := limiter.admit(now, jitter, tokens), Lease):
        assert 0 < wait <= STOP_MAX_MS * 5 // 4
        now, waited = now + wait, waited + 1
        assert waited < 5


@given(st.text(max_size=40))
def test_no_reset_raises(text: str) -> None:
    """Whatever stands in a header, a bucket is read or left out."""
    for build in (openai, anthropic):
        for bucket in read_buckets(build("requests", "10", "1", text), NOW).values():
            assert isinstance(bucket, Bucket)
            assert bucket.rate > 0
