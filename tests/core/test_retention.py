"""A condensed log: the conversation is whole, the replay goes on, and nothing behind the cut is touched."""

import json
from pathlib import Path

import pytest

from edgeloop import retention
from edgeloop.codec import decode_base, decode_batch, encode_batch, encode_state
from edgeloop.copies import records
from edgeloop.errors import CorruptLog
from edgeloop.events import Recorded
from edgeloop.prompt import Prompt
from edgeloop.retention import KEPT, Condensed, condense
from edgeloop.session import Session
from tests.core.test_codec import common
from tests.support.core import Action, Ask, Fault, Sim, Tool, failure, said

TOOLS = (Tool(name="read"), Tool(name="write", effect="mutate"))
TURNS = 5
STATES = sorted((Path(__file__).parent / "golden").glob("*.state.json"))


def log() -> list[Recorded]:
    """Five turns with calls, a failure, a message meanwhile and a stop."""
    script = [
        m
        for n in range(8)
        for m in (
            said(f"Words {n}. ", Ask("read", f'{{"n":{n}}}'), Ask("write", f'{{"n":{n}}}')),
            said(f"So {n}."),
        )
    ]
    says = [
        Action(lambda sim, n=n: sim.kinds.count("turn_finished") == n, lambda sim, n=n: sim.say(f"turn {n}"))
        for n in range(1, TURNS)
    ]
    sim = Sim(
        tools=TOOLS,
        script=script,
        faults={0: [Fault(failure(), 3)], 9: [Fault(failure("connection"), 2)]},
        actions=[Action(lambda sim: "step_failed" in sim.kinds, lambda sim: sim.say("hurry")), *says],
    )
    sim.begin()
    assert sim.run().kinds.count("turn_finished") == TURNS
    return sim.log


LOG = log()
RESTS = [0] + [r.seq for r in LOG if r.event.kind == "turn_finished"]


def stored(events: list[Recorded], size: int) -> list[tuple[int, str]]:
    pieces = [events[at : at + size] for at in range(0, len(events), size)]
    return [(piece[-1].seq, encode_batch(piece)) for piece in pieces]


def prompt(events: list[Recorded], provider: str) -> bytes:
    fold = Prompt(provider=provider)
    return b",".join(filter(None, map(fold.apply, events)))


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "CHUNK_EVENTS", 7)


@pytest.mark.parametrize("size", [1, 4, 1_000])
def test_a_log_is_condensed_turn_by_turn_and_says_the_same(size: int) -> None:
    """However it is stored: the prompts of every provider are the same, the state is, and what comes after is as it was."""
    rows, base, kept = stored(LOG, size), None, list[Recorded]()
    cuts = list[int]()
    while isinstance(found := condense(base, rows, len(LOG)), Condensed):
        cuts.append(found.seq)
        assert found.seq in RESTS
        base = found.state
        kept += decode_batch(found.kept)
        rows = [row for row in rows if row[0] > found.seq]
        if found.rest is not None:
            assert rows[0][0] == found.rest[0]
            rows[0] = found.rest
        tail = [r for _, text in rows for r in decode_batch(text)]
        assert tail == LOG[found.seq :]
        assert kept == [r for r in LOG[: found.seq] if r.event.kind in KEPT]
        state = decode_base(base)
        assert state == Session.replay(None, LOG[: found.seq]).state
        assert Session.replay(state, tail).state == Session.replay(None, LOG).state
        for provider in ("anthropic", "openai", "gemini"):
            assert prompt([*kept, *tail], provider) == prompt(LOG, provider)
    assert cuts[-1] == len(LOG)
    assert len(cuts) > 2


@pytest.mark.parametrize("last", range(len(LOG) + 1))
def test_nothing_after_the_last_turns_end_that_fits_is_condensed(last: int) -> None:
    """Up to whatever event: the cut is the end of a turn, not after it; without one, the first turn's end is named."""
    found = condense(None, stored(LOG, 3), last)
    if isinstance(found, Condensed):
        assert found.seq <= last
        assert found.seq in RESTS
    else:
        assert found == next(rest for rest in RESTS[1:] if rest > last)


def test_a_chunk_is_bounded_however_the_log_is_packed() -> None:
    """Of one row that holds the whole log only the first turns are taken."""
    found = condense(None, stored(LOG, 1_000), len(LOG))
    assert isinstance(found, Condensed)
    assert found.seq == RESTS[1]
    assert found.rest is not None
    assert [seq for seq, _ in records(found.rest[1])] == [r.seq for r in LOG[found.seq :]]


def test_a_turn_that_is_under_way_is_not_condensed() -> None:
    """There is no end yet to condense up to."""
    assert condense(None, stored(LOG[:20], 4), 20) == 21


@pytest.mark.parametrize("path", STATES, ids=lambda path: path.name)
def test_the_states_of_every_version_can_be_a_base(path: Path) -> None:
    """A state that an older version wrote says the same when it is read, fields that it did not have yet aside."""
    then = json.loads(path.read_text("utf-8"))["state"]
    now = json.loads(encode_state(decode_base(path.read_text("utf-8"))))["state"]
    assert common(now, then) == then


def test_a_base_of_another_version_of_the_state_is_read_with_defaults() -> None:
    """A field that the state did not have yet takes its default; a version nobody knows is a corrupt log."""
    state = Session.replay(None, LOG).state
    stored = json.loads(encode_state(state))
    older = {name: value for name, value in stored["state"].items() if name != "eager"}
    assert decode_base(json.dumps(stored | {"shape": 1, "state": older})) == state
    wrong = stored["state"] | {"phase": "nowhere"}
    for bad in ("{", "{}", json.dumps(stored | {"v": 99}), json.dumps(stored | {"state": wrong})):
        with pytest.raises(CorruptLog):
            decode_base(bad)
