"""The model server: paths to dialects, model names to scenarios, and the playing of an answer, faults included.

Decides what is sent when. The formats are the dialects', the words the scenarios'.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from edgeloop_client.model.anthropic import Messages
from edgeloop_client.model.cache import PrefixCache
from edgeloop_client.model.conversation import Run
from edgeloop_client.model.counting import TokenCounter
from edgeloop_client.model.dialect import Dialect, Encoder, Headers, Incoming, Json, Prompt
from edgeloop_client.model.errors import STATUS, Kind, Refused
from edgeloop_client.model.faults import FaultCounter
from edgeloop_client.model.http import Exchange, Gone, Received, serve_connection
from edgeloop_client.model.openai_chat import Chat
from edgeloop_client.model.options import (
    STATUS_FAULTS,
    Fault,
    OptionError,
    Options,
    make_options,
    parse_options,
)
from edgeloop_client.model.play import Beat, Delta, Ended, Player, parts
from edgeloop_client.model.scenarios import SCENARIOS, Scenario
from edgeloop_client.model.scenarios.script import script

_JSON: Headers = [("content-type", "application/json")]
_SSE: Headers = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")]
_BATCH = 64
"""Events written at once at full speed; a paced one is written alone."""
_SILENCE_SECONDS = 3600.0
_FAULT_KINDS: dict[Fault, tuple[Kind, str]] = {
    "429": ("rate_limit", "Rate limit reached: this request was chosen to fail."),
    "500": ("api", "Internal server error"),
    "503": ("unavailable", "The server is currently overloaded with other requests."),
    "529": ("overloaded", "Overloaded"),
    "error": ("overloaded", "Overloaded"),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the server is started with. `options` go before a scenario's own and behind those in a model's name."""

    options: dict[str, str] = field(default_factory=lambda: dict[str, str]())
    fallback: str | None = None
    """The model to play for names that are not known; None: such a name is a 404, as at a real provider."""
    script: str = ""
    """A script's JSON for `script` where the message holds none."""


@dataclass(frozen=True, kw_only=True)
class _Voice:
    """A model name, understood."""

    run: Run
    options: Options


def understand(model: str, settings: Settings) -> _Voice:
    """Read a model name: `scenario` or `scenario:option=value,...`; `edgeloop-` may stand before it.

    Raises:
        Refused: no such model or option.
    """
    name, _, own = model.removeprefix("edgeloop-").partition(":")
    scenario: Scenario | None = SCENARIOS.get(name)
    if scenario is None and settings.fallback is not None and settings.fallback != model:
        return understand(settings.fallback, settings)
    if scenario is None:
        raise Refused("not_found", f"model: {model}; known: {', '.join(SCENARIOS)}", param="model")
    try:
        options = make_options(scenario.defaults, settings.options, parse_options(own))
    except OptionError as error:
        raise Refused("not_found", f"model: {model}: {error}", param="model") from None
    run = partial(script, given=settings.script) if scenario.run is script else scenario.run
    return _Voice(run=run, options=options)


class ModelServer:
    """Answers requests; keeps the prompt cache and the count of faults. `clock` is the cache's."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_request: Callable[[Received], None] = lambda _: None,
        on_answer: Callable[[Json], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._cache = PrefixCache(clock)
        self._counter = TokenCounter()
        self._faults = FaultCounter()
        self._on_request = on_request
        self._on_answer = on_answer
        self._posts: dict[str, Dialect] = {"/v1/messages": Messages(), "/v1/chat/completions": Chat()}

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection."""
        try:
            await serve_connection(reader, writer, self._handle)
        except asyncio.CancelledError:
            # The server is ending. Passed on, asyncio's streams would report it as an error of theirs.
            writer.transport.abort()

    async def _handle(self, exchange: Exchange) -> None:
        received = exchange.received
        self._on_request(received)
        if dialect := self._posts.get(received.path):
            await self._post(exchange, dialect)
        elif received.method == "GET" and received.path == "/healthz":
            await exchange.answer(200, _JSON, b'{"ok":true}')
        elif received.method == "GET" and received.path == "/v1/models":
            await exchange.answer(200, _JSON, json.dumps(_models()).encode())
        else:
            what = Refused("not_found", f"Invalid URL ({received.method} {received.path})")
            await _refuse(exchange, Chat(), what, 404, [])

    async def _post(self, exchange: Exchange, dialect: Dialect) -> None:
        started = time.monotonic()
        record: Json = {"path": exchange.received.path, "at": round(time.time(), 3), "status": 200}
        try:
            await self._answer(exchange, dialect, record)
        except Refused as refused:
            record |= {"status": STATUS[refused.kind], "refused": refused.message}
            await _refuse(exchange, dialect, refused, STATUS[refused.kind], [])
        except Gone:
            record["gone"] = True
            raise
        finally:
            record |= {"ms": round((time.monotonic() - started) * 1000), "bytes": exchange.bytes_sent}
            self._on_answer(record)

    async def _answer(self, exchange: Exchange, dialect: Dialect, record: Json) -> None:
        prompt = dialect.parse(_incoming(exchange.received))
        voice = understand(prompt.conversation.model, self._settings)
        fault = self._faults.next(prompt.conversation, voice.options)
        record |= {"model": prompt.conversation.model, "fault": fault}
        if fault in STATUS_FAULTS:
            record["status"] = STATUS_FAULTS[fault]
            await _refuse(
                exchange, dialect, Refused(*_FAULT_KINDS[fault]), STATUS_FAULTS[fault], _hint(voice.options)
            )
            return
        use = dialect.charge(prompt, voice.options, self._cache, self._counter)
        record["input"] = {"read": use.read, "written": use.write_5m + use.write_1h, "fresh": use.fresh}
        await asyncio.sleep(voice.options.ttft_ms / 1000)
        use.commit()
        performance = _Performance(exchange, dialect.encoder(prompt, use), voice.options, fault)
        await performance.play(self._beats(prompt, voice), stream=prompt.stream)
        record |= {"output": performance.tokens, "deltas": performance.deltas}

    def _beats(self, prompt: Prompt, voice: _Voice) -> Iterator[Beat]:
        player = Player(voice.options, prompt.conversation.max_tokens)
        return player.beats(parts(prompt.conversation, voice.run))


class _Performance:
    """One answer being sent."""

    def __init__(self, exchange: Exchange, encoder: Encoder, options: Options, fault: Fault) -> None:
        self.tokens = 0
        self.deltas = 0
        self._exchange = exchange
        self._encoder = encoder
        self._options = options
        self._fault = fault
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
            self._exchange.start(_JSON)
            await self._exchange.write([data[: len(data) // 2]])
            self._exchange.cut()
        elif self._fault == "silence":
            await self._fall_silent()
        else:
            await self._exchange.answer(200, _JSON, data[:-2] if self._fault == "malformed" else data)

    async def _stream(self, beats: Iterator[Beat]) -> None:
        self._exchange.start(_SSE)
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
                await self._exchange.write(self._encoder.failure(Refused(*_FAULT_KINDS["error"])))
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


# --- small answers -------------------------------------------------------------------------------------------------


def _incoming(received: Received) -> Incoming:
    if received.body is None:
        raise Refused("too_large", "Request exceeds the maximum size")
    if received.method != "POST":
        raise Refused("invalid_request", f"Method {received.method} is not allowed; expected POST")
    return Incoming(path=received.path, headers=received.headers, body=received.body)


def _hint(options: Options) -> Headers:
    if options.fault != "429" or not options.retry_after:
        return []
    return [("retry-after", f"{options.retry_after:g}")]


async def _refuse(
    exchange: Exchange, dialect: Dialect, refused: Refused, status: int, headers: Headers
) -> None:
    request_id = f"req_{secrets.token_hex(12)}"
    body = json.dumps(dialect.refusal(refused) | {"request_id": request_id}, ensure_ascii=False)
    await exchange.answer(
        status, [*_JSON, (dialect.id_header, request_id), *headers], body.encode("utf-8", "replace")
    )


def _models() -> Json:
    """One list that both APIs' clients can read."""
    data: list[dict[str, Any]] = [
        {
            "id": name,
            "object": "model",
            "type": "model",
            "owned_by": "edgeloop",
            "display_name": name,
            "created": 0,
        }
        for name in SCENARIOS
    ]
    return {
        "object": "list",
        "data": data,
        "has_more": False,
        "first_id": data[0]["id"],
        "last_id": data[-1]["id"],
    }


def warm_up() -> None:
    """Load the token kernel, so that the first request does not wait for it."""
    TokenCounter().of([b"warm"])
