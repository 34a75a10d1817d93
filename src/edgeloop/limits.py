"""Every bound on what a peer may send or make us hold, in one place, and the pace of frames. docs/design/limits.md tells them.

Knows no socket and no clock: time comes in as ms since the epoch. The bounds of decoding a provider's answer are Rust's.
"""

from typing import Literal

from edgeloop.errors import Refused

KIB, MIB = 1 << 10, 1 << 20

MAX_FRAME_BYTES = 4 * MIB
MAX_BODY_BYTES = 4 * MIB
BODY_READ_ON = 4
"""A body over the limit is read on (and dropped) to so many times the limit: an answer before its end is lost on most clients."""
MAX_HELLO_BYTES = 256 * KIB
"""A `hello` is its tools, and these are part of every prompt from then on."""
MAX_TOOLS = 64
MAX_AUTONOMY_BYTES = 64 * KIB
"""Rules are in every snapshot."""
MAX_MESSAGE_BYTES = MIB
MAX_RESULT_BYTES = MIB
MAX_QUEUED = 32
"""Messages that wait for the next step."""
MAX_SOCKETS = 128
"""Sockets of one agent."""
SESSION_BYTES = 1 << 30
"""What a session may store unless the deployment says otherwise; the platform's own end is 10 GB."""

FRAMES_PER_SECOND = 100
FRAMES_BURST = 400
BYTES_PER_FRAME = 64 * KIB
"""A longer frame counts as several: to read one costs time by its length."""
FRAMES_DROPPED = 200
"""So many frames over the pace in a row, and the socket is closed."""


class Pace:
    """The pace of one socket: a bucket that refills evenly. One that ran dry gives none before it is half full again."""

    def __init__(self, now: int) -> None:
        self._level = float(FRAMES_BURST)
        self._at = now
        self._dropped = 0

    def take(self, now: int, size: int) -> Literal["take", "refuse", "drop", "close"]:
        """What is to be done with a frame of `size` bytes. The first one too many is refused, more of them are not answered."""
        refilled = self._level + (now - self._at) * FRAMES_PER_SECOND / 1000
        self._level, self._at = min(refilled, FRAMES_BURST), now
        cost = 1 + size // BYTES_PER_FRAME
        if self._dropped and self._level >= FRAMES_BURST / 2:
            self._dropped = 0
        if not self._dropped and cost <= self._level:
            self._level -= cost
            return "take"
        self._dropped += 1
        if self._dropped > FRAMES_DROPPED:
            return "close"
        return "refuse" if self._dropped == 1 else "drop"


def too_frequent() -> Refused:
    """The refusal of a frame over the pace, and of all that follow it at once."""
    return Refused(
        code="too_frequent",
        message="too many frames at once: this one and those right behind it were not taken",
        expected=f"at most {FRAMES_PER_SECOND} a second; connect again, and send again what was not answered",
    )


def check_room(stored: int, limit: int, ref: str) -> None:
    """Refuse a message to a session that stores as much as it may.

    Raises:
        Refused: `session_full`.
    """
    if stored >= limit:
        raise Refused(code="session_full", message=full(stored, limit), expected="another agent", ref=ref)


def full(stored: int, limit: int) -> str:
    """What a session says that stores more than it may."""
    return f"the session stores {stored:,} bytes, of at most {limit:,}"
