"""Clients of a session in memory, with tools that count how often they ran."""

import asyncio
import io
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgeloop_client import connection
from edgeloop_client.client import Client
from edgeloop_client.endpoint import Endpoint
from edgeloop_client.errors import ToolError
from edgeloop_client.runner import Answer
from edgeloop_client.terminal import Screen
from edgeloop_client.tools.base import Arguments, Cancel, Output, Tool, Workspace
from tests.support.memory_session import TOKEN, MemorySession


class Word(Arguments):
    word: str = ""


@dataclass
class Doings:
    """Tools of a test: `look` reads, `mark` changes something, `ask` needs a person's word, `fail` fails, `wait` hangs."""

    ran: Counter[str] = field(default_factory=lambda: Counter[str]())

    def tools(self) -> dict[str, Tool]:
        return {
            "look": Tool(name="look", description="", arguments=Word, effect="read", run=self.run),
            "mark": Tool(name="mark", description="", arguments=Word, effect="mutate", run=self.run),
            "ask": Tool(
                name="ask", description="", arguments=Word, effect="mutate", run=self.run, guarded=True
            ),
            "fail": Tool(name="fail", description="", arguments=Word, effect="read", run=self.fail),
            "wait": Tool(
                name="wait", description="", arguments=Word, effect="mutate", deadline_ms=0, run=self.wait
            ),
            "slow": Tool(
                name="slow", description="", arguments=Word, effect="read", deadline_ms=50, run=self.wait
            ),
        }

    def run(self, _workspace: Workspace, arguments: Word, _cancel: Cancel) -> Output:
        self.ran[arguments.word] += 1
        return {"word": arguments.word}

    def fail(self, _workspace: Workspace, arguments: Word, _cancel: Cancel) -> Output:
        raise ToolError(f"cannot {arguments.word}")

    def wait(self, _workspace: Workspace, arguments: Word, cancel: Cancel) -> Output:
        self.ran[arguments.word] += 1
        while True:
            cancel.check()
            asyncio.run(asyncio.sleep(0.005))


@dataclass
class Person:
    """Answers every question alike, and remembers them; None never answers."""

    says: Answer | None = "once"
    asked: list[str] = field(default_factory=lambda: list[str]())

    async def answer(self, name: str, question: str) -> Answer:
        self.asked.append(f"{name} {question}")
        if self.says is None:
            await asyncio.Event().wait()
        assert self.says is not None
        return self.says


@dataclass
class Set:
    """A client with everything a test looks at."""

    client: Client
    doings: Doings
    person: Person
    output: io.StringIO


Connect = Callable[..., AbstractAsyncContextManager[Set]]


@pytest.fixture
def connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Connect a client to a session in memory; it reconnects at once."""
    monkeypatch.setattr(connection, "BACKOFF_FIRST", 0.002)
    monkeypatch.setattr(connection, "BACKOFF_CAP", 0.02)

    @asynccontextmanager
    async def connected(
        session: MemorySession,
        *,
        home: str = "home",
        token: str = TOKEN,
        person: Person | None = None,
        doings: Doings | None = None,
        watch: bool = False,
    ) -> AsyncGenerator[Set]:
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        doings, person, output = doings or Doings(), person or Person(), io.StringIO()
        client = Client(
            Endpoint(url=session.url, agent="memory", token=token),
            directory=None if watch else work,
            home=tmp_path / home,
            screen=Screen(output),
            asker=person,
            tools=doings.tools(),
        )
        async with client:
            yield Set(client=client, doings=doings, person=person, output=output)

    return connected
