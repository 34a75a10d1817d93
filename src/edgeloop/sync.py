"""What a client that comes back is sent: what it lacks, and nothing that it holds.

Decides from the missed events and the client's position in the block that was being streamed to it; knows no socket and no store.
"""

from collections.abc import Iterator
from typing import Any

from edgeloop.events import (
    BlockFinished,
    Event,
    Recorded,
    StepStarted,
    ToolCallCompleted,
    ToolFinished,
    UserMessageReceived,
)
from edgeloop.wire import Delta, StreamPosition, events_frame

FRAME_EVENTS = 200
FRAME_CHARS = 1 << 20
"""A frame ends with the event that fills it: hundreds of large results in one frame would not fit into the isolate."""


def missed_frames(missed: list[Recorded], position: StreamPosition | None) -> Iterator[str]:
    """Frames of the events after a cursor. A block of which the client holds a part is sent as the rest of its text."""
    index = _held(missed, position)
    if index is None or position is None:
        yield from _events(missed)
        return
    held = missed[index]
    assert isinstance(held.event, BlockFinished)
    assert held.event.type != "opaque"
    yield from _events(missed[:index])
    yield from _rest(position, held.event.type, held.event.text)
    yield events_frame([held], streamed=True)
    yield from _events(missed[index + 1 :])


def streaming_frames(
    step: int, attempt: int, blocks: list[dict[str, Any]], position: StreamPosition | None
) -> Iterator[str]:
    """Frames of the blocks being streamed (`{block, kind, text}` each), without what the client holds of them."""
    for block in blocks:
        known = StreamPosition(step=step, attempt=attempt, block=block["block"], off=0)
        if position is not None and position.model_copy(update={"off": 0}) == known:
            known = position
        yield from _rest(known, block["kind"], block["text"])


def _events(events: list[Recorded]) -> Iterator[str]:
    batch: list[Recorded] = []
    chars = 0
    for recorded in events:
        batch.append(recorded)
        chars += _chars(recorded.event)
        if len(batch) >= FRAME_EVENTS or chars >= FRAME_CHARS:
            yield events_frame(batch)
            batch, chars = [], 0
    if batch:
        yield events_frame(batch)


def _chars(event: Event) -> int:
    """Roughly how long an event is: the fields that can be long."""
    match event:
        case UserMessageReceived() | BlockFinished():
            return len(event.text)
        case ToolFinished():
            return len(event.content)
        case ToolCallCompleted():
            return len(event.arguments)
        case _:
            return 0


def _held(missed: list[Recorded], position: StreamPosition | None) -> int | None:
    """Where in `missed` the block of the client's position ended; None if it did not, or in a later attempt."""
    if position is None:
        return None
    for index, recorded in enumerate(missed):
        match recorded.event:
            case StepStarted():
                return None
            case BlockFinished() as block if (block.step, block.block) == (position.step, position.block):
                fits = block.type != "opaque" and position.off <= len(block.text.encode())
                return index if fits else None
            case _:
                pass
    return None


def _rest(position: StreamPosition, kind: Any, text: str) -> Iterator[str]:
    """The text of a block from the position on; all of it if the position is beyond its end."""
    data = text.encode()
    off = position.off if position.off <= len(data) else 0
    if data[off:]:
        yield Delta(
            step=position.step,
            attempt=position.attempt,
            block=position.block,
            kind=kind,
            off=off,
            text=data[off:].decode("utf-8", "replace"),
        ).model_dump_json()
