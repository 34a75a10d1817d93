"""httpx over the `AI` binding: a model call of Workers AI without HTTP, a key or an account's id.

The binding takes no abort signal, so a call given up before its head goes on alone; after it the body is cancelled.
"""

from typing import Any

import httpx
import js
from pyodide.ffi import JsException

from edge.convert import to_object, why
from edge.http import FetchStream, is_readable
from edgeloop.providers.workers_ai import BINDING

URL = "http://binding/run"
"""Stands for the binding where httpx wants a URL."""


class BindingTransport(httpx.AsyncBaseTransport):
    """Runs the request's body as the inputs of one model; `url` is `binding:NAME/{model}`.

    The response's extension `body` is the JS stream itself, as with `FetchTransport`.
    """

    def __init__(self, ai: Any, url: str, abort: Any) -> None:
        self._ai = ai
        self._abort = abort
        self._model = url.removeprefix(BINDING).partition("/")[2]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Run it.

        Raises:
            httpx.ConnectError: the binding threw: there is no answer of the model's.
        """
        inputs = js.JSON.parse((await request.aread()).decode())
        options: dict[str, Any] = {
            "returnRawResponse": True,
            "extraHeaders": to_object(
                {name: value for name, value in request.headers.items() if name.startswith(("x-", "cf-"))}
            ),
        }
        try:
            response = await self._ai.run(self._model, inputs, to_object(options))
        except JsException as error:
            raise httpx.ConnectError(why(error), request=request) from error
        body = response.body
        if is_readable(body):
            body = body.pipeThrough(
                js.IdentityTransformStream.new(), to_object({"signal": self._abort.signal})
            )
        return httpx.Response(
            response.status,
            headers=[(k, v) for k, v in js.Array.from_(response.headers).to_py() if k in _TOLD],
            stream=FetchStream(body),
            extensions={"body": body},
        )


_TOLD = frozenset({"content-type", "retry-after", "cf-ai-req-id"})
