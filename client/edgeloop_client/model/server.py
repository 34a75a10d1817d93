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

from edgeloop_client.model.cache import PrefixCache
from edgeloop_client.model.conversation import Run
from edgeloop_client.model.counting import TokenCounter
from edgeloop_client.model.dialect import Dialect, Headers, Incoming, Json, Prompt
from edgeloop_client.model.errors import Kind, Refused
from edgeloop_client.model.faults import FaultCounter, Faults
from edgeloop_client.model.http import Exchange, Gone, Received, serve_connection
from edgeloop_client.model.limits import RequestLimits
from edgeloop_client.model.openai_chat import Chat
from edgeloop_client.model.options import Fault, OptionError, Options, make_options, parse_options
from edgeloop_client.model.performance import JSON, Performance
from edgeloop_client.model.play import Beat, Player, parts
from edgeloop_client.model.routes import find_dialect
from edgeloop_client.model.scenarios import SCENARIOS, Scenario
from edgeloop_client.model.scenarios.script import script

_FAULT_KINDS: dict[Fault, tuple[Kind, str]] = {
    "429": ("rate_limit", "Rate limit reached: this request was chosen to fail."),
    "500": ("api", "Internal server error"),
    "503": ("unavailable", "The server is currently overloaded with other requests."),
    "529": ("overloaded", "Overloaded"),
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
    """Answers requests; keeps the prompt cache and the count of faults. `clock` is the cache's; `faults` say which requests fail
    where it is not for their model's name to say."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
        faults: Faults | None = None,
        on_request: Callable[[Received], None] = lambda _: None,
        on_answer: Callable[[Json], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._cache = PrefixCache(clock)
        self._counter = TokenCounter()
        self._faults = faults or FaultCounter()
        self._limits = RequestLimits(clock)
        self._on_request = on_request
        self._on_answer = on_answer

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
        if dialect := find_dialect(received.path):
            await self._post(exchange, dialect)
        elif received.method == "GET" and received.path == "/healthz":
            await exchange.answer(200, JSON, b'{"ok":true}')
        elif received.method == "GET" and received.path == "/v1/models":
            await exchange.answer(200, JSON, json.dumps(_models()).encode())
        else:
            what = Refused("not_found", f"Invalid URL ({received.method} {received.path})")
            await _refuse(exchange, Chat(), what)

    async def _post(self, exchange: Exchange, dialect: Dialect) -> None:
        started = time.monotonic()
        record: Json = {"path": exchange.received.path, "at": round(time.time(), 3), "status": 200}
        try:
            await self._answer(exchange, dialect, record)
        except Refused as refused:
            record |= {"refused": refused.message}
            record["status"] = await _refuse(exchange, dialect, refused)
        except Gone:
            record["gone"] = True
            raise
        finally:
            record |= {"ms": round((time.monotonic() - started) * 1000), "bytes": exchange.bytes_sent}
            self._on_answer(record)

    async def _answer(self, exchange: Exchange, dialect: Dialect, record: Json) -> None:
        prompt = dialect.parse(_incoming(exchange.received))
        voice = understand(prompt.conversation.model, self._settings)
        options = voice.options
        fault = self._faults.next(prompt.conversation, options)
        record |= {"model": prompt.conversation.model, "fault": fault}
        if said := _FAULT_KINDS.get(fault):
            raise Refused(*said, retry_after=options.retry_after if fault == "429" else 0)
        limits = self._allow(dialect, prompt, options)
        minimum = options.cache_minimum or dialect.cache_minimum
        use = dialect.charge(prompt, minimum, self._cache, self._counter)
        if 0 < options.context < use.total:
            raise dialect.too_long(use.total, options.context)
        record["input"] = {"read": use.read, "written": use.write_5m + use.write_1h, "fresh": use.fresh}
        await asyncio.sleep(options.ttft_ms / 1000)
        use.commit()
        performance = Performance(exchange, dialect.encoder(prompt, use, options), options, fault, limits)
        await performance.play(self._beats(prompt, voice), stream=prompt.stream)
        record |= {"output": performance.tokens, "deltas": performance.deltas}

    def _allow(self, dialect: Dialect, prompt: Prompt, options: Options) -> Headers:
        """Take a request out of its bucket; the headers that tell what is left.

        Raises:
            Refused: nothing was left.
        """
        if not options.rpm:
            return []
        allowance = self._limits.take(prompt.scope, options.rpm)
        if allowance.wait:
            raise Refused(
                "rate_limit",
                f"This request would exceed the limit of {options.rpm} requests per minute.",
                retry_after=max(0.001, round(allowance.wait, 3)),
                headers=dialect.limit_headers(allowance),
            )
        return dialect.limit_headers(allowance)

    def _beats(self, prompt: Prompt, voice: _Voice) -> Iterator[Beat]:
        player = Player(voice.options, prompt.conversation.max_tokens)
        return player.beats(parts(prompt.conversation, voice.run))


# --- small answers -------------------------------------------------------------------------------------------------


def _incoming(received: Received) -> Incoming:
    if received.body is None:
        raise Refused("too_large", "Request exceeds the maximum size")
    if received.method != "POST":
        raise Refused("invalid_request", f"Method {received.method} is not allowed; expected POST")
    return Incoming(path=received.path, query=received.query, headers=received.headers, body=received.body)


async def _refuse(exchange: Exchange, dialect: Dialect, refused: Refused) -> int:
    """Send the refusal; its status."""
    refusal = dialect.refusal(refused, f"req_{secrets.token_hex(12)}")
    body = json.dumps(refusal.body, ensure_ascii=False).encode("utf-8", "replace")
    await exchange.answer(refusal.status, [*JSON, *refusal.headers, *refused.headers], body)
    return refusal.status


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
