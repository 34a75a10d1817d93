"""Runs the embedded model server beside a local edge, and ends it for sure.

Knows how it is started and found ready; nothing of what it says.
"""

import re
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from scripts.setup import ROOT, VENV

START_SECONDS = 30
_READY = re.compile(r"at (http://\S+)")


class LocalModelError(Exception):
    """The model server did not start; the message ends with what it said."""


class LocalModel:
    """The embedded model server, as a context. `log` is the file that it writes to; `port` 0 takes a free one."""

    def __init__(self, *, log: Path, port: int = 0) -> None:
        self.url = ""
        self._log = log
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def variables(self) -> dict[str, str]:
        """What tells an edge to talk to it; which of its models is for the edge to say."""
        return {
            "EDGELOOP_PROVIDER": "anthropic",
            "EDGELOOP_BASE_URL": self.url,
            "EDGELOOP_API_KEY": "local",
        }

    def start(self) -> Self:
        """Start it; return when it listens.

        Raises:
            LocalModelError: it ended, or took too long; nothing is left running.
        """
        command = [str(VENV / "bin" / "edgeloop"), "model", "serve", "--port", str(self._port)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "scripts.leash", *command],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._await_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End it. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()  # the leash ends the group when its standard input does
            process.wait()

    def _await_ready(self, process: "subprocess.Popen[bytes]") -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and process.poll() is None:
            found = _READY.search(self._said())
            if found is not None:
                self.url = found[1]
                return
            time.sleep(0.02)
        raise LocalModelError(f"the embedded model did not start:\n{self._said()[-2000:]}")

    def _said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")
