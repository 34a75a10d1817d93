"""The commands that are connected to an agent: run a task, attach to one. Everything about Ctrl-C is here.

A first Ctrl-C stops the turn and waits for its end, a second one leaves; leaving stops nothing.
"""

import asyncio
import base64
import contextlib
import json
import secrets
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from edgeloop.events import TurnFinished
from edgeloop.wire import Autonomy
from edgeloop_client.client import Client
from edgeloop_client.endpoint import Endpoint
from edgeloop_client.identity import state_home
from edgeloop_client.terminal import Asker, Screen, summary, visible

DONE, FAILED, LEFT = 0, 1, 130
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a person chose; `directory` None: no local tools. `home` None: the person's state folder."""

    url: str
    token: str
    agent: str
    directory: Path | None
    as_json: bool = False
    always_yes: bool = False
    home: Path | None = None


def new_agent_id() -> str:
    """An id for a new agent: short enough to be typed, too long to be guessed by accident (50 bits)."""
    return f"a-{base64.b32encode(secrets.token_bytes(7))[:10].decode().lower()}"


async def run(
    options: Options, task: str, *, model: str | None = None, autonomy: Autonomy | None = None
) -> int:
    """Give an agent a task and follow it to the turn's end; the exit code. `autonomy` holds from this task on.

    Raises:
        ClientError: no connection, no access, or the message was refused.
    """
    async with _working(options) as work:
        work.client.ask(task, model=model, autonomy=autonomy)
        return await work.follow(work.client.over)


async def attach(options: Options) -> int:
    """Follow the turn under way, or show the last one; the exit code.

    Raises:
        ClientError: no connection or no access.
    """
    async with _working(options, history=True) as work:
        return await work.follow(work.client.over)


class _Work:
    """A connected client with the keyboard's signals."""

    def __init__(self, client: Client, options: Options) -> None:
        self.client = client
        self._options = options
        self._signals = 0
        self._left = asyncio.Event()

    def interrupted(self) -> None:
        """Take a Ctrl-C."""
        self._signals += 1
        if self._signals == 1:
            self.client.stop()
            self.client.screen.notice("stopping the turn; Ctrl-C again leaves it running", "yellow")
        else:
            self._left.set()

    async def until(self, wait: Callable[[], Awaitable[None]]) -> bool:
        """Wait for something, or for the person to leave; whether it came."""
        waiting = asyncio.ensure_future(wait())
        leaving = asyncio.ensure_future(self._left.wait())
        try:
            await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
            return waiting.done()
        finally:
            for task in (waiting, leaving):
                task.cancel()
            await asyncio.gather(waiting, leaving, return_exceptions=True)

    async def follow(self, wait: Callable[[], Awaitable[None]]) -> int:
        """Wait for the turn's end; the exit code."""
        if await self.until(wait):
            return self.finish()
        self.client.screen.notice(f"left; the agent goes on: edgeloop attach {self._options.agent}", "yellow")
        return LEFT

    def finish(self) -> int:
        """Print what is printed at the end; the exit code."""
        report = self.client.report
        self.client.screen.table(summary(report))
        if self._options.as_json:
            print(json.dumps(report, ensure_ascii=True))
        return self._code(self.client.turn.ended)

    def _code(self, ended: TurnFinished | None) -> int:
        if ended is not None and ended.reason == "stopped" and self._signals:
            return LEFT
        return DONE if ended is None or ended.reason == "done" else FAILED


@contextlib.asynccontextmanager
async def _working(options: Options, *, history: bool = False) -> AsyncGenerator[_Work]:
    screen = Screen(sys.stderr if options.as_json else sys.stdout)
    endpoint = Endpoint(url=options.url, agent=options.agent, token=options.token)
    if endpoint.is_exposed:
        screen.notice(f"{endpoint.base} is not https: your token and your files travel in the clear", "red")
    asker = Asker(screen, always=options.always_yes)
    screen.notice(f"agent {visible(options.agent)} at {endpoint.base}")
    home = options.home if options.home is not None else state_home()
    client = Client(
        endpoint, directory=options.directory, home=home, screen=screen, asker=asker, history=history
    )
    work = _Work(client, options)
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, work.interrupted)
    try:
        async with client:
            yield work
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
