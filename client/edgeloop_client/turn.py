"""One turn as the person who asked sees it: when it is over, what it cost, how long it took.

A turn of ours begins with our message's event and ends with the first `turn_finished` after the step that delivered it. Knows the
client's clock only as numbers it is given.
"""

from dataclasses import dataclass, field
from typing import Any

from edgeloop.events import (
    Recorded,
    StepFailed,
    StepFinished,
    StepStarted,
    StopRequested,
    ToolCallCompleted,
    TurnFinished,
    Usage,
    UserMessageReceived,
)
from edgeloop.prices import cost
from edgeloop.session import add_usage
from edgeloop_client.view import CallSeen, Change, Fresh, Restarted, Skipped, View

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """A model call of the turn, failed ones included."""

    step: int
    attempt: int
    at: int
    end: StepFinished | StepFailed

    def to_json(self) -> Json:
        """Its figures; times in ms from the request's start, as the edge measured them."""
        timing, usage = self.end.timing, self.end.usage
        return {
            "step": self.step,
            "attempt": self.attempt,
            "end": self.end.stop if isinstance(self.end, StepFinished) else self.end.error.cls,
            "ttft_ms": timing.first_ms if timing else None,
            "wall_ms": timing.wall_ms if timing else None,
            "request_bytes": timing.request_bytes if timing else None,
            "response_bytes": timing.response_bytes if timing else None,
            "deltas": timing.deltas if timing else None,
            "input": input_tokens(usage),
            "cache_read": usage.cache_read,
            "output": usage.output,
        }


@dataclass(kw_only=True)
class Turn:
    """Feed it every change of the view. `message` None follows whatever turn is under way, or was last (attach)."""

    message: str | None
    began: float
    delivered: bool = False
    seen: bool = False
    skipped: bool = False
    lost: bool = False
    ended: TurnFinished | None = None
    first: float | None = None
    finished: float | None = None
    events: int = 0
    calls: list[str] = field(default_factory=lambda: list[str]())
    costs: list[StepCost] = field(default_factory=lambda: list[StepCost]())
    _step: tuple[int, int] = (0, 0)

    def take(self, change: Change, now: float) -> None:
        """Take one change at a time of the client's clock, in ms."""
        match change:
            case Recorded():
                self._event(change, now)
            case Fresh() if self.delivered and self.first is None:
                self.first = now
            case Restarted():
                self.lost = self.seen
            case Skipped():
                self.lost = self.seen and self.message is not None
            case _:
                pass

    def _event(self, recorded: Recorded, now: float) -> None:
        event = recorded.event
        if self.message is None and self.ended is not None:
            self._begin_again(now)
        self.seen = self.seen or self._is_ours(recorded)
        if not self.seen:
            return
        self.events += 1
        match event:
            case StepStarted():
                self.delivered = True
                self._step = (event.step, event.attempt)
            case StopRequested() if not self.delivered:
                self.skipped = True
            case ToolCallCompleted():
                self.calls.append(event.call)
            case StepFinished() | StepFailed():
                self.costs.append(
                    StepCost(step=self._step[0], attempt=self._step[1], at=recorded.at, end=event)
                )
            case TurnFinished() if self.delivered or self.skipped:
                self.ended, self.finished = event, now
            case _:
                pass

    def _is_ours(self, recorded: Recorded) -> bool:
        event = recorded.event
        return self.message is None or (isinstance(event, UserMessageReceived) and event.id == self.message)

    def _begin_again(self, now: float) -> None:
        vars(self).update(vars(Turn(message=None, began=now)))

    # --- figures ----------------------------------------------------------------------------------------------------

    @property
    def usage(self) -> Usage:
        """Tokens of all model calls of the turn."""
        total = Usage()
        for call in self.costs:
            total = add_usage(total, call.end.usage)
        return total

    @property
    def ttft_ms(self) -> int | None:
        """From asking to the first text, as this client saw it; None where another one asked."""
        return None if self.first is None or self.message is None else round(self.first - self.began)

    @property
    def wall_ms(self) -> int | None:
        """From asking to the end of the turn, as this client saw it; None where another one asked."""
        return None if self.finished is None or self.message is None else round(self.finished - self.began)

    @property
    def output_tokens_per_s(self) -> float | None:
        """Output tokens over the time in which they came: from the first byte to the end of each model call."""
        tokens, ms = 0, 0
        for call in self.costs:
            timing, output = call.end.timing, call.end.usage.output
            if timing is not None and timing.first_ms is not None and output:
                tokens += output
                ms += timing.wall_ms - timing.first_ms
        return round(tokens * 1000 / ms, 1) if ms > 0 else None


def input_tokens(usage: Usage) -> int | None:
    """All input tokens, cached or not; None if none were reported."""
    parts = (usage.input_uncached, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h)
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def cached_share(usage: Usage) -> float | None:
    """Share of the input that was read from the provider's cache, 0 to 1."""
    total = input_tokens(usage)
    return round((usage.cache_read or 0) / total, 4) if total else None


def cost_usd(turn: Turn, view: View) -> float | None:
    """What the turn's model calls cost; None if one is not known. Failed calls that reported nothing are left out."""
    total = 0.0
    for call in turn.costs:
        usage, seen = call.end.usage, view.steps.get(call.step)
        if isinstance(call.end, StepFailed) and usage == Usage():
            continue
        found = cost(usage, seen.model if seen is not None else view.model, call.at)
        if found is None:
            return None
        total += found.usd
    return total if turn.costs else None


def report(turn: Turn, view: View, *, agent: str, bytes_up: int, bytes_down: int) -> Json:
    """The turn as one JSON object: what `--json` prints."""
    usage = turn.usage
    writes = [part for part in (usage.cache_write_5m, usage.cache_write_1h) if part is not None]
    return {
        "agent": agent,
        "answer": view.answer,
        "outcome": turn.ended.reason if turn.ended else None,
        "detail": turn.ended.detail if turn.ended else "",
        "tool_calls": [_call(view.calls[call]) for call in turn.calls if call in view.calls],
        "usage": {
            "input": input_tokens(usage),
            "input_uncached": usage.input_uncached,
            "cache_read": usage.cache_read,
            "cache_write": sum(writes) if writes else None,
            "output": usage.output,
            "cached_share": cached_share(usage),
            "cost_usd": cost_usd(turn, view),
        },
        "timings": {
            "ttft_ms": turn.ttft_ms,
            "wall_ms": turn.wall_ms,
            "output_tokens_per_s": turn.output_tokens_per_s,
            "steps": [call.to_json() for call in turn.costs],
        },
        "bytes_up": bytes_up,
        "bytes_down": bytes_down,
        "events": turn.events,
    }


def _call(call: CallSeen) -> Json:
    return {
        "call": call.call,
        "name": call.name,
        "arguments": call.arguments,
        "outcome": call.state,
        "ms": call.ms,
    }
