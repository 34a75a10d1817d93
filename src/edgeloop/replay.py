"""What a client that comes back is sent: what it lacks, and nothing that it holds.

Decides from the stored events after its cursor and from its position in the block that was being streamed to it; knows no socket
and no store. Stored text is sent as it is stored: only where a short form may stand for an event is a batch decoded.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from edgeloop.codec import CURRENT, decode_batch
from edgeloop.events import BlockFinished, Recorded, StepStarted
from edgeloop.frames import event_record, events_frame, frame_of_records
from edgeloop.wire import Delta, StreamPosition

FRAME_CHARS = 1 << 20
"""A frame ends with the batch that fills it."""

_FIRST = re.compile(r'\[\{"v":\d+,"seq":(\d+),')
_OTHER_VERSION = re.compile(rf'\{{"v":(?!{CURRENT},)\d+,"seq":')
_TOOLS = '"kind":"tools_declared"'


def missed_frames(
    batches: Iterable[str], after: int, position: StreamPosition | None, *, tools: str | None = None
) -> Iterator[str]:
    """Frames of the events after a cursor, given the stored batches that hold them.

    A block of which the client holds a part is sent as the rest of its text. `tools` is the digest of the tools the client runs:
    their declaration is not sent back to it in full.
    """
    held = _Held(position)
    records: list[str] = []
    chars = 0
    for text in batches:
        if not held.is_looked_for and _is_sendable(text, after, tools):
            pieces = [text[1:-1]]
        else:
            missed = [recorded for recorded in decode_batch(text) if recorded.seq > after]
            pieces = list[str]()
            for recorded in missed:
                rest = held.rest(recorded)
                if rest is not None:
                    yield from _flush([*records, *pieces])
                    records, pieces, chars = [], [], 0
                    yield from rest
                    yield events_frame([recorded], streamed=True)
                else:
                    pieces.append(event_record(recorded, tools=tools))
        records += pieces
        chars += sum(map(len, pieces))
        if chars >= FRAME_CHARS:
            yield from _flush(records)
            records, chars = [], 0
    yield from _flush(records)


def streaming_frames(
    step: int, attempt: int, blocks: list[dict[str, Any]], position: StreamPosition | None
) -> Iterator[str]:
    """Frames of the blocks being streamed (`{block, kind, text}` each), without what the client holds of them."""
    for block in blocks:
        known = StreamPosition(step=step, attempt=attempt, block=block["block"], off=0)
        if position is not None and position.model_copy(update={"off": 0}) == known:
            known = position
        yield from _rest(known, block["kind"], block["text"])


class _Held:
    """The block of the client's position, looked for in the events after its cursor."""

    def __init__(self, position: StreamPosition | None) -> None:
        self._position = position

    @property
    def is_looked_for(self) -> bool:
        """Whether the block may still end in what follows."""
        return self._position is not None

    def rest(self, recorded: Recorded) -> Iterator[str] | None:
        """What is left of the block's text, if this is its end; None for every other event."""
        position = self._position
        if position is None:
            return None
        match recorded.event:
            case StepStarted():
                self._position = None
            case BlockFinished() as block if (block.step, block.block) == (position.step, position.block):
                self._position = None
                if block.type != "opaque" and position.off <= len(block.text.encode()):
                    return _rest(position, block.type, block.text)
            case _:
                pass
        return None


def _is_sendable(text: str, after: int, tools: str | None) -> bool:
    """Whether a stored batch may be sent as it is: all of it missed, of this version, and nothing in it that has a short form."""
    first = _FIRST.match(text)
    return (
        first is not None
        and int(first[1]) > after
        and _OTHER_VERSION.search(text) is None
        and (tools is None or _TOOLS not in text)
    )


def _flush(records: list[str]) -> Iterator[str]:
    if records:
        yield frame_of_records(records)


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
