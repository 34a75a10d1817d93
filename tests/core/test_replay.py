"""Replay after a loss: folding what is sent on top of what was held equals the log, and nothing held is sent again."""

import json

import pytest

from edgeloop.codec import CURRENT, encode_batch
from edgeloop.events import (
    BlockFinished,
    Event,
    Recorded,
    StepError,
    StepFailed,
    StepStarted,
    ToolFinished,
    ToolsDeclared,
)
from edgeloop.frames import parse_server_frame
from edgeloop.replay import FRAME_CHARS, missed_frames, streaming_frames
from edgeloop.tools import PlacedTool, ToolSpec, digest
from edgeloop.wire import BlockStreamed, Delta, Events, StreamPosition, ToolsTaken

TEXT = "Grüße aus 東京 🙂."


def log(*events: Event, after: int = 4) -> list[Recorded]:
    """Events as recorded behind a cursor."""
    return [Recorded(seq=after + n, at=n, event=event) for n, event in enumerate(events, 1)]


def missed_of(
    missed: list[Recorded], position: StreamPosition | None, *, together: int = 1, tools: str | None = None
) -> list[str]:
    """Frames of events stored as batches of so many."""
    starts = range(0, len(missed), together)
    batches = [encode_batch(missed[start : start + together]) for start in starts]
    return list(missed_frames(batches, 4, position, tools=tools))


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


@pytest.mark.parametrize("together", [1, 3])
@pytest.mark.parametrize("off", OFFSETS)
def test_a_held_block_is_sent_as_its_rest(off: int, together: int):
    """From any offset the rest of the text comes as one delta, and the event as its length."""
    missed = log(said("before", block=7), said(), StepStarted(step=2, attempt=1))
    found = parsed(missed_of(missed, at(off), together=together))
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
    found = parsed(missed_of(missed, position))
    assert not [frame for frame in found if isinstance(frame, Delta)]
    whole = [wire.event for frame in found if isinstance(frame, Events) for wire in frame.events]
    assert whole == [recorded.event for recorded in missed]


def test_a_frame_ends_with_the_batch_that_fills_it():
    """Small batches share a frame, and one that is full of text ends there."""
    many = log(*(said(block=n) for n in range(1000)))
    assert [len(frame.events) for frame in parsed(missed_of(many, None)) if isinstance(frame, Events)] == [
        1000
    ]
    large = log(
        *(ToolFinished(call=f"1.{n}", outcome="ok", content="x" * (FRAME_CHARS // 2)) for n in range(5))
    )
    frames = missed_of(large, None)
    assert seqs(parsed(frames)) == [5, 6, 7, 8, 9]
    assert max(map(len, frames)) < 2 * FRAME_CHARS


def test_stored_text_travels_as_it_is():
    """A batch of which all is missed is sent without being read: even what this version could not read."""
    batch = f'[{{"v":{CURRENT},"seq":5,"at":1,"event":{{"kind":"not_known_here"}}}}]'
    assert list(missed_frames([batch], 4, None)) == [f'{{"t":"events","events":{batch}}}']


OLD = '[{"v":1,"seq":5,"at":1,"event":{"kind":"step_started","step":1,"attempt":1}}]'


def test_an_old_batch_is_lifted_before_it_travels():
    """What an older version wrote is sent as today's event."""
    [frame] = parsed(list(missed_frames([OLD], 4, None)))
    assert isinstance(frame, Events)
    assert frame.events[0].event == StepStarted(step=1, attempt=1)
    assert frame.events[0].v is None


def test_a_batch_held_in_part_is_sent_in_part():
    """A cursor within a batch brings the rest of the batch alone."""
    batch = encode_batch(log(said("a"), said("b", block=1), said("c", block=2)))
    assert seqs(parsed(list(missed_frames([batch], 6, None)))) == [7]


SPEC = ToolSpec(name="look", description="d" * 500, parameters={"type": "object"}, effect="read")
EDGE = ToolSpec(name="fetch", description="f", parameters={"type": "object"}, effect="read")
DECLARED = ToolsDeclared(
    client="laptop", tools=(PlacedTool(place="edge", spec=EDGE), PlacedTool(place="client", spec=SPEC))
)


def test_tools_are_not_sent_back_to_who_brought_them():
    """The declaration of the tools that a client runs comes back as their digest; others get it whole."""
    own, other = (missed_of(log(DECLARED), None, tools=tools) for tools in (digest([SPEC]), digest([EDGE])))
    [short], [whole] = (
        [wire.event for frame in parsed(frames) if isinstance(frame, Events) for wire in frame.events]
        for frames in (own, other)
    )
    assert short == ToolsTaken(client="laptop", digest=digest([SPEC]), edge=(EDGE,))
    assert whole == DECLARED
    assert len(own[0]) < len(other[0]) - 500


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
