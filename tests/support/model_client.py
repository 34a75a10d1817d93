"""Plain HTTP requests to the model server, and what came back, byte for byte."""

import json
from dataclasses import dataclass, field
from typing import Any

import httpx

from edgeloop_client.model.shapes import objects

ANTHROPIC = {"x-api-key": "key", "anthropic-version": "2023-06-01"}
OPENAI = {"authorization": "Bearer key"}
CLIENT = httpx.Client(timeout=30)
"""One for all tests: making one reads every certificate of the machine."""
PATHS = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}
HEADERS = {"anthropic": ANTHROPIC, "openai": OPENAI}


@dataclass(kw_only=True)
class Streamed:
    """An answer in a stream: its chunks as they came, and how it ended."""

    status: int
    headers: httpx.Headers
    chunks: list[bytes] = field(default_factory=lambda: list[bytes]())
    broke: Exception | None = None

    @property
    def data(self) -> list[Any]:
        """The events' JSON, in order; what is no JSON stays bytes."""
        lines = b"".join(self.chunks).splitlines()
        return [_parsed(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: ")]


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line


def anthropic_body(model: str, text: str, **more: Any) -> dict[str, Any]:
    """A Messages request with one user message."""
    return {"model": model, "max_tokens": 4000, "messages": [{"role": "user", "content": text}], **more}


def openai_body(model: str, text: str, **more: Any) -> dict[str, Any]:
    """A Chat Completions request with one user message."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


BODIES = {"anthropic": anthropic_body, "openai": openai_body}


def post(url: str, dialect: str, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    """A request whose answer is read whole."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    own = HEADERS[dialect] if headers is None else headers
    return CLIENT.post(url + PATHS[dialect], content=content, headers=own)


def stream(url: str, dialect: str, body: dict[str, Any], timeout: float = 30) -> Streamed:
    """A request whose answer is a stream; `stream` is set."""
    content = json.dumps({**body, "stream": True}).encode()
    with CLIENT.stream(
        "POST", url + PATHS[dialect], content=content, headers=HEADERS[dialect], timeout=timeout
    ) as response:
        answer = Streamed(status=response.status_code, headers=response.headers)
        try:
            answer.chunks.extend(response.iter_raw())
        except httpx.HTTPError as error:
            answer.broke = error
    return answer


def said(dialect: str, streamed: Streamed) -> str:
    """The visible text of a stream."""
    events = objects(streamed.data)
    if dialect == "anthropic":
        deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
        return "".join(delta.get("text", "") for delta in deltas)
    choices = [event["choices"][0] for event in events if event.get("choices")]
    return "".join(choice["delta"].get("content") or "" for choice in choices)
