"""The tools that run at the edge, with no client attached: the agent's notes, and fetching from configured hosts."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import js
from pydantic import ValidationError

from edge.http import FetchTransport
from edge.store import Store
from edgeloop.edge_tools import FetchUrl, NoteRead, NoteWrite, edge_specs
from edgeloop.events import Outcome
from edgeloop.model import Frozen
from edgeloop.tools import ToolSpec

FETCH_BYTES = 256 << 10


class ToolFault(Exception):
    """The tool could not do what was asked; the text is for the model."""


@dataclass(frozen=True, kw_only=True)
class EdgeTools:
    """The edge tools of one agent."""

    store: Store
    fetch_hosts: tuple[str, ...]

    def specs(self) -> tuple[ToolSpec, ...]:
        """What is offered to the model."""
        return edge_specs(fetch=bool(self.fetch_hosts))

    async def run(self, name: str, arguments: str) -> tuple[Outcome, str]:
        """Run a call; every failure is an answer for the model."""
        run, model = self._tools()[name]
        try:
            return "ok", await run(model.model_validate_json(arguments))
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False)
            )
            return "error", f"The arguments do not fit the schema: {wrong}"
        except ToolFault as error:
            return "error", str(error)

    def _tools(self) -> dict[str, tuple[Callable[..., Awaitable[str]], type[Frozen]]]:
        return {
            "note_write": (self._note_write, NoteWrite),
            "note_read": (self._note_read, NoteRead),
            "fetch_url": (self._fetch_url, FetchUrl),
        }

    async def _note_write(self, args: NoteWrite) -> str:
        self.store.exec("INSERT OR REPLACE INTO notes VALUES (?, ?)", args.name, args.text)
        return f"Kept {len(args.text)} characters as {args.name!r}."

    async def _note_read(self, args: NoteRead) -> str:
        if args.name is None:
            names = [row[0] for row in self.store.exec("SELECT name FROM notes ORDER BY name LIMIT 1000")]
            return "\n".join(names) or "There are no notes."
        found = self.store.exec("SELECT text FROM notes WHERE name = ?", args.name)
        if not found:
            raise ToolFault(f"There is no note named {args.name!r}.")
        return found[0][0]

    async def _fetch_url(self, args: FetchUrl) -> str:
        parts = urlsplit(args.url)
        if parts.scheme not in ("http", "https") or parts.netloc not in self.fetch_hosts:
            raise ToolFault(
                f"{parts.netloc or args.url!r} may not be reached; allowed: {', '.join(self.fetch_hosts)}"
            )
        abort = js.AbortController.new()
        # The transport alone: a client's cookies, redirects and proxies are of no use here and cost half of a tool's start.
        request = httpx.Request("GET", args.url, headers={"accept": "*/*", "user-agent": "edgeloop"})
        try:
            response = await FetchTransport(abort).handle_async_request(request)
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > FETCH_BYTES:
                    break
        except httpx.HTTPError as error:
            raise ToolFault(f"The request failed: {error}") from error
        finally:
            abort.abort()
        text = body[:FETCH_BYTES].decode("utf-8", "replace")
        cut = f"\n[cut after {FETCH_BYTES} bytes]" if len(body) > FETCH_BYTES else ""
        location = response.headers.get("location")
        return f"HTTP {response.status_code}{f', location {location}' if location else ''}\n{text}{cut}"
