"""One answer being sent: each operation at its time, and the fault inside it where one was asked for."""

import asyncio
import json
import time
from collections.abc import Iterator

from edgeloop_client.model.dialect import Encoder, Headers
from edgeloop_client.model.errors import Refused
from edgeloop_client.model.http import Exchange
from edgeloop_client.model.options import Fault, Options
from edgeloop_client.model.play import Beat, Delta, Ended

JSON: Headers = [("content-type", "application/json")]
_SSE: Headers = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")]
_BATCH = 64
"""Events written at once at full speed; a paced one is written alone."""
_SILENCE_SECONDS = 3600.0


class Performance:
    """One answer being sent."""

    def __init__(
        self, exchange: Exchange, encoder: Encoder, options: Options, fault: Fault, headers: Headers
    ) -> None:
        self.tokens = 0
        self.deltas = 0
        self._exchange = exchange
        self._encoder = encoder
        self._options = options
        self._fault = fault
        self._headers = headers
        self._began = time.monotonic()

    async def play(self, beats: Iterator[Beat], *, stream: bool) -> None:
        """Send the answer.

        Raises:
            Gone: the client left.
        """
        if stream:
            await self._stream(beats)
        else:
            await self._whole(list(beats))

    async def _whole(self, beats: list[Beat]) -> None:
        await asyncio.sleep(beats[-1].due)
        body = json.dumps(self._encoder.whole([beat.op for beat in beats]), ensure_ascii=False)
        self._count(beats[-1])
        data = body.encode("utf-8", "replace")
        if self._fault == "cut":
            self._exchange.start([*JSON, *self._headers])
            await self._exchange.write([data[: len(data) // 2]])
            self._exchange.cut()
        elif self._fault == "silence":
            await self._fall_silent()
        else:
            await self._exchange.answer(
                200, [*JSON, *self._headers], data[:-2] if self._fault == "malformed" else data
            )

    async def _stream(self, beats: Iterator[Beat]) -> None:
        self._exchange.start([*_SSE, *self._headers])
        held: list[bytes] = self._encoder.start()
        for beat in beats:
            if beat.due > time.monotonic() - self._began:
                await self._exchange.write(held)
                held = []
                await self._until(beat.due)
            if self._fails_now(beat):
                await self._exchange.write(held)
                held = []
                if not await self._fail():
                    return
            held.extend(self._encoder.events(beat.op))
            self._count(beat)
            if len(held) >= _BATCH:
                await self._exchange.write(held)
                held = []
        await self._exchange.write(held)
        await self._exchange.end()

    async def _until(self, due: float) -> None:
        while (left := due - (time.monotonic() - self._began)) > 0:
            await asyncio.sleep(left)

    def _count(self, beat: Beat) -> None:
        if isinstance(beat.op, Delta):
            self.deltas += 1
        elif isinstance(beat.op, Ended):
            self.tokens = beat.op.tokens

    def _fails_now(self, beat: Beat) -> bool:
        """The fault comes after so many deltas, and before the end at the latest."""
        due = self.deltas >= self._options.fault_at and isinstance(beat.op, Delta)
        return self._fault != "none" and (due or isinstance(beat.op, Ended))

    async def _fail(self) -> bool:
        """Do the fault; whether the answer goes on after it."""
        fault, self._fault = self._fault, "none"
        match fault:
            case "cut":
                self._exchange.cut()
            case "silence":
                await self._fall_silent()
            case "error":
                await self._exchange.write(self._encoder.failure(Refused("overloaded", "Overloaded")))
                await self._exchange.end()
            case "malformed":
                await self._exchange.write(
                    [b'data: {"type":"content_block_delta","index":0,"delta":{"te\n\n']
                )
                return True
            case _:
                raise AssertionError(f"{fault} is no fault inside an answer")
        return False

    async def _fall_silent(self) -> None:
        try:
            await asyncio.wait_for(self._exchange.gone(), _SILENCE_SECONDS)
        except TimeoutError:
            pass
        self._exchange.cut()
