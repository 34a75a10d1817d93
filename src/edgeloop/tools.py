"""What a tool is to the session: a name, a JSON Schema, a class of side effect and a deadline.

Decides when a complete call may start. Does not know how a tool is run, nor where a client is.
"""

from typing import Any, Literal

from pydantic import Field

from edgeloop.model import Frozen

Effect = Literal["read", "idempotent", "mutate"]
"""`read` changes nothing; `idempotent` may be run again with the same result; `mutate` must run once."""

Place = Literal["edge", "client"]

Touched = Literal["path", "command", "url"]


class ToolSpec(Frozen):
    """A tool as a client or the edge declares it.

    `parameters` is a JSON Schema of type object. `deadline_ms` counts from the start of a call; 0 means none (the tool asks a
    person, or bounds itself). `touches` names the arguments that say what a call touches (which path, which command, which URL):
    the autonomy rules match them, and calls that change the same path run one after the other. `eager` false makes calls wait
    for the end of the model's message.
    """

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str = Field(max_length=4_000)
    parameters: dict[str, Any]
    effect: Effect
    deadline_ms: int = Field(default=60_000, ge=0, le=3_600_000)
    touches: dict[Touched, str] = Field(default_factory=lambda: dict[Touched, str]())
    eager: bool = True


class PlacedTool(Frozen):
    """A declared tool and the side that runs it."""

    place: Place
    spec: ToolSpec


def may_start_early(spec: ToolSpec) -> bool:
    """Whether a call may start while the model still talks (design.md section 6).

    A mutating call waits for the end of the model's message: the message may still end in an error or a refusal.
    """
    return spec.eager and spec.effect != "mutate"
