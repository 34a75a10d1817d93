"""The records of steps and turns, folded from events."""

from typing import Any

import pytest

from edgeloop.events import (
    ConfigChanged,
    ErrorClass,
    Event,
    Recorded,
    RetryScheduled,
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
        (5, RetryScheduled(due=500)),
        (500, StepStarted(step=1, attempt=2)),
        (900, StepFinished(step=1, stop="end", usage=Usage(), timing=TIMING)),
        (900, TurnFinished(reason="done")),
    )
    assert isinstance(record, StepRecord)
    assert (record.retries, record.attempts, record.output_tokens_per_s) == ({"overloaded": 1}, 2, None)


def fail(cls: ErrorClass, step: int = 1, attempt: int = 1) -> StepFailed:
    return StepFailed(step=step, attempt=attempt, error=StepError(cls=cls, retryable=True), jitter=0.0)


def step_of(*events: tuple[int, Event]) -> StepRecord:
    """The record of the one step that these events make between a message and a turn's end."""
    first, last = events[0][0], events[-1][0]
    head: list[tuple[int, Event]] = [
        (first, UserMessageReceived(id="1", text="hi", tokens=1)),
        (first, StepStarted(step=1, attempt=1)),
    ]
    record, _ = fold(*head, *events, (last, TurnFinished(reason="done")))
    assert isinstance(record, StepRecord)
    return record


def test_a_step_that_goes_on_in_the_next_one_counts_its_own_attempts() -> None:
    """The failure is counted where it happened; the step that continues it has one attempt and no retry, whatever its number."""
    first, second, turn = fold(
        (0, UserMessageReceived(id="1", text="hi", tokens=1)),
        (0, StepStarted(step=1, attempt=1)),
        (5, fail("overloaded")),
        (5, RetryScheduled(due=500)),
        (500, StepStarted(step=2, attempt=2)),
        (900, StepFinished(step=2, stop="end", usage=Usage(), timing=TIMING)),
        (900, TurnFinished(reason="done")),
    )
    assert isinstance(first, StepRecord)
    assert isinstance(second, StepRecord)
    assert isinstance(turn, TurnRecord)
    assert (first.attempts, first.retries, first.error, first.stream_ms) == (
        1,
        {"overloaded": 1},
        "overloaded",
        5,
    )
    assert (second.attempts, second.retries, second.error) == (1, {}, None)
    assert turn.retries == 1


@pytest.mark.parametrize("cls", ["aborted", "auth"])
def test_what_is_not_tried_again_is_no_retry(cls: ErrorClass) -> None:
    """A stop and a failure for good are the step's end, by class, and cost no attempt."""
    record = step_of((5, fail(cls)))
    assert (record.attempts, record.retries, record.error, record.stop) == (1, {}, cls, None)
    assert attributes(record)["error.type"] == cls


def test_tools_side_by_side_count_each_for_itself() -> None:
    """Two tools of a second each, together in one second behind a stream of two: two seconds of tools, all of them hidden."""
    record = step_of(
        (0, ToolStarted(call="1.0", runner="edge", epoch=1)),
        (0, ToolStarted(call="1.1", runner="edge", epoch=1)),
        (1000, ToolFinished(call="1.0", outcome="ok", content="")),
        (1000, ToolFinished(call="1.1", outcome="ok", content="")),
        (2000, StepFinished(step=1, stop="tool_use", usage=Usage(), timing=TIMING)),
    )
    assert (record.tools, record.tool_ms, record.overlap_ms, record.wall_ms) == (2, 2000, 2000, 2000)


def test_only_what_ran_before_the_end_of_the_stream_was_hidden() -> None:
    """A tool that outlives the stream is hidden up to its end, one that begins after it not at all; a denied call is no tool."""
    record = step_of(
        (100, ToolStarted(call="1.0", runner="edge", epoch=1)),
        (300, StepFinished(step=1, stop="tool_use", usage=Usage(), timing=TIMING)),
        (300, ToolStarted(call="1.1", runner="c", epoch=1)),
        (400, ToolFinished(call="1.2", outcome="denied", content="")),
        (900, ToolFinished(call="1.1", outcome="ok", content="")),
        (5000, ToolFinished(call="1.0", outcome="ok", content="")),
    )
    assert (record.tools, record.tool_ms, record.overlap_ms) == (2, 4900 + 600, 200)
    assert (record.stream_ms, record.wall_ms) == (200, 4900)


def test_tools_of_a_stream_that_broke_were_hidden_behind_it_as_well() -> None:
    """An aborted answer has no tokens and no rate; its early tool's time up to the break was hidden."""
    record = step_of(
        (0, ToolStarted(call="1.0", runner="c", epoch=1)),
        (400, fail("aborted")),
        (700, ToolFinished(call="1.0", outcome="cancelled", content="")),
    )
    assert (record.overlap_ms, record.tool_ms, record.ttft_ms, record.output_tokens_per_s) == (
        400,
        700,
        None,
        None,
    )


def test_a_clock_that_is_set_back_makes_nothing_negative() -> None:
    """Between any two events the clock may jump; no span is below zero."""
    times = (9_000, 8_000, 7_000, 6_000, 5_000, 4_000)
    events: list[Event] = [
        UserMessageReceived(id="1", text="hi", tokens=1),
        StepStarted(step=1, attempt=1),
        ToolStarted(call="1.0", runner="edge", epoch=1),
        StepFinished(step=1, stop="tool_use", usage=Usage(), timing=TIMING),
        ToolFinished(call="1.0", outcome="ok", content=""),
        TurnFinished(reason="done"),
    ]
    record, turn = fold(*zip(times, events, strict=True))
    assert isinstance(record, StepRecord)
    assert (
        record.queue_ms,
        record.stream_ms,
        record.wall_ms,
        record.tool_ms,
        record.overlap_ms,
        turn.wall_ms,
    ) == (0,) * 6


@pytest.mark.parametrize(
    ("usage", "timing", "rate"),
    [
        (100, {"first_ms": 200, "wall_ms": 1200, "deltas": 40}, 100.0),
        (100, {"first_ms": 200, "wall_ms": 1200, "deltas": 0}, 100.0),
        (100, {"first_ms": 200, "wall_ms": 201, "deltas": 1}, None),
        (100, {"first_ms": 200, "wall_ms": 200, "deltas": 2}, None),
        (100, {"first_ms": None, "wall_ms": 1200}, None),
        (0, {"first_ms": 200, "wall_ms": 1200, "deltas": 2}, None),
        (None, {"first_ms": 200, "wall_ms": 1200, "deltas": 2}, None),
    ],
)
def test_a_rate_needs_tokens_and_the_time_they_took(
    usage: int | None, timing: dict[str, Any], rate: float | None
) -> None:
    """From the first content to the end; without tokens, without a time between, or in one piece there is none."""
    told = Timing(request_bytes=1, response_bytes=1, **timing)
    record = step_of((1200, StepFinished(step=1, stop="end", usage=Usage(output=usage), timing=told)))
    assert record.output_tokens_per_s == rate
    assert record.ttft_ms == timing["first_ms"]


@pytest.mark.parametrize("after", range(1, len(turn_with_tools())))
def test_a_session_that_is_taken_up_in_mid_turn_goes_on_with_its_record(after: int) -> None:
    """Wherever it was interrupted, what is recorded from then on is what would have been."""
    log = [Recorded(seq=n, at=at, event=event) for n, (at, event) in enumerate(turn_with_tools(), 1)]
    whole = Recorder()
    told = [record for one in log[:after] for record in whole.apply(one)]
    rest = [record for one in log[after:] for record in whole.apply(one)]
    again = Recorder.resume("", "", log[:after])
    assert [record for one in log[after:] for record in again.apply(one)] == rest
    assert len(told) + len(rest) == 3


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
