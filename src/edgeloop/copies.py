"""What a copy of a session is made of: few large rows, message ids packed, and an end that lets it rest.

A copy (a fork, or a session that came as a file) never goes on with what its original was doing: that may still do it. So it is
closed where it was cut: what ran is `lost`, what did not run is `cancelled`, the stream is `interrupted`, the turn `stopped`. A
message that no step had taken yet is still owed an answer, and gets it. Stored text is joined and cut here without being
understood; knows no store and no file.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import pairwise

from edgeloop.errors import CorruptLog
from edgeloop.events import Event, StepError, StepFailed, ToolFinished, TurnFinished
from edgeloop.state import Call, State

PART_CHARS = 400_000
"""A row may hold 2 MB, a character is at most 4 bytes of UTF-8: longer text is split, shorter batches are packed up to here."""
PACK_IDS = 256
"""Message ids to a row."""

_json = json.JSONDecoder()


def closing(state: State) -> list[Event]:
    """The events that bring a session to rest where it was cut, whatever it was doing; none if it rests."""
    if state.phase == "idle":
        return []
    events: list[Event] = [_ended(call) for call in state.open_calls]
    if state.phase == "streaming":
        error = StepError(cls="interrupted", message="the copy was made in mid-stream", retryable=False)
        events.append(StepFailed(step=state.step, attempt=state.attempt, error=error, jitter=0.0))
    return [*events, TurnFinished(reason="stopped", detail=f"copied in mid-turn, at seq {state.seq}")]


def _ended(call: Call) -> ToolFinished:
    if call.running:
        content = (
            "It was under way when this conversation was copied. Whether it took effect is not known: check"
            " before doing it again."
        )
        return ToolFinished(call=call.call, outcome="lost", content=content)
    content = "It was not run: this conversation was copied before its turn came."
    return ToolFinished(call=call.call, outcome="cancelled", content=content)


def parts(text: str) -> list[str]:
    """A text in pieces that each fit a row; together they are the text."""
    return [text[at : at + PART_CHARS] for at in range(0, len(text), PART_CHARS)]


def records(batch: str) -> Iterator[tuple[int, str]]:
    """The records of a stored batch as they are written, each with its `seq`; what they say is not looked at.

    Raises:
        CorruptLog: not a stored batch.
    """
    at = 1
    while at < len(batch) and batch[at] != "]":
        try:
            record, end = _json.raw_decode(batch, at)
            yield record["seq"], batch[at:end]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CorruptLog(f"a stored batch cannot be read at {at}: {error}") from error
        at = end + (batch[end : end + 1] == ",")
    if batch[:1] != "[" or batch[at:] != "]":
        raise CorruptLog("a stored batch is an array")


def through(batches: Iterable[tuple[int, str]], last: int) -> Iterator[tuple[int, str]]:
    """The batches (`last seq, text`) up to and with event `last`: only the one that `last` is in the middle of is cut."""
    for seq, text in batches:
        if seq <= last:
            yield seq, text
            continue
        kept = [record for number, record in records(text) if number <= last]
        if kept:
            yield last, f"[{','.join(kept)}]"
        return


def packed(batches: Iterable[tuple[int, str]], base: int = 0) -> Iterator[tuple[int, str]]:
    """The same batches, joined to as few as fit a row each; one that is longer stays as it is.

    What is kept of a history that is condensed up to `base` is not joined with what comes after it: the next condensing would
    take it along.
    """
    held: list[str] = []
    size, last = 0, 0
    for seq, text in batches:
        if held and (size + len(text) > PART_CHARS or last <= base < seq):
            yield last, f"[{','.join(held)}]"
            held, size = [], 0
        held.append(text[1:-1])
        size += len(text)
        last = seq
    if held:
        yield last, f"[{','.join(held)}]"


def message_packs(ids: Iterable[tuple[str, int]]) -> Iterator[tuple[str, str]]:
    """Message ids in rows of many, found by the first: `(first id, {id: seq})`. One row per message would be the most of a copy.

    Raises:
        CorruptLog: an id is there twice.
    """
    ordered = sorted(ids)
    for (one, seq), (other, again) in pairwise(ordered):
        if one == other:
            raise CorruptLog(f"the message id {one!r} is that of seq {seq}", seq=again)
    for at in range(0, len(ordered), PACK_IDS):
        pack = ordered[at : at + PACK_IDS]
        yield pack[0][0], json.dumps(dict(pack), separators=(",", ":"))
