"""What comes next: the rules that turn a state into the next event, without a clock or a socket.

`due` is asked after every event, on every wake and on every alarm, until it answers None; so a fresh start after a crash needs no
rules of its own. What the core cannot know (the time, who is attached, what runs in this isolate) comes in as a `World`.
"""

from dataclasses import dataclass, replace

from edgeloop.autonomy import STRICTNESS, Mode, Rule, judge
from edgeloop.events import (
    ApprovalDecided,
    AutonomyChanged,
    BlockFinished,
    CallJudged,
    Event,
    Outcome,
    RetryScheduled,
    StepError,
    StepFailed,
    StepStarted,
    StopReason,
    ToolFinished,
    ToolStarted,
    TurnFinished,
)
from edgeloop.schema import misfit
from edgeloop.state import Call, State
from edgeloop.tools import PlacedTool, may_run_again, may_start_early
from edgeloop.touched import conflict

EDGE = "edge"
LEASE_MS = 20_000
"""How long a model call may go unwatched: the alarm looks at it this often while it runs."""
MAX_ATTEMPTS = 8
"""Failed model calls in a row before the turn fails; any finished step resets the count."""
MAX_TURN_STEPS = 200
BACKOFF_BASE_MS = 500
BACKOFF_CAP_MS = 60_000
RETRY_AFTER_CAP_MS = 300_000
"""A longer hint fails the turn: a person should hear of it now, not in an hour."""
RUNNER_GRACE_MS = 10_000
"""What a client gets beyond a tool's deadline to report: it enforces the deadline itself."""
MAX_STARTS = 5
"""How often a call that may be run again is started: one that takes its runner down with it must not do so for ever."""
MAX_PARALLEL = 16
"""Calls of one message that run at a time."""
QUESTION_MS = 24 * 3_600_000
"""How long a question to a person stays open where the deployment does not say; then it counts as denied."""
LOST_AFTER_MS = 60_000
"""How long a mutating call waits for a runner that left while another client is attached."""

REOPEN_FIRST_MS = 30_000
REOPEN_CAP_MS = 3_600_000

_SAFE_STOPS: frozenset[StopReason] = frozenset({"tool_use", "end", "stop_sequence"})


@dataclass(frozen=True, kw_only=True)
class World:
    """What the log cannot tell: `now` in ms, attached clients that run tools (best first), edge calls running in this isolate,
    the deployment's autonomy rules, which come before a session's own, its default mode, and how long its questions are open."""

    now: int
    hosts: tuple[str, ...] = ()
    joined: int = 0
    """When the latest of the hosts came, in ms."""
    running: frozenset[str] = frozenset()
    rules: tuple[Rule, ...] = ()
    mode: Mode = "ask"
    question_ms: int = QUESTION_MS


def due(state: State, world: World) -> Event | None:
    """The next event that must be recorded in this state and world; None when there is nothing to do but wait."""
    for call in state.open_calls:
        event = _call_due(state, call, world)
        if event is not None:
            return event
    match state.phase:
        case "idle":
            return _next_step(state) if state.queued else None
        case "streaming":
            return None
        case "settling":
            return _settled(state) if not state.open_calls else None
        case "failed":
            return _after_failure(state)
        case "backoff":
            return _after_backoff(state, world)


def deadline(state: State, world: World) -> int | None:
    """When `due` must be asked again even if nothing happens, in ms; None while only a person or a client is waited for."""
    times = [_call_deadline(state, call, world) for call in state.open_calls if call.running]
    times += [call.expires for call in state.open_calls if call.verdict == "ask"]
    if state.phase == "streaming":
        times.append(world.now + LEASE_MS)
    if state.phase == "backoff" and not state.open_calls:
        times.append(state.retry_at)
    known = [time for time in times if time is not None]
    return min(known) if known else None


def interrupted(state: State, shown: list[BlockFinished], error: StepError, jitter: float) -> list[Event]:
    """The events that close a streaming step whose stream is gone: the text shown so far is kept (behaviours 4 and 16).

    What was saved of the stream may be older than the log: of a block that is whole there, nothing shorter may follow.
    """
    assert state.phase == "streaming"
    partial = [block for block in shown if block.text and block.block not in state.blocks]
    failed = StepFailed(step=state.step, attempt=state.attempt, error=error, jitter=jitter)
    return [*partial, failed]


# --- calls ----------------------------------------------------------------------------------------------------------


def _call_due(state: State, call: Call, world: World) -> Event | None:
    if state.stopping:
        return _end(call, "cancelled", "Stopped by the person before it finished.")
    return _running_due(state, call, world) if call.running else _waiting_due(state, call, world)


def _waiting_due(state: State, call: Call, world: World) -> Event | None:
    tool = state.tool(call.name)
    if call.invalid is not None:
        return _end(call, "error", f"The arguments could not be used: {call.invalid}. The tool was not run.")
    if tool is None:
        known = ", ".join(placed.spec.name for placed in state.tools) or "none"
        return _end(call, "error", f"There is no tool named {call.name!r}. The tools are: {known}.")
    if call.verdict is None and (wrong := misfit(tool.spec.parameters, call.arguments)) is not None:
        return _end(
            call, "error", f"The arguments do not fit the tool's schema: {wrong}. The tool was not run."
        )
    if call.verdict is None:
        return _judged(state, call, tool, world)
    if call.verdict == "deny":
        return _end(call, "denied", _denial(call))
    early = state.eager and may_start_early(tool.spec)
    if not early and (
        state.phase in ("failed", "backoff") or (state.stop is not None and state.stop not in _SAFE_STOPS)
    ):
        return _end(
            call, "cancelled", "The message that made this call was cut off, so the tool was not run."
        )
    if call.verdict == "ask":
        expired = world.now >= call.expires
        return ApprovalDecided(call=call.call, allowed=False, by="expiry") if expired else None
    # A sibling that is not judged yet may become a question: a message can come whole, in one read.
    if not early and (
        state.phase == "streaming" or any(other.verdict in (None, "ask") for other in state.open_calls)
    ):
        return None
    runner = None if _blocked(state, call, tool) else _runner(state, tool, world)
    return None if runner is None else ToolStarted(call=call.call, runner=runner, epoch=call.epoch + 1)


def _judged(state: State, call: Call, tool: PlacedTool, world: World) -> CallJudged:
    mode = state.mode if state.mode is not None else world.mode
    found = judge(
        tool.spec, call.arguments, mode=mode, rules=(*world.rules, *state.rules), grants=state.grants
    )
    expires = world.now + world.question_ms if found.verdict == "ask" else None
    return CallJudged(call=call.call, verdict=found.verdict, by=found.by, expires=expires)


def tightened(state: State, changed: AutonomyChanged, world: World) -> list[Event]:
    """What a change of autonomy takes back: the verdicts on calls that have not started, where it is stricter.

    It answers no question, and what a person allowed it only denies.
    """
    after = replace(state, mode=changed.mode, rules=changed.rules, grants=())
    waiting = [call for call in state.open_calls if call.runner is None and call.verdict is not None]
    events: list[Event] = []
    for call in waiting:
        tool = state.tool(call.name)
        found = _judged(after, call, tool, world) if tool is not None else None
        bar = "ask" if call.call in state.answers else call.verdict or "allow"
        if found is not None and STRICTNESS[found.verdict] > STRICTNESS[bar]:
            events.append(found)
    return events


def _denial(call: Call) -> str:
    if call.judged_by == "expiry":
        return "Nobody answered whether this may be done, so it was not done."
    if call.judged_by.startswith(("rule ", "mode ")):
        return f"Not allowed here ({call.judged_by}). It was not done; do not try to get round it."
    return "A person said no to this." + (f" They said: {call.reason}" if call.reason else "")


def _blocked(state: State, call: Call, tool: PlacedTool) -> bool:
    """Whether a call must wait: too many run, or an earlier open one touches the same thing."""
    if sum(other.running for other in state.open_calls) >= MAX_PARALLEL:
        return True
    for other in state.open_calls:
        if other is call:
            return False
        placed = state.tool(other.name)
        if placed is not None and conflict(tool.spec, call.texts, placed.spec, other.texts):
            return True
    return False


def _running_due(state: State, call: Call, world: World) -> Event | None:
    tool = state.tool(call.name)
    at_edge = call.runner == EDGE
    present = call.call in world.running if at_edge else call.runner in world.hosts
    again = tool is not None and may_run_again(tool.spec) and call.epoch < MAX_STARTS
    runner = _runner(state, tool, world) if tool is not None and again and not present else None
    if runner is not None and (at_edge or world.hosts):
        return ToolStarted(call=call.call, runner=runner, epoch=call.epoch + 1)
    when = _call_deadline(state, call, world)
    if at_edge and not present and not again:
        return _end(call, "lost", _LOST)
    if when is None or world.now < when:
        return None
    return (
        _end(call, "timeout", "The tool did not answer within its deadline.")
        if present
        else _end(call, "lost", _LOST)
    )


_LOST = "Who ran this went away before it answered. Whether it took effect is not known: check before doing it again."


def _runner(state: State, tool: PlacedTool, world: World) -> str | None:
    """Who runs a call of this tool: the edge, or an attached client, the one that declared the tools first."""
    if tool.place == "edge":
        return EDGE
    if state.tools_client in world.hosts:
        return state.tools_client
    return world.hosts[0] if world.hosts else None


def _call_deadline(state: State, call: Call, world: World) -> int | None:
    """When a running call must be looked at. A runner that is away has no deadline unless another client could go on."""
    tool = state.tool(call.name)
    limit = tool.spec.deadline_ms if tool is not None else 0
    if call.runner == EDGE:
        return call.started_at + limit if limit else None
    since = max(
        call.started_at, world.joined
    )  # one that was away brings the result it has: give it the time to
    if call.runner in world.hosts:
        return since + limit + RUNNER_GRACE_MS if limit else None
    return since + max(limit, LOST_AFTER_MS) if world.hosts else None


def _end(call: Call, outcome: Outcome, content: str) -> ToolFinished:
    return ToolFinished(call=call.call, outcome=outcome, content=content)


# --- steps and turns ------------------------------------------------------------------------------------------------


def _next_step(state: State) -> Event:
    if state.turn_steps >= MAX_TURN_STEPS:
        return TurnFinished(reason="budget", detail=f"{MAX_TURN_STEPS} model calls in one turn")
    return StepStarted(step=state.step + 1, attempt=1)


def _settled(state: State) -> Event:
    assert state.stop is not None
    if state.stopping:
        return TurnFinished(reason="stopped")
    if state.stop in ("refusal", "content_filter"):
        return TurnFinished(reason="refused")
    if state.calls or state.queued or state.stop == "pause":
        return _next_step(state)
    return TurnFinished(reason="truncated" if state.stop == "max_tokens" else "done")


def _after_failure(state: State) -> Event | None:
    error = state.error
    assert error is not None
    if state.stopping:
        return TurnFinished(reason="stopped")
    hint = error.retry_after_ms or 0
    if error.retryable and state.failures < MAX_ATTEMPTS and hint <= RETRY_AFTER_CAP_MS:
        return RetryScheduled(
            due=state.failed_at + backoff_ms(state.failures, error.retry_after_ms, state.jitter)
        )
    if state.open_calls:
        return None
    if error.cls == "budget":
        return TurnFinished(reason="budget", detail=error.message)
    return TurnFinished(reason="failed", detail=f"{error.cls}: {error.message}"[:2_000])


def _after_backoff(state: State, world: World) -> Event | None:
    if state.stopping:
        return TurnFinished(reason="stopped")
    if state.open_calls or world.now < state.retry_at:
        return None
    if state.turn_steps >= MAX_TURN_STEPS:
        return _next_step(state)
    return StepStarted(step=state.step + 1 if state.kept else state.step, attempt=state.attempt + 1)


def backoff_ms(failures: int, retry_after_ms: int | None, jitter: float) -> int:
    """The wait after the n-th failure in a row (n from 1): the peer's hint, else 0.5 s doubling to 60 s, less up to 25 %."""
    if retry_after_ms:  # a hint of 0 says nothing: without our own backoff all attempts were spent at once
        return retry_after_ms + int(jitter * BACKOFF_BASE_MS)
    exact = min(BACKOFF_BASE_MS * 2 ** (failures - 1), BACKOFF_CAP_MS)
    return int(exact * (1 - 0.25 * jitter))


def reopen_ms(failing: int) -> int:
    """How long to wait before a session that could not be opened for so many ms is tried again: as long once more, within bounds.

    What a new deployment mends is mended soon; what nothing mends costs a wake an hour.
    """
    return min(max(failing, REOPEN_FIRST_MS), REOPEN_CAP_MS)
