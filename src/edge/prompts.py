"""A session's prompt as bytes: kept where a request takes them from, and stored so that a wake copies them.

Decides nothing of what they are (`edgeloop.prompt` does); where they are stored is `store.py`'s.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pyodide.ffi import to_js

from edge import pump
from edgeloop.events import Recorded
from edgeloop.prompt import Prompt
from edgeloop.providers.base import around


@dataclass(kw_only=True)
class KeptPrompt:
    """The fold and its bytes, in JavaScript (`src/hot/prompt.mjs`). They are in `segments` stored rows and an open tail."""

    fold: Prompt
    data: Any = field(default_factory=lambda: pump.new_prompt())
    segments: int = 0
    anew: bool = True
    """Whether these bytes are not those stored: the rows that are there must go."""

    @classmethod
    def restore(cls, provider: str, upto: int, segments: Any, tail: Any) -> "KeptPrompt":
        """Take up what is stored (rows of segments and a tail, of JavaScript's); the events after `upto` are to follow."""
        kept = cls(fold=Prompt.resume(provider, upto), segments=segments.length, anew=False)
        kept.data.restore(segments, tail)
        return kept

    def serves(self, provider: str) -> bool:
        """Whether it can be sent to that provider."""
        return self.fold.provider == provider and self.fold.goes_on

    def apply(self, events: Iterable[Recorded]) -> None:
        """Take the next events."""
        for recorded in events:
            more = self.fold.apply(recorded)
            if more:
                self.data.append(to_js(more))

    @property
    def open(self) -> int:
        """Bytes in no segment yet."""
        return self.data.size - self.data.sealed

    def body(self, bare: bytes) -> Any:
        """The request's body, given the one that was built without the messages: a JavaScript array of bytes."""
        if not self.data.size:
            return to_js(bare)
        before, after = around(bare)
        return self.data.between(to_js(before), to_js(after))
