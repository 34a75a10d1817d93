"""The processes that are killed: started, told and heard line by line, ended for sure.

A child reads its standard input to the end and goes with it, so that none outlives a run that was itself killed.
"""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator
from typing import Any

from scripts.setup import ROOT

LINE = 1 << 24


async def lines_of_stdin() -> AsyncGenerator[str]:
    """What the parent says, line by line, until it closes the pipe or dies."""
    reader = asyncio.StreamReader(limit=LINE)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        yield line.decode().rstrip("\n")


class Child:
    """One process of ours, `python -m MODULE ARGUMENTS`, that says JSON lines."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._command = (sys.executable, "-m", module, *arguments)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def is_up(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE,
        )

    def tell(self, line: str) -> None:
        """Say a line to it; one that is dead hears nothing."""
        process = self._process
        if process is not None and process.stdin is not None and process.returncode is None:
            process.stdin.write(f"{line}\n".encode())

    async def heard(self) -> dict[str, Any] | None:
        """Its next line; None at its end."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    async def kill(self) -> None:
        """SIGKILL, as a machine's loss would."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()

    async def end(self) -> None:
        """Let it end by itself, or not."""
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            await self.kill()
