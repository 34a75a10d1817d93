"""Who sent which command: a client numbers what it sends, so that each command is taken once and in order.

Theory
======
A producer is a client's life; its commands are numbered `(epoch, n)`: n counts from 1 within an epoch, and a later life of that
client has a higher epoch. The last number taken is all that has to be known of a producer. `judge` compares a command with it:

    next        n follows the last one: take it
    repeated    n was taken before: it is acknowledged and ignored, whatever it says
    gap         something between is missing: nothing is applied, and the sender is told what was expected
    fenced      a later epoch was heard of: the sender is an older life of its client, or its clone, and must not act any more

What is known of a producer is durable without a row of its own: the event that a command made carries its number in the log's
envelope (`Recorded.producer`), and the state keeps the latest number of the last `KEPT` clients. A command that records nothing
(a repeat of another kind, a refusal) is remembered in memory alone. After a wake the session may so expect a lower n
than the client sends: a gap that is no loss, because all that the client has no answer to is still with it. A client that is told
of a gap therefore begins a new epoch and numbers what is unanswered from 1. The other way round cannot be: a session never knows
of a number that the client did not give, so nothing is taken for repeated that was not.

Knows no session and no socket.
"""

from typing import Literal

from pydantic import Field

from edgeloop.model import Frozen

KEPT = 64
"""Producers remembered. One that was forgotten is told of a gap, and begins a new epoch."""

Verdict = Literal["next", "repeated", "gap", "fenced"]


class Number(Frozen):
    """A command's place among those of its producer: the `n`-th of `epoch`, from 1. A client's later life has a higher epoch."""

    epoch: int = Field(ge=0, lt=1 << 53)
    n: int = Field(ge=0, lt=1 << 53)


class Producer(Number):
    """The number of a client's command."""

    client: str


def judge(known: Number | None, sent: Number) -> Verdict:
    """Compare a command's number with the last one taken of its producer."""
    if known is not None and sent.epoch < known.epoch:
        return "fenced"
    last = taken(known, sent.epoch)
    if sent.n <= last:
        return "repeated"
    return "next" if sent.n == last + 1 else "gap"


def taken(known: Number | None, epoch: int) -> int:
    """The last n that was taken in an epoch; 0 if none was."""
    return known.n if known is not None and known.epoch == epoch else 0


def later(a: Number | None, b: Number | None) -> Number | None:
    """The later of two numbers of one producer."""
    if a is None or b is None:
        return a or b
    return max(a, b, key=lambda number: (number.epoch, number.n))


def remember(known: dict[str, Number], client: str, number: Number) -> None:
    """Keep the latest number of a client, and forget the one heard of longest ago when there are too many."""
    known.pop(client, None)
    known[client] = Number(epoch=number.epoch, n=number.n)
    while len(known) > KEPT:
        del known[next(iter(known))]
