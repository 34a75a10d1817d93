"""What the pump reports of a model's stream, as events. The decoding itself is Rust's (`rust-wasm/core/src/decode`).

The pump hands over batches of operations, JSON objects tagged `op`, only when something is complete: a block, a call, the end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from edgeloop.commands import call_id
from edgeloop.events import (
    BlockFinished,
    ErrorClass,
    Event,
    StepError,
    StepFailed,
    StepFinished,
    StopReason,
    Timing,
    ToolCallCompleted,
    Usage,
)
from edgeloop.kernels import utf8
from edgeloop.providers.failures import retryable

Op = dict[str, Any]
Count = Callable[[Sequence[bytes]], list[int]]
"""Exact o200k token counts of a batch of UTF-8 texts; comes from the hot kernels."""

_RESTARTED: Op = {
    "op": "error",
    "class": "server",
    "code": "restarted",
    "message": "the model's answer started over after parts of it were complete",
    "retryable": True,
}
"""A proxy may send a second beginning. What was complete is in the log; it is kept and continued."""

_MALFORMED: Op = {
    "op": "error",
    "class": "malformed",
    "code": "",
    "message": "an event of the model's answer could not be read",
    "retryable": True,
}
"""The decoder goes on after an event that is no JSON; what it was a piece of has a hole, so the answer ends there for us."""

_NOTHING: Op = {
    "op": "error",
    "class": "malformed",
    "message": "the model's answer held nothing that could be used",
    "retryable": True,
}
"""Gemini at times ends well with nothing said, or with a call that it could not write; asked again it answers."""
_UNWRITTEN = ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL")
"""Its words for the latter; its compatible endpoint puts `function_call_filter: ` before them."""

_CLASSES = frozenset(get_args(ErrorClass))
_STOPS = frozenset(get_args(StopReason))


@dataclass(kw_only=True)
class StepReader:
    """Reads the operations of one attempt. `ended` holds the operation that ended it, `stop` or `error`."""

    step: int
    attempt: int
    usage: Usage = Usage()
    ended: Op | None = None
    _reported: bool = False
    _called: bool = False
    _ids: set[str] = field(default_factory=lambda: set[str]())

    def feed(self, ops: list[Op], count: Count) -> list[Event]:
        """Turn operations into the events of completed blocks and calls; usage and the end are kept for `finish`."""
        events: list[Event] = []
        whole = [op for op in ops if op["op"] in ("block_complete", "call_complete")]
        tokens = dict(zip(map(id, whole), count([_text(op) for op in whole]), strict=True)) if whole else {}
        for index, op in enumerate(ops):
            if self.ended is not None:
                break
            match op["op"]:
                case "block_complete":
                    if op["text"] or op.get("echo"):
                        events.append(self._block(op, tokens[id(op)]))
                case "call_complete":
                    events.append(self._call(op, tokens[id(op)]))
                    self._called = True
                case "usage":
                    self.usage = _usage(op)
                case "stop" | "error":
                    self.ended = op
                case "malformed":
                    events += self._after_a_hole(ops[index + 1 :], count)
                case "restart" if events or self._reported:
                    self.ended = _RESTARTED
                case _:
                    pass
        self._reported = self._reported or bool(events)
        return events

    def finish(self, timing: Timing, jitter: float) -> Event:
        """The event that ends the attempt."""
        op = self.ended
        assert op is not None
        if op["op"] == "stop" and self._came_to_nothing(str(op.get("raw"))):
            op = _NOTHING | {"code": op["raw"]}
        if op["op"] == "stop":
            reason = op["reason"] if op["reason"] in _STOPS else "other"
            return StepFinished(step=self.step, stop=reason, usage=self.usage, timing=timing)
        return StepFailed(
            step=self.step,
            attempt=self.attempt,
            error=_error(op),
            jitter=jitter,
            usage=self.usage,
            timing=timing,
        )

    def _came_to_nothing(self, raw: str) -> bool:
        """Whether a stop under this word of the provider is none: calls that were complete are answered all the same.

        Silence is asked about once: a model that was cut off behind its last word has nothing to add.
        """
        silent = raw == "STOP" and not self._reported and self.attempt == 1
        return not self._called and (silent or raw.endswith(_UNWRITTEN))

    def _after_a_hole(self, rest: list[Op], count: Count) -> list[BlockFinished]:
        """End at an event that could not be read. Of what came with it counts what does not depend on the lost one.

        Text was shown, so it is kept; usage is paid, so it is told; an error says better than we can why it ended, and whether
        another attempt helps. Calls are not run: one of them may have a hole, or follow from what was lost.
        """
        self.ended = _MALFORMED
        for op in rest:
            match op["op"]:
                case "usage":
                    self.usage = _usage(op)
                case "error":
                    self.ended = op
                case _:
                    pass
        return partial_blocks(self.step, [op for op in rest if op["op"] == "block_complete"], count)

    def _block(self, op: Op, tokens: int) -> BlockFinished:
        return BlockFinished(
            step=self.step,
            block=op["block"],
            type=op["kind"],
            text=op["text"],
            echo=op.get("echo"),
            tokens=tokens,
        )

    def _call(self, op: Op, tokens: int) -> ToolCallCompleted:
        return ToolCallCompleted(
            step=self.step,
            block=op["block"],
            call=call_id(self.step, op["block"]),
            provider_id=self._own_id(op.get("provider_id") or ""),
            name=op["name"],
            arguments=op["arguments"],
            tokens=tokens,
            invalid=op.get("invalid"),
            echo=op.get("echo"),
        )

    def _own_id(self, provider_id: str) -> str:
        """The provider's id of a call; none where another call has it: two of one id are refused when they go back."""
        if provider_id in self._ids:
            return ""
        self._ids.add(provider_id)
        return provider_id


def partial_blocks(step: int, partial: list[Op], count: Count) -> list[BlockFinished]:
    """The blocks a broken stream had shown but not completed, as the pump or the recovery row holds them."""
    shown = [op for op in partial if op["text"]]
    return [
        BlockFinished(
            step=step, block=op["block"], type=op["kind"], text=op["text"], tokens=tokens, partial=True
        )
        for op, tokens in zip(shown, count([utf8(op["text"]) for op in shown]), strict=True)
    ]


def _text(op: Op) -> bytes:
    return utf8(op["text"] if op["op"] == "block_complete" else f"{op['name']}{op['arguments']}")


def _usage(op: Op) -> Usage:
    return Usage.model_validate({k: v for k, v in op.items() if k in Usage.model_fields})


def _error(op: Op) -> StepError:
    cls: ErrorClass = op["class"] if op["class"] in _CLASSES else "unknown"
    return StepError(
        cls=cls,
        code=str(op.get("code") or "")[:100],
        message=str(op.get("message") or "")[:1_000],
        retryable=bool(op["retryable"]) if "retryable" in op else retryable(cls),
        retry_after_ms=op.get("retry_after_ms"),
    )
