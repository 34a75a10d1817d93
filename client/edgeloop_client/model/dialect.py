"""What a dialect is: a parsed request, an encoder of one response, and the provider's way of saying no.

Decides how JSON is rendered and how request parts become cache segments. Knows no socket.
"""

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from edgeloop_client.model.cache import PrefixCache, Ttl, Use
from edgeloop_client.model.conversation import Conversation
from edgeloop_client.model.counting import TokenCounter
from edgeloop_client.model.errors import Refused, bad
from edgeloop_client.model.limits import Allowance
from edgeloop_client.model.options import Options
from edgeloop_client.model.play import Ended, Op
from edgeloop_client.model.shapes import Json, is_object

Headers = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """An HTTP request, as far as a dialect looks at it. Header names are lower-case."""

    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Block:
    """A part of the prompt in prefix order: its rendering and, at a breakpoint, how long it is cached."""

    data: bytes
    mark: Ttl | None = None


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A request, parsed. `scope` is whatever else the cache depends on: key, model, settings."""

    conversation: Conversation
    blocks: list[Block]
    scope: str
    stream: bool
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    extra: Json = field(default_factory=lambda: Json())


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An error answer: its status, the provider's own headers, its body."""

    status: int
    headers: Headers
    body: Json


class Encoder(Protocol):
    """Writes one response."""

    def start(self) -> list[bytes]:
        """The events before the first operation."""
        ...

    def events(self, op: Op) -> list[bytes]:
        """The events of one operation, each a whole server-sent event."""
        ...

    def failure(self, refused: Refused) -> list[bytes]:
        """An error in the middle of the stream."""
        ...

    def whole(self, ops: list[Op]) -> Json:
        """The response as one object."""
        ...


class Dialect(Protocol):
    """A provider's API."""

    name: str
    cache_minimum: int
    """Tokens below which no prefix is cached."""

    def parse(self, incoming: Incoming) -> Prompt:
        """Read a request as the provider would.

        Raises:
            Refused: the provider would not take it.
        """
        ...

    def charge(self, prompt: Prompt, minimum: int, cache: PrefixCache, counter: TokenCounter) -> Use:
        """What of the prompt the cache holds, by the provider's rules."""
        ...

    def encoder(self, prompt: Prompt, use: Use, options: Options, /) -> Encoder:
        """A fresh encoder."""
        ...

    def refusal(self, refused: Refused, request_id: str) -> Refusal:
        """An error answer in the provider's shape."""
        ...

    def limit_headers(self, allowance: Allowance, /) -> Headers:
        """How the provider tells what is left of a limit."""
        ...

    def too_long(self, tokens: int, limit: int) -> Refused:
        """The refusal of a prompt that does not fit the context."""
        ...


def read_json(body: bytes) -> Json:
    """The request's object.

    Raises:
        Refused: no JSON object.
    """
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise bad(f"The request body is not valid JSON: {error}") from None
    if not is_object(value):
        raise bad("The request body is not valid JSON: expected an object")
    _check_surrogates(body, value)
    return value


def _check_surrogates(body: bytes, value: Json) -> None:
    """A lone surrogate can be written in JSON, but no UTF-8 can carry it on."""
    if b"\\ud" in body.lower():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise bad(
                "The request body is not valid JSON: no low surrogate in string", code="invalid_json"
            ) from None


def render(value: Any) -> bytes:
    """A part of the prompt, or of an answer, as bytes; key order counts, as it does for a real provider's cache."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def quote(text: str) -> bytes:
    """A JSON string; what no UTF-8 can carry becomes `?`."""
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")


def stamped(text: str) -> str:
    """The text with the time of now at its beginning, as long as before where it is long enough."""
    mark = f"@{time.time_ns() // 1000}@"
    return mark + text[len(mark) :]


def sse(event: str, data: Json) -> bytes:
    """A server-sent event; an empty name leaves its line out."""
    return (f"event: {event}\n".encode() if event else b"") + b"data: " + render(data) + b"\n\n"


def retry_after(refused: Refused) -> Headers:
    """The header that says when to come again."""
    return [("retry-after", f"{refused.retry_after:g}")] if refused.retry_after else []


def ended(ops: list[Op]) -> Ended:
    """The last operation of a whole message."""
    last = ops[-1]
    assert isinstance(last, Ended)
    return last


def object_of(value: str) -> Json:
    """A call's arguments as they were sent back; empty where they are no JSON object."""
    try:
        read: Any = json.loads(value) if value.strip() else {}
    except ValueError:
        return {}
    return read if is_object(read) else {}
