"""The record of a step and of a turn: what each cost in time, tokens and bytes, folded from the log's own events.

Always on: the shell writes each record to its log as it is made, and anybody can fold a stored log again. A step's record is made
when the next step begins or the turn ends: only then have its tools ended. Names of attributes follow OpenTelemetry's GenAI
conventions where they exist (`attributes`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from edgeloop.events import (
    ConfigChanged,
    ErrorClass,
    Recorded,
    RetryScheduled,
    StepFailed,
    StepFinished,
    StepStarted,
    StopReason,
    Timing,
    ToolFinished,
    ToolStarted,
    TurnEnd,
    TurnFinished,
    Usage,
    UserMessageReceived,
)
from edgeloop.model import Frozen
from edgeloop.prices import cost


class StepRecord(Frozen):
    """One step: all its attempts, its last stream, its tools. Times in ms, never below zero though the clock was set back.

    `tool_ms` sums what each tool took, and `overlap_ms` what of that was hidden behind the stream, before the model's message
    ended; so both count tools that ran side by side each for itself, as one after the other they would have cost, and
    `overlap_ms / tool_ms` is the share that cost nothing. `stream_ms` runs from the step's beginning to the end of its last
    stream, with the waits between attempts, `wall_ms` to the next step. `queue_ms` is how long the oldest message that this step
    delivers had waited, `held_ms` how long our own limiter then held the last call back. `retries` counts by class the failures
    after which the model was asked again, in this step or the next; `error` is the last failure where the step ended in it.
    `output_tokens_per_s` counts from the first content to the end; an answer that came in one piece has none. `usage` and
    `cost_usd` (`prices.py`) are the last attempt's. None means that it is not known.
    """

    step: int
    provider: str
    model: str
    attempts: int
    stop: StopReason | None
    error: ErrorClass | None
    queue_ms: int | None
    ttft_ms: int | None
    stream_ms: int
    wall_ms: int
    output_tokens_per_s: float | None
    gap_p50_ms: float | None
    gap_max_ms: float | None
    tools: int
    tool_ms: int
    overlap_ms: int
    retries: dict[ErrorClass, int]
    usage: Usage
    request_bytes: int
    response_bytes: int
    wakes: int
    held_ms: int
    cost_usd: float | None


class TurnRecord(Frozen):
    """One turn: the sums of its steps. The cost is known if that of every step is."""

    turn_end: TurnEnd
    steps: int
    wall_ms: int
    tools: int
    tool_ms: int
    overlap_ms: int
    retries: int
    output: int
    cost_usd: float | None


@dataclass(kw_only=True)
class _Step:
    """What the open step has gathered."""

    started: StepStarted
    provider: str
    model: str
    at: int
    queue_ms: int | None
    attempts: int = 1
    failed: ErrorClass | None = None
    ended_at: int | None = None
    stop: StopReason | None = None
    usage: Usage = Usage()
    timing: Timing | None = None
    retries: dict[ErrorClass, int] = field(default_factory=lambda: dict[ErrorClass, int]())
    begun: dict[str, int] = field(default_factory=lambda: dict[str, int]())
    ran: list[tuple[int, int]] = field(default_factory=lambda: list[tuple[int, int]]())


@dataclass(kw_only=True)
class Recorder:
    """Folds events into records; holds the open step and the open turn, nothing more."""

    _provider: str = ""
    _model: str = ""
    _waiting_since: int | None = None
    _step: _Step | None = None
    _turn: list[StepRecord] = field(default_factory=lambda: list[StepRecord]())
    _turn_at: int | None = None

    @classmethod
    def resume(cls, provider: str, model: str, events: Iterable[Recorded]) -> "Recorder":
        """A recorder for a session that is taken up: it talked to this model before these events, whose records were told."""
        recorder = cls(_provider=provider, _model=model)
        for recorded in events:
            recorder.apply(recorded)
        return recorder

    def apply(self, recorded: Recorded) -> list[StepRecord | TurnRecord]:
        """Take one event; return the records that it completes."""
        at = recorded.at
        match recorded.event:
            case ConfigChanged() as event:
                self._provider, self._model = event.provider, event.model
            case UserMessageReceived():
                self._waiting_since = at if self._waiting_since is None else self._waiting_since
                self._turn_at = at if self._turn_at is None else self._turn_at
            case StepStarted() as event:
                return self._begin(event, at)
            case StepFinished() as event:
                self._end(at, event.usage, event.timing, event.stop)
            case StepFailed() as event:
                self._end(at, event.usage, event.timing, None, failed=event.error.cls)
            case RetryScheduled() if self._step is not None and self._step.failed is not None:
                count, cls = self._step.retries, self._step.failed
                count[cls] = count.get(cls, 0) + 1
            case ToolStarted() as event if self._step is not None:
                self._step.begun[event.call] = at
            case ToolFinished() as event if self._step is not None:
                begun = self._step.begun.pop(event.call, None)
                if begun is not None:
                    self._step.ran.append((begun, at))
            case TurnFinished() as event:
                return [*self._close(at), *self._close_turn(event, at)]
            case _:
                pass
        return []

    def _begin(self, event: StepStarted, at: int) -> list[StepRecord | TurnRecord]:
        again = self._step
        if again is not None and again.started.step == event.step:
            again.attempts += 1
            return []
        done = self._close(at)
        queued = None if self._waiting_since is None else _span(self._waiting_since, at)
        self._waiting_since = None
        self._step = _Step(started=event, provider=self._provider, model=self._model, at=at, queue_ms=queued)
        return list(done)

    def _end(
        self,
        at: int,
        usage: Usage,
        timing: Timing | None,
        stop: StopReason | None,
        failed: ErrorClass | None = None,
    ) -> None:
        step = self._step
        if step is not None:
            step.ended_at, step.usage, step.timing, step.stop, step.failed = at, usage, timing, stop, failed

    def _close(self, at: int) -> list[StepRecord]:
        step, self._step = self._step, None
        if step is None:
            return []
        end = step.ended_at if step.ended_at is not None else at
        timing = step.timing
        record = StepRecord(
            step=step.started.step,
            provider=step.provider,
            model=step.model,
            attempts=step.attempts,
            stop=step.stop,
            error=step.failed,
            queue_ms=step.queue_ms,
            ttft_ms=timing.first_ms if timing else None,
            stream_ms=_span(step.at, end),
            wall_ms=_span(step.at, at),
            output_tokens_per_s=_rate(step.usage, timing),
            gap_p50_ms=timing.gap_p50_ms if timing else None,
            gap_max_ms=timing.gap_max_ms if timing else None,
            tools=len(step.ran),
            tool_ms=sum(_span(since, until) for since, until in step.ran),
            overlap_ms=sum(_span(since, min(until, end)) for since, until in step.ran),
            retries=step.retries,
            usage=step.usage,
            request_bytes=timing.request_bytes if timing else 0,
            response_bytes=timing.response_bytes if timing else 0,
            wakes=timing.wakes if timing else 0,
            held_ms=timing.held_ms if timing else 0,
            cost_usd=_usd(step.usage, step.model, step.at),
        )
        self._turn.append(record)
        return [record]

    def _close_turn(self, event: TurnFinished, at: int) -> list[StepRecord | TurnRecord]:
        steps, self._turn = self._turn, []
        since, self._turn_at = self._turn_at, None
        return [
            TurnRecord(
                turn_end=event.reason,
                steps=len(steps),
                wall_ms=_span(since, at) if since is not None else 0,
                tools=sum(step.tools for step in steps),
                tool_ms=sum(step.tool_ms for step in steps),
                overlap_ms=sum(step.overlap_ms for step in steps),
                retries=sum(sum(step.retries.values()) for step in steps),
                output=sum(step.usage.output or 0 for step in steps),
                cost_usd=_sum([step.cost_usd for step in steps]),
            )
        ]


def attributes(record: StepRecord | TurnRecord) -> dict[str, Any]:
    """A record as flat attributes for a log line or a span; what is not known is left out."""
    if isinstance(record, TurnRecord):
        return _known({"edgeloop.record": "turn"}, record.model_dump())
    named = {
        "edgeloop.record": "step",
        "gen_ai.provider.name": record.provider,
        "gen_ai.request.model": record.model,
        "gen_ai.response.finish_reasons": record.stop,
        "error.type": record.error,
        "gen_ai.usage.input_tokens": record.usage.input_uncached,
        "gen_ai.usage.cache_read.input_tokens": record.usage.cache_read,
        "gen_ai.usage.cache_creation.input_tokens": record.usage.cache_write_5m,
        "gen_ai.usage.output_tokens": record.usage.output,
        "gen_ai.server.time_to_first_token": record.ttft_ms,
    }
    rest = record.model_dump(exclude={"provider", "model", "stop", "error", "usage", "ttft_ms"})
    return _known(named, rest)


def _known(named: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in (named | {f"edgeloop.{k}": v for k, v in rest.items()}).items() if v is not None}


def _usd(usage: Usage, model: str, at: int) -> float | None:
    found = cost(usage, model, at)
    return found.usd if found is not None else None


def _sum(costs: list[float | None]) -> float | None:
    known = [usd for usd in costs if usd is not None]
    return sum(known) if known and len(known) == len(costs) else None


def _span(since: int, until: int) -> int:
    return max(0, until - since)


def _rate(usage: Usage, timing: Timing | None) -> float | None:
    if timing is None or timing.first_ms is None or not usage.output or timing.wall_ms <= timing.first_ms:
        return None
    if timing.deltas == 1:
        return None
    return round(usage.output / (timing.wall_ms - timing.first_ms) * 1000, 1)
