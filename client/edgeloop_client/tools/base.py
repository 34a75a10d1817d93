"""What a local tool is: its declaration, its argument model and the function that runs it in a thread.

Decides how arguments are checked and how results are written (JSON text). Knows no tool by name.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from edgeloop.tools import Effect, ToolSpec, Touched
from edgeloop_client.errors import ToolError, ToolTimeout
from edgeloop_client.held import Held, Sight
from edgeloop_client.tools.root import Root

READ_DEADLINE_MS = 60_000


class Arguments(BaseModel):
    """Base of all argument models: unknown names are refused, so that the model hears of its typing errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """What tools work on: the directory, where whole outputs of commands are kept (outside of it), and what the session holds."""

    root: Root
    outputs: Path
    held: Held
    locks: "FileLocks" = field(default_factory=lambda: FileLocks())


class FileLocks:
    """One lock per path, so that two calls never write one file at once."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def of(self, path: str) -> threading.Lock:
        """The lock of a path as seen from the root, links resolved."""
        with self._guard:
            return self._locks.setdefault(path, threading.Lock())


class Cancel:
    """Asked by running tools now and then: a thread cannot be ended from outside."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raise:
        ToolTimeout: nobody waits for the result any more.
        """
        if self._event.is_set():
            raise ToolTimeout("ended before it finished")


Output = dict[str, Any]
Run = Callable[[Workspace, Any, Cancel], Output]


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A local tool. `run(workspace, arguments, cancel)` blocks and is called in a thread.

    `touches` is as in `ToolSpec`; `question` words a call for the person who is asked about it; a `guarded` tool never runs
    without a person's word, whatever the session's mode allows; a `repeatable` one may be run again where it is not known whether
    it took effect, and does nothing then if it had. `shows(arguments, content)` reads an `ok` result of the log.
    """

    name: str
    description: str
    arguments: type[Arguments]
    effect: Effect
    run: Run
    deadline_ms: int = READ_DEADLINE_MS
    touches: dict[Touched, str] = field(default_factory=lambda: dict[Touched, str]())
    question: Callable[[Any], str] = str
    guarded: bool = False
    repeatable: bool = False
    shows: Callable[[Any, str], Sight | None] = lambda _arguments, _content: None

    @property
    def spec(self) -> ToolSpec:
        """The tool as it is declared to the session."""
        return ToolSpec(
            name=self.name,
            description=self.description,
            parameters=_plain(self.arguments.model_json_schema()),
            effect=self.effect,
            deadline_ms=self.deadline_ms,
            touches=self.touches,
        )

    def parse(self, arguments: str) -> Any:
        """Check the arguments of a call.

        Raises:
            ToolError: not what the schema says; nothing was run.
        """
        try:
            return self.arguments.model_validate_json(arguments)
        except ValidationError as error:
            known = ", ".join(self.arguments.model_fields)
            raise ToolError(f"bad arguments: {_explain(error)}. Expected an object with: {known}") from None

    def sight(self, arguments: str, content: str) -> Sight | None:
        """What a recorded result showed of a file; None too where the words are not ours (an older client's, a stranger's)."""
        try:
            return self.shows(self.arguments.model_validate_json(arguments), content)
        except ValidationError:
            return None


def to_json(output: Output) -> str:
    """A tool's result as the text the model is given."""
    return json.dumps(output, ensure_ascii=False, separators=(",", ":"))


def _plain(schema: Output) -> Output:
    """The schema without pydantic's titles: they cost tokens in every request and say nothing."""
    if "$ref" in schema:
        return schema
    cleaned: Output = {
        key: value for key, value in schema.items() if key != "title" or not isinstance(value, str)
    }
    for key in ("properties", "$defs"):
        if key in cleaned:
            cleaned[key] = {name: _plain(value) for name, value in cleaned[key].items()}
    if "items" in cleaned:
        cleaned["items"] = _plain(cleaned["items"])
    return cleaned


def _explain(error: ValidationError) -> str:
    found = error.errors(include_input=False, include_url=False)[:3]
    return "; ".join(f"{'.'.join(map(str, item['loc'])) or 'arguments'}: {item['msg']}" for item in found)
