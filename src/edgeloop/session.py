"""A session: the fold of its events. `apply` one, get the effects that follow; `replay` many, get the state back.

No I/O, no clock, no randomness: the same events give the same state and the same effects, today and in a year. The shell's
duties: persist an event before performing its effects, and ask `schedule.due` until it has nothing more.
"""

from collections.abc import Callable, Iterable

from edgeloop.autonomy import MAX_RULES, STRICTNESS
from edgeloop.effects import AbortModel, CallModel, CancelTool, Effect, RunTool
from edgeloop.errors import CorruptLog, IllegalTransition
from edgeloop.events import (
    ApprovalDecided,
    AutonomyChanged,
    BlockFinished,
    CallJudged,
    ConfigChanged,
    Recorded,
    RetryScheduled,
    StepFailed,
    StepFinished,
    StepStarted,
    StopRequested,
    ToolCallCompleted,
    ToolFinished,
    ToolsDeclared,
    ToolStarted,
    TurnFinished,
    Usage,
    UserMessageReceived,
)
from edgeloop.limiter import was_held_back
from edgeloop.producers import remember
from edgeloop.schedule import EDGE
from edgeloop.spend import head_of
from edgeloop.state import MAX_ANSWERS, TRANSITIONS, Call, State
from edgeloop.tools import digest


class Session:
    """The state machine over a log. Handlers are named `_apply_<kind>`; each may assume that the table allowed its event."""

    def __init__(self, state: State | None = None) -> None:
        self.state = state if state is not None else State()

    @classmethod
    def replay(cls, snapshot: State | None, events: Iterable[Recorded]) -> "Session":
        """Rebuild a session from a snapshot and the events after it; their effects are dropped.

        Raises:
            CorruptLog: a gap in `seq`, or an event that cannot follow.
        """
        session = cls(snapshot)
        for recorded in events:
            try:
                session.apply(recorded)
            except IllegalTransition as error:
                raise CorruptLog(str(error), seq=recorded.seq) from error
        return session

    def apply(self, recorded: Recorded) -> list[Effect]:
        """Take one event and return what must be done once it is durable.

        Raises:
            IllegalTransition: the phase does not allow it, or it names a call or step that is not open; nothing changed.
            CorruptLog: `seq` is not the next one.
        """
        if recorded.seq != self.state.seq + 1:
            raise CorruptLog(f"it follows {self.state.seq}", seq=recorded.seq)
        event = recorded.event
        phase = TRANSITIONS[self.state.phase].get(event.kind)
        if phase is None or not self._fits(recorded):
            raise IllegalTransition(phase=self.state.phase, kind=event.kind)
        handler: Callable[[object, int], list[Effect]] = getattr(self, f"_apply_{event.kind}")
        effects = handler(event, recorded.at)
        if recorded.producer is not None:
            remember(self.state.producers, recorded.producer.client, recorded.producer)
        self.state.seq = recorded.seq
        self.state.phase = phase
        return effects

    def _fits(self, recorded: Recorded) -> bool:
        """Whether the event names what is open now: checked before anything is changed."""
        state = self.state
        match recorded.event:
            case ToolCallCompleted() as event:
                return event.step == state.step and event.call not in state.calls
            case BlockFinished() | StepFinished() | StepFailed() as event:
                return event.step == state.step
            case ToolStarted() as event:
                call = state.calls.get(event.call)
                if call is None or call.outcome is not None or call.verdict != "allow":
                    return False
                return event.epoch == call.epoch + 1
            case CallJudged() as event:
                call = state.calls.get(event.call)
                if call is None or call.outcome is not None or call.verdict is None:
                    return call is not None and call.outcome is None
                return call.runner is None and STRICTNESS[event.verdict] > STRICTNESS[call.verdict]
            case ApprovalDecided() as event:
                call = state.calls.get(event.call)
                return call is not None and call.outcome is None and call.verdict == "ask"
            case ToolFinished() as event:
                call = state.calls.get(event.call)
                return call is not None and call.outcome is None
            case TurnFinished():
                return not state.open_calls
            case StepStarted() as event:
                return not state.open_calls and event.step in (state.step, state.step + 1)
            case _:
                return True

    def _apply_approval_decided(self, event: ApprovalDecided, at: int) -> list[Effect]:
        call = self.state.calls[event.call]
        call.verdict = "allow" if event.allowed else "deny"
        call.judged_by = event.by
        call.reason = event.reason
        self.state.answers[event.call] = (event.allowed, event.by)
        if len(self.state.answers) > MAX_ANSWERS:
            del self.state.answers[next(iter(self.state.answers))]
        if event.grant is not None:
            self.state.grants = (*self.state.grants, event.grant)[-MAX_RULES:]
        return []

    def _apply_autonomy_changed(self, event: AutonomyChanged, at: int) -> list[Effect]:
        self.state.mode = event.mode
        self.state.rules = event.rules
        self.state.eager = event.eager
        self.state.grants = ()
        return []

    def _apply_block_finished(self, event: BlockFinished, at: int) -> list[Effect]:
        self.state.kept = True
        self.state.blocks.add(event.block)
        self.state.message_tokens += event.tokens
        self.state.spend.grew(event.text, event.tokens)
        return []

    def _apply_call_judged(self, event: CallJudged, at: int) -> list[Effect]:
        call = self.state.calls[event.call]
        call.verdict = event.verdict
        call.judged_by = event.by
        call.expires = event.expires or 0
        return []

    def _apply_config_changed(self, event: ConfigChanged, at: int) -> list[Effect]:
        if (self.state.provider, self.state.model) != (event.provider, event.model):
            self.state.spend.remodelled(self.state.message_tokens)
        self.state.provider = event.provider
        self.state.model = event.model
        self.state.system = event.system
        return []

    def _apply_retry_scheduled(self, event: RetryScheduled, at: int) -> list[Effect]:
        self.state.retry_at = event.due
        return []

    def _apply_step_failed(self, event: StepFailed, at: int) -> list[Effect]:
        state = self.state
        state.failures += not was_held_back(event)  # a crowd's waves must not fail who only waits
        state.failed_at = at
        state.jitter = event.jitter
        state.error = event.error
        state.usage = add_usage(state.usage, event.usage)
        state.spend.failed(event)
        return []

    def _apply_step_finished(self, event: StepFinished, at: int) -> list[Effect]:
        state = self.state
        state.stop = event.stop
        state.failures = 0
        state.error = None
        state.usage = add_usage(state.usage, event.usage)
        state.spend.ended(state.step, state.attempt, event.usage, state.model)
        return []

    def _apply_step_started(self, event: StepStarted, at: int) -> list[Effect]:
        state = self.state
        state.step = event.step
        state.attempt = event.attempt
        state.turn_steps += 1
        state.calls = {}
        state.kept = False
        state.blocks = set()
        state.queued = 0
        state.stop = None
        state.spend.begin(state.model, at, head_of(state.system, state.tools))
        return [CallModel(step=event.step, attempt=event.attempt)]

    def _apply_stop_requested(self, event: StopRequested, at: int) -> list[Effect]:
        self.state.stopping = True
        self.state.queued = 0  # a stop skips what was queued before it; what comes after it starts a new turn
        return [AbortModel(step=self.state.step)] if self.state.phase == "streaming" else []

    def _apply_tool_call_completed(self, event: ToolCallCompleted, at: int) -> list[Effect]:
        state = self.state
        state.kept = True
        state.message_tokens += event.tokens
        state.spend.grew(event.arguments, event.tokens)
        state.calls[event.call] = Call(
            call=event.call, name=event.name, arguments=event.arguments, invalid=event.invalid
        )
        return []

    def _apply_tool_finished(self, event: ToolFinished, at: int) -> list[Effect]:
        call = self.state.calls[event.call]
        call.outcome = event.outcome
        self.state.message_tokens += event.tokens
        self.state.spend.grew(event.content, event.tokens)
        reported = event.outcome in ("ok", "error", "denied")
        return [CancelTool(call=event.call)] if call.runner == EDGE and not reported else []

    def _apply_tool_started(self, event: ToolStarted, at: int) -> list[Effect]:
        call = self.state.calls[event.call]
        call.runner = event.runner
        call.epoch = event.epoch
        call.started_at = at
        if event.runner != EDGE:
            return []
        return [RunTool(call=call.call, epoch=call.epoch, name=call.name, arguments=call.arguments)]

    def _apply_tools_declared(self, event: ToolsDeclared, at: int) -> list[Effect]:
        self.state.spend.retooled(self.state.tools, event.tools)
        self.state.tools = event.tools
        self.state.tools_client = event.client
        self.state.tools_digest = digest(event.local)
        return []

    def _apply_turn_finished(self, event: TurnFinished, at: int) -> list[Effect]:
        state = self.state
        state.turns += 1
        state.turn_steps = 0
        state.calls = {}
        state.stopping = False
        state.failures = 0
        return []

    def _apply_user_message_received(self, event: UserMessageReceived, at: int) -> list[Effect]:
        self.state.queued += 1
        self.state.message_tokens += event.tokens
        self.state.spend.grew(event.text, event.tokens)
        return []


def add_usage(total: Usage, more: Usage) -> Usage:
    """Sum two usages field by field; a field that neither reports stays None."""

    def plus(a: float | None, b: float | None) -> float | None:
        return b if a is None else a if b is None else a + b

    return Usage.model_validate(
        {name: plus(getattr(total, name), getattr(more, name)) for name in Usage.model_fields}
    )
