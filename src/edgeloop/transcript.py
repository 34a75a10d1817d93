"""The conversation as the model is to see it: a fold of the log into entries that, once made, never change.

An entry is made when a step begins: only then is it certain what came before. So the list of entries only grows, and the request
of step n is a prefix of the request of step n+1. Knows no provider: `providers/` turns entries into bytes.
"""

import re
from dataclasses import dataclass, field

from edgeloop.events import (
    BlockFinished,
    BlockType,
    ConfigChanged,
    Outcome,
    Recorded,
    StepFinished,
    StepStarted,
    ToolCallCompleted,
    ToolFinished,
    UserMessageReceived,
)


@dataclass(frozen=True, kw_only=True)
class UserEntry:
    """What a person said."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of the model's message: text, or reasoning with the provider's own JSON to echo."""

    type: BlockType
    text: str
    echo: str | None
    partial: bool


@dataclass(frozen=True, kw_only=True)
class CallBlock:
    """A tool call of the model's message; `arguments` is raw JSON text of an object, `{}` where what came was unusable."""

    provider_id: str
    name: str
    arguments: str
    echo: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One message of the model, and the provider that made it (signed reasoning is only good there)."""

    provider: str
    blocks: tuple[Block | CallBlock, ...]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a call came to, in call order."""

    provider_id: str
    name: str
    outcome: Outcome
    content: str


@dataclass(frozen=True, kw_only=True)
class ResultsEntry:
    """The results of all calls of one model message; every call has exactly one."""

    results: tuple[Result, ...]


Entry = UserEntry | ModelEntry | ResultsEntry

CONTINUE = "[The connection to the model broke off here. Continue exactly where your message ended.]"


@dataclass(kw_only=True)
class Transcript:
    """The entries so far, and what the open step has gathered."""

    entries: list[Entry] = field(default_factory=lambda: list[Entry]())
    _blocks: dict[int, Block | CallBlock] = field(default_factory=lambda: dict[int, Block | CallBlock]())
    _calls: dict[str, ToolCallCompleted] = field(default_factory=lambda: dict[str, ToolCallCompleted]())
    _results: dict[str, ToolFinished] = field(default_factory=lambda: dict[str, ToolFinished]())
    _waiting: list[str] = field(default_factory=lambda: list[str]())
    _paused: bool = False
    provider: str = ""
    """Who makes the open step."""
    reader: str = ""
    """Who is to be given the entries; empty: whoever makes them."""
    _next_provider: str = ""

    def __post_init__(self) -> None:
        self._next_provider = self._next_provider or self.provider

    def apply(self, recorded: Recorded) -> None:
        """Take one event; most matter only once the next step begins."""
        match recorded.event:
            case ConfigChanged() as event:
                self._next_provider = event.provider
            case UserMessageReceived() as event:
                self._waiting.append(event.text)
            case BlockFinished() as event:
                self._blocks[event.block] = Block(
                    type=event.type, text=event.text, echo=event.echo, partial=event.partial
                )
            case ToolCallCompleted() as event:
                self._calls[event.call] = event
                arguments = event.arguments if event.invalid is None else "{}"
                self._blocks[event.block] = CallBlock(
                    provider_id=self._provider_id(event),
                    name=event.name,
                    arguments=arguments,
                    echo=event.echo,
                )
            case ToolFinished() as event:
                self._results[event.call] = event
            case StepFinished() as event:
                self._paused = event.stop == "pause"
            case StepStarted():
                self._commit()
            case _:
                pass

    def take(self) -> list[Entry]:
        """Hand the entries over and forget them."""
        taken, self.entries = self.entries, []
        return taken

    def _commit(self) -> None:
        blocks = tuple(self._blocks[number] for number in sorted(self._blocks))
        if blocks:
            self.entries.append(ModelEntry(provider=self.provider, blocks=blocks))
        if self._calls:
            self.entries.append(ResultsEntry(results=tuple(self._result(call) for call in self._in_order())))
        elif blocks and not self._waiting and not self._paused:
            # No API takes a conversation that ends with the model's own words (no prefill on Claude >= 4.6).
            self.entries.append(UserEntry(text=CONTINUE))
        self.entries.extend(UserEntry(text=text) for text in self._waiting)
        self._blocks, self._calls, self._results = {}, {}, {}
        self._waiting, self._paused = [], False
        self.provider = self._next_provider

    def _in_order(self) -> list[ToolCallCompleted]:
        return sorted(self._calls.values(), key=lambda event: event.block)

    def _result(self, event: ToolCallCompleted) -> Result:
        end = self._results[event.call]
        return Result(
            provider_id=self._provider_id(event), name=event.name, outcome=end.outcome, content=end.content
        )

    def _provider_id(self, event: ToolCallCompleted) -> str:
        """The id that its maker gave a call, if it gave one and is given it back; else our own. Call and result carry the same.

        Many servers number their calls anew in each message, and take that back. Others, given such a history, refuse it for
        ever: the id names two calls (Anthropic), or is not of their form (Mistral takes nine letters and digits, as ours has).
        """
        if event.provider_id and self.reader in ("", self.provider):
            return event.provider_id
        step, _, block = event.call.partition(".")
        return f"e{step:0>5}{block:0>3}"


def is_minted(provider_id: str) -> bool:
    """Whether a call's id is our own stand-in for one that the provider did not give."""
    return _MINTED.fullmatch(provider_id) is not None


_MINTED = re.compile(r"e\d{8,}")
