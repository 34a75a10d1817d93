"""What must hold of a session's log and of the traces its calls left, whatever was broken meanwhile."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edgeloop.bodies import StateView
from edgeloop.errors import CorruptLog
from edgeloop.events import Event, Recorded, ToolCallCompleted, ToolFinished, ToolStarted, UserMessageReceived
from edgeloop.session import Session
from edgeloop_client.errors import Gap
from edgeloop_client.view import View
from scripts.chaos.story import token_of

RESTED = ("phase", "step", "turns", "queued", "usage", "message_tokens")
"""What GET state says that a replay of the log must say too."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A session as it is found: its log, what was sent to it, and how often each token was left anywhere."""

    log: str
    events: list[Recorded]
    state: StateView
    sent: Mapping[str, str]
    traces: Counter[str]


def wrong_runs(traces: Counter[str]) -> Iterator[str]:
    """Nothing is ever done twice: true at any moment."""
    for token, runs in traces.items():
        if runs > 1:
            yield f"{token} was done {runs} times"


def wrongs(found: Evidence, *, over: bool) -> Iterator[str]:
    """Everything that is not as it must be. `over`: the session is at rest and nothing more is to come."""
    yield from _wrong_order(found)
    yield from wrong_runs(found.traces)
    yield from _wrong_messages(found, over)
    yield from _wrong_calls(found, over)
    if over:
        yield from _wrong_end(found)


def _wrong_order(found: Evidence) -> Iterator[str]:
    seqs = [recorded.seq for recorded in found.events]
    if seqs != list(range(1, len(seqs) + 1)):
        yield f"the log's numbers are not 1 to {len(seqs)}"
    try:
        View.from_events(found.log, found.events)
    except Gap as gap:
        yield f"the log cannot be folded: {gap}"


def _wrong_messages(found: Evidence, over: bool) -> Iterator[str]:
    logged = [event for event in _events(found) if isinstance(event, UserMessageReceived)]
    counts = Counter(event.id for event in logged)
    for identifier, times in counts.items():
        if times > 1:
            yield f"message {identifier} is {times} times in the log"
    for event in logged:
        if event.text != found.sent.get(event.id):
            yield f"message {event.id} is not what was sent"
    for identifier in found.sent:
        if over and identifier not in counts:
            yield f"message {identifier} is lost"


def _wrong_calls(found: Evidence, over: bool) -> Iterator[str]:
    made = {event.call: event for event in _events(found) if isinstance(event, ToolCallCompleted)}
    ends: dict[str, ToolFinished] = {}
    starts = Counter[str]()
    for event in _events(found):
        if isinstance(event, ToolStarted):
            starts[event.call] += 1
        elif isinstance(event, ToolFinished):
            if event.call in ends:
                yield f"call {event.call} ended twice"
            ends[event.call] = event
    known = set[str]()
    for call in made.values():
        if over and call.call not in ends:
            yield f"call {call.call} never ended"
        token = token_of(call.name, call.arguments)
        if token is None:
            continue
        known.add(token)
        if starts[call.call] > 1:
            yield f"call {call.call}, which changes something, was started {starts[call.call]} times"
        end = ends.get(call.call)
        if end is not None:
            yield from _wrong_trace(call, end, starts[call.call], found.traces[token])
    for token in found.traces.keys() - known:
        if over:
            yield f"{token} was done, but nobody called for it"


def _wrong_trace(call: ToolCallCompleted, end: ToolFinished, starts: int, runs: int) -> Iterator[str]:
    """Done, and said to be done; or not done, and said so; or not known, and said so."""
    what = f"call {call.call} ({call.name}) ended as {end.outcome} after {starts} starts"
    if end.outcome == "ok" and runs != 1:
        yield f"{what} and was done {runs} times"
    if (end.outcome == "denied" or not starts) and runs:
        yield f"{what} but was done"
    if end.outcome == "error":
        yield f"{what}: {end.content[:300]}"


def _wrong_end(found: Evidence) -> Iterator[str]:
    last = found.events[-1].event.kind if found.events else "nothing"
    if found.state.phase != "idle":
        yield f"the session is {found.state.phase}, its log ends with {last}"
    if found.state.head != len(found.events):
        yield f"the head is {found.state.head}, the log has {len(found.events)} events"
    try:
        replayed = Session.replay(None, found.events).state
    except CorruptLog as error:
        yield f"the log cannot be replayed: {error}"
        return
    for name in RESTED:
        if getattr(replayed, name) != getattr(found.state, name):
            yield f"{name} is {getattr(found.state, name)!r}, the log says {getattr(replayed, name)!r}"


def _events(found: Evidence) -> Iterator[Event]:
    return (recorded.event for recorded in found.events)
