"""What happened: the closed set of events an agent's log is made of.

Past tense, immutable, and complete: replaying them rebuilds the session. Events carry what the core may not make itself (time is
in the envelope; token counts, random jitter and timings are fields). A change of a kind's fields needs a new schema version in
`codec.py`. The state machine over them is `state.py`.
"""

from typing import Annotated, Literal

from pydantic import Field

from edgeloop.autonomy import Mode, Rule, Verdict
from edgeloop.model import Frozen
from edgeloop.producers import Producer
from edgeloop.tools import PlacedTool, ToolSpec

BlockType = Literal["text", "reasoning", "opaque"]
Outcome = Literal["ok", "error", "denied", "cancelled", "timeout", "lost"]
StopReason = Literal[
    "end", "tool_use", "max_tokens", "refusal", "pause", "stop_sequence", "content_filter", "other"
]
ErrorClass = Literal[
    "connection",  # no answer: refused, reset, DNS
    "timeout",  # first byte, idle or total deadline
    "rate_limit",
    "overloaded",
    "server",
    "truncated",  # the stream ended without its terminal event
    "malformed",  # bytes that are not of the dialect
    "too_large",
    "interrupted",  # our own side went away in mid-stream (eviction, crash, deploy)
    "aborted",  # a person stopped it
    "invalid_request",
    "auth",
    "billing",
    "content_filter",
    "configuration",  # ours: no key, unknown provider
    "budget",  # ours: the call would have gone over a limit, so it was not made
    "unknown",
]
TurnEnd = Literal["done", "stopped", "failed", "refused", "truncated", "budget"]


class Usage(Frozen):
    """Tokens of one model call in one normal form, whatever the provider calls them. `None` means not reported, never zero."""

    input_uncached: int | None = None
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    output: int | None = None
    output_reasoning: int | None = None
    cost_reported: float | None = None


class Timing(Frozen):
    """When things happened in one model call, in ms. `first_ms` (the first content: TTFT) and `wall_ms` count from its sending,
    before which our own limiter held it back for `held_ms`."""

    first_ms: int | None = None
    wall_ms: int
    request_bytes: int
    response_bytes: int
    deltas: int = 0
    gap_p50_ms: float | None = None
    gap_max_ms: float | None = None
    wakes: int = 0
    held_ms: int = 0


class StepError(Frozen):
    """Why a model call did not end well. `message` is from a peer: show it, never parse it."""

    cls: ErrorClass
    code: str = ""
    message: str = ""
    retryable: bool
    retry_after_ms: int | None = None


class ConfigChanged(Frozen):
    """The model the session talks to and its system prompt; both are part of the prompt's prefix."""

    kind: Literal["config_changed"] = "config_changed"
    provider: str
    model: str
    system: str


class ToolsDeclared(Frozen):
    """The tools offered to the model from the next step on, sorted by name; `client` is who brought the local ones."""

    kind: Literal["tools_declared"] = "tools_declared"
    client: str | None = None
    tools: tuple[PlacedTool, ...]

    @property
    def local(self) -> tuple[ToolSpec, ...]:
        """The tools that a client runs."""
        return tuple(tool.spec for tool in self.tools if tool.place == "client")


class AutonomyChanged(Frozen):
    """What the agent may do without asking, from now on (`autonomy.py`). `eager` false holds tools to the message's end."""

    kind: Literal["autonomy_changed"] = "autonomy_changed"
    mode: Mode
    rules: tuple[Rule, ...] = ()
    eager: bool = True
    client: str | None = None


class UserMessageReceived(Frozen):
    """A person's message. `id` was minted once by its sender; the same id again is the same message."""

    kind: Literal["user_message_received"] = "user_message_received"
    id: str
    text: str
    tokens: int
    client: str | None = None


class StepStarted(Frozen):
    """A model call is about to be made. Steps count up over the session; `attempt` counts from 1 within a run of failures."""

    kind: Literal["step_started"] = "step_started"
    step: int
    attempt: int


class BlockFinished(Frozen):
    """A block of the model's message is complete, or `partial`: cut off, kept because it was shown.

    `echo` is the provider's own JSON for the block where it must be sent back byte for byte (signed reasoning).
    """

    kind: Literal["block_finished"] = "block_finished"
    step: int
    block: int
    type: BlockType
    text: str
    echo: str | None = None
    tokens: int = 0
    partial: bool = False


class ToolCallCompleted(Frozen):
    """The model's call is complete. `call` is our id, unique in the session; `arguments` is raw JSON text.

    `invalid` says why the arguments cannot be used; such a call never runs. `echo` is provider JSON that must go back with the
    call (Gemini's thought signature).
    """

    kind: Literal["tool_call_completed"] = "tool_call_completed"
    step: int
    block: int
    call: str
    provider_id: str
    name: str
    arguments: str
    tokens: int = 0
    invalid: str | None = None
    echo: str | None = None


class CallJudged(Frozen):
    """The verdict on a call, and the rule, mode or grant that gave it. `ask` is a question to a person, open until `expires`."""

    kind: Literal["call_judged"] = "call_judged"
    call: str
    verdict: Verdict
    by: str
    expires: int | None = None


class ApprovalDecided(Frozen):
    """The first answer to a question: by a client's id, `http` or `expiry`. `grant` holds for the rest of the session."""

    kind: Literal["approval_decided"] = "approval_decided"
    call: str
    allowed: bool
    by: str
    reason: str = ""
    grant: Rule | None = None


class ToolStarted(Frozen):
    """The intent: written before the effect. `runner` is "edge" or a client's id; `epoch` counts the starts of this call."""

    kind: Literal["tool_started"] = "tool_started"
    call: str
    runner: str
    epoch: int


class ToolFinished(Frozen):
    """The first terminal state of a call; later ones are ignored. `content` is what the model is told."""

    kind: Literal["tool_finished"] = "tool_finished"
    call: str
    outcome: Outcome
    content: str
    tokens: int = 0
    ms: int = 0


class StepFinished(Frozen):
    """The model's message ended with its terminal event."""

    kind: Literal["step_finished"] = "step_finished"
    step: int
    stop: StopReason
    usage: Usage
    timing: Timing


class StepFailed(Frozen):
    """The model call ended without a usable end. `jitter` in [0, 1) is drawn by the shell for the backoff."""

    kind: Literal["step_failed"] = "step_failed"
    step: int
    attempt: int
    error: StepError
    jitter: float
    usage: Usage = Usage()
    timing: Timing | None = None


class RetryScheduled(Frozen):
    """The next attempt is made at `due` (ms since the epoch), not before."""

    kind: Literal["retry_scheduled"] = "retry_scheduled"
    due: int


class StopRequested(Frozen):
    """A person asked to stop the turn. Disconnecting is not stopping."""

    kind: Literal["stop_requested"] = "stop_requested"
    client: str | None = None


class TurnFinished(Frozen):
    """Nothing is under way any more; the session waits for a message."""

    kind: Literal["turn_finished"] = "turn_finished"
    reason: TurnEnd
    detail: str = ""


Event = Annotated[
    ConfigChanged
    | ToolsDeclared
    | AutonomyChanged
    | UserMessageReceived
    | StepStarted
    | BlockFinished
    | ToolCallCompleted
    | CallJudged
    | ApprovalDecided
    | ToolStarted
    | ToolFinished
    | StepFinished
    | StepFailed
    | RetryScheduled
    | StopRequested
    | TurnFinished,
    Field(discriminator="kind"),
]


class Recorded(Frozen):
    """An event in its place in the log: `seq` counts from 1 without gaps, `at` is ms since the epoch.

    `producer` numbers the client's command that made the event (producers.py).
    """

    seq: int
    at: int
    event: Event
    producer: Producer | None = None
