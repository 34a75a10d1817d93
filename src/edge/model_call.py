"""One attempt at a model call: wait for the limiter, let the pump make the call and read the answer, report what is complete.

Python is called for the answer's head and for each semantic event; the text goes from the pump to the sockets without it (law 2).
No task runs meanwhile: what is awaited here would cost a turn its start. Every failure ends in exactly one `StepFailed`:
connection, status, deadline, stream, or our own.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import js
from pyodide.ffi import create_proxy

from edge import pump
from edge.clock import Timer, now_ms
from edge.convert import to_object, why
from edge.hot import count_batch
from edgeloop.events import Event, StepError, StepFailed, Timing
from edgeloop.limiter import Lease, Limiter, held_back
from edgeloop.providers import Request
from edgeloop.providers.failures import from_answer, local
from edgeloop.providers.workers_ai import BINDING
from edgeloop.reader import Op, StepReader, partial_blocks
from edgeloop.state import State

OK = 200
HELD_MS = 1_000
"""A longer wait for the limiter is told as a failed attempt."""

Report = Callable[[list[Event]], None]


class ModelCall:
    """An attempt in flight. `partial` answers at any time; `abort` ends it, and it still reports its end.

    Nothing is reported before the call that starts or aborts it has returned: that one is in the middle of a round.
    """

    def __init__(
        self, *, step: int, attempt: int, live: Any, sql: Any, ai: Any, limiter: Limiter, report: Report
    ) -> None:
        self.reader = StepReader(step=step, attempt=attempt)
        self._limiter = limiter
        self._lease: Lease | None = None
        self._live = live
        self._sql = sql
        self._ai = ai
        self._report = report
        self._over = False
        self._pump: Any = None
        self._timer: Timer | None = None
        self._head: Mapping[str, str] = {}
        self._made = self._begun = time.monotonic()
        self._request_bytes = 0

    def is_of(self, state: State) -> bool:
        """Whether it is the attempt that this state waits for."""
        return (self.reader.step, self.reader.attempt) == (state.step, state.attempt)

    @property
    def is_over(self) -> bool:
        """Whether its end was reported."""
        return self._over

    def abort(self) -> None:
        """End it because a person stopped it."""
        if self._pump is not None:
            self._pump.abort("stopped")
        else:
            self.fail_soon(local("aborted", "stopped by a person"))

    def drop(self) -> None:
        """End it and report nothing: the session is no more."""
        self._end()

    def partial(self) -> list[dict[str, Any]]:
        """The blocks shown but not yet in the log."""
        return json.loads(self._pump.partial()) if self._pump is not None else []

    def start(self, request: Request, body: Any) -> None:
        """Make the call as soon as the limiter lets it begin: what one session learnt of a key holds for all of this isolate.

        A short wait is spent here. A long one is a failed attempt with a hint: people see why nothing comes, and the object
        sleeps until its alarm. `body` (an array of JavaScript's) is sent in place of the request's own.
        """
        if self._timer is None:
            self._made = time.monotonic()
        self._timer = None
        lease = self._limiter.admit(now_ms(), random.random(), request.tokens)
        if isinstance(lease, Lease):
            self._lease = lease
            self._send(request, body)
        elif lease > HELD_MS:
            self.fail_soon(held_back(lease))
        else:
            self._timer = Timer(lease, lambda: self.start(request, body))

    def _send(self, request: Request, body: Any) -> None:
        self._begun = time.monotonic()
        self._request_bytes = body.length
        bound = request.url.startswith(BINDING)
        options = {
            "url": request.url.removeprefix(BINDING).partition("/")[2] if bound else request.url,
            "ai": self._ai if bound else None,
            "headers": to_object(request.headers),
            "body": body,
            "dialect": request.dialect,
            "step": self.reader.step,
            "attempt": self.reader.attempt,
            "live": self._live,
            "sql": self._sql,
            "firstMs": request.deadlines.first_ms,
            "idleMs": request.deadlines.idle_ms,
            "totalMs": request.deadlines.total_ms,
        }
        self._pump = pump.start_call(to_object(options), create_proxy(self._take))

    # --- what the pump tells --------------------------------------------------------------------------------------------

    def _take(self, what: str, text: str) -> None:
        """Take the answer's head or its next operations; the last of them end the call."""
        if self._over:
            return
        try:
            if what == "head":
                self._take_head(**json.loads(text))
            else:
                self._take_ops(json.loads(text))
        except Exception as error:  # whatever it is, the step must end and the person must hear of it
            js.console.error(f"step {self.reader.step} failed: {why(error)}")
            self.fail(local("unknown", why(error)))

    def _take_head(self, status: int, headers: Mapping[str, str]) -> None:
        self._head = headers
        if status == OK:
            self._learn(headers, None)

    def _take_ops(self, ops: list[Op]) -> None:
        refused = ops[-1] if ops and ops[-1]["op"] == "refused" else None
        if refused is not None:
            error = from_answer(refused["status"], self._head, refused["body"].encode(), now_ms())
            self._learn(self._head, error)
            self.fail(error)
            return
        events = self.reader.feed(ops, count_batch)
        if self.reader.ended is not None:
            events += self._ending()
            self._end()
        if events:
            self._report(events)

    def _learn(self, headers: Mapping[str, str], error: StepError | None) -> None:
        if self._lease is not None:
            self._limiter.answered(now_ms(), headers, self._lease, error)

    # --- the end --------------------------------------------------------------------------------------------------------

    def _ending(self) -> list[Event]:
        end = self.reader.finish(self._timing(), random.random())
        if not isinstance(end, StepFailed):
            return [end]
        self._learn({}, end.error)  # some providers refuse inside a 200 stream
        return [*partial_blocks(self.reader.step, json.loads(self._pump.rest()), count_batch), end]

    def _timing(self) -> Timing:
        now = time.monotonic()
        held = int((self._begun - self._made) * 1000)
        if self._pump is None:
            return Timing(
                wall_ms=int((now - self._made) * 1000), request_bytes=0, response_bytes=0, held_ms=held
            )
        stats = json.loads(self._pump.stats())
        return Timing(
            first_ms=None if stats["first_ms"] is None else int(stats["first_ms"]),
            wall_ms=int((now - self._begun) * 1000),
            request_bytes=self._request_bytes,
            response_bytes=stats["bytes"],
            deltas=stats["deltas"],
            gap_p50_ms=stats["gap_p50_ms"],
            gap_max_ms=stats["gap_max_ms"],
            wakes=stats["wakes"],
            held_ms=held,
        )

    def fail_soon(self, error: StepError) -> None:
        """As `fail`, after the round that is under way."""
        asyncio.get_running_loop().call_soon(self.fail, error)

    def fail(self, error: StepError) -> None:
        """Report that the attempt ended without an answer: what was shown is kept."""
        if self._over:
            return
        reader = self.reader
        failed = StepFailed(
            step=reader.step,
            attempt=reader.attempt,
            error=error,
            jitter=random.random(),
            usage=reader.usage,
            timing=self._timing(),
        )
        events: list[Event] = [*partial_blocks(reader.step, self.partial(), count_batch), failed]
        self._end()
        self._report(events)

    def _end(self) -> None:
        self._over = True
        if self._pump is not None:
            self._pump.abort("over")  # the reader may have ended it, or a stop, while the peer still sends
        if self._timer is not None:
            self._timer.clear()
        if self._lease is not None:
            self._limiter.released(self._lease)
