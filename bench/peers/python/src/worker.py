"""A minimal Python Worker, with one of two loops between the model and the sockets; nothing is kept or checked.

LOOP "python" is the straightforward handler per chunk: read, split lines, json.loads, one frame per delta. "javascript" is the
bare pump (../js-pump) with no Python in it: what workerd can do at best beside Pyodide, whose heap V8 marks in each major
collection.
"""

import json
from typing import Any
from urllib.parse import urlsplit

import js
from pyodide.ffi import to_js
from workers import DurableObject, WorkerEntrypoint, import_from_javascript


class Pump(DurableObject):
    """One session: says what a socket's message asks the model, to all its sockets."""

    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        self._raw = ctx._ctx
        self._pump = import_from_javascript("pump.mjs").pump

    async def fetch(self, request: Any) -> Any:  # noqa: ARG002
        """Take a viewer."""
        client, server = js.WebSocketPair.new().object_values()
        self._raw.acceptWebSocket(server)
        init = to_js({"status": 101, "webSocket": client}, dict_converter=js.Object.fromEntries)
        return js.Response.new(None, init)

    async def webSocketMessage(self, ws: Any, message: str) -> None:  # noqa: ARG002, N802
        """Ask the model and stream its answer."""
        if self.env.LOOP == "javascript":
            await self._pump(self.env.MODEL_URL, message, self._raw.getWebSockets())
        else:
            await self._stream(message)

    async def _stream(self, message: str) -> None:
        asked = {"model": "bench", "stream": True, "messages": [{"role": "user", "content": message}]}
        init = {
            "method": "POST",
            "headers": [["content-type", "application/json"]],
            "body": json.dumps(asked),
        }
        url = f"{self.env.MODEL_URL}/v1/chat/completions"
        answer = await js.fetch(url, to_js(init, dict_converter=js.Object.fromEntries))
        viewers = list(self._raw.getWebSockets())
        reader = answer.body.getReader()
        rest = b""
        while not (result := await reader.read()).done:
            *lines, rest = (rest + result.value.to_bytes()).split(b"\n")
            for line in lines:
                self._take(line, viewers)
        for viewer in viewers:
            viewer.send('{"done":true}')

    def _take(self, line: bytes, viewers: list[Any]) -> None:
        if not line.startswith(b"data: ") or line == b"data: [DONE]":
            return
        choices = json.loads(line[6:])["choices"]
        text = choices[0]["delta"].get("content") if choices else None
        if text:
            frame = json.dumps({"text": text})
            for viewer in viewers:
                viewer.send(frame)

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
        return await self.env._env.PUMPS.getByName(path).fetch(request.js_object)
