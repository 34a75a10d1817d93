"""The least that a session in Python can be: an object with a hibernating socket and a table, which keeps what it is sent."""

from typing import Any
from urllib.parse import urlsplit

import js
from pyodide.ffi import to_js
from workers import DurableObject, WorkerEntrypoint


class Bare(DurableObject):
    """One session."""

    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        self._raw = ctx._ctx
        self._raw.storage.sql.exec("CREATE TABLE IF NOT EXISTS log (seq INTEGER PRIMARY KEY, body TEXT)")

    async def fetch(self, request: Any) -> Any:  # noqa: ARG002
        """Take a socket."""
        client, server = js.WebSocketPair.new().object_values()
        self._raw.acceptWebSocket(server)
        init = to_js({"status": 101, "webSocket": client}, dict_converter=js.Object.fromEntries)
        return js.Response.new(None, init)

    async def webSocketMessage(self, ws: Any, message: str) -> None:  # noqa: N802
        """Keep a message and say so."""
        self._raw.storage.sql.exec("INSERT INTO log (body) VALUES (?)", message)
        ws.send('{"done":true}')

    async def webSocketClose(self, ws: Any, code: int, reason: str, clean: bool) -> None:  # noqa: ARG002, N802
        """Answer the close."""
        ws.close(1000, "bye")


class Default(WorkerEntrypoint):
    """The Worker's door: a path is a session."""

    async def fetch(self, request: Any) -> Any:
        """Answer `/healthz`; send the rest to its session."""
        path = urlsplit(str(request.js_object.url)).path
        if path == "/healthz":
            return js.Response.new("ok")
        return await self.env._env.OBJECTS.getByName(path).fetch(request.js_object)
