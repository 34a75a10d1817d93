"""A model provider whose every byte the test decides: real HTTP and real SSE, in both dialects, one script per answer.

The model server computes what it says from what it is asked; here the test says it, and when: a script may wait on a gate,
cut the connection between two bytes, or answer with any status. A script belongs to a model's name, so tests do not meet.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Literal

Dialect = Literal["anthropic", "openai"]
GATE_SECONDS = 60.0
"""No script waits longer: a test that failed must not keep a thread."""


@dataclass(kw_only=True)
class Asked:
    """One request. `hung_up` is set when the asker left before the script's end."""

    body: bytes
    at: float
    hung_up: threading.Event = field(default_factory=threading.Event)

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


class Reply:
    """The answer being written. A call that follows the asker's leaving ends the script."""

    def __init__(self, handler: "_Handler", dialect: Dialect, model: str) -> None:
        self._handler = handler
        self._dialect: Dialect = dialect
        self._model = model
        self._blocks = count()
        self._calls = count()
        self._open = False
        self._called = False
        self._headers = dict[str, str]()

    # --- what a script says -----------------------------------------------------------------------------------------

    def head(self, headers: dict[str, str]) -> None:
        """Send these with the answer's head, which has not begun."""
        self._headers |= headers

    def text(self, *pieces: str, gap: float = 0.0) -> None:
        """Say a block of text, one event per piece, so many seconds apart."""
        with self.block() as piece:
            for part in pieces:
                piece(part)
                if gap:
                    time.sleep(gap)

    @contextmanager
    def block(self) -> Generator[Callable[[str], None]]:
        """Say a block of text through the function that this gives: for waiting between pieces."""
        if self._dialect == "openai":
            yield lambda part: self._chat({"content": part})
            return
        index = next(self._blocks)
        self._event("content_block_start", index=index, content_block={"type": "text", "text": ""})
        yield lambda part: self._event(
            "content_block_delta", index=index, delta={"type": "text_delta", "text": part}
        )
        self._event("content_block_stop", index=index)

    def call(self, name: str, arguments: dict[str, Any] | str) -> None:
        """Make a complete tool call; a text is sent as the arguments' raw JSON."""
        raw = arguments if isinstance(arguments, str) else json.dumps(arguments)
        number, half = next(self._calls), len(raw) // 2
        self._called = True
        identifier = f"toolu_{self._model.replace('.', '_')}_{number}"
        if self._dialect == "openai":
            head = {"index": number, "id": identifier, "type": "function"}
            self._chat({"tool_calls": [{**head, "function": {"name": name, "arguments": ""}}]})
            for part in (raw[:half], raw[half:]):
                self._chat({"tool_calls": [{"index": number, "function": {"arguments": part}}]})
            return
        index = next(self._blocks)
        block: dict[str, Any] = {"type": "tool_use", "id": identifier, "name": name, "input": {}}
        self._event("content_block_start", index=index, content_block=block)
        for part in (raw[:half], raw[half:]):
            self._event(
                "content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": part}
            )
        self._event("content_block_stop", index=index)

    def end(self, *, output: int = 5, closing: bool = True) -> None:
        """End well, with the stop reason that what was said asks for, and so many tokens of output on the bill.

        With `closing` false the body is not over yet.
        """
        if self._dialect == "openai":
            self._chat({}, finish="tool_calls" if self._called else "stop")
            self._data({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": output}})
            self.raw(b"data: [DONE]\n\n")
        else:
            stop = {"stop_reason": "tool_use" if self._called else "end_turn", "stop_sequence": None}
            self._event("message_delta", delta=stop, usage={"output_tokens": output})
            self._event("message_stop")
        if closing:
            self._handler.write_chunk(b"")

    def ping(self) -> None:
        """Send signs of life, and nothing else, until the asker leaves."""
        self._begin()
        for _ in range(int(GATE_SECONDS * 10)):
            self._handler.write_chunk(b": ping\n\n")
            time.sleep(0.1)

    # --- how it goes wrong ------------------------------------------------------------------------------------------

    def refuse(self, status: int, *, kind: str = "api_error", headers: dict[str, str] | None = None) -> None:
        """Answer with an error status and the dialect's own error body."""
        error = {"type": kind, "message": f"scripted {status}"}
        body = (
            {"error": {**error, "code": kind}}
            if self._dialect == "openai"
            else {"type": "error", "error": error}
        )
        self._handler.answer(status, json.dumps(body).encode(), headers or {})

    def error(self, kind: str = "overloaded_error", message: str = "scripted error") -> None:
        """Send an error inside the 200 stream."""
        self._begin()
        error = {"type": kind, "message": message}
        if self._dialect == "openai":
            self._data({"error": {**error, "code": 503}})
        else:
            self._event("error", error=error)
        self._handler.write_chunk(b"")

    def cut(self) -> None:
        """Close the connection in the middle of the body."""
        self.raw(b"")
        self._handler.hang_up()

    def malformed(self) -> None:
        """Send an event whose data is no JSON."""
        self.raw(b'event: content_block_delta\ndata: {"type": "content_block_delta", "ind\n\n')

    def finish(self) -> None:
        """End the body in order, without the dialect's own end."""
        self.raw(b"")
        self._handler.write_chunk(b"")

    def page(self) -> None:
        """Answer 200 with something that is no stream."""
        self._handler.answer(
            200, b"<html>Welcome to the hotel's network</html>", {"content-type": "text/html"}
        )

    def json_error(self, kind: str) -> None:
        """Answer 200 with the error as JSON in place of a stream."""
        error = {"type": kind, "message": "scripted error"}
        self._handler.answer(200, json.dumps({"type": "error", "error": error}).encode(), {})

    def redirect(self) -> None:
        """Point elsewhere, where nobody must go with the key."""
        self._handler.answer(307, b"", {"location": "/v1/elsewhere"})

    def not_gzip(self) -> None:
        """Promise a compressed stream and send another."""
        self._handler.answer(200, b"data: {}\n\n" * 9, {"content-encoding": "gzip"})

    def hold(self) -> None:
        """Take the request and never answer."""
        self._handler.await_hang_up()

    @contextmanager
    def in_one_piece(self) -> Generator[None]:
        """Send what is said meanwhile in one chunk, so that it comes in one read; the end of the body after it."""
        self._begin()
        pieces = self._handler.gathered = list[bytes]()
        try:
            yield
        finally:
            self._handler.gathered = None
        self._handler.write_chunk(b"".join(pieces))
        if pieces[-1] == b"":
            self._handler.write_chunk(b"")

    def wait(self, gate: threading.Event) -> None:
        """Go on when the test says so."""
        gate.wait(GATE_SECONDS)

    def silence(self) -> None:
        """Say nothing more and keep the connection until the asker leaves."""
        self._begin()
        self._handler.await_hang_up()

    # --- bytes ------------------------------------------------------------------------------------------------------

    def raw(self, data: bytes) -> None:
        """Send bytes of the body as they are."""
        self._begin()
        if data:
            self._handler.write_chunk(data)

    def _begin(self) -> None:
        if self._open:
            return
        self._open = True
        self._handler.start_stream(self._headers)
        if self._dialect == "openai":
            self._chat({"role": "assistant", "content": ""})
        else:
            usage = {"input_tokens": 10, "output_tokens": 1}
            message = {"id": "msg_1", "type": "message", "role": "assistant", "model": self._model}
            self._event("message_start", message={**message, "content": [], "usage": usage})

    def _chat(self, delta: dict[str, Any], finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        self._data(
            {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": self._model, "choices": [choice]}
        )

    def _data(self, data: dict[str, Any]) -> None:
        self.raw(b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n")

    def _event(self, kind: str, **fields: Any) -> None:
        data = json.dumps({"type": kind, **fields}, ensure_ascii=False)
        self.raw(f"event: {kind}\ndata: {data}\n\n".encode())


Script = Callable[[Reply], None]


class ScriptedProvider:
    """The server. Each request for a model is answered by the model's next script; the last one goes on answering."""

    def __init__(self) -> None:
        self._scripts: dict[str, tuple[int, tuple[Script, ...]]] = {}
        self._asked: dict[str, list[Asked]] = {}
        self._lock = threading.Lock()
        self.left = threading.Event()
        """Set when somebody gave `/hang` up."""
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def script(self, model: str, *scripts: Script) -> None:
        """Say how a model answers its 1st, 2nd ... request from now on; the last script answers all that follow."""
        with self._lock:
            self._scripts[model] = (len(self._asked.get(model, ())), scripts)

    def asked(self, model: str) -> list[Asked]:
        """The requests made of a model so far."""
        with self._lock:
            return list(self._asked.get(model, ()))

    def take(self, model: str, body: bytes) -> tuple[Asked, Script]:
        """Record a request and find its script."""
        asked = Asked(body=body, at=time.monotonic())
        with self._lock:
            earlier = self._asked.setdefault(model, [])
            earlier.append(asked)
            before, scripts = self._scripts.get(model, (0, (_unknown,)))
            return asked, scripts[min(len(earlier) - before, len(scripts)) - 1]


def _unknown(reply: Reply) -> None:
    reply.refuse(404, kind="not_found_error")


class _Left(Exception):
    """The asker is gone."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, provider: ScriptedProvider) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.provider = provider


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gathered: list[bytes] | None = None
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        model = json.loads(body)["model"]
        dialect: Dialect = "anthropic" if self.path.endswith("/messages") else "openai"
        assert isinstance(self.server, _Server)
        asked, script = self.server.provider.take(model, body)
        try:
            script(Reply(self, dialect, model))
        except _Left:
            asked.hung_up.set()
            self.close_connection = True

    def do_GET(self) -> None:
        """A few pages for the tools that fetch: `/page`, `/elsewhere` (a redirect), `/huge`, `/hang`."""
        match self.path:
            case "/page":
                self.answer(200, "Grüße".encode(), {"content-type": "text/plain"})
            case "/elsewhere":
                self.answer(302, b"", {"location": "/page"})
            case "/huge":
                self.answer(200, b"x" * (1 << 20), {})
            case "/hang":
                assert isinstance(self.server, _Server)
                with contextlib.suppress(_Left):
                    self.await_hang_up()
                self.server.provider.left.set()
                self.close_connection = True
            case _:
                self.answer(404, b"", {})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep the tests' output quiet."""

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            "content-length": str(len(body)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def start_stream(self, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def write_chunk(self, data: bytes) -> None:
        """Send one chunk; an empty one ends the body."""
        if self.gathered is not None:
            self.gathered.append(data)
            return
        try:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        except OSError as error:
            raise _Left from error

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    def await_hang_up(self) -> None:
        self.connection.settimeout(GATE_SECONDS)
        try:
            self.rfile.read(1)
        except OSError:
            pass
        raise _Left
