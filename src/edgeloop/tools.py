"""What a tool is to the session: a name, a JSON Schema, a class of side effect and a deadline.

Decides when a complete call may start. Does not know how a tool is run, nor where a client is.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from edgeloop.model import Frozen

Effect = Literal["read", "idempotent", "mutate"]
"""`read` changes nothing; `idempotent` may be run again with the same result; `mutate` must run once."""

Place = Literal["edge", "client"]

Touched = Literal["path", "command", "url"]


def _object_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Refuse what every provider would refuse in every request: the session could not make a step any more."""
    if schema.get("type") != "object":
        raise ValueError("a tool's parameters are a JSON Schema of type object")
    try:
        json.dumps(schema, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise ValueError("a tool's parameters must be finite JSON") from None
    return schema


class ToolSpec(Frozen):
    """A tool as a client or the edge declares it.

    `parameters` is a JSON Schema of type object. `deadline_ms` counts from the start of a call; 0 means none (the tool asks a
    person, or bounds itself). `touches` names the arguments that say what a call touches (which path, which command, which URL):
    the autonomy rules match them, and calls that change the same take turns (`touched.py`). `eager` false makes calls wait
    for the end of the model's message.
    """

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str = Field(max_length=4_000)
    parameters: Annotated[dict[str, Any], AfterValidator(_object_schema)]
    effect: Effect
    deadline_ms: int = Field(default=60_000, ge=0, le=3_600_000)
    touches: dict[Touched, str] = Field(default_factory=lambda: dict[Touched, str]())
    eager: bool = True


class PlacedTool(Frozen):
    """A declared tool and the side that runs it."""

    place: Place
    spec: ToolSpec


def digest(specs: Iterable[ToolSpec]) -> str:
    """A name for a set of tools: equal for equal ones in any order, and not to be had by others (128 bits of SHA-256)."""
    texts = [spec.model_dump_json() for spec in sorted(specs, key=lambda spec: spec.name)]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:32]


def may_start_early(spec: ToolSpec) -> bool:
    """Whether a call may start while the model still talks.

    A mutating call waits for the end of the model's message: the message may still end in an error or a refusal.
    """
    return spec.eager and may_run_again(spec)


def may_run_again(spec: ToolSpec) -> bool:
    """Whether a call whose runner was lost may simply be started anew."""
    return spec.effect != "mutate"
