"""Turns a scenario's parts into timed operations: what is sent, when, and how many tokens it is.

Decides the pace, the end at the token limit and the stop reason. Knows no dialect and no socket, and reads no clock: times are
seconds since the response began.
"""

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, assert_never

from edgeloop_client.model.conversation import (
    Call,
    Conversation,
    End,
    Fill,
    Pace,
    Part,
    Run,
    Say,
    Think,
    Wait,
)
from edgeloop_client.model.counting import pieces
from edgeloop_client.model.options import Options

BlockKind = Literal["text", "thinking", "call"]
Reason = Literal["stop", "calls", "length", "refusal"]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A block begins; `id` and `name` are a call's."""

    kind: BlockKind
    id: str = ""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Delta:
    """Text of the open block: visible text, reasoning, or JSON of arguments. `stamp`: see `Fill`."""

    kind: BlockKind
    text: str
    tokens: int
    stamp: bool = False


@dataclass(frozen=True, kw_only=True)
class Closed:
    """The open block is complete, unless the token limit `cut` it."""

    kind: BlockKind
    cut: bool = False


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The message is over."""

    reason: Reason
    tokens: int
    thinking_tokens: int


Op = Opened | Delta | Closed | Ended


@dataclass(frozen=True, kw_only=True)
class Beat:
    """An operation and when it is due, in seconds since the response began."""

    due: float
    op: Op


def parts(conversation: Conversation, run: Run) -> Iterator[Part]:
    """Run the scenario; where the model was cut off and is asked to continue, leave out what it said already."""
    said = conversation.broken_off
    for part in run(conversation):
        if said and isinstance(part, Say):
            overlap = len(part.text) if said.startswith(part.text) else _shared(part.text, said)
            said = said[overlap:]
            if rest := part.text[overlap:]:
                yield replace(part, text=rest)
        else:
            yield part


def _shared(text: str, said: str) -> int:
    """What of `text` was said: all of `said` or, where it said something else, nothing."""
    return len(said) if text.startswith(said) else 0


class Player:
    """Plays one message. `tokens` counts what has been made so far."""

    def __init__(self, options: Options, limit: int) -> None:
        self._options = options
        self._limit = limit or 1 << 60
        self._now = 0.0
        self.tokens = 0
        self.thinking_tokens = 0

    def beats(self, message: Iterator[Part]) -> Iterator[Beat]:
        """The message's operations in order; the last one is `Ended`."""
        reason: Reason = "stop"
        for part in message:
            if isinstance(part, End):
                reason = part.reason
                break
            if isinstance(part, Wait):
                self._now += part.ms / 1000
                continue
            yield from self._block(part)
            if self.tokens >= self._limit:
                reason = "length"
                break
            if isinstance(part, Call):
                reason = "calls"
        yield self._beat(Ended(reason=reason, tokens=self.tokens, thinking_tokens=self.thinking_tokens))

    def _beat(self, op: Op) -> Beat:
        return Beat(due=self._now, op=op)

    def _block(self, part: Say | Think | Fill | Call) -> Iterator[Beat]:
        kind = _kind(part)
        if isinstance(part, Call):
            yield self._beat(Opened(kind=kind, id=secrets.token_hex(12), name=part.name))
        else:
            yield self._beat(Opened(kind=kind))
        for delta, due in self._deltas(part, kind):
            self._now = due
            self.tokens += delta.tokens
            self.thinking_tokens += delta.tokens if kind == "thinking" else 0
            yield self._beat(delta)
            if self.tokens >= self._limit:
                break
        yield self._beat(Closed(kind=kind, cut=self.tokens >= self._limit))

    def _deltas(self, part: Say | Think | Fill | Call, kind: BlockKind) -> Iterator[tuple[Delta, float]]:
        """Each delta with its due time."""
        made = _fill(part) if isinstance(part, Fill) else _cut(part, kind, self._options.chunk_tokens)
        pace, start = part.pace, self._now
        if pace is not None and pace.until_ms is not None:
            known = list(made)
            span = max(pace.until_ms / 1000 - start, 0)
            for number, delta in enumerate(known, 1):
                yield delta, start + span * number / len(known)
            return
        due = start
        for delta in made:
            due += _step(pace, delta.tokens, self._options.tps)
            yield delta, due


def _step(pace: Pace | None, tokens: int, tps: float) -> float:
    if pace is not None and pace.per_s:
        return 1 / pace.per_s
    return tokens / tps if tps else 0


def _kind(part: Say | Think | Fill | Call) -> BlockKind:
    match part:
        case Say() | Fill():
            return "text"
        case Think():
            return "thinking"
        case Call():
            return "call"
        case _:
            assert_never(part)


def _cut(part: Say | Think | Call, kind: BlockKind, chunk_tokens: int) -> Iterator[Delta]:
    text = json.dumps(part.arguments, ensure_ascii=False) if isinstance(part, Call) else part.text
    for piece, tokens in pieces(text, chunk_tokens):
        yield Delta(kind=kind, text=piece, tokens=tokens)


def _fill(part: Fill) -> Iterator[Delta]:
    text = ("lorem ipsum dolor sit amet " * (part.size // 27 + 1))[: part.size]
    [(_, tokens)] = pieces(text, 1 << 30)
    delta = Delta(kind="text", text=text, tokens=tokens, stamp=part.stamp)
    for _ in range(part.deltas):
        yield delta
