"""One attempt at a model call: send the request, let the pump read the answer, report what is complete.

Python is awake for the answer's head and for each semantic event; the text goes from the pump to the sockets without it (law 2).
Every failure ends in exactly one `StepFailed`: connection, status, deadline, stream, or our own.
"""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import js

from edge import ai_binding, pump
from edge.ai_binding import BindingTransport
from edge.clock import deadline, now_ms
from edge.convert import to_object
from edge.hot import count_batch
from edge.http import FetchTransport, is_readable
from edgeloop.events import Event, StepError, StepFailed, Timing
from edgeloop.limiter import Lease, Limiter
from edgeloop.providers import Request
from edgeloop.providers.failures import from_answer, local
from edgeloop.providers.workers_ai import BINDING
from edgeloop.reader import StepReader, partial_blocks

ERROR_BODY_BYTES = 64 << 10
HELD_MS = 1_000
"""A longer wait for the limiter is told as a failed attempt."""
ERROR_BODY_MS = 10_000

Report = Callable[[list[Event]], None]


class ModelCall:
    """An attempt in flight. `partial` answers at any time; `abort` ends it, and it still reports its end."""

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
        self._controller = js.AbortController.new()
        self._aborted = asyncio.Event()
        self._pump: Any = None
        self._begun = time.monotonic()
        self._request_bytes = 0
        self._waited_ms = 0

    def abort(self) -> None:
        """End it because a person stopped it."""
        self._aborted.set()
        if self._pump is not None:
            self._pump.abort("stopped")
        else:
            self._controller.abort()

    def partial(self) -> list[dict[str, Any]]:
        """The blocks shown but not yet in the log."""
        return json.loads(self._pump.partial()) if self._pump is not None else []

    async def run(self, request: Request) -> None:
        """Make the call and report its events; the last one is its end."""
        self._request_bytes = len(request.body)
        try:
            if await self._admitted():
                await self._run(request)
        except (httpx.HTTPError, TimeoutError) as error:
            self.fail(self._why(error))
        finally:
            if self._lease is not None:
                self._limiter.released(self._lease)

    async def _admitted(self) -> bool:
        """Wait until the limiter lets the call begin: what one session learnt of a key holds for all of this isolate.

        A short wait is spent here. A long one is a failed attempt with a hint: people see why nothing comes, and the object
        sleeps until its alarm.
        """
        while not isinstance(lease := self._limiter.admit(now_ms(), random.random()), Lease):
            if lease > HELD_MS:
                error = local("rate_limit", "held back: the provider refused another call of this key")
                self.fail(error.model_copy(update={"retry_after_ms": lease}))
                return False
            with contextlib.suppress(TimeoutError):
                async with deadline(lease):
                    await self._aborted.wait()
                raise httpx.ConnectError("stopped before it was sent")
        self._lease = lease
        return True

    async def _run(self, request: Request) -> None:
        transport, url = self._way(request.url)
        # The transport alone: a client around it costs 2 ms a call here, for pools and cookies that `fetch` has no use for.
        sent = httpx.Request("POST", url, headers=request.headers, content=request.body)
        response = await self._head(transport, sent, request)
        if response.status_code != 200:
            error = from_answer(response.status_code, response.headers, await self._error_body(response))
            self._learn(response.headers, error)
            self.fail(error)
            return
        self._learn(response.headers, None)
        await self._read(response.extensions["body"], request)

    def _way(self, url: str) -> tuple[httpx.AsyncBaseTransport, str]:
        if url.startswith(BINDING):
            return BindingTransport(self._ai, url, self._controller), ai_binding.URL
        return FetchTransport(self._controller), url

    def _learn(self, headers: Mapping[str, str], error: StepError | None) -> None:
        if self._lease is not None:
            self._limiter.answered(now_ms(), headers, self._lease, error)

    async def _head(
        self, transport: httpx.AsyncBaseTransport, sent: httpx.Request, request: Request
    ) -> httpx.Response:
        try:
            async with deadline(request.deadlines.first_ms):
                return await transport.handle_async_request(sent)
        except TimeoutError:
            self._controller.abort()  # cancelling the Python side does not stop a fetch
            raise

    async def _error_body(self, response: httpx.Response) -> bytes:
        body = b""
        try:
            async with deadline(ERROR_BODY_MS):
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > ERROR_BODY_BYTES:
                        break
        except (TimeoutError, httpx.HTTPError):
            pass  # the status alone tells enough
        self._controller.abort()
        return body

    async def _read(self, body: Any, request: Request) -> None:
        if not is_readable(body):
            self.fail(local("truncated", "the answer has no body"))
            return
        self._waited_ms = int((time.monotonic() - self._begun) * 1000)
        self._pump = pump.start_step(
            to_object(
                {
                    "body": body,
                    "dialect": request.dialect,
                    "step": self.reader.step,
                    "attempt": self.reader.attempt,
                    "live": self._live,
                    "sql": self._sql,
                    "firstMs": max(1, request.deadlines.first_ms - self._waited_ms),
                    "idleMs": request.deadlines.idle_ms,
                    "totalMs": request.deadlines.total_ms,
                    "abort": self._controller,
                }
            )
        )
        while isinstance(batch := await self._pump.next(), str):
            events = self.reader.feed(json.loads(batch), count_batch)
            if self.reader.ended is not None:
                events += self._ending()
            if events:
                self._report(events)
            if self.reader.ended is not None:
                self._pump.abort("over")  # where the reader ended it, the peer still sends
                return

    def _ending(self) -> list[Event]:
        end = self.reader.finish(self._timing(), random.random())
        if not isinstance(end, StepFailed):
            return [end]
        self._learn({}, end.error)  # some providers refuse inside a 200 stream
        return [*partial_blocks(self.reader.step, json.loads(self._pump.rest()), count_batch), end]

    def _timing(self) -> Timing:
        wall = int((time.monotonic() - self._begun) * 1000)
        if self._pump is None:
            return Timing(wall_ms=wall, request_bytes=self._request_bytes, response_bytes=0)
        stats = json.loads(self._pump.stats())
        return Timing(
            first_ms=None if stats["first_ms"] is None else self._waited_ms + int(stats["first_ms"]),
            wall_ms=wall,
            request_bytes=self._request_bytes,
            response_bytes=stats["bytes"],
            deltas=stats["deltas"],
            gap_p50_ms=stats["gap_p50_ms"],
            gap_max_ms=stats["gap_max_ms"],
            wakes=stats["wakes"],
        )

    def _why(self, error: Exception) -> StepError:
        if self._aborted.is_set():
            return local("aborted", "stopped by a person")
        if isinstance(error, TimeoutError):
            return local("timeout", "no answer within the first-byte deadline")
        return local("connection", str(error))

    def fail(self, error: StepError) -> None:
        """Report that the attempt ended without an answer: what was shown is kept."""
        reader = self.reader
        failed = StepFailed(
            step=reader.step,
            attempt=reader.attempt,
            error=error,
            jitter=random.random(),
            usage=reader.usage,
            timing=self._timing(),
        )
        self._report([*partial_blocks(reader.step, self.partial(), count_batch), failed])
