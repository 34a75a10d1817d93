"""The bodies of HTTP requests and answers, as pydantic models; what is sent over a socket is wire.py's.

Knows no request and no status. Times are ms since the epoch.
"""

from pydantic import Field

from edgeloop.autonomy import Mode
from edgeloop.events import Recorded, StepError, Usage
from edgeloop.model import Frozen
from edgeloop.wire import PROTOCOL_VERSION, Id


class PostMessage(Frozen):
    """Body of `POST /v1/agents/{id}/messages`."""

    id: Id
    text: str = Field(min_length=1)
    model: str | None = Field(default=None, min_length=1, max_length=200)


class Posted(Frozen):
    """Answer to a posted message or stop: the log's head; `duplicate` if it had been recorded before."""

    seq: int
    duplicate: bool = False


class EventsPage(Frozen):
    """Answer of `GET events?after=N`: events after N in order; ask again from `next` until it equals `head`."""

    log: str
    events: tuple[Recorded, ...]
    next: int
    head: int


class Fork(Frozen):
    """Body of `POST fork`: make the new agent `to` out of the events up to and with `at` (absent: all)."""

    to: Id
    at: int | None = Field(default=None, ge=1)


class Forked(Frozen):
    """Answer of `POST fork`: the new agent, its log and head."""

    agent: str
    log: str
    head: int


class Imported(Frozen):
    """Answer of `POST import`: how many lines of the file were taken; send on from there. Once `done`, the log and its head."""

    lines: int
    done: bool = False
    log: str | None = None
    head: int | None = None


class Origin(Frozen):
    """Where a copied session is from: the first `seq` events of the log named `log`."""

    log: str
    seq: int


class OpenCall(Frozen):
    """A call without a result; `runner` is absent while it waits for a client that has the tool."""

    call: str
    name: str
    runner: str | None = None


class Question(Frozen):
    """A call that waits for a person's answer until `expires`; `by` is the rule or mode that asks."""

    call: str
    name: str
    arguments: str
    by: str
    expires: int


class StateView(Frozen):
    """Answer of `GET state`.

    `spent_usd` is what its model calls have cost, as far as prices are known. `awake_since` is when the session last came to
    life (it hibernates while nothing is under way). `rows_written`, `rows_read` and `statements` are what its SQL has
    cost since, by the platform's own count; each alarm set is a row written too.
    """

    v: int = PROTOCOL_VERSION
    agent: str
    log: str
    head: int
    phase: str
    provider: str
    model: str
    step: int
    turns: int
    mode: Mode
    calls: tuple[OpenCall, ...]
    questions: tuple[Question, ...]
    queued: int
    usage: Usage
    message_tokens: int
    spent_usd: float
    attached: int
    awake_since: int
    rows_written: int
    rows_read: int
    statements: int
    last_error: StepError | None = None
    origin: Origin | None = None
