"""The prompt cache, as the providers document it: what of a request's prefix was seen before.

Knows segments (bytes and their tokens), not dialects. Time comes in as a clock. Entries become readable only when the response
that writes them begins (`Use.commit`), so parallel cold starts all pay.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

Ttl = Literal["5m", "1h"]
SECONDS: dict[Ttl, float] = {"5m": 300.0, "1h": 3600.0}
LOOKBACK = 20
AUTOMATIC_SECONDS = 600.0
AUTOMATIC_STEP = 128
_SLICE = 512
"""Bytes per step of the automatic cache's chain: about 128 tokens."""
MAX_ENTRIES = 200_000
_NONE = (0.0, 0.0)
"""Until when an entry lives, and its lifetime: reading it starts that anew."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A block of the request in prefix order; `mark` is the breakpoint at its end."""

    data: bytes
    tokens: int
    mark: Ttl | None = None


@dataclass(frozen=True, kw_only=True)
class Use:
    """What the cache did for one request, in tokens; the four add up to the whole input."""

    read: int
    write_5m: int
    write_1h: int
    fresh: int
    commit: Callable[[], None]

    @property
    def total(self) -> int:
        """All input tokens."""
        return self.read + self.write_5m + self.write_1h + self.fresh


def chain(scope: str, pieces: list[bytes]) -> list[bytes]:
    """A digest per prefix: the n-th stands for everything up to and with the n-th piece."""
    digest = blake2b(scope.encode("utf-8", "replace"), digest_size=16).digest()
    answer: list[bytes] = []
    for piece in pieces:
        digest = blake2b(digest + piece, digest_size=16).digest()
        answer.append(digest)
    return answer


class PrefixCache:
    """All prefixes of one server, oldest use dropped first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def marked(self, scope: str, segments: list[Segment], minimum: int) -> Use:
        """Anthropic's rules: written at breakpoints only, read up to 20 positions back from one."""
        now = self._clock()
        digests = chain(scope, [segment.data for segment in segments])
        upto = _running(segments)
        marks = [at for at, segment in enumerate(segments) if segment.mark]
        found = self._found(digests, marks, now)
        if found >= 0 and upto[found] < minimum:
            found = -1
        writes = [at for at in marks if at > found and upto[at] >= minimum]
        read = upto[found] if found >= 0 else 0
        hours = [at for at in writes if segments[at].mark == "1h"]
        hour_end = upto[hours[-1]] if hours else read
        end = upto[writes[-1]] if writes else read
        self._refresh(digests, [at for at in {*marks, found} if 0 <= at <= found], now)

        def commit() -> None:
            for at in writes:
                ttl = segments[at].mark
                assert ttl is not None
                self._put(digests[at], now, SECONDS[ttl])

        total = upto[-1] if upto else 0
        return Use(
            read=read, write_1h=hour_end - read, write_5m=end - hour_end, fresh=total - end, commit=commit
        )

    def automatic(
        self, scope: str, segments: list[Segment], minimum: int, count: Callable[[bytes], int]
    ) -> Use:
        """OpenAI's rules before GPT-5.6: the longest known prefix in steps of 128 tokens; writing is free."""
        now = self._clock()
        slices = [
            (at, segment.data[offset : offset + _SLICE], offset)
            for at, segment in enumerate(segments)
            for offset in range(0, len(segment.data), _SLICE)
        ]
        digests = chain(scope, [piece for _, piece, _ in slices])
        known = 0
        while known < len(digests) and self._alive(digests[known], now):
            known += 1
        upto = [0, *_running(segments)]
        total, seen = upto[-1], 0
        if known:
            at, piece, offset = slices[known - 1]
            end = offset + len(piece)
            data = segments[at].data
            seen = upto[at] + (segments[at].tokens if end >= len(data) else count(data[:end]))
        read = seen // AUTOMATIC_STEP * AUTOMATIC_STEP if seen >= minimum else 0

        def commit() -> None:
            if total >= minimum:
                for digest in digests:
                    self._put(digest, now, AUTOMATIC_SECONDS)

        return Use(read=read, write_5m=0, write_1h=0, fresh=total - read, commit=commit)

    def _found(self, digests: list[bytes], marks: list[int], now: float) -> int:
        """The furthest readable position, -1 for none."""
        for mark in reversed(marks):
            for at in range(mark, max(mark - LOOKBACK, -1), -1):
                if self._alive(digests[at], now):
                    return at
        return -1

    def _alive(self, digest: bytes, now: float) -> bool:
        return self._entries.get(digest, _NONE)[0] > now

    def _refresh(self, digests: list[bytes], positions: list[int], now: float) -> None:
        for at in positions:
            if self._alive(digests[at], now):
                self._put(digests[at], now, self._entries[digests[at]][1])

    def _put(self, digest: bytes, start: float, lifetime: float) -> None:
        until, before = self._entries.get(digest, _NONE)
        self._entries[digest] = (max(until, start + lifetime), max(before, lifetime))
        self._entries.move_to_end(digest)
        while len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)


def _running(segments: list[Segment]) -> list[int]:
    answer: list[int] = []
    total = 0
    for segment in segments:
        total += segment.tokens
        answer.append(total)
    return answer
