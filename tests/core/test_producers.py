"""Numbers of commands: what is taken, ignored, refused and forgotten."""

import pytest

from edgeloop.codec import decode_batch, encode_batch
from edgeloop.events import Recorded, StopRequested, UserMessageReceived
from edgeloop.producers import KEPT, Number, Producer, Verdict, judge, later, remember, taken
from edgeloop.session import Session


def at(epoch: int, n: int) -> Number:
    return Number(epoch=epoch, n=n)


@pytest.mark.parametrize(
    ("known", "sent", "verdict"),
    [
        (None, at(5, 1), "next"),
        (None, at(5, 2), "gap"),
        (at(5, 3), at(5, 4), "next"),
        (at(5, 3), at(5, 3), "repeated"),
        (at(5, 3), at(5, 1), "repeated"),
        (at(5, 3), at(5, 5), "gap"),
        (at(5, 3), at(6, 1), "next"),
        (at(5, 3), at(6, 4), "gap"),
        (at(5, 3), at(4, 4), "fenced"),
        (at(5, 3), at(4, 1), "fenced"),
        (at(5, 0), at(5, 1), "next"),
    ],
)
def test_a_number_is_compared_with_the_last_one_taken(
    known: Number | None, sent: Number, verdict: Verdict
) -> None:
    """The next one is taken, an earlier one repeated, a later one a gap, one of an older life fenced."""
    assert judge(known, sent) == verdict


def test_the_later_number_is_the_higher_epoch_then_the_higher_n() -> None:
    """What the log says and what memory says are put together by order, not by who said it last."""
    assert later(at(5, 9), at(6, 1)) == at(6, 1)
    assert later(at(6, 3), at(6, 1)) == at(6, 3)
    assert later(None, at(1, 1)) == later(at(1, 1), None) == at(1, 1)
    assert later(None, None) is None
    assert (taken(at(5, 9), 5), taken(at(5, 9), 6), taken(None, 5)) == (9, 0, 0)


def test_the_producer_heard_of_longest_ago_is_forgotten() -> None:
    """The map is bounded, and a client that sends again is the youngest."""
    known: dict[str, Number] = {}
    for number in range(KEPT):
        remember(known, f"c{number}", at(1, 1))
    remember(known, "c0", at(1, 2))
    remember(known, "new", at(1, 1))
    assert len(known) == KEPT
    assert "c1" not in known
    assert known["c0"] == at(1, 2)


def test_the_log_says_what_was_taken_of_whom() -> None:
    """A producer in the envelope survives storage, and replaying gives the last number of each client."""
    log = [
        Recorded(
            seq=1,
            at=1,
            event=UserMessageReceived(id="m1", text="x", tokens=1),
            producer=Producer(client="a", epoch=7, n=1),
        ),
        Recorded(seq=2, at=2, event=UserMessageReceived(id="m2", text="y", tokens=1)),
        Recorded(
            seq=3,
            at=3,
            event=UserMessageReceived(id="m3", text="z", tokens=1),
            producer=Producer(client="a", epoch=7, n=2),
        ),
    ]
    read = decode_batch(encode_batch(log))
    assert read == log
    assert Session.replay(None, read).state.producers == {"a": at(7, 2)}


def test_a_refused_event_leaves_the_numbers_as_they_were() -> None:
    """An event that the table refuses changes nothing, its producer neither."""
    session = Session()
    recorded = Recorded(seq=1, at=1, event=StopRequested(), producer=Producer(client="a", epoch=7, n=1))
    with pytest.raises(Exception, match="not allowed"):
        session.apply(recorded)
    assert session.state.producers == {}
