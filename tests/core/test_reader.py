"""What the pump reports, as events: complete blocks and calls, usage, the end."""

from collections.abc import Sequence
from typing import Any

import pytest

from edgeloop.events import BlockFinished, StepFailed, StepFinished, ToolCallCompleted, Usage
from edgeloop.reader import Op, StepReader, partial_blocks
from tests.support.core import TIMING


def count(texts: Sequence[bytes]) -> list[int]:
    """A stand-in for the kernel: bytes in place of tokens."""
    return [len(text) for text in texts]


TEXT: Op = {"op": "block_complete", "block": 0, "kind": "text", "text": "né"}
SIGNED: Op = {"op": "block_complete", "block": 1, "kind": "reasoning", "text": "", "echo": '{"a":1}'}
EMPTY: Op = {"op": "block_complete", "block": 2, "kind": "text", "text": ""}
CALL: Op = {"op": "call_complete", "block": 3, "provider_id": "p", "name": "t", "arguments": "{}"}
BROKEN: Op = {
    "op": "call_complete",
    "block": 4,
    "provider_id": None,
    "name": "t",
    "arguments": "{",
    "invalid": "cut",
}
USAGE: Op = {"op": "usage", "output": 7, "cache_read": 3, "something_new": 1}
STOP: Op = {"op": "stop", "reason": "tool_use"}
ERROR: Op = {"op": "error", "class": "overloaded", "code": "c", "message": "m", "retryable": True}

EVENTS = [
    BlockFinished(step=2, block=0, type="text", text="né", tokens=3),
    BlockFinished(step=2, block=1, type="reasoning", text="", echo='{"a":1}', tokens=0),
    ToolCallCompleted(step=2, block=3, call="2.3", provider_id="p", name="t", arguments="{}", tokens=3),
    ToolCallCompleted(
        step=2, block=4, call="2.4", provider_id="", name="t", arguments="{", tokens=2, invalid="cut"
    ),
]
OPS = [{"op": "unheard_of"}, TEXT, SIGNED, EMPTY, CALL, BROKEN, USAGE, STOP]


def reader() -> StepReader:
    """A reader of step 2's first attempt."""
    return StepReader(step=2, attempt=1)


@pytest.mark.parametrize("size", [1, 2, 3, len(OPS)])
def test_operations_become_events_however_they_are_batched(size: int) -> None:
    """Complete blocks and calls are events; empty blocks and unknown operations are nothing."""
    one = reader()
    events = [event for at in range(0, len(OPS), size) for event in one.feed(OPS[at : at + size], count)]
    assert events == EVENTS
    assert one.usage == Usage(output=7, cache_read=3)
    assert one.finish(TIMING, 0.5) == StepFinished(step=2, stop="tool_use", usage=one.usage, timing=TIMING)


@pytest.mark.parametrize("together", [True, False])
def test_an_id_that_a_model_gives_twice_is_the_first_calls(together: bool) -> None:
    """Providers refuse a message with two calls of one id: the second is as one without, and gets our own."""
    one, again = reader(), {**CALL, "block": 5}
    batches = [[CALL, again, {**CALL, "block": 6}]] if together else [[CALL], [again], [{**CALL, "block": 6}]]
    events = [event for ops in batches for event in one.feed(ops, count)]
    ids = [(event.call, event.provider_id) for event in events if isinstance(event, ToolCallCompleted)]
    assert ids == [("2.3", "p"), ("2.5", ""), ("2.6", "")]


def test_tokens_are_counted_in_one_crossing() -> None:
    """However many are complete, the kernel is called once a batch, and not at all for none."""
    calls = list[int]()

    def counting(texts: Sequence[bytes]) -> list[int]:
        calls.append(len(texts))
        return count(texts)

    reader().feed(OPS, counting)
    reader().feed([USAGE, STOP], counting)
    assert calls == [5]


def test_what_follows_the_end_is_ignored() -> None:
    """The first end counts."""
    one = reader()
    one.feed([STOP], count)
    assert one.feed([TEXT, ERROR], count) == []
    assert isinstance(one.finish(TIMING, 0), StepFinished)


def test_an_unknown_stop_is_other() -> None:
    """A reason that we do not know does not fail the step."""
    one = reader()
    one.feed([{"op": "stop", "reason": "cosmic_ray"}], count)
    end = one.finish(TIMING, 0)
    assert isinstance(end, StepFinished)
    assert end.stop == "other"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ("overloaded", "c", "m", True, None)),
        ({"retryable": False}, ("overloaded", "c", "m", False, None)),
        ({"retry_after_ms": 5}, ("overloaded", "c", "m", True, 5)),
        ({"class": "nonsense"}, ("unknown", "c", "m", True, None)),
        ({"code": None, "message": None}, ("overloaded", "", "", True, None)),
        ({"code": "c" * 999, "message": "m" * 9_999}, ("overloaded", "c" * 100, "m" * 1_000, True, None)),
    ],
)
def test_an_error_is_typed(changed: dict[str, Any], expected: tuple[Any, ...]) -> None:
    """The decoder's error keeps its class, words and hint, cut to size."""
    one = reader()
    one.feed([ERROR | changed], count)
    end = one.finish(TIMING, 0.25)
    assert isinstance(end, StepFailed)
    error = end.error
    assert (error.cls, error.code, error.message, error.retryable, error.retry_after_ms) == expected
    assert (end.step, end.attempt, end.jitter, end.timing) == (2, 1, 0.25, TIMING)


def test_an_error_that_does_not_say_is_judged_by_its_class() -> None:
    """Without `retryable`, the class decides."""
    one = reader()
    one.feed([{key: value for key, value in ERROR.items() if key != "retryable"}], count)
    end = one.finish(TIMING, 0)
    assert isinstance(end, StepFailed)
    assert end.error.retryable


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in two"])
def test_an_answer_that_starts_over_after_parts_were_complete_has_failed(together: bool) -> None:
    """What is in the log cannot be taken back: the attempt fails, to be continued."""
    one = reader()
    ops: list[Op] = [TEXT, {"op": "restart"}, CALL, STOP]
    for batch in [ops] if together else [ops[:1], ops[1:]]:
        one.feed(batch, count)
    end = one.finish(TIMING, 0)
    assert isinstance(end, StepFailed)
    assert (end.error.code, end.error.retryable) == ("restarted", True)


def test_an_answer_that_starts_over_before_anything_goes_on() -> None:
    """Nothing was reported: the second beginning is the only one."""
    one = reader()
    assert one.feed([{"op": "restart"}, TEXT, STOP], count) == EVENTS[:1]
    assert isinstance(one.finish(TIMING, 0), StepFinished)


@pytest.mark.parametrize(
    ("ops", "raw", "failed"),
    [
        ([], "STOP", True),
        ([EMPTY], "STOP", True),
        ([TEXT], "STOP", False),
        ([SIGNED], "STOP", False),
        ([CALL], "STOP", False),
        ([], "stop", False),
        ([], "end_turn", False),
        ([], "MALFORMED_FUNCTION_CALL", True),
        ([TEXT], "MALFORMED_FUNCTION_CALL", True),
        ([CALL], "MALFORMED_FUNCTION_CALL", False),
        ([], "UNEXPECTED_TOOL_CALL", True),
        ([], "function_call_filter: MALFORMED_FUNCTION_CALL", True),
    ],
)
def test_an_answer_of_gemini_that_came_to_nothing_is_asked_for_again(
    ops: list[Op], raw: str, failed: bool
) -> None:
    """It is no end of a turn: nothing was said, or a call was meant. Where a call was complete, that is answered first."""
    one = reader()
    one.feed([*ops, {"op": "stop", "reason": "end", "raw": raw}], count)
    end = one.finish(TIMING, 0)
    assert isinstance(end, StepFailed) == failed
    if isinstance(end, StepFailed):
        assert (end.error.cls, end.error.code, end.error.retryable) == ("malformed", raw, True)


def test_silence_is_asked_about_once() -> None:
    """After a failure, its own included, an empty answer is an answer: the model may have said everything before."""
    again = StepReader(step=2, attempt=2)
    again.feed([{"op": "stop", "reason": "end", "raw": "STOP"}], count)
    assert isinstance(again.finish(TIMING, 0), StepFinished)


def test_the_shown_part_of_a_broken_stream_is_kept() -> None:
    """Blocks with text come back as partial ones; empty ones do not."""
    assert partial_blocks(2, [TEXT, EMPTY], count) == [
        BlockFinished(step=2, block=0, type="text", text="né", tokens=3, partial=True)
    ]


def test_bytes_of_another_dialect_end_the_attempt_and_keep_what_was_shown() -> None:
    """What was complete before it are events; text complete after it was shown, so it is kept; calls after it never are."""
    one = reader()
    after = TEXT | {"block": 5}
    assert one.feed([TEXT, {"op": "malformed"}, CALL, after, STOP], count) == [
        EVENTS[0],
        BlockFinished(step=2, block=5, type="text", text="né", tokens=3, partial=True),
    ]
    end = one.finish(TIMING, 0)
    assert isinstance(end, StepFailed)
    assert end.error.cls == "malformed"


def test_usage_and_the_error_that_came_with_a_hole_are_told() -> None:
    """Tokens are paid whatever could be read; the peer's own error says better why it ended, its normal end does not."""
    one = reader()
    assert one.feed([{"op": "malformed"}, CALL, USAGE, ERROR], count) == []
    end = one.finish(TIMING, 0)
    assert isinstance(end, StepFailed)
    assert (end.error.cls, end.usage) == ("overloaded", Usage(output=7, cache_read=3))
    assert one.feed([USAGE | {"output": 8}], count) == []
    assert one.usage == Usage(output=7, cache_read=3)
