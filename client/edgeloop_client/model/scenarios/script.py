"""`script`: plays steps given as JSON in the user's message, with exact timings; for tests and benches.

`{"turns": [[step, ...], ...]}` has one list per message of the model; `{"steps": [step, ...]}` is one message. A step is one of
  {"text": S}  {"think": S}  {"call": NAME, "arguments": {...}}  {"wait_ms": N}  {"end": "refusal"}
  {"deltas": N, "bytes": K, "stamp": bool}          N deltas of K bytes
and all but the last two of the first line may have "until_ms": T (its last byte is due T ms after the response began, its deltas
spread evenly up to then) or "per_s": R (deltas per second).
"""

import json
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeloop_client.model.conversation import Call, Conversation, End, Fill, Pace, Part, Say, Think, Wait


class _Step(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str | None = None
    think: str | None = None
    call: str | None = None
    arguments: dict[str, Any] = Field(default_factory=lambda: dict[str, Any]())
    wait_ms: float | None = Field(default=None, ge=0, le=600_000)
    deltas: int | None = Field(default=None, ge=1, le=10_000_000)
    bytes: int = Field(default=16, ge=1, le=1 << 20)
    stamp: bool = False
    end: Literal["stop", "refusal"] | None = None
    until_ms: float | None = Field(default=None, ge=0, le=3_600_000)
    per_s: float | None = Field(default=None, gt=0)

    def part(self) -> Part:
        """Raise:
        ValueError: not exactly one thing to do.
        """
        pace = Pace(until_ms=self.until_ms, per_s=self.per_s)
        made: list[Part] = []
        if self.text is not None:
            made.append(Say(text=self.text, pace=pace))
        if self.think is not None:
            made.append(Think(text=self.think, pace=pace))
        if self.call is not None:
            made.append(Call(name=self.call, arguments=self.arguments, pace=pace))
        if self.wait_ms is not None:
            made.append(Wait(ms=self.wait_ms))
        if self.deltas is not None:
            made.append(Fill(deltas=self.deltas, size=self.bytes, stamp=self.stamp, pace=pace))
        if self.end is not None:
            made.append(End(reason=self.end))
        if len(made) != 1:
            raise ValueError(f"a step does one thing, not {len(made)}")
        return made[0]


class _Script(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    turns: list[list[_Step]] = Field(default_factory=lambda: list[list[_Step]]())
    steps: list[_Step] | None = None


def script(conversation: Conversation, given: str = "") -> Iterator[Part]:
    """Play the message that is due; say so where the script is over or not understood.

    `given` is the script where the user's message holds none.
    """
    text = conversation.task if "{" in conversation.task else given
    begin, end = text.find("{"), text.rfind("}")
    if begin < 0:
        yield Say(text='No script: expected {"steps": [...]} or {"turns": [[...]]} in the message.')
        return
    try:
        read = _Script.model_validate(json.loads(text[begin : end + 1]))
        turns = read.turns if read.steps is None else [read.steps]
        step = conversation.steps
        made = (
            [item.part() for item in turns[step]] if step < len(turns) else [Say(text="The script is over.")]
        )
    except (ValidationError, ValueError) as error:
        yield Say(text=f"The script is not understood: {error}")
        return
    yield from made
