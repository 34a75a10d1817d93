"""The edge's own tools as they are declared: argument models and specs. How they run is `src/edge/tools.py`'s.

They are here so that whoever judges calls without an edge (`edgeloop rules`) judges the very same declarations.
"""

from functools import cache

from pydantic import Field

from edgeloop.model import Frozen
from edgeloop.tools import Effect, ToolSpec, Touched

NOTE_BYTES = 64 << 10
DEADLINE_MS = 30_000


class NoteWrite(Frozen):
    """Keep a note under a name, replacing what was there. Notes last as long as this agent and need no person's machine."""

    name: str = Field(min_length=1, max_length=200)
    text: str = Field(max_length=NOTE_BYTES)


class NoteRead(Frozen):
    """Read the note of this name; without a name, list the names."""

    name: str | None = None


class FetchUrl(Frozen):
    """Fetch a URL with GET and return its status and text. Only configured hosts can be reached; redirects are not followed."""

    url: str = Field(max_length=4_000)


@cache
def edge_specs(*, fetch: bool) -> tuple[ToolSpec, ...]:
    """What the edge offers to the model; `fetch` if there are hosts that may be reached."""
    # Kept: pydantic takes 4 ms of the one thread to make three schemas, and every message asks for them.
    specs = (_spec("note_write", NoteWrite, "idempotent"), _spec("note_read", NoteRead, "read"))
    return (*specs, _spec("fetch_url", FetchUrl, "read", {"url": "url"})) if fetch else specs


def _spec(
    name: str, model: type[Frozen], effect: Effect, touches: dict[Touched, str] | None = None
) -> ToolSpec:
    schema = model.model_json_schema()
    description = schema.pop("description")
    schema.pop("title", None)
    return ToolSpec(
        name=name,
        description=description,
        parameters=schema,
        effect=effect,
        deadline_ms=DEADLINE_MS,
        touches=touches or {},
    )
