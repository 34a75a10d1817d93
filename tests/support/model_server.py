"""The embedded model server in a thread of the test's process, with what it received and what it answered."""

import asyncio
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from edgeloop_client.model.http import Received
from edgeloop_client.model.server import ModelServer, Settings, warm_up


class ModelServerHandle:
    """A running server. `requests` and `answers` grow as it works; `clear()` empties them."""

    def __init__(self, settings: Settings, clock: Callable[[], float], port: int) -> None:
        self.requests: list[Received] = []
        self.answers: list[dict[str, Any]] = []
        self._settings = settings
        self._clock = clock
        self._wanted_port = port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="model-server", daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def bodies(self, path: str = "/v1/") -> list[bytes]:
        """The bodies of the requests to paths that begin so, byte for byte."""
        return [
            r.body
            for r in self.requests
            if r.method == "POST" and r.path.startswith(path) and r.body is not None
        ]

    def await_answers(self, count: int, seconds: float = 5) -> list[dict[str, Any]]:
        """The answers once there are so many: an answer is noted just after its last byte was sent."""
        until = time.monotonic() + seconds
        while len(self.answers) < count and time.monotonic() < until:
            time.sleep(0.005)
        return list(self.answers)

    def clear(self) -> None:
        """Forget what was received and answered."""
        self.requests.clear()
        self.answers.clear()

    def start(self) -> "ModelServerHandle":
        """Start and wait until it listens."""
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error
        return self

    def stop(self) -> None:
        """End it, open connections too."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._error = error
            self._ready.set()
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stopped = asyncio.Event()
        warm_up()
        model = ModelServer(
            self._settings, clock=self._clock, on_request=self.requests.append, on_answer=self.answers.append
        )
        server = await asyncio.start_server(model.connected, "127.0.0.1", self._wanted_port, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def __enter__(self) -> "ModelServerHandle":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_model_server(
    *,
    fallback: str | None = None,
    script: str = "",
    clock: Callable[[], float] = time.monotonic,
    port: int = 0,
    **options: str | float,
) -> ModelServerHandle:
    """Start a server; `options` are those of `Options` for all models, e.g. `tps=50`. Works with `with`, too."""
    given = {name: str(value) for name, value in options.items()}
    return ModelServerHandle(Settings(options=given, fallback=fallback, script=script), clock, port).start()
