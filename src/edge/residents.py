"""What is kept in memory of the sessions of this isolate: one table, bounded by what it holds, rebuilt from the logs at need.

Not in the objects: an evicted object lingers until the JS engine collects it, with all it holds (measured: heap
74.9 MiB after five cycles of 300 objects, 36 with a table like this one). All agents of an isolate share 128 MB.
"""

from collections import OrderedDict
from dataclasses import dataclass

from edge.prompts import KeptPrompt
from edgeloop.record import Recorder
from edgeloop.session import Session

BYTES_MAX = 24 << 20
SESSION_BYTES = 16 << 10
"""What a session weighs beside its prompt (a generous guess; a bare one measured 22 KiB with its object)."""


@dataclass(kw_only=True)
class Resident:
    """A session in memory. `prompt` is made when a model call needs it."""

    session: Session
    recorder: Recorder
    prompt: KeptPrompt | None = None

    @property
    def weight(self) -> int:
        """Roughly how many bytes it holds."""
        return SESSION_BYTES + (self.prompt.data.size if self.prompt is not None else 0)

    @property
    def idle(self) -> bool:
        """Whether it may be dropped: a session at work is needed again at once."""
        return self.session.state.phase == "idle"


class Residents:
    """The table, least recently used first."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, Resident] = OrderedDict()
        self._weights: dict[str, int] = {}
        self._total = 0

    def get(self, key: str) -> Resident | None:
        """The session, now the most recently used."""
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def put(self, key: str, resident: Resident) -> None:
        """Keep a session."""
        self._held[key] = resident
        self.weigh(key)

    def drop(self, key: str) -> None:
        """Forget a session, if it is held."""
        self._held.pop(key, None)
        self._total -= self._weights.pop(key, 0)

    def weigh(self, key: str) -> None:
        """Take a session's weight anew, and drop idle ones, oldest first, while all together are too heavy."""
        resident = self._held[key]
        self._total += resident.weight - self._weights.get(key, 0)
        self._weights[key] = resident.weight
        while self._total > BYTES_MAX:
            oldest = next((k for k, r in self._held.items() if r.idle), None)
            if oldest is None:
                return
            self.drop(oldest)
