"""The first law in counts, at the real Worker: no turn and no wake pays for the turns before it.

`make bench-growth` measures the same up to turn 1,000 and 10,000 events, with times, beside a named peer.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from bench._contestants import Contestant, Contestants
from bench._load import Provider, load

CHARS = 1_000
TURN = {"say": "reply:50x20", "chars": CHARS}
BEYOND_BYTES = 1_024
WAKE_STATEMENTS = 5


@pytest.fixture(scope="module")
def edge() -> Iterator[Contestant]:
    """A Worker whose sessions can be evicted."""
    with ExitStack() as stack:
        yield Contestants(stack, stack.enter_context(Provider())).evictable()


def test_a_late_turn_costs_what_an_early_one_costs(edge: Contestant):
    """With 2 KB of new text each, turn 100 has the rows, the statements and the bytes of turn 5."""
    asked = edge.options(**TURN, session="turns", turns=102, points=(5, 100), window=3)
    turns: Any = load("growth.mjs", asked)
    early, late = [[turn for turn in turns if turn["point"] == point] for point in (5, 100)]
    for count in ("rowsWritten", "rowsRead", "statements", "framesUp"):
        assert [turn[count] for turn in late] == [turn[count] for turn in early], count
    for way in ("up", "down"):
        assert max(turn[way] for turn in late) <= 1.05 * min(turn[way] for turn in early), way
        assert max(turn[way] for turn in late) - CHARS < BEYOND_BYTES, way


def test_a_client_that_comes_back_is_sent_what_it_missed(edge: Contestant):
    """After some missed turns exactly their events come, and under 1 KB beside them in both directions."""
    found = load("reconnect.mjs", edge.options(**TURN, session="back", turns=30, missed=(1, 8)))
    for missed in found["missed"]:
        assert missed["followed"] == missed["events"] > 0
        assert missed["down"] - missed["stored"] < BEYOND_BYTES
        assert missed["up"] < BEYOND_BYTES


def test_a_wake_does_not_read_the_log(edge: Contestant):
    """A session of 1,000 events wakes by at most five statements, which read the rows that one of ten reads."""
    storm = {"sessions": 10, "withinMs": 100}
    found = load("wakes.mjs", edge.options(events=(10, 1_000), rounds=2, storm=storm))
    short, long = found["wakes"]["10"], found["wakes"]["1000"]
    for wake in (*short, *long):
        assert wake["statements"] <= WAKE_STATEMENTS
    assert [wake["rowsRead"] for wake in long] == [wake["rowsRead"] for wake in short]
