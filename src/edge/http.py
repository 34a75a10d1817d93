"""httpx over the runtime's `fetch`.

Stock httpx opens sockets, and on this runtime asyncio has no TLS and production refuses sockets to Cloudflare's own addresses.
So requests go through this transport, and everything above it is plain httpx. Bodies of either direction are read here too, in
bounds.
"""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import js
from pyodide.ffi import JsException, to_js

from edge.convert import to_object, why
from edgeloop.errors import Refused
from edgeloop.limits import BODY_READ_ON, MAX_BODY_BYTES

# `fetch` frames the message and undoes the content coding itself; what it is told of these, or tells us, would be wrong.
_REQUEST_DROPS = frozenset({"host", "content-length", "connection", "accept-encoding", "transfer-encoding"})
_RESPONSE_DROPS = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class FetchStream(httpx.AsyncByteStream):
    """A response body (a JS ReadableStream), read in Python."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self._reader: Any = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if not is_readable(self._body):
            return
        self._reader = self._body.getReader()
        while True:
            try:
                result = await self._reader.read()
            except JsException as error:
                raise httpx.ReadError(why(error)) from error
            if result.done:
                return
            yield result.value.to_bytes()

    async def aclose(self) -> None:
        if self._reader is not None:
            try:
                await self._reader.cancel()
            except JsException:
                pass  # already broken: there is nothing left to give back


class FetchTransport(httpx.AsyncBaseTransport):
    """One `fetch` per request; `abort` (a JS AbortController) ends it and its body."""

    def __init__(self, abort: Any) -> None:
        self._abort = abort

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it.

        Raises:
            httpx.ConnectError: no answer came: refused, reset, unknown host, or aborted.
        """
        headers = [[k, v] for k, v in request.headers.items() if k not in _REQUEST_DROPS]
        init: dict[str, Any] = {
            "method": request.method,
            "headers": to_js(headers),
            "signal": self._abort.signal,
            "redirect": "manual",
        }
        body = await request.aread()
        if body:
            init["body"] = to_js(body)
        try:
            response = await js.fetch(str(request.url), to_object(init))
        except JsException as error:
            raise httpx.ConnectError(why(error), request=request) from error
        pairs = [
            (k, v) for k, v in js.Array.from_(response.headers).to_py() if k.lower() not in _RESPONSE_DROPS
        ]
        return httpx.Response(
            response.status,
            headers=pairs,
            stream=FetchStream(response.body),
        )


async def body_of(request: Any, limit: int = MAX_BODY_BYTES) -> bytes:
    """A request's body, of which no more is kept than any body may be long, and not much more read.

    Raises:
        Refused: a longer one, or one that broke off.
    """
    body, size, stream = bytearray(), 0, FetchStream(request.body)
    try:
        async for chunk in stream:
            size += len(chunk)
            if size > limit * BODY_READ_ON:
                await stream.aclose()
                break
            if size > limit:
                body.clear()  # read on: an answer before the body's end would be lost with the connection
            else:
                body += chunk
    except httpx.ReadError as error:
        raise Refused(code="bad_frame", message="the body broke off") from error
    if size > limit:
        raise Refused(code="too_large", message=f"{size} bytes", expected=f"at most {limit} bytes")
    return bytes(body)


def is_readable(body: Any) -> bool:
    """Whether there is a stream at all: an answer without a body has null there."""
    return hasattr(body, "getReader")
