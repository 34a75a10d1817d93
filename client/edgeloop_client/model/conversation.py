"""The neutral form between the wire formats and the scenarios: what was said so far, and what a scenario answers.

A dialect parses a request into a `Conversation`; a scenario reads it and yields `Part`s; nothing here knows either side.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

Arguments = dict[str, Any]
_GO_ON = re.compile(r"\bcontinue\b.{0,40}\bwhere\b", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A tool that the request offers."""

    name: str
    description: str
    parameters: Arguments


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A call that the model made earlier; `arguments` is empty where they were no JSON object."""

    id: str
    name: str
    arguments: Arguments


@dataclass(frozen=True, kw_only=True)
class UserSaid:
    """Text of a person."""

    text: str


@dataclass(frozen=True, kw_only=True)
class ModelSaid:
    """One message of the model as it was sent back to us."""

    text: str
    calls: tuple[Asked, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The result of a call; OpenAI has no flag for failure, so there `failed` is always False."""

    call: Asked
    text: str
    failed: bool = False


Entry = UserSaid | ModelSaid | Answered


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """A request, read. `max_tokens` 0 means no limit was given."""

    model: str
    system: str
    tools: dict[str, Offer]
    entries: tuple[Entry, ...]
    max_tokens: int = 0

    @cached_property
    def _start(self) -> int:
        """Where the turn begins: the last message of a person that asks for something other than to go on."""
        own = [at for at, entry in enumerate(self.entries) if isinstance(entry, UserSaid)]
        return next((at for at in reversed(own) if not _GO_ON.search(self._text(at))), own[0] if own else 0)

    def _text(self, at: int) -> str:
        entry = self.entries[at]
        return "" if isinstance(entry, Answered) else entry.text

    @property
    def task(self) -> str:
        """What the person asked in this turn."""
        return self._text(self._start) if self.entries else ""

    @property
    def first(self) -> str:
        """The conversation's first user message: what tells conversations apart."""
        return next((entry.text for entry in self.entries if isinstance(entry, UserSaid)), "")

    @property
    def turn(self) -> tuple[Entry, ...]:
        """Everything after the task."""
        return self.entries[self._start + 1 :]

    @property
    def answers(self) -> tuple[Answered, ...]:
        """The tool results of this turn."""
        return tuple(entry for entry in self.turn if isinstance(entry, Answered))

    @property
    def earlier_answers(self) -> tuple[Answered, ...]:
        """The tool results of the turns before."""
        return tuple(entry for entry in self.entries[: self._start] if isinstance(entry, Answered))

    @property
    def steps(self) -> int:
        """How many messages the model has finished in this turn (those it was cut off in are not counted)."""
        cut = sum(isinstance(entry, UserSaid) for entry in self.turn)
        return sum(isinstance(entry, ModelSaid) for entry in self.turn) - cut

    @property
    def broken_off(self) -> str:
        """The text of the message in which the model was cut off and asked to continue; else empty."""
        last = self.entries[-1] if self.entries else None
        if not isinstance(last, UserSaid) or not _GO_ON.search(last.text):
            return ""
        before = next((entry for entry in reversed(self.entries[:-1]) if isinstance(entry, ModelSaid)), None)
        return before.text if before else ""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """When a part's pieces are sent instead of the options' pace: spread up to a time since the response began, or at a rate."""

    until_ms: float | None = None
    per_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Say:
    """Visible text."""

    text: str
    pace: Pace | None = None


@dataclass(frozen=True, kw_only=True)
class Think:
    """Reasoning."""

    text: str
    pace: Pace | None = None


@dataclass(frozen=True, kw_only=True)
class Fill:
    """Text made while it is sent, for measurements: `deltas` pieces of `size` bytes.

    With `stamp` each begins with the time of its writing: `@<microseconds since the epoch>@`.
    """

    deltas: int
    size: int
    stamp: bool = False
    pace: Pace | None = None


@dataclass(frozen=True, kw_only=True)
class Call:
    """A tool call."""

    name: str
    arguments: Arguments = field(default_factory=lambda: Arguments())
    pace: Pace | None = None


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Nothing for a while."""

    ms: float


@dataclass(frozen=True, kw_only=True)
class End:
    """Ends the message for another reason than having said everything."""

    reason: Literal["stop", "refusal"] = "stop"


Part = Say | Think | Fill | Call | Wait | End
Run = Callable[[Conversation], Iterator[Part]]
