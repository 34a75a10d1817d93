"""Conversations for the adapters' tests: entries of every kind, hand-made and generated."""

from typing import get_args

from hypothesis import strategies as st

from edgeloop.events import Outcome
from edgeloop.tools import ToolSpec
from edgeloop.transcript import Block, CallBlock, Entry, ModelEntry, Result, ResultsEntry, UserEntry

TOOL = ToolSpec(
    name="read_file",
    description="Read a file.",
    parameters={
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "required": ["path"],
        "additionalProperties": False,
    },
    effect="read",
)


def said(text: str) -> Block:
    """A whole block of text."""
    return Block(type="text", text=text, echo=None, partial=False)


def thought(text: str, echo: str | None, *, partial: bool = False) -> Block:
    """A block of reasoning."""
    return Block(type="reasoning", text=text, echo=echo, partial=partial)


def called(
    provider_id: str = "call_1",
    name: str = "read_file",
    arguments: str = '{"path": "a.txt"}',
    echo: str | None = None,
) -> CallBlock:
    """A call; its arguments have a space, so that re-serialising them would show."""
    return CallBlock(provider_id=provider_id, name=name, arguments=arguments, echo=echo)


def model(provider: str, *blocks: Block | CallBlock) -> ModelEntry:
    """One message of a model."""
    return ModelEntry(provider=provider, blocks=blocks)


def answered(
    provider_id: str = "call_1", name: str = "read_file", outcome: Outcome = "ok", content: str = "done"
) -> ResultsEntry:
    """The result of one call."""
    result = Result(provider_id=provider_id, name=name, outcome=outcome, content=content)
    return ResultsEntry(results=(result,))


_ANY_TEXT = st.text(st.characters(codec=None), max_size=20)
_TEXT = st.text(max_size=20)
_NAMES = st.sampled_from(["read_file", "multi_tool_use.parallel", "", "ünï", "n" * 80])
_IDS = st.sampled_from(["call_1", "functions.x:0", "toolu_01A", "e00003002", "a b"])


@st.composite
def conversations(draw: st.DrawFn, maker: str) -> list[Entry]:
    """Any conversation that a transcript can hold: each message with calls is followed by their results."""
    entries: list[Entry] = [UserEntry(text=draw(_ANY_TEXT))]
    for _ in range(draw(st.integers(0, 4))):
        texts = [said(text) for text in draw(st.lists(_ANY_TEXT, max_size=2))]
        cut = [Block(type="text", text=t, echo=None, partial=True) for t in draw(st.lists(_TEXT, max_size=1))]
        thoughts = [thought(text, None) for text in draw(st.lists(_TEXT, max_size=1))]
        calls = [called(i, draw(_NAMES)) for i in draw(st.lists(_IDS, max_size=3, unique=True))]
        if blocks := [*thoughts, *texts, *calls, *cut]:
            entries.append(model(draw(st.sampled_from([maker, "elsewhere"])), *blocks))
        if calls:
            outcome = st.sampled_from(get_args(Outcome))
            results = [
                Result(provider_id=c.provider_id, name=c.name, outcome=draw(outcome), content=draw(_ANY_TEXT))
                for c in calls
            ]
            entries.append(ResultsEntry(results=tuple(results)))
        if draw(st.booleans()) or not calls:
            entries.append(UserEntry(text=draw(_ANY_TEXT)))
    return entries
