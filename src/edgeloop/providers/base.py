"""What every provider adapter is: entries to bytes, a plan to a request, an error answer to a typed error. No fetch inside.

A request's body is `head + messages joined by "," + tail`: the messages are encoded once, when their entry is made, and never
again; they come last, so the body of step n without its tail is a byte prefix of step n+1's (design.md, law 4).
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Protocol

from edgeloop.tools import ToolSpec
from edgeloop.transcript import Entry

Dialect = str


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """Bounds on a streamed answer in ms: to its first byte, between two reads, in all (0: none); providers.md section 3."""

    first_ms: int
    idle_ms: int
    total_ms: int = 0


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where requests go. `api_key` never appears in a repr, a log or an event."""

    base_url: str
    api_key: str = field(repr=False, default="")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to ask: `messages` are the encoded entries, oldest first."""

    model: str
    system: str
    tools: tuple[ToolSpec, ...]
    messages: tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True)
class Request:
    """An HTTP request as data; the decoder of its answer is named by `dialect`."""

    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes
    dialect: Dialect
    deadlines: Deadlines


class Provider(Protocol):
    """An adapter. `encode` is pure and stable: the same entry gives the same bytes for ever."""

    name: str

    def encode(self, entry: Entry) -> bytes:
        """Encode one entry as one or more JSON messages joined by commas; empty if it has nothing to say here."""
        ...

    def build_request(self, plan: Plan, target: Target) -> Request:
        """Build the streaming request for a plan."""
        ...


def to_json(value: Any) -> bytes:
    """Encode compactly, keys in insertion order; lone surrogates become U+FFFD, since no UTF-8 can carry them."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _LONE.sub("\ufffd", text).encode()


def assemble(head: dict[str, Any], first: list[bytes], messages: tuple[bytes, ...]) -> bytes:
    """Join the body: the head's fields, then `messages` as the last one."""
    parts = [part for part in (*first, *messages) if part]
    return to_json(head)[:-1] + b',"messages":[' + b",".join(parts) + b"]}"


def safe_name(name: str) -> str:
    """A tool name as every provider accepts it back: models invent names that their own API refuses."""
    return _NAME.sub("_", name)[:64] or "_"


def safe_id(identifier: str) -> str:
    """A call id as Anthropic accepts it back (`^[a-zA-Z0-9_-]+$`); ids of other providers may hold dots and colons."""
    return _NAME.sub("_", identifier) or "_"


def endpoint(base_url: str, version: str, path: str) -> str:
    """Join a base URL given with or without its version segment and the path under it."""
    base = base_url.rstrip("/")
    return f"{base}/{path}" if base.endswith(f"/{version}") else f"{base}/{version}/{path}"


_LONE = re.compile("[\ud800-\udfff]")
_NAME = re.compile(r"[^a-zA-Z0-9_-]")
