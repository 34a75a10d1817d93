"""The records of steps and turns, folded from events."""

from typing import Any

from edgeloop.events import (
    ConfigChanged,
    Event,
    Recorded,
    StepError,
    StepFailed,
    StepFinished,
    StepStarted,
    Timing,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    Usage,
    UserMessageReceived,
)
from edgeloop.record import Recorder, StepRecord, TurnRecord, attributes

TIMING = Timing(
    first_ms=200, wall_ms=1200, request_bytes=10, response_bytes=20, gap_p50_ms=1.0, gap_max_ms=9.0, wakes=3
)


def fold(*events: tuple[int, Event]) -> list[StepRecord | TurnRecord]:
    """Fold events given with their times."""
    recorder = Recorder()
    recorded = [Recorded(seq=n, at=at, event=event) for n, (at, event) in enumerate(events, 1)]
    return [record for one in recorded for record in recorder.apply(one)]


def turn_with_tools() -> list[tuple[int, Event]]:
    """One step with two tools, the first half hidden behind the stream, then a step that answers."""
    return [
        (0, ConfigChanged(provider="anthropic", model="m", system="")),
        (0, UserMessageReceived(id="1", text="hi", tokens=1)),
        (10, StepStarted(step=1, attempt=1)),
        (500, ToolStarted(call="1.0", runner="edge", epoch=1)),
        (1000, ToolStarted(call="1.1", runner="edge", epoch=1)),
        (1200, StepFinished(step=1, stop="tool_use", usage=Usage(output=100), timing=TIMING)),
        (1500, ToolFinished(call="1.0", outcome="ok", content="")),
        (1600, ToolFinished(call="1.1", outcome="ok", content="")),
        (1600, StepStarted(step=2, attempt=1)),
        (2000, StepFinished(step=2, stop="end", usage=Usage(output=5), timing=TIMING)),
        (2000, TurnFinished(reason="done")),
    ]


def test_a_step_says_how_much_tool_time_was_hidden() -> None:
    """Overlap counts what the tools ran before the stream's end."""
    first, second, turn = fold(*turn_with_tools())
    assert isinstance(first, StepRecord)
    assert (first.overlap_ms, first.tool_ms) == (700 + 200, 1000 + 600)
    assert (first.queue_ms, first.stream_ms, first.wall_ms, first.tools) == (10, 1190, 1590, 2)
    assert first.output_tokens_per_s == 100.0
    assert isinstance(second, StepRecord)
    assert second.queue_ms is None
    assert isinstance(turn, TurnRecord)
    assert (turn.steps, turn.wall_ms, turn.tools, turn.overlap_ms, turn.output) == (2, 2000, 2, 900, 105)


def test_retries_are_counted_by_class_in_the_step_they_belong_to() -> None:
    """A transparent retry is the same step; its failures are in its record."""
    error = StepError(cls="overloaded", retryable=True)
    record, _ = fold(
        (0, UserMessageReceived(id="1", text="hi", tokens=1)),
        (0, StepStarted(step=1, attempt=1)),
        (5, StepFailed(step=1, attempt=1, error=error, jitter=0.0)),
        (500, StepStarted(step=1, attempt=2)),
        (900, StepFinished(step=1, stop="end", usage=Usage(), timing=TIMING)),
        (900, TurnFinished(reason="done")),
    )
    assert isinstance(record, StepRecord)
    assert (record.retries, record.attempts, record.output_tokens_per_s) == ({"overloaded": 1}, 2, None)


def test_attributes_leave_out_what_is_not_known() -> None:
    """Unknown is absent, never zero; the names are OpenTelemetry's where there are any."""
    records: list[dict[str, Any]] = [attributes(record) for record in fold(*turn_with_tools())]
    assert "gen_ai.usage.input_tokens" not in records[0]
    assert (records[0]["gen_ai.usage.output_tokens"], records[0]["gen_ai.request.model"]) == (100, "m")
    assert (records[2]["edgeloop.record"], records[2]["edgeloop.turn_end"]) == ("turn", "done")


def test_a_log_that_begins_in_the_middle_of_a_step_is_no_error() -> None:
    """After a wake the fold may start anywhere; what it missed is simply not recorded."""
    assert fold((0, ToolFinished(call="1.0", outcome="ok", content=""))) == []
    assert len(fold((0, TurnFinished(reason="stopped")))) == 1


def test_what_it_cost_is_told_where_it_is_known() -> None:
    """A step costs what its own model's price says, whatever model was chosen meanwhile; one unknown makes the turn's unknown."""
    usage = Usage(input_uncached=1_000_000, output=1_000_000)
    day = 1_780_000_000_000
    events: list[tuple[int, Event]] = [
        (day, ConfigChanged(provider="anthropic", model="claude-opus-4-6", system="")),
        (day, UserMessageReceived(id="1", text="hi", tokens=1)),
        (day, StepStarted(step=1, attempt=1)),
        (day, StepFinished(step=1, stop="end", usage=usage, timing=TIMING)),
        (day, ConfigChanged(provider="anthropic", model="unheard-of", system="")),
        (day, StepStarted(step=2, attempt=1)),
        (day, StepFinished(step=2, stop="end", usage=usage, timing=TIMING)),
        (day, TurnFinished(reason="done")),
    ]
    first, second, turn = fold(*events)
    assert [first.cost_usd, second.cost_usd, turn.cost_usd] == [30.0, None, None]
    *_, turn = fold(*events[:4], events[-1])
    assert turn.cost_usd == 30.0
    assert "edgeloop.cost_usd" not in attributes(second)
    assert attributes(turn)["edgeloop.cost_usd"] == 30.0
