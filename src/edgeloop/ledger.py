"""What all sessions of one provider key spend in a day: reserved before a call, settled after it, in one SQLite of its own.

The rules and their statements; who executes these is given. Amounts are whole millionths of a dollar, so that sums do not
drift. A call is named once for all (session, log, step, attempt), so either word may come twice. A reservation that nobody
settles returns after its lease (its word was lost for good); a settlement that comes later still counts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

LEASE_MS = 3_600_000
"""Longer than nearly any call; a session that died settles within its own recovery, at most a minute later."""
_MILLION = 1_000_000

SCHEMA = """
CREATE TABLE IF NOT EXISTS days (day TEXT PRIMARY KEY, spent INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reserved (call TEXT PRIMARY KEY, day TEXT, amount INTEGER, until INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settled (call TEXT PRIMARY KEY, day TEXT) WITHOUT ROWID;
"""

Exec = Callable[..., list[list[Any]]]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Whether a call may be made, and what the key has spent and reserved this day, in USD."""

    granted: bool
    spent: float


class Ledger:
    """The account of one key. `execute(statement, *binds)` runs one statement and returns its rows; all is synchronous."""

    def __init__(self, execute: Exec) -> None:
        self._exec = execute

    def reserve(self, call: str, usd: float, *, cap: float, now: int) -> Answer:
        """Set an amount aside, if the day's spending stays within the cap with it. Asked again it is answered as before."""
        day = day_of(now)
        self._return_expired(now)
        spent = self._spent(day)
        if self._known(call):
            return Answer(granted=True, spent=spent / _MILLION)
        amount = math.ceil(usd * _MILLION)
        if spent + amount > round(cap * _MILLION):
            return Answer(granted=False, spent=spent / _MILLION)
        if spent == 0:  # a new day: names of calls that are long over can come no more
            self._exec("DELETE FROM settled WHERE day < ?", day)
        self._exec("INSERT INTO reserved VALUES (?, ?, ?, ?)", call, day, amount, now + LEASE_MS)
        self._add(day, amount)
        return Answer(granted=True, spent=(spent + amount) / _MILLION)

    def settle(self, call: str, usd: float, *, at: int, now: int, again: bool = False) -> None:
        """Put what a call cost in the place of what was set aside for it; `at` is when it began.

        `again`: it may have been settled before, or be another session's (a copy's log holds its original's calls), so it
        counts only where something is still set aside for it.
        """
        if self._exec("SELECT 1 FROM settled WHERE call = ?", call):
            return
        amount = round(usd * _MILLION)
        found = self._exec("SELECT day, amount FROM reserved WHERE call = ?", call)
        day, reserved = found[0] if found else (day_of(at), 0)
        if not found and (again or day != day_of(now)):
            return  # of a day that is over nobody knows whether it was settled then
        self._exec("DELETE FROM reserved WHERE call = ?", call)
        self._exec("INSERT INTO settled VALUES (?, ?)", call, day)
        self._add(day, amount - reserved)

    def _known(self, call: str) -> bool:
        found = "SELECT 1 FROM reserved WHERE call = ?1 UNION ALL SELECT 1 FROM settled WHERE call = ?1"
        return bool(self._exec(found, call))

    def _return_expired(self, now: int) -> None:
        for call, day, amount in self._exec("SELECT call, day, amount FROM reserved WHERE until <= ?", now):
            self._exec("DELETE FROM reserved WHERE call = ?", call)
            self._add(day, -amount)

    def _spent(self, day: str) -> int:
        found = self._exec("SELECT spent FROM days WHERE day = ?", day)
        return found[0][0] if found else 0

    def _add(self, day: str, amount: int) -> None:
        self._exec(
            "INSERT INTO days VALUES (?1, ?2) ON CONFLICT (day) DO UPDATE SET spent = spent + ?2", day, amount
        )


def day_of(at: int) -> str:
    """The UTC day of a time in ms."""
    return datetime.fromtimestamp(at / 1000, UTC).date().isoformat()
