"""Copies of a session: cut anywhere they rest, their prompt goes on from the original's, and they are few rows."""

import json
from collections.abc import Callable

import pytest

from edgeloop.codec import decode_batch, encode_batch
from edgeloop.copies import (
    PACK_IDS,
    PART_CHARS,
    closing,
    message_packs,
    packed,
    parts,
    records,
    through,
)
from edgeloop.errors import CorruptLog
from edgeloop.events import Recorded, StepStarted, ToolFinished, UserMessageReceived
from edgeloop.prompt import Prompt, build_request
from edgeloop.schedule import World, due
from edgeloop.session import Session
from tests.support.core import TARGET, Action, Ask, Fault, Sim, Tool, failure, said

TOOLS = (
    Tool(name="read"),
    Tool(name="write", effect="mutate"),
    Tool(name="here", place="client", effect="mutate"),
)


def plain() -> Sim:
    """Three turns with tools of every kind."""
    calls = (Ask("read"), Ask("write"), Ask("here"))
    return Sim(
        tools=TOOLS,
        script=[
            said("Let me see. ", *calls),
            said("So it is."),
            said("Again. ", Ask("here", '{"n": 1}')),
            said("Yes."),
        ],
        actions=[Action(lambda sim: sim.kinds.count("turn_finished") == 1, lambda sim: sim.say("and now"))],
    )


def broken() -> Sim:
    """A stream that breaks after text and a call, a message meanwhile, a stop in the second turn."""
    return Sim(
        tools=TOOLS,
        script=[
            said("Words and more. ", Ask("read"), Ask("write")),
            said("Then."),
            said("Late. ", Ask("here")),
        ],
        faults={0: [Fault(failure(), 5)], 1: [Fault(failure("connection"), 0)]},
        actions=[
            Action(lambda sim: sim.kinds.count("step_failed") == 1, lambda sim: sim.say("hurry")),
            Action(lambda sim: sim.kinds.count("turn_finished") == 1, lambda sim: sim.say("more")),
            Action(lambda sim: sim.kinds.count("tool_started") == 3, lambda sim: sim.stop()),
        ],
    )


def asking() -> Sim:
    """A question that a person says no to."""
    return Sim(
        tools=TOOLS,
        mode="ask",
        script=[said("May I? ", Ask("read"), Ask("write"), Ask("here")), said("Well.")],
        actions=[
            Action(lambda sim: sim.kinds.count("call_judged") == 3, lambda sim: sim.answer(allow=True)),
            Action(lambda sim: "approval_decided" in sim.kinds, lambda sim: sim.answer(allow=False)),
        ],
    )


MADE: dict[str, Callable[[], Sim]] = {"plain": plain, "broken": broken, "asking": asking}


def log_of(name: str) -> list[Recorded]:
    """The whole log of a scripted conversation."""
    sim = MADE[name]()
    sim.begin()
    return sim.run().log


def copied(log: list[Recorded], at: int) -> tuple[Session, list[Recorded]]:
    """A copy of the first events, brought to rest."""
    kept = log[:at]
    session = Session.replay(None, kept)
    for event in closing(session.state):
        recorded = Recorded(seq=session.state.seq + 1, at=9, event=event)
        session.apply(recorded)
        kept.append(recorded)
    return session, kept


def request(log: list[Recorded]) -> bytes:
    """The body of the request that the log's next step sends, without what closes it."""
    state = Session.replay(None, log).state
    prompt = Prompt(provider=state.provider)
    begun = Recorded(seq=state.seq + 1, at=9, event=StepStarted(step=state.step + 1, attempt=1))
    messages = b",".join(filter(None, map(prompt.apply, [*log, begun])))
    return build_request(state, TARGET, messages).body.removesuffix(b"]}")


@pytest.mark.parametrize("name", MADE)
def test_a_copy_rests_wherever_it_was_cut(name: str) -> None:
    """After every event: what it adds is allowed, nothing runs or is asked any more, and only an untaken message is due."""
    log = log_of(name)
    assert len(log) > 20
    for at in range(1, len(log) + 1):
        session, _ = copied(log, at)
        state = session.state
        assert (state.phase, state.open_calls) == ("idle", [])
        following = due(state, World(now=10, hosts=("laptop",)))
        assert (following is not None) == bool(state.queued), at
        assert following is None or following.kind == "step_started"


@pytest.mark.parametrize("name", MADE)
def test_a_copy_says_what_may_have_happened(name: str) -> None:
    """What had been started is lost, what had not is cancelled; what was finished keeps its result."""
    log = log_of(name)
    ends: set[str] = set()
    for at in range(1, len(log) + 1):
        open_calls = {call.call: call for call in Session.replay(None, log[:at]).state.open_calls}
        added = [r.event for r in copied(log, at)[1][at:] if isinstance(r.event, ToolFinished)]
        assert {end.call for end in added} == set(open_calls)
        for end in added:
            assert end.outcome == ("lost" if open_calls[end.call].running else "cancelled")
            ends.add(end.outcome)
    assert ends == {"lost", "cancelled"}


@pytest.mark.parametrize("name", MADE)
def test_a_copys_first_request_goes_on_from_the_originals(name: str) -> None:
    """The last request that the original made before the cut is a byte prefix of the copy's first: its cache is met (law 4)."""
    log = log_of(name)
    last, checked = b"", 0
    for at in range(1, len(log) + 1):
        if log[at - 1].event.kind == "step_started":
            last = request(log[: at - 1])
        if last:
            _, copy = copied(log, at)
            message = UserMessageReceived(id="new", text="something else", tokens=1)
            asked = request([*copy, Recorded(seq=len(copy) + 1, at=9, event=message)])
            assert asked.startswith(last), at
            assert len(asked) > len(last)
            checked += 1
    assert checked > 15


def batches(log: list[Recorded], size: int) -> list[tuple[int, str]]:
    """A log as it is stored, so many events to a row."""
    pieces = [log[at : at + size] for at in range(0, len(log), size)]
    return [(piece[-1].seq, encode_batch(piece)) for piece in pieces]


@pytest.mark.parametrize("size", [1, 3, 64])
def test_a_cut_log_holds_all_up_to_the_cut_and_nothing_after(size: int) -> None:
    """Cut at every event, also in the middle of a batch."""
    log = log_of("plain")
    for at in range(1, len(log) + 1):
        kept = list(through(batches(log, size), at))
        assert [r for _, text in kept for r in decode_batch(text)] == log[:at]
        assert kept[-1][0] == at


def test_a_packed_log_is_few_rows_with_the_same_bytes_in_them() -> None:
    """Two thousand batches become a handful of rows, each within its bound, and say what they said."""
    log = [
        Recorded(seq=n, at=n, event=UserMessageReceived(id=f"m{n}", text="é\n" * 150, tokens=1))
        for n in range(1, 2_001)
    ]
    stored = batches(log, 1)
    rows = list(packed(stored))
    assert len(rows) == -(-sum(len(text) for _, text in stored) // PART_CHARS)
    assert all(len(text) <= PART_CHARS for _, text in rows)
    assert [seq for seq, _ in rows] == [decode_batch(text)[-1].seq for _, text in rows]
    assert [r for _, text in rows for r in decode_batch(text)] == log


def test_a_batch_longer_than_a_row_stays_whole_and_is_split() -> None:
    """An event longer than a row is packed with no other, and its parts are its text."""
    log = [
        Recorded(seq=n, at=n, event=UserMessageReceived(id=f"m{n}", text=text, tokens=1))
        for n, text in enumerate(("a", "\0" * 200_000, "b"), start=1)
    ]
    rows = list(packed(batches(log, 1)))
    assert [seq for seq, _ in rows] == [1, 2, 3]
    assert [len(parts(text)) for _, text in rows] == [1, 4, 1]
    assert "".join(parts(rows[1][1])) == rows[1][1]


def test_records_are_taken_apart_as_they_are_written() -> None:
    """The pieces of a batch are its own text, so what a newer or older version wrote stays as it was."""
    first, second = '{"v": 1,"seq":7,"x":[1,{"a":"]"}]}', '{"seq":8, "v":2}'
    assert list(records(f"[{first},{second}]")) == [(7, first), (8, second)]
    assert list(records("[]")) == []


@pytest.mark.parametrize("text", ["", "{}", "[", "[{]", '[{"v":1}]', "[1]", "[[1]]", '[{"seq":1},'])
def test_what_is_no_batch_is_a_corrupt_log(text: str) -> None:
    """A stored text that nobody wrote is refused, with one typed error."""
    with pytest.raises(CorruptLog):
        list(records(text))


def test_message_ids_are_packed_by_hundreds_and_found_by_the_first() -> None:
    """Each pack begins where its key says, and all ids are in one of them."""
    ids = {f"m-{n * 7919 % 10_007}": n for n in range(1, 1_001)}
    packs = list(message_packs(ids.items()))
    assert len(packs) == -(-1_000 // PACK_IDS)
    assert [first for first, _ in packs] == sorted(first for first, _ in packs)
    assert all(min(json.loads(body)) == first for first, body in packs)
    assert {one: seq for _, body in packs for one, seq in json.loads(body).items()} == ids


def test_an_id_that_is_there_twice_is_refused() -> None:
    """Two messages of one id are no log of ours; the error names where."""
    with pytest.raises(CorruptLog, match="seq 9: the message id 'a' is that of seq 2"):
        list(message_packs([("a", 9), ("b", 3), ("a", 2)]))
