"""What must be done: returned by `Session.apply`, performed by the shell after the event that caused it is durable.

Imperative, and few: whatever a client must do (run a local tool, show text) it learns from the events themselves.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CallModel:
    """Make the model call of this step; report with `BlockFinished`, `ToolCallCompleted`, `StepFinished` or `StepFailed`."""

    step: int
    attempt: int


@dataclass(frozen=True, kw_only=True)
class AbortModel:
    """Abort the stream of this step, if it still runs; its end is reported as `StepFailed` of class `aborted`."""

    step: int


@dataclass(frozen=True, kw_only=True)
class RunTool:
    """Run this call at the edge; report with `ToolFinished`, while `epoch` is the call's. Its deadline is `schedule.due`'s, and
    ends in `CancelTool`."""

    call: str
    epoch: int
    name: str
    arguments: str


@dataclass(frozen=True, kw_only=True)
class CancelTool:
    """Cancel this edge call if it still runs; its end is already recorded."""

    call: str


Effect = CallModel | AbortModel | RunTool | CancelTool
