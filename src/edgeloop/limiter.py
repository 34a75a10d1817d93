"""How many calls may be under way at a provider, and when the next may begin: one limiter per key and model.

Fed with what providers say (rate-limit headers, refusals), it decides who waits and how long. It knows no clock, no chance and no
socket: time comes in as ms since the epoch, jitter as a number in [0, 1). The shell keeps one `Limiters` per isolate, so that all
its sessions share what one of them learns; what is lost with the isolate is learnt anew from the next answer.

Theory
======
Rule 1: there is no ceiling on calls under way before a provider has refused one. Then it is half of what was under way, is halved
again by each further wave of refusals, and grows by one per round of good answers (AIMD).

Rule 2: a refusal stops everyone of that key and model, and nobody else: providers count by model. It stops for as long as its
hint (`retry-after`) says, or without one for a doubling while. Those who waited are let go spread out, not at once.

Rule 3: a wave is counted once. Calls that began before the last cut were refused by the same wall; they change nothing more.
The wall is gone when a call that began after it has ended without a refusal: some refuse inside an answer that began well.

Rule 4: a bucket that the headers show empty is waited for, as long as its own refill takes, and no longer.
"""

import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from edgeloop.events import StepError, StepFailed
from edgeloop.providers.failures import local
from edgeloop.schedule import RETRY_AFTER_CAP_MS

STOP_MAX_MS = 300_000
"""No hint or header stops callers for longer: it is a peer's word."""
BACKOFF_MS = 1_000
BACKOFF_MAX_MS = 30_000
POLL_MS = 100
"""How soon to ask again where only a free place is missing; up to four times that with jitter."""
FORGET_MS = 600_000
"""So long after the last refusal the ceiling is forgotten."""
LEASE_MAX_MS = 3_600_000
"""A lease whose holder died is not held against the others for ever."""
LIMITERS_MAX = 256
HELD_BACK = "held_back"
"""The code of a failure that is our own wait."""


@dataclass(kw_only=True, eq=False)
class Lease:
    """A call under way. Give it back with `Limiter.released`, however the call ends."""

    began: int
    went_well: bool = False
    """Whether its answer has begun, and nothing in it was a refusal so far."""


@dataclass(kw_only=True)
class Bucket:
    """A token bucket as its headers showed it at `at`: it held `level` of `limit` and refills at `rate` per ms."""

    limit: float
    level: float
    rate: float
    at: int

    def left(self, now: int) -> float:
        """What it holds now."""
        return min(self.limit, self.level + self.rate * max(0, now - self.at))

    def wait(self, now: int, need: float) -> int:
        """How long until it holds `need`, or is as full as it gets."""
        missing = min(need, self.limit) - self.left(now)
        return math.ceil(missing / self.rate) if missing > 0 else 0

    def take(self, now: int, amount: float) -> None:
        """Count an amount as used, until the next headers say better."""
        self.level, self.at = max(0.0, self.left(now) - amount), now


@dataclass(kw_only=True)
class Limiter:
    """The limiter of one model under one key."""

    ceiling: float = math.inf
    _leases: set[Lease] = field(default_factory=lambda: set[Lease]())
    _buckets: dict[str, Bucket] = field(default_factory=lambda: dict[str, Bucket]())
    _stopped_until: int = 0
    _cut_at: int | None = None
    _refusals: int = 0

    @property
    def under_way(self) -> int:
        """Calls admitted and not yet released."""
        return len(self._leases)

    def admit(self, now: int, jitter: float, tokens: int = 1) -> Lease | int:
        """Let a call begin, or say after how many ms to ask again. `tokens` is an estimate of what its provider will count."""
        self._forget(now)
        needs = [(bucket, 1 if name == "requests" else tokens) for name, bucket in self._buckets.items()]
        wait = max([self._stopped_until - now, *(bucket.wait(now, need) for bucket, need in needs)])
        if wait > 0:
            return wait + int(jitter * max(wait / 4, POLL_MS))
        if len(self._leases) + 1 > max(1, self.ceiling):
            return POLL_MS + int(jitter * 3 * POLL_MS)
        for bucket, need in needs:
            bucket.take(now, need)
        lease = Lease(began=now)
        self._leases.add(lease)
        return lease

    def answered(
        self, now: int, headers: Mapping[str, str], lease: Lease, error: StepError | None = None
    ) -> None:
        """Learn from an answer's head (lower-case keys), or with `error` from a refusal, also one inside the stream."""
        self._buckets |= read_buckets(headers, now)
        lease.went_well = error is None
        if error is None:
            self.ceiling += 1 / self.ceiling
        elif error.cls in ("rate_limit", "overloaded"):
            self._refused(now, lease, error)

    def released(self, lease: Lease) -> None:
        """The call is over. Safe to repeat."""
        self._leases.discard(lease)
        if lease.went_well and self._is_after_the_cut(lease):
            self._refusals = 0

    def _is_after_the_cut(self, lease: Lease) -> bool:
        return self._cut_at is None or lease.began >= self._cut_at

    def _refused(self, now: int, lease: Lease, error: StepError) -> None:
        first = self._is_after_the_cut(lease)
        if first:
            self._refusals += 1
            self._cut_at = now
            self.ceiling = max(1.0, min(self.ceiling, len(self._leases)) / 2)
        if error.retry_after_ms or first:
            own = min(BACKOFF_MS * 2 ** min(self._refusals - 1, 10), BACKOFF_MAX_MS)
            until = now + min(error.retry_after_ms or own, STOP_MAX_MS)
            self._stopped_until = max(self._stopped_until, until)

    def _forget(self, now: int) -> None:
        if self._cut_at is not None and now - self._cut_at > FORGET_MS:
            self.ceiling, self._cut_at, self._refusals = math.inf, None, 0
        if self._stopped_until - now > STOP_MAX_MS:  # no stop is that long: the clock was set back
            self._stopped_until = now
        lost = [lease for lease in self._leases if now - lease.began > LEASE_MAX_MS]
        self._leases.difference_update(lost)


def held_back(wait: int) -> StepError:
    """A wait that is too long to be spent in silence, as a failed attempt with a hint: never one that would end the turn."""
    hint = min(wait, RETRY_AFTER_CAP_MS)
    error = local("rate_limit", "held back: the provider refused another call of this key and model")
    return error.model_copy(update={"code": HELD_BACK, "retry_after_ms": hint})


def was_held_back(failed: StepFailed) -> bool:
    """Whether our own limiter ended an attempt. A peer can say the same word, but only in answer to something sent."""
    nothing_sent = failed.timing is not None and failed.timing.request_bytes == 0
    return failed.error.code == HELD_BACK and nothing_sent


class Limiters:
    """The limiters of an isolate, by key and model; those unused for longest are dropped beyond `LIMITERS_MAX`."""

    def __init__(self) -> None:
        self._limiters: OrderedDict[tuple[str, str], Limiter] = OrderedDict()

    def of(self, key: str, model: str) -> Limiter:
        """The limiter of a model under a key (which is only compared, never shown)."""
        known = self._limiters.get((key, model))
        if known is None:
            known = self._limiters[key, model] = Limiter()
            self._shrink()
        self._limiters.move_to_end((key, model))
        return known

    def _shrink(self) -> None:
        idle = [pair for pair, limiter in self._limiters.items() if not limiter.under_way]
        for pair in idle[: max(0, len(self._limiters) - LIMITERS_MAX)]:
            del self._limiters[pair]


# --- headers --------------------------------------------------------------------------------------------------------

_HEADER = re.compile(
    r"anthropic-ratelimit-(?P<a>requests|tokens|input-tokens)-(?P<b>limit|remaining|reset)"
    r"|x-ratelimit-(?P<d>limit|remaining|reset)-(?P<c>requests|tokens|project-tokens)"
)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def read_buckets(headers: Mapping[str, str], now: int) -> dict[str, Bucket]:
    """The buckets that rate-limit headers show, by name; incomplete or unreadable ones are left out."""
    found: dict[str, dict[str, str]] = {}
    for name, value in headers.items():
        if "ratelimit" in name.lower() and (match := _HEADER.fullmatch(name.lower())):
            bucket, part = match["a"] or match["c"], match["b"] or match["d"]
            found.setdefault(bucket, {})[part] = value
    buckets = {name: _bucket(parts, now) for name, parts in found.items()}
    return {name: bucket for name, bucket in buckets.items() if bucket is not None}


def _bucket(parts: dict[str, str], now: int) -> Bucket | None:
    limit, level = _count(parts.get("limit", "")), _count(parts.get("remaining", ""))
    span = _span_ms(parts.get("reset", ""), now)
    if limit is None or level is None or span is None or limit == 0:
        return None
    # `reset` says when it is full, rounded up to whole seconds by some: the rate is never put too low. A bucket that takes a day
    # to fill is not waited for; its provider will refuse, and say for how long.
    rate = max(limit - level, 1) / max(span - 1_000, 1)
    return Bucket(limit=limit, level=min(level, limit), rate=max(rate, limit / STOP_MAX_MS), at=now)


def _count(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else None


def _span_ms(text: str, now: int) -> int | None:
    """How long until a reset: `6m0s`, `120ms`, `1.5s`, bare seconds, or an RFC 3339 time."""
    if re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        return int(sum(float(number) * _UNIT_MS[unit] for number, unit in _DURATION.findall(text)))
    if re.fullmatch(r"\d{1,6}(\.\d{1,9})?", text):
        return int(float(text) * 1_000)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00"))
    except ValueError:
        return None
    return max(0, int(moment.timestamp() * 1_000) - now) if moment.tzinfo is not None else None
