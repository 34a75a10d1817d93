"""What is kept of a log's beginning once it is condensed: the conversation, packed, and the state in which it left the session.

Raw events serve clients that missed them, audits and replay; the conversation serves the prompt (another provider's, say) and the
ids of messages. A log is condensed up to the end of a turn only, so that what follows replays from a state at rest. Knows no
store.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edgeloop.codec import decode_base, decode_batch, encode_state
from edgeloop.copies import records
from edgeloop.events import Recorded
from edgeloop.session import Session
from edgeloop.state import State

KEPT = frozenset(
    (
        "config_changed",
        "user_message_received",
        "step_started",
        "block_finished",
        "tool_call_completed",
        "tool_finished",
        "step_finished",
    )
)
"""The kinds that `transcript.py` folds; a test compares the prompts."""
CHUNK_EVENTS = 256
"""About so many events are condensed at a time: the work of a turn's end is bounded, and what is kept is packed."""


@dataclass(frozen=True, kw_only=True)
class Condensed:
    """The log up to `seq` in another form: `state` (encoded) after it, the batch of what is kept of it, and of the stored batch
    that `seq` is in the middle of, its last `seq` and what comes after."""

    seq: int
    state: str
    kept: str
    rest: tuple[int, str] | None


def condense(base: str | None, batches: Iterable[tuple[int, str]], last: int) -> Condensed | int:
    """Condense what follows `base` (a state as stored; None: the log's beginning), up to the last turn's end before event `last`.

    Returns:
        The outcome, or the `seq` of the first turn's end, if that is after `last`: it is of no use to ask again before.

    Raises:
        CorruptLog: the log cannot be replayed.
    """
    state = decode_base(base) if base is not None else State()
    found, rests = _read(batches, state.seq)
    fitting = [seq for seq in rests if seq <= last]
    if not fitting:
        return rests[0] if rests else last + 1
    seq = fitting[-1]
    session = Session.replay(state, (recorded for recorded, _, _ in found if recorded.seq <= seq))
    kept = [text for recorded, text, _ in found if recorded.seq <= seq and recorded.event.kind in KEPT]
    row = next(row for recorded, _, row in found if recorded.seq == seq)
    after = [record for number, record in records(row[1]) if number > seq]
    return Condensed(
        seq=seq,
        state=encode_state(session.state),
        kept=f"[{','.join(kept)}]",
        rest=(row[0], f"[{','.join(after)}]") if after else None,
    )


Found = tuple[Recorded, str, tuple[int, str]]
"""An event, its record as written, and the batch that it is stored in."""


def _read(batches: Iterable[tuple[int, str]], after: int) -> tuple[list[Found], list[int]]:
    """A chunk of events, to the end of a turn at least; and where in it turns end."""
    found: list[Found] = []
    rests: list[int] = []
    for recorded, text, row in _events(batches, after):
        found.append((recorded, text, row))
        if recorded.event.kind == "turn_finished":
            rests.append(recorded.seq)
        if len(found) >= CHUNK_EVENTS and rests:
            break
    return found, rests


def _events(batches: Iterable[tuple[int, str]], after: int) -> Iterator[Found]:
    for row in batches:
        for seq, text in records(row[1]):
            if seq > after:
                yield decode_batch(f"[{text}]")[0], text, row
