"""The edge ring's own fixtures: one scripted provider, and one Worker per dialect, started when first asked for.

Tests share a Worker and never an agent. What kills its Worker, or needs other variables, has one of its own.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from scripts.local_edge import LocalEdge
from tests.support.edge import TOKEN, Door
from tests.support.provider import Dialect, ScriptedProvider

StartEdge = Callable[..., LocalEdge]
DEADLINE_MS = 4_000
"""The provider deadlines under test: the shipped ones are minutes."""


def variables(provider: str, dialect: Dialect, **more: str) -> dict[str, str]:
    """A Worker's variables for this ring."""
    return {
        "EDGELOOP_TOKEN": TOKEN,
        "EDGELOOP_PROVIDER": dialect,
        "EDGELOOP_BASE_URL": provider,
        "EDGELOOP_MODEL": "default",
        "EDGELOOP_FETCH_HOSTS": provider.partition("://")[2],
        "EDGELOOP_FIRST_MS": str(DEADLINE_MS),
        "EDGELOOP_IDLE_MS": str(DEADLINE_MS),
        **more,
    }


@pytest.fixture(scope="session")
def provider() -> Iterator[ScriptedProvider]:
    """The provider that answers as a test says."""
    server = ScriptedProvider()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def edge_of(provider: ScriptedProvider) -> Iterator[Callable[[Dialect], LocalEdge]]:
    """The shared Worker of a dialect."""
    running: dict[Dialect, LocalEdge] = {}
    with ExitStack() as stack:

        def edge(dialect: Dialect) -> LocalEdge:
            if dialect not in running:
                started = LocalEdge(variables=variables(provider.url, dialect), private_copy=True)
                running[dialect] = stack.enter_context(started)
            return running[dialect]

        yield edge


@pytest.fixture(scope="session")
def exhausting(provider: ScriptedProvider, edge_of: Callable[[Dialect], LocalEdge]) -> Door:
    """An agent whose provider never recovers: its minute of retries begins before the first test that uses a `door`."""
    door = Door(url=edge_of("anthropic").url, agent=f"t-{uuid4().hex[:12]}")
    provider.script(door.agent, lambda reply: reply.refuse(500))
    asyncio.run(door.post("go"))
    return door


@pytest.fixture
def own_edge(provider: ScriptedProvider, tmp_path: Path) -> Iterator[StartEdge]:
    """Start a Worker of the test's own, with its variables changed as the keywords say."""
    with ExitStack() as stack:

        def start(**more: str) -> LocalEdge:
            given = variables(provider.url, "anthropic", **more)
            edge = LocalEdge(variables=given, private_copy=True, persist_to=tmp_path / "state")
            return stack.enter_context(edge)

        yield start


@pytest.fixture
def agent() -> str:
    """A name nobody had before: the agent's, and that of the model whose answers it scripts."""
    return f"t-{uuid4().hex[:12]}"


@pytest.fixture
def door(edge_of: Callable[[Dialect], LocalEdge], exhausting: Door, agent: str) -> Door:
    """A new agent at the shared Worker."""
    return Door(url=edge_of("anthropic").url, agent=agent)
