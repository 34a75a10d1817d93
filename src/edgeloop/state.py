"""The state machine of a session: its phases, the one transition table, and the control state.

Theory
======
A session is at any time in one of five phases:

    idle        nothing is under way; a message starts a step at once
    streaming   a model call is in flight: blocks and calls arrive, early tools may run
    settling    the model's message has ended well; its calls are being run
    failed      the model call has ended badly; what it had shown or called is kept, its calls are being settled
    backoff     the next attempt is scheduled

Rule 1: everything that moves the machine is an event in the log. `TRANSITIONS[phase][kind]` is the next phase; a pair that is
not listed is an error and leaves the state as it was. The table has no guards: where the next phase depends on data (does the
message hold calls? may it be retried?), a further event says so, and `schedule.due` decides which.

Rule 2: events that only add to what is known (a message, a new set of tools, a result) never move the phase, so they are
listed in nearly every row.

Rule 3: a turn runs from the first message that finds the session idle to `turn_finished`. Messages that come meanwhile are
delivered at the next step (steering), never refused.

Rule 4: the control state is bounded: it holds the current step and its calls, never the conversation (that is
`transcript.py`'s, derived from the log when a request is to be built). So a snapshot is small however long the session is.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

from edgeloop.autonomy import Mode, Rule, Verdict
from edgeloop.events import Outcome, StepError, StopReason, Usage
from edgeloop.producers import Number
from edgeloop.spend import Spend
from edgeloop.tools import PlacedTool, ToolSpec
from edgeloop.touched import PATH_MAX, texts_of

MAX_ANSWERS = 64

Phase = Literal["idle", "streaming", "settling", "failed", "backoff"]

_ANY: dict[str, None] = dict.fromkeys(
    ("config_changed", "tools_declared", "autonomy_changed", "user_message_received")
)
_CALLS: dict[str, None] = dict.fromkeys(
    ("call_judged", "approval_decided", "tool_started", "tool_finished", "stop_requested")
)


def _row(phase: Phase, *stays: dict[str, None], **moves: Phase) -> dict[str, Phase]:
    row: dict[str, Phase] = {kind: phase for group in stays for kind in group}
    return row | moves


TRANSITIONS: dict[Phase, dict[str, Phase]] = {
    "idle": _row("idle", _ANY, step_started="streaming"),
    "streaming": _row(
        "streaming",
        _ANY,
        _CALLS,
        block_finished="streaming",
        tool_call_completed="streaming",
        step_finished="settling",
        step_failed="failed",
    ),
    "settling": _row("settling", _ANY, _CALLS, step_started="streaming", turn_finished="idle"),
    "failed": _row("failed", _ANY, _CALLS, retry_scheduled="backoff", turn_finished="idle"),
    "backoff": _row("backoff", _ANY, _CALLS, step_started="streaming", turn_finished="idle"),
}

assert set(TRANSITIONS) == set(get_args(Phase))


@dataclass(kw_only=True)
class Call:
    """A call of the current step. `runner` and `started_at` are of its last start; `outcome` is set once, at its end."""

    call: str
    name: str
    arguments: str
    invalid: str | None = None
    verdict: Verdict | None = None
    judged_by: str = ""
    expires: int = 0
    reason: str = ""
    runner: str | None = None
    epoch: int = 0
    started_at: int = 0
    outcome: Outcome | None = None

    @cached_property
    def texts(self) -> dict[str, str]:
        """Its arguments that are short texts: they may name what is touched. Read once, for all that it is compared with."""
        return {name: text for name, text in texts_of(self.arguments).items() if len(text) <= PATH_MAX}

    @property
    def running(self) -> bool:
        return self.runner is not None and self.outcome is None


@dataclass(kw_only=True)
class State:
    """The control state: what `schedule.due` needs to decide what comes next. Bounded (rule 4)."""

    phase: Phase = "idle"
    seq: int = 0
    provider: str = ""
    model: str = ""
    system: str = ""
    tools: tuple[PlacedTool, ...] = ()
    tools_client: str | None = None
    tools_digest: str = ""
    """Of the local ones: a client that comes back names its tools by it."""
    producers: dict[str, Number] = field(default_factory=lambda: dict[str, Number]())
    """The last command recorded of each client, the one heard of longest ago first."""
    mode: Mode | None = None
    """None: the deployment's default."""
    rules: tuple[Rule, ...] = ()
    grants: tuple[Rule, ...] = ()
    eager: bool = True

    step: int = 0
    attempt: int = 0
    turns: int = 0
    turn_steps: int = 0
    calls: dict[str, Call] = field(default_factory=lambda: dict[str, Call]())
    answers: dict[str, tuple[bool, str]] = field(default_factory=lambda: dict[str, tuple[bool, str]]())
    """The last questions that were decided, by call: whether it was allowed, and by whom. Outlives their step: an answer whose
    own answer got lost is given again."""
    kept: bool = False
    """Whether the current attempt showed or called anything: then it is continued, not repeated."""
    blocks: set[int] = field(default_factory=lambda: set[int]())
    """The finished blocks of the current attempt."""
    queued: int = 0
    """Messages received since the last step began: the next one delivers them."""
    stopping: bool = False
    stop: StopReason | None = None
    failures: int = 0
    failed_at: int = 0
    jitter: float = 0.0
    error: StepError | None = None
    retry_at: int = 0

    usage: Usage = Usage()
    spend: Spend = field(default_factory=Spend)
    message_tokens: int = 0
    """Exact o200k tokens of all messages so far: user, model and tool results."""

    @property
    def local_tools(self) -> tuple[ToolSpec, ...]:
        """The declared tools that a client runs."""
        return tuple(tool.spec for tool in self.tools if tool.place == "client")

    def tool(self, name: str) -> PlacedTool | None:
        """The declared tool of that name, or None."""
        return next((tool for tool in self.tools if tool.spec.name == name), None)

    @property
    def open_calls(self) -> list[Call]:
        """Calls without an outcome, in call order."""
        return [call for call in self.calls.values() if call.outcome is None]
