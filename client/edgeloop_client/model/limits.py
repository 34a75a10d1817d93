"""A provider's limit of requests: a bucket per key and scenario that refills all the time and holds one second's worth.

Knows no header; time comes in as a clock.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MAX_BUCKETS = 1_000


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What a bucket said to a request: `wait` seconds until one more is allowed (0: this one is), `full` until it is full."""

    limit: int
    remaining: int
    wait: float
    full: float


class RequestLimits:
    """The buckets of one server."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, scope: str, rpm: int) -> Allowance:
        """Ask for one request of `rpm` per minute."""
        now, rate = self._clock(), rpm / 60
        size = max(1.0, rate)
        level, before = self._buckets.pop(scope, (size, now))
        level = min(size, level + (now - before) * rate)
        allowed = level >= 1
        level -= allowed
        self._buckets[scope] = (level, now)
        while len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        wait = 0.0 if allowed else (1 - level) / rate
        return Allowance(limit=rpm, remaining=math.floor(level), wait=wait, full=(size - level) / rate)
