"""The view: what may not follow is a gap, and whatever is cut or sent twice folds to the log's own view."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop.events import (
    BlockFinished,
    Event,
    Recorded,
    StepError,
    StepFailed,
    StepFinished,
    StepStarted,
    Timing,
    ToolCallCompleted,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    Usage,
    UserMessageReceived,
)
from edgeloop.wire import (
    Accepted,
    BlockStreamed,
    CallOpened,
    Delta,
    Events,
    SendMessage,
    Snapshot,
    Synced,
    ToolResult,
    Welcome,
    WireEvent,
)
from edgeloop_client.errors import Gap
from edgeloop_client.view import Fresh, Opened, Restarted, Skipped, View

TIMING = Timing(wall_ms=1, request_bytes=1, response_bytes=1)
MESSAGE = SendMessage(id="m", text="go")
RESULT = ToolResult(call="1.1", epoch=1, outcome="ok", content="result", ms=3)
TEXT = "aä👩‍👩‍👧z"


def delta(text: str, off: int, *, step: int = 1, attempt: int = 1, block: int = 0) -> Delta:
    """A delta of text."""
    return Delta(step=step, attempt=attempt, block=block, kind="text", off=off, text=text)


def started(step: int = 1, attempt: int = 1) -> StepStarted:
    return StepStarted(step=step, attempt=attempt)


def finished(text: str = TEXT, block: int = 0, *, partial: bool = False) -> BlockFinished:
    return BlockFinished(step=1, block=block, type="text", text=text, partial=partial)


def streamed(text: str = TEXT, block: int = 0) -> BlockStreamed:
    return BlockStreamed(step=1, block=block, type="text", bytes=len(text.encode()))


def view_at(*events: Event) -> View:
    """A view that has folded these."""
    view = View(log="log")
    for event in events:
        view.fold(Recorded(seq=view.seq + 1, at=0, event=event))
    return view


def events(view: View, *wire: Event | BlockStreamed | Accepted) -> Events:
    """The next events as a frame."""
    return Events(
        events=tuple(WireEvent(seq=view.seq + 1 + n, at=0, event=event) for n, event in enumerate(wire))
    )


OPEN = (UserMessageReceived(id="m", text="go", tokens=1), started())


def test_deltas_make_the_block() -> None:
    """The streamed form of a block takes its text from the deltas, and equals the whole form."""
    view, whole = view_at(*OPEN), view_at(*OPEN)
    assert view.apply(delta("aä", 0)) == [Fresh(step=1, attempt=1, block=0, kind="text", text="aä")]
    assert view.position is not None
    assert view.position.off == 3
    view.apply(delta("👩‍👩‍👧z", 3))
    assert len(view.apply(events(view, streamed()))) == 1
    whole.apply(events(whole, finished()))
    assert view == whole
    assert not view.live
    assert view.position is None


@pytest.mark.parametrize(
    ("off", "text", "fresh"),
    [(0, "aä", None), (0, TEXT, "👩‍👩‍👧z"), (1, "ä👩", "👩"), (3, "👩", "👩"), (3, "", None)],
)
def test_overlapping_deltas(off: int, text: str, fresh: str | None) -> None:
    """What is held already is not shown again; only what is new is."""
    view = view_at(*OPEN)
    view.apply(delta("aä", 0))
    assert [change.text for change in view.apply(delta(text, off)) if isinstance(change, Fresh)] == (
        [fresh] if fresh else []
    )


GAPS = [
    delta("x", 4),
    delta("b", 0),
    Events(events=(WireEvent(seq=9, at=0, event=started()),)),
    Events(events=(WireEvent(seq=3, at=0, event=streamed("aä?")),)),
    Events(events=(WireEvent(seq=3, at=0, event=streamed("a")),)),
    Events(events=(WireEvent(seq=3, at=0, event=Accepted(of="user_message_received", ref="other")),)),
    Events(events=(WireEvent(seq=3, at=0, event=Accepted(of="tool_finished", ref="m")),)),
    Events(events=(WireEvent(seq=3, at=0, event=ToolStarted(call="1.7", runner="c", epoch=1)),)),
    Events(events=(WireEvent(seq=3, at=0, event=TurnFinished(reason="done")),)),
    Synced(seq=7),
    Welcome(v=1, agent="a", log="other", head=2),
]


@pytest.mark.parametrize("frame", GAPS, ids=lambda frame: frame.t)
def test_gaps(frame: Events) -> None:
    """A frame that cannot follow raises, and the folded part is as it was: the cursor is still good."""
    view = view_at(*OPEN)
    view.sent(MESSAGE)
    view.apply(delta("aä", 0))
    with pytest.raises(Gap):
        view.apply(frame)
    view.forget_live()
    assert view == view_at(*OPEN)
    view.apply(events(view, finished()))


def test_a_gap_within_a_frame_tells_what_came_before_it() -> None:
    """Of a frame of several events, those before the gap are folded and told."""
    view = view_at(*OPEN)
    with pytest.raises(Gap) as raised:
        view.apply(events(view, finished(), streamed("?", 1)))
    assert [change.event for change in raised.value.changes if isinstance(change, Recorded)] == [finished()]
    assert view.seq == 3


def test_repeated_events_change_nothing() -> None:
    """An event that is held already is dropped."""
    view = view_at(*OPEN)
    frame = events(view, finished())
    view.apply(frame)
    assert view.apply(frame) == []


def test_a_discarded_attempt_shows_nothing() -> None:
    """What an attempt showed that the log did not keep is gone with it; late deltas of it are dropped."""
    view = view_at(*OPEN)
    view.apply(delta("half", 0))
    view.apply(CallOpened(step=1, attempt=1, block=1, name="look"))
    failed = StepFailed(step=1, attempt=1, error=StepError(cls="truncated", retryable=True), jitter=0)
    view.apply(events(view, failed))
    assert not view.live
    assert not view.opened
    assert view.apply(delta("late", 4)) == []
    assert view.answer == ""
    assert view == view_at(*OPEN, failed)


def test_a_kept_partial_is_the_answer() -> None:
    """A partial block in the log stays; what was shown beyond it is not in the view."""
    view = view_at(*OPEN)
    view.apply(delta("half and more", 0))
    changes = view.apply(events(view, finished("half", partial=True)))
    assert [change for change in changes if isinstance(change, Fresh)] == []
    assert view.answer == "half"


def test_what_is_whole_shows_its_rest() -> None:
    """A block that comes whole after some deltas shows only what was not shown."""
    view = view_at(*OPEN)
    view.apply(delta("aä", 0))
    fresh = [change.text for change in view.apply(events(view, finished())) if isinstance(change, Fresh)]
    assert fresh == ["👩‍👩‍👧z"]


def test_opened_calls_are_told_once() -> None:
    """A call being written is told once, and not when it is complete already."""
    view = view_at(*OPEN)
    opened = CallOpened(step=1, attempt=1, block=1, name="look")
    assert view.apply(opened) == [Opened(step=1, block=1, name="look")]
    assert view.apply(opened) == []
    call = ToolCallCompleted(step=1, block=1, call="1.1", provider_id="", name="look", arguments="{}")
    view.apply(events(view, call))
    assert view.apply(opened) == []
    assert not view.opened


def test_own_messages_and_results_come_back_short() -> None:
    """`accepted` stands for what was sent from here, and equals the whole event."""
    call = ToolCallCompleted(step=1, block=1, call="1.1", provider_id="", name="look", arguments="{}")
    run = ToolStarted(call="1.1", runner="c", epoch=1)
    view = View(log="log")
    view.sent(MESSAGE)
    view.sent(RESULT)
    view.apply(events(view, Accepted(of="user_message_received", ref="m", tokens=1), started(), call, run))
    view.apply(events(view, Accepted(of="tool_finished", ref="1.1")))
    whole = ToolFinished(call="1.1", outcome="ok", content="result", ms=3)
    assert view == view_at(*OPEN, call, run, whole)
    assert view.calls["1.1"].content == "result"


def test_a_reset_drops_everything_but_what_was_sent() -> None:
    """Another log: what was held goes, what is on its way stays known."""
    view = view_at(*OPEN)
    view.sent(MESSAGE)
    assert view.apply(Welcome(v=1, agent="a", log="new", head=1, reset=True)) == [Restarted()]
    assert view == View(log="new")
    view.apply(events(view, Accepted(of="user_message_received", ref="m")))
    assert view.messages == {"m": "go"}


SNAPSHOT = Snapshot(
    seq=7, phase="idle", provider="p", model="m", step=3, turns=2, usage=Usage(output=5), message_tokens=9
)


def test_a_snapshot_stands_for_what_is_no_longer_kept() -> None:
    """A view that is too old drops what it held and goes on behind the snapshot; one that is there already is a gap."""
    view = View(log="l")
    view.fold(Recorded(seq=1, at=1, event=UserMessageReceived(id="old", text="x", tokens=1)))
    assert view.apply(SNAPSHOT) == [Skipped(base=SNAPSHOT)]
    assert (view.log, view.seq, view.messages, view.turns, view.usage.output) == ("l", 7, {}, 2, 5)
    assert (view.provider, view.model, view.phase) == ("p", "m", "idle")
    view.fold(Recorded(seq=8, at=1, event=started(4)))
    assert view.apply(Synced(seq=8)) == []
    with pytest.raises(Gap):
        view.apply(SNAPSHOT)


def test_usage_adds_up() -> None:
    """Usage of all model calls is summed, failed ones included; what nobody reported stays unknown."""
    usage = Usage(input_uncached=5, output=2)
    end = StepFinished(step=1, stop="end", usage=usage, timing=TIMING)
    failed = StepFailed(
        step=1, attempt=1, error=StepError(cls="server", retryable=True), jitter=0, usage=usage
    )
    view = view_at(*OPEN, failed, *_retry(), end)
    assert (view.usage.input_uncached, view.usage.cache_read) == (10, None)


def _retry() -> tuple[Event, ...]:
    from edgeloop.events import RetryScheduled

    return (RetryScheduled(due=1), started(1, 2))


@given(st.text(max_size=60), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60))), st.data())
def test_any_cuts_and_repeats(text: str, spans: list[tuple[int, int]], data: st.DataObject) -> None:
    """However a text is cut, repeated and resent from earlier on, the block is the text and is shown exactly once."""
    text = text.encode("utf-8", "ignore").decode()
    view = view_at(*OPEN)
    shown: list[str] = []
    held = 0
    for start, length in [*spans, (0, len(text))]:
        start = min(start, held)
        piece = text[start : start + length]
        changes = view.apply(delta(piece, len(text[:start].encode())))
        shown += [change.text for change in changes if isinstance(change, Fresh)]
        held = max(held, start + len(piece))
    wire = data.draw(st.sampled_from([streamed(text), finished(text)]))
    view.apply(events(view, wire))
    assert "".join(shown) == text
    assert view == view_at(*OPEN, finished(text))
