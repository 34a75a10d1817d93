"""The ledger of a key on SQLite itself: the cap holds, either word may come twice, a lease returns, a day ends."""

import sqlite3
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edgeloop.ledger import LEASE_MS, SCHEMA, Ledger, day_of

NOON = 1_795_262_400_000
DAY = 86_400_000


class Book:
    """A ledger in memory, and a look into its tables."""

    def __init__(self) -> None:
        self._database = sqlite3.connect(":memory:", isolation_level=None)
        self._database.executescript(SCHEMA)
        self.ledger = Ledger(self.execute)

    def execute(self, statement: str, *binds: Any) -> list[list[Any]]:
        return [list(row) for row in self._database.execute(statement, binds)]

    def spent(self, at: int = NOON) -> float:
        """What a day's row says, in dollars."""
        found = self.execute("SELECT spent FROM days WHERE day = ?", day_of(at))
        return found[0][0] / 1e6 if found else 0.0

    def reserve(self, call: str, usd: float, *, cap: float = 1.0, now: int = NOON) -> bool:
        return self.ledger.reserve(call, usd, cap=cap, now=now).granted

    def settle(self, call: str, usd: float, *, at: int = NOON, now: int = NOON) -> None:
        self.ledger.settle(call, usd, at=at, now=now)


def test_a_day_is_utc():
    """Midnight is London's in winter, wherever the object lives."""
    assert day_of(NOON) == "2026-11-21"
    assert day_of(NOON + DAY // 2 - 1) == "2026-11-21"
    assert day_of(NOON + DAY // 2) == "2026-11-22"


def test_what_is_set_aside_counts():
    """Two calls may not both have the last cent, and what was not needed is there for the next."""
    book = Book()
    assert book.reserve("a", 0.6)
    assert not book.reserve("b", 0.5)
    book.settle("a", 0.2)
    assert book.reserve("b", 0.8)
    assert not book.reserve("c", 0.000001)
    assert book.spent() == 1.0


def test_a_refusal_tells_what_is_spent():
    """The answer holds the day's figure, reservations in it."""
    book = Book()
    book.reserve("a", 0.75)
    assert book.ledger.reserve("b", 0.5, cap=1.0, now=NOON).spent == 0.75


def test_words_that_come_twice_count_once():
    """A repeated reservation or settlement, also in the wrong order, changes nothing."""
    book = Book()
    assert book.reserve("a", 0.6)
    assert book.reserve("a", 0.6)
    assert book.spent() == 0.6
    book.settle("a", 0.3)
    book.settle("a", 0.3)
    book.settle("a", 0.9)
    assert book.spent() == 0.3
    assert book.reserve("a", 0.6)
    assert book.spent() == 0.3


def test_a_call_that_cost_more_is_counted_whole():
    """An estimate that was too low shows in what is left."""
    book = Book()
    book.reserve("a", 0.1)
    book.settle("a", 1.5)
    assert book.spent() == 1.5
    assert not book.reserve("b", 0.000001)


def test_a_dead_sessions_reservation_returns():
    """After its lease it is there for others; the settlement that comes after all still counts."""
    book = Book()
    assert book.reserve("a", 1.0)
    assert not book.reserve("b", 0.5, now=NOON + LEASE_MS - 1)
    assert book.reserve("b", 0.5, now=NOON + LEASE_MS)
    assert book.spent() == 0.5
    book.settle("a", 0.25, now=NOON + LEASE_MS + 1)
    assert book.spent() == 0.75


def test_a_settlement_without_reservation_counts_today_only():
    """What was reserved and lost counts on its day; after that day nobody knows whether it had been settled."""
    book = Book()
    book.settle("a", 0.5)
    assert book.spent() == 0.5
    book.settle("b", 0.5, at=NOON, now=NOON + DAY)
    assert book.spent(NOON + DAY) == 0.0


def test_a_settlement_that_is_said_again_needs_its_reservation():
    """What may be a repeat, or another session's call, takes a reservation's place and is nothing without one."""
    book = Book()
    book.ledger.settle("copied", 0.5, at=NOON, now=NOON, again=True)
    assert book.spent() == 0.0
    book.reserve("a", 0.6)
    book.ledger.settle("a", 0.5, at=NOON, now=NOON, again=True)
    book.ledger.settle("a", 0.5, at=NOON, now=NOON, again=True)
    assert book.spent() == 0.5


def test_a_new_day_is_a_new_cap():
    """A call over midnight counts for the day on which it was let go; names of past days are forgotten."""
    book = Book()
    late = NOON + DAY // 2 - 1
    assert book.reserve("a", 0.9, now=late)
    assert book.reserve("b", 0.9, now=late + 2)
    book.settle("a", 1.0, at=late, now=late + 3)
    assert (book.spent(late), book.spent(late + 2)) == (1.0, 0.9)
    book.settle("b", 0.1, at=late + 2, now=late + 4)
    assert book.reserve("c", 0.9, now=late + 2 + DAY)
    assert book.execute("SELECT count(*) FROM settled") == [[0]]


@pytest.mark.parametrize("count", [1_000_000])
def test_sums_do_not_drift(count: int):
    """A tenth of a cent a million times is a thousand dollars: amounts are whole numbers."""
    book = Book()
    for number in range(0, count, count // 100):
        book.settle(f"c{number}", 0.001 * (count // 100))
    assert book.spent() == 1_000.0


class Racing(RuleBasedStateMachine):
    """Sessions reserve, settle, repeat themselves and die in any order; the cap is never passed by what was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.book, self.now, self.number = Book(), NOON, 0
        self.open: dict[str, tuple[int, float]] = {}
        self.settled: dict[str, float] = {}

    @rule(cents=st.integers(1, 60))
    def reserve(self, cents: int) -> None:
        call, usd = f"c{self.number}", cents / 100
        self.number += 1
        self.open = {name: one for name, one in self.open.items() if one[0] > self.now}
        fits = round(self.total() + usd, 6) <= 1.0
        assert self.book.reserve(call, usd, now=self.now) is fits
        if fits:
            self.open[call] = (self.now + LEASE_MS, usd)

    @rule(share=st.floats(0, 1), twice=st.booleans())
    def settle(self, share: float, twice: bool) -> None:
        if not self.open:
            return
        call = next(iter(self.open))
        usd = round(self.open.pop(call)[1] * share, 6)
        for _ in range(1 + twice):
            self.book.settle(call, usd, now=self.now)
        self.settled[call] = usd

    @rule()
    def repeat(self) -> None:
        live = {name: one for name, one in self.open.items() if one[0] > self.now}
        for call, (_, usd) in live.items():
            assert self.book.reserve(call, usd, now=self.now)
        if live:
            self.open = live  # the ledger has looked

    @rule(minutes=st.integers(1, 50))
    def wait(self, minutes: int) -> None:
        later = self.now + minutes * 60_000
        if day_of(later) == day_of(NOON):
            self.now = later

    def total(self) -> float:
        return sum(usd for _, usd in self.open.values()) + sum(self.settled.values())

    @invariant()
    def the_cap_holds(self) -> None:
        assert self.book.spent() == pytest.approx(self.total())
        assert self.book.spent() <= 1.0 + 1e-9


TestRacing = Racing.TestCase
TestRacing.settings = settings(max_examples=100, stateful_step_count=30)
