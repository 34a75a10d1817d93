"""Paces how fast sockets are taken, so that a storm of reconnecting clients does not stall the streams of the others.

All sessions of an isolate share one thread, and a socket with its session takes it for 4 to 6 ms (measured). While nothing
streams, the pace has 200 of them taken within 1.6 s. A stream at 50 deltas/s takes 0.5 to 0.75 % of the thread (measured): the
more of them there are, the further apart sockets must be for what piles up behind one to drain before the next. Knows no clock
and does not wait.
"""

BURST = 4
EVERY_MS = 8
EVERY_MS_PER_STREAM = 0.3
EVERY_MS_AT_MOST = 40


class Admission:
    """The turns of one isolate: a few at once, then one after the other. First come, first served."""

    def __init__(self) -> None:
        self._free = 0
        """When the next turn would be if all came evenly spaced, in ms."""

    def wait_ms(self, now: int, streams: int) -> int:
        """Take a turn while so many streams run, and return for how long to wait for it."""
        every = min(EVERY_MS + int(EVERY_MS_PER_STREAM * streams), EVERY_MS_AT_MOST)
        turn = max(now, self._free)
        self._free = turn + every
        return max(0, turn - now - (BURST - 1) * every)
