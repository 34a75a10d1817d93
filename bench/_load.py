"""The load tools of bench/load as Python sees them: the model server, and clients whose figures come back as a dict."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scripts.setup import ROOT, node_binary

LOAD = ROOT / "bench" / "load"


class LoadError(Exception):
    """A load tool failed; the message is what it said."""


class Provider:
    """The model server, in a process of its own that ends with us. `url` has no path."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [str(node_binary()), str(LOAD / "provider.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.host = f"127.0.0.1:{json.loads(self._process.stdout.readline())['port']}"
        self.url = f"http://{self.host}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def tools(self, run: str) -> dict[str, Any]:
        """What it noted of a `tools:RUN` answer: `asked`, `completed` and `arrived` in ms since the epoch, and `ended`."""
        with urllib.request.urlopen(f"{self.url}/tools?run={run}", timeout=10) as answer:
            return json.load(answer)


def load(script: str, options: dict[str, Any]) -> dict[str, Any]:
    """Run a load tool and return what it measured.

    Raises:
        LoadError: it failed: a session that did not end, frames that were lost, a refusal.
    """
    return finish(begin(script, options))


@contextmanager
def held(script: str, options: dict[str, Any]) -> Generator[Any]:
    """Run a load tool that stays when it has measured, until the block is left; as `load`."""
    process = begin(script, options)
    assert process.stdin is not None
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        finish(process)
    yield json.loads(line)
    process.stdin.close()
    process.wait()


def begin(script: str, options: dict[str, Any]) -> "subprocess.Popen[str]":
    """Start a load tool."""
    command = [str(node_binary()), str(LOAD / script), json.dumps(options)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def finish(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Wait for a load tool; as `load`."""
    said, wrong = process.communicate()
    if process.returncode != 0:
        raise LoadError(f"{Path(str(process.args[1])).name}: {wrong.strip()[-2000:]}")  # type: ignore[index]
    return json.loads(said.splitlines()[-1])


def say(text: str) -> None:
    """Tell progress, on standard error."""
    print(f"  .. {text}", file=sys.stderr, flush=True)
