"""Replay after a loss: folding what is sent on top of what was held equals the log, and nothing held is sent again."""

import json

import pytest

from edgeloop.events import BlockFinished, Event, Recorded, StepError, StepFailed, StepStarted, ToolFinished
from edgeloop.sync import FRAME_CHARS, FRAME_EVENTS, missed_frames, streaming_frames
from edgeloop.wire import BlockStreamed, Delta, Events, StreamPosition, parse_server_frame

TEXT = "Grüße aus 東京 🙂."


def log(*events: Event, after: int = 4) -> list[Recorded]:
    """Events as recorded behind a cursor."""
    return [Recorded(seq=after + n, at=n, event=event) for n, event in enumerate(events, 1)]


def at(off: int, *, step: int = 1, attempt: int = 1, block: int = 0) -> StreamPosition:
    return StreamPosition(step=step, attempt=attempt, block=block, off=off)


def said(text: str = TEXT, *, block: int = 0, step: int = 1) -> BlockFinished:
    return BlockFinished(step=step, block=block, type="text", text=text, tokens=1)


def parsed(frames: list[str]) -> list[Delta | Events]:
    found = [parse_server_frame(frame) for frame in frames]
    assert all(isinstance(frame, Delta | Events) for frame in found)
    return found  # type: ignore[return-value]


def seqs(frames: list[Delta | Events]) -> list[int]:
    return [wire.seq for frame in frames if isinstance(frame, Events) for wire in frame.events]


OFFSETS = [len(TEXT[:n].encode()) for n in range(len(TEXT) + 1)]


@pytest.mark.parametrize("off", OFFSETS)
def test_a_held_block_is_sent_as_its_rest(off: int):
    """From any offset the rest of the text comes as one delta, and the event as its length."""
    missed = log(said("before", block=7), said(), StepStarted(step=2, attempt=1))
    found = parsed(list(missed_frames(missed, at(off))))
    rest = "".join(frame.text for frame in found if isinstance(frame, Delta))
    assert TEXT.encode()[:off] + rest.encode() == TEXT.encode()
    assert seqs(found) == [5, 6, 7]
    streamed = [wire.event for f in found if isinstance(f, Events) for wire in f.events if wire.seq == 6]
    assert isinstance(streamed[0], BlockStreamed)
    assert streamed[0].bytes == len(TEXT.encode())


FAILED = StepFailed(step=1, attempt=1, error=StepError(cls="truncated", retryable=True), jitter=0.0)
OPAQUE = BlockFinished(step=1, block=0, type="opaque", text="", echo="{}", tokens=0)


@pytest.mark.parametrize(
    ("missed", "position"),
    [
        (log(said()), None),
        (log(said()), at(len(TEXT.encode()) + 1)),
        (log(said()), at(3, block=1)),
        (log(said()), at(3, step=2)),
        (log(OPAQUE), at(0)),
        (log(FAILED, StepStarted(step=1, attempt=2), said()), at(3)),
        (log(FAILED), at(3)),
        ([], at(3)),
    ],
    ids=[
        "none",
        "beyond",
        "another block",
        "another step",
        "opaque",
        "another attempt",
        "nothing of it",
        "nothing",
    ],
)
def test_a_position_that_fits_nothing_changes_nothing(
    missed: list[Recorded], position: StreamPosition | None
):
    """Where the position names no block that ended meanwhile, every event comes whole and no delta before it."""
    found = parsed(list(missed_frames(missed, position)))
    assert not [frame for frame in found if isinstance(frame, Delta)]
    whole = [wire.event for frame in found if isinstance(frame, Events) for wire in frame.events]
    assert whole == [recorded.event for recorded in missed]


def test_frames_are_bounded_by_events_and_by_size():
    """No frame holds more events than the limit, and one that is full of text ends there."""
    many = log(*(said(block=n) for n in range(2 * FRAME_EVENTS + 1)))
    found = parsed(list(missed_frames(many, None)))
    assert [len(frame.events) for frame in found if isinstance(frame, Events)] == [
        FRAME_EVENTS,
        FRAME_EVENTS,
        1,
    ]
    large = log(
        *(ToolFinished(call=f"1.{n}", outcome="ok", content="x" * (FRAME_CHARS // 2)) for n in range(5))
    )
    frames = list(missed_frames(large, None))
    assert seqs(parsed(frames)) == [5, 6, 7, 8, 9]
    assert max(map(len, frames)) < 2 * FRAME_CHARS


@pytest.mark.parametrize("off", OFFSETS)
def test_a_block_being_streamed_goes_on_where_it_is_held(off: int):
    """Of the block in the position only the rest is sent; of the others all."""
    blocks = [{"block": 0, "kind": "text", "text": TEXT}, {"block": 1, "kind": "reasoning", "text": "hm"}]
    frames = [json.loads(frame) for frame in streaming_frames(1, 1, blocks, at(off))]
    mine = [frame for frame in frames if frame["block"] == 0]
    assert TEXT.encode()[:off] + "".join(frame["text"] for frame in mine).encode() == TEXT.encode()
    assert all(frame["off"] == off for frame in mine)
    assert [(frame["off"], frame["text"]) for frame in frames if frame["block"] == 1] == [(0, "hm")]


@pytest.mark.parametrize("position", [None, at(3, attempt=2), at(3, step=2), at(1_000)])
def test_a_foreign_position_brings_the_whole_block(position: StreamPosition | None):
    """A position in another attempt or step, or beyond the end, is as none."""
    blocks = [{"block": 0, "kind": "text", "text": TEXT}]
    frames = [json.loads(frame) for frame in streaming_frames(1, 1, blocks, position)]
    assert [(frame["off"], frame["text"]) for frame in frames] == [(0, TEXT)]
