"""Kill, cut and error at every operation of recorded answers with calls: ours of each dialect, and real ones where they are.

The recorded bytes are the first answer of a turn whose tools are those it calls; after whatever struck, the model only says that
it is done, so all that must hold is ours: no call twice, no result and no text lost, the turn ended.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from edgeloop.events import ToolCallCompleted
from edgeloop.tools import Effect, Place
from edgeloop_client.decode import Decoder
from tests.support.core import Tool
from tests.support.kill_checks import check
from tests.support.recordings import RECORDINGS, rows_of
from tests.support.streamed import Blow, How, StreamedSim, halves
from tests.support.streams import FIXTURES

PROVIDERS = {
    "anthropic": "anthropic",
    "chat": "openai",
    "responses": "openai-responses",
    "gemini": "gemini",
    "workers-ai": "workers-ai",
}
"""The adapter that meets an API, by the API's name in the recordings' index."""
DIALECTS = {"openai": "openai-chat"}
KINDS: tuple[tuple[Effect, Place], ...] = (
    ("read", "edge"),
    ("mutate", "client"),
    ("idempotent", "client"),
    ("mutate", "edge"),
)


def found() -> Iterator[tuple[str, Path]]:
    """Our streams with calls, and the recorded ones with several, with the adapter that meets them."""
    for provider in PROVIDERS.values():
        yield provider, FIXTURES / f"{DIALECTS.get(provider, provider)}.sse"
    for row in rows_of(PROVIDERS):
        if len(json.loads(row["tool_calls"] or "[]")) > 1:
            yield PROVIDERS[row["api"]], RECORDINGS / row["file"]


STREAMS = list(found())
pytestmark = pytest.mark.parametrize(("provider", "path"), STREAMS, ids=[path.stem for _, path in STREAMS])


@cache
def pieces(path: Path) -> tuple[bytes, ...]:
    """The stream's events, each cut in two."""
    events = re.split(rb"(?<=\n)(?=\r?\n)" if path.suffix == ".sse" else rb"(?<=\n)", path.read_bytes())
    return tuple(halves(event for event in events if event))


@cache
def tools(provider: str, path: Path, first: int) -> tuple[Tool, ...]:
    """The tools that the stream calls, of all kinds in turn."""
    with Decoder(DIALECTS.get(provider, provider)) as decoder:
        ops = [op for piece in pieces(path) for op in decoder.feed(piece)] + decoder.finish()
    names = sorted({op["name"] for op in ops if op["op"] == "call_complete"})
    kinds = [KINDS[(first + number) % len(KINDS)] for number in range(len(names))]
    return tuple(
        Tool(name=name, effect=effect, place=place)
        for name, (effect, place) in zip(names, kinds, strict=True)
    )


def runs(provider: str, path: Path, blow: Blow) -> Iterator[StreamedSim]:
    """With fast tools and slow ones, of each kind that may not run twice."""
    for tools_first, first in ((True, 0), (False, 1), (False, 3)):
        made = StreamedSim(
            provider=provider,
            tools=tools(provider, path, first),
            recorded=pieces(path),
            blow=blow,
            tools_first=tools_first,
        )
        made.begin().run()
        check(made)
        assert made.ends() == ["done"]
        yield made


def test_the_recorded_turn(provider: str, path: Path) -> None:
    """Nothing happens: all its calls are run, and the model is asked once more."""
    for made in runs(provider, path, Blow(how="kill", after=-1)):
        assert len(made.requests) == 2
        assert made.events(ToolCallCompleted)
        assert set(made.outcomes().values()) == {"ok"}


@pytest.mark.parametrize("how", ["cut", "error", "kill"])
def test_a_recorded_turn_that_is_struck_anywhere(provider: str, path: Path, how: How) -> None:
    """After each half of an event (an error comes between events): whatever was complete is kept, and the turn goes on."""
    for after in range(0, len(pieces(path)) + 1, 2 if how == "error" else 1):
        for made in runs(provider, path, Blow(how=how, after=after)):
            assert len(made.requests) >= 2
