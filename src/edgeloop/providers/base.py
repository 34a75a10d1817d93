"""What every provider adapter is: entries to bytes, a plan to a request, an error answer to a typed error. No fetch inside.

A request's body is `head + messages joined by "," + tail`: the messages are encoded once, when their entry is made, and never
again; they come last, so the body of step n without its tail is a byte prefix of step n+1's.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from edgeloop.tools import ToolSpec
from edgeloop.transcript import Block, CallBlock, Entry

Dialect = str


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """Bounds on a streamed answer in ms: to its first byte, between two reads, in all.

    An hour is longer than any model talks at a time: it ends what sends nothing but signs of life.
    """

    first_ms: int
    idle_ms: int
    total_ms: int = 3_600_000


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where requests go, and for whom. `api_key` and `headers` never appear in a repr, a log or an event.

    `headers` are sent with every request (a gateway's own token or id) and win over ours. `session` is stable for as long as
    the conversation lives and says nothing about it: providers route by it, so that its prompt meets the same cache.
    """

    base_url: str
    api_key: str = field(repr=False, default="")
    headers: Mapping[str, str] = field(repr=False, default_factory=lambda: dict[str, str]())
    session: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to ask: `messages` are the encoded entries, oldest first."""

    model: str
    system: str
    tools: tuple[ToolSpec, ...]
    messages: tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True)
class Request:
    """An HTTP request as data; the decoder of its answer is named by `dialect`.

    `tokens` is an estimate of the input that its provider's rate limit counts.
    """

    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes
    dialect: Dialect
    deadlines: Deadlines
    tokens: int = 1


class Provider(Protocol):
    """An adapter. `encode` is pure and stable: the same entry gives the same bytes for ever."""

    name: str
    counts_cached: bool
    """Whether its rate limits count input that a cache already held."""

    def encode(self, entry: Entry) -> bytes:
        """Encode one entry as one or more JSON messages joined by commas; empty if it has nothing to say here."""
        ...

    def build_request(self, plan: Plan, target: Target) -> Request:
        """Build the streaming request for a plan."""
        ...


def to_json(value: Any) -> bytes:
    """Encode compactly, keys in insertion order; lone surrogates become U+FFFD, since no UTF-8 can carry them."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return raw_json(text)


def raw_json(text: str) -> bytes:
    """The bytes of JSON that is sent back as it came, lone surrogates aside."""
    return _LONE.sub("\ufffd", text).encode()


def assemble(
    head: dict[str, Any], first: list[bytes], messages: tuple[bytes, ...], *, key: str = "messages"
) -> bytes:
    """Join the body: the head's fields, then the messages under `key` as the last one."""
    parts = [part for part in (*first, *messages) if part]
    comma = "," if head else ""
    return to_json(head)[:-1] + f'{comma}"{key}":['.encode() + b",".join(parts) + b"]}"


def around(body: bytes) -> tuple[bytes, bytes]:
    """What goes before and after the messages (one at least) in a body that `assemble` made without them."""
    head, tail = body[:-2], body[-2:]
    return (head if head.endswith(b"[") else head + b","), tail


def request_headers(target: Target, **own: str) -> dict[str, str]:
    """The headers of a JSON request: the provider's `own` (empty ones left out), then the target's, which win.

    Behind an AI Gateway there is one owner of retries, and it is us; and an agent never wants a whole answer from a cache.
    """
    theirs = {name.lower(): value for name, value in target.headers.items()}
    headers = {"content-type": "application/json"}
    headers |= {name.replace("_", "-"): value for name, value in own.items() if value}
    if "cf-aig-gateway-id" in theirs or _host(target.base_url) == AI_GATEWAY:
        headers |= {"cf-aig-max-attempts": "1", "cf-aig-skip-cache": "true"}
    return headers | theirs


def bearer(target: Target) -> str:
    """The value of an `authorization` header; empty without a key."""
    return f"Bearer {target.api_key}" if target.api_key else ""


def own_echo(block: Block | CallBlock, maker: str, reader: str) -> bytes:
    """The provider's own JSON for a block, where it is whole and goes back to the provider that made it; else empty."""
    partial = isinstance(block, Block) and block.partial
    return raw_json(block.echo) if block.echo and maker == reader and not partial else b""


def safe_name(name: str) -> str:
    """A tool name as every provider accepts it back: models invent names that their own API refuses."""
    return _NAME.sub("_", name)[:64] or "_"


def safe_id(identifier: str) -> str:
    """A call id as Anthropic accepts it back (`^[a-zA-Z0-9_-]+$`); ids of other providers may hold dots and colons."""
    return _NAME.sub("_", identifier) or "_"


def endpoint(base_url: str, version: str, path: str) -> str:
    """Join a base URL and the path under it; `version` goes between, unless the base URL brings its own.

    Some servers keep a version of their own just above the dialect: `/v1beta/openai`, `/paas/v4`; Vertex far above it.
    """
    base = base_url.rstrip("/")
    tail = base.split("/")[-2:]
    versioned = base.endswith(f"/{version}") or any(_VERSION.fullmatch(segment) for segment in tail)
    versioned = versioned or tail[0] == "publishers"
    unversioned = _host(base) == AI_GATEWAY and tail[-1] in ("openai", "compat")
    return f"{base}/{path}" if versioned or unversioned else f"{base}/{version}/{path}"


def is_host(base_url: str, domain: str) -> bool:
    """Whether the base URL names this domain or one below it."""
    return f".{_host(base_url)}".endswith(f".{domain}")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


AI_GATEWAY = "gateway.ai.cloudflare.com"
_VERSION = re.compile(r"v\d+[a-z0-9]*")
_LONE = re.compile("[\ud800-\udfff]")
_NAME = re.compile(r"[^a-zA-Z0-9_-]")
