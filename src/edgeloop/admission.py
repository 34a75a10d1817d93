"""Paces how fast sessions are opened, so that a storm of reconnecting clients does not stall the streams of the others.

All sessions of an isolate share one thread, and to open one takes it for 4 to 6 ms (measured). The pace leaves some of it to the
streams, and has 200 sessions opened within 1.6 s. Knows no clock and does not wait.
"""

BURST = 4
EVERY_MS = 8


class Admission:
    """The turns of one isolate: a few at once, then one every 8 ms. First come, first served."""

    def __init__(self) -> None:
        self._free = 0
        """When the next turn would be if all came evenly spaced, in ms."""

    def wait_ms(self, now: int) -> int:
        """Take a turn, and return for how long to wait for it."""
        turn = max(now, self._free)
        self._free = turn + EVERY_MS
        return max(0, turn - now - (BURST - 1) * EVERY_MS)
