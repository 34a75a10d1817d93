"""What peers ask for, judged against the state: each command gives the events to record, or `Refused`.

An empty list means that it was recorded before (or changes nothing): commands are safe to repeat. Token counts come in as data.
"""

from edgeloop.autonomy import check_rules, grant_for
from edgeloop.errors import Refused
from edgeloop.events import (
    ApprovalDecided,
    AutonomyChanged,
    ConfigChanged,
    Event,
    StopRequested,
    ToolFinished,
    ToolsDeclared,
    UserMessageReceived,
)
from edgeloop.limits import MAX_QUEUED
from edgeloop.schedule import World, tightened
from edgeloop.state import State
from edgeloop.tools import PlacedTool, ToolSpec
from edgeloop.wire import Autonomy, Decide, SendMessage, ToolResult


def configure(state: State, *, provider: str, model: str, system: str, wanted: str | None) -> list[Event]:
    """Settle the model to talk to: the wanted one, else the session's own, else the configured default.

    A session keeps its model when the default changes (its prompt cache hangs on it), but not across providers.
    """
    chosen = wanted or (state.model if state.provider == provider else model)
    if (state.provider, state.model, state.system) == (provider, chosen, system):
        return []
    return [ConfigChanged(provider=provider, model=chosen, system=system)]


def declare_tools(
    state: State, *, edge: tuple[ToolSpec, ...], client: str | None, local: tuple[ToolSpec, ...] | None
) -> list[Event]:
    """Settle the tools offered to the model. `local` None keeps the local tools declared before.

    Raises:
        Refused: two tools of one name.
    """
    if local is None:
        client = state.tools_client
        placed = [tool for tool in state.tools if tool.place == "client"]
    else:
        placed = [PlacedTool(place="client", spec=spec) for spec in local]
    names = [tool.spec.name for tool in placed]
    taken = sorted(
        {name for name in names if names.count(name) > 1} | {spec.name for spec in edge if spec.name in names}
    )
    if taken:
        raise Refused(
            code="conflict", message=f"tool {taken[0]!r} is declared twice", expected="distinct tool names"
        )
    placed += [PlacedTool(place="edge", spec=spec) for spec in edge]
    tools = tuple(sorted(placed, key=lambda tool: tool.spec.name))
    if (state.tools, state.tools_client) == (tools, client):
        return []
    return [ToolsDeclared(client=client, tools=tools)]


def send_message(
    command: SendMessage, *, known: str | None, client: str | None, tokens: int, queued: int = 0
) -> list[Event]:
    """Take a person's message. `known` is the text recorded under this id before, if any; `queued` is how many wait already.

    Raises:
        Refused: another text under the same id, or one more than may wait.
    """
    if known is None and queued >= MAX_QUEUED:
        raise Refused(
            code="queue_full",
            message=f"{queued} messages wait for the next step",
            expected="the same message again when that has begun",
            ref=command.id,
        )
    if known is None:
        return [UserMessageReceived(id=command.id, text=command.text, tokens=tokens, client=client)]
    if known != command.text:
        raise Refused(
            code="conflict", message="another message has this id", expected="a new id", ref=command.id
        )
    return []


def finish_tool(state: State, command: ToolResult, *, client: str, tokens: int) -> list[Event]:
    """Take a client's result; the first terminal state of a call wins, a late or repeated one changes nothing.

    Raises:
        Refused: a call that was never made or is not this client's to answer.
    """
    call = state.calls.get(command.call)
    if call is None:
        step = command.call.partition(".")[0]
        if step.isdigit() and int(step) <= state.step:
            return []
        raise Refused(
            code="unknown_call", message="no such call", expected="a call from tool_started", ref=command.call
        )
    if call.outcome is not None:
        return []
    if (call.runner, call.epoch) != (client, command.epoch):
        raise Refused(
            code="not_yours",
            message=f"assigned to {call.runner!r}, epoch {call.epoch}",
            expected="results from its runner, with the epoch of its tool_started",
            ref=command.call,
        )
    return [
        ToolFinished(
            call=command.call, outcome=command.outcome, content=command.content, tokens=tokens, ms=command.ms
        )
    ]


def set_autonomy(state: State, command: Autonomy, *, client: str | None, world: World) -> list[Event]:
    """Change what the agent may do without asking; a change ends the session's grants, and holds for what has not started yet.

    Raises:
        Refused: a rule with a pattern that could never match.
    """
    check_rules(command.rules)
    if (state.mode, state.rules, state.eager) == (command.mode, command.rules, command.eager):
        return []
    changed = AutonomyChanged(mode=command.mode, rules=command.rules, eager=command.eager, client=client)
    return [changed, *tightened(state, changed, world)]


def decide(state: State, command: Decide, *, by: str, now: int) -> list[Event]:
    """Answer a question; the first answer wins, the same one again is a no-op, also when the call has ended by then.

    Raises:
        Refused: no such question, answered otherwise, over, or `session` asked for what cannot be granted safely.
    """
    call, answer = state.calls.get(command.call), state.answers.get(command.call)
    if answer is not None:
        allowed, who = answer
        if who != "expiry" and allowed == command.allow:
            return []
        raise _decided(command, who, "allow" if allowed else "deny")
    if call is None or call.verdict is None:
        raise Refused(
            code="unknown_call",
            message="no question about this call is open",
            expected="a call judged `ask`, of the step under way",
            ref=command.call,
        )
    if call.verdict != "ask" or call.outcome is not None:
        raise _decided(command, call.judged_by, call.outcome or call.verdict)
    if now >= call.expires:  # the alarm that ends it may be late
        raise _decided(command, "expiry", "deny")
    grant = None
    if command.allow and command.scope == "session":
        tool = state.tool(call.name)
        grant = grant_for(tool.spec, call.arguments) if tool is not None else None
        if grant is None:
            raise Refused(
                code="conflict",
                message="this call cannot be granted for the session: what else that would cover is not clear",
                expected="scope = once",
                ref=command.call,
            )
    return [
        ApprovalDecided(call=command.call, allowed=command.allow, by=by, reason=command.reason, grant=grant)
    ]


def _decided(command: Decide, by: str, how: str) -> Refused:
    return Refused(
        code="conflict",
        message=f"decided by {by}, {how}",
        expected="an answer while the question is open",
        ref=command.call,
    )


def stop(state: State, *, client: str | None) -> list[Event]:
    """Stop the turn; nothing under way, or already stopping, is a no-op."""
    if state.phase == "idle" or state.stopping:
        return []
    return [StopRequested(client=client)]


def call_id(step: int, block: int) -> str:
    """Our own id of a call: providers' ids may be missing, repeated or reused."""
    return f"{step}.{block}"
