"""Commands: what is recorded for them, what was recorded before, what is refused."""

from dataclasses import dataclass
from typing import Any

import pytest

from edgeloop import commands
from edgeloop.autonomy import Mode, Rule
from edgeloop.errors import Refused
from edgeloop.events import (
    ApprovalDecided,
    AutonomyChanged,
    CallJudged,
    ConfigChanged,
    Event,
    Outcome,
    Recorded,
    StopRequested,
    ToolFinished,
    ToolsDeclared,
    UserMessageReceived,
)
from edgeloop.schedule import World
from edgeloop.session import Session
from edgeloop.state import Call, State
from edgeloop.tools import PlacedTool, ToolSpec
from edgeloop.wire import Autonomy, Decide, SendMessage, ToolResult

NOW = 1_000
WORLD = World(now=NOW)


def spec(name: str, **fields: Any) -> ToolSpec:
    """A tool."""
    return ToolSpec.model_validate(
        {"name": name, "description": "", "parameters": {"type": "object"}, "effect": "read"} | fields
    )


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A session's model, what is configured and wanted, and what it comes to (None: no change)."""

    name: str
    state: tuple[str, str, str] = ("anthropic", "old", "s")
    system: str = "s"
    wanted: str | None = None
    becomes: tuple[str, str, str] | None


CHOICES = (
    Choice(name="fresh", state=("", "", ""), becomes=("anthropic", "default", "s")),
    Choice(name="keeps its own", becomes=None),
    Choice(name="wanted", wanted="new", becomes=("anthropic", "new", "s")),
    Choice(name="wanted is its own", wanted="old", becomes=None),
    Choice(name="another provider", state=("openai", "old", "s"), becomes=("anthropic", "default", "s")),
    Choice(name="another system prompt", system="t", becomes=("anthropic", "old", "t")),
)


@pytest.mark.parametrize("case", CHOICES, ids=lambda case: case.name)
def test_a_session_keeps_its_model_within_a_provider(case: Choice) -> None:
    """The wanted model wins, then the session's own, then the default; a change of anything is recorded."""
    provider, model, system = case.state
    state = State(provider=provider, model=model, system=system)
    found = commands.configure(
        state, provider="anthropic", model="default", system=case.system, wanted=case.wanted
    )
    if case.becomes is None:
        assert found == []
    else:
        provider, model, system = case.becomes
        assert found == [ConfigChanged(provider=provider, model=model, system=system)]


def declared(events: list[Event]) -> ToolsDeclared:
    """The one event of a declaration."""
    [event] = events
    assert isinstance(event, ToolsDeclared)
    return event


def test_tools_are_declared_sorted_and_once() -> None:
    """Tools of both sides are merged by name; a repeated declaration changes nothing; edge tools alone keep local ones."""
    state = State()
    local = (spec("d"), spec("b"))
    event = declared(commands.declare_tools(state, edge=(spec("c"),), client="laptop", local=local))
    assert [(tool.spec.name, tool.place) for tool in event.tools] == [
        ("b", "client"),
        ("c", "edge"),
        ("d", "client"),
    ]
    state.tools, state.tools_client = event.tools, "laptop"
    assert commands.declare_tools(state, edge=(spec("c"),), client="laptop", local=local) == []
    assert commands.declare_tools(state, edge=(spec("c"),), client=None, local=None) == []
    event = declared(commands.declare_tools(state, edge=(), client="phone", local=()))
    assert (event.tools, event.client) == ((), "phone")


@pytest.mark.parametrize(
    ("edge", "local"), [((), ("a", "a")), (("a",), ("a",))], ids=["twice", "on both sides"]
)
def test_two_tools_of_one_name_are_refused(edge: tuple[str, ...], local: tuple[str, ...]) -> None:
    """A name says who runs the tool, so it must be told apart."""
    with pytest.raises(Refused, match="conflict"):
        commands.declare_tools(
            State(), edge=tuple(map(spec, edge)), client="laptop", local=tuple(map(spec, local))
        )


def test_a_message_is_recorded_once() -> None:
    """The same id again is the same message; another text under it is refused."""
    command = SendMessage(id="m", text="hi")
    assert commands.send_message(command, known=None, client="laptop", tokens=2) == [
        UserMessageReceived(id="m", text="hi", tokens=2, client="laptop")
    ]
    assert commands.send_message(command, known="hi", client="phone", tokens=2) == []
    with pytest.raises(Refused) as caught:
        commands.send_message(command, known="other", client="laptop", tokens=2)
    assert (caught.value.code, caught.value.ref) == ("conflict", "m")


def running(runner: str | None = "laptop", epoch: int = 1, outcome: Outcome | None = None) -> State:
    """Step 3 with one call."""
    call = Call(
        call="3.0", name="t", arguments="{}", runner=runner, epoch=epoch, outcome=outcome, verdict="allow"
    )
    return State(phase="settling", step=3, calls={"3.0": call})


@dataclass(frozen=True, kw_only=True)
class Report:
    """A result and what it comes to: an outcome recorded, nothing, or a refusal's code."""

    name: str
    state: State
    call: str = "3.0"
    epoch: int = 1
    comes_to: str | None


REPORTS = (
    Report(name="of its runner", state=running(), comes_to="recorded"),
    Report(name="late", state=running(outcome="timeout"), comes_to=None),
    Report(name="of another runner", state=running("phone"), comes_to="not_yours"),
    Report(name="of an older start", state=running(epoch=2), comes_to="not_yours"),
    Report(name="of a call that was not started", state=running(None, 0), comes_to="not_yours"),
    Report(name="of an earlier step", state=running(), call="2.5", comes_to=None),
    Report(name="of a call in this step that was never made", state=running(), call="3.7", comes_to=None),
    Report(name="of a step to come", state=running(), call="4.0", comes_to="unknown_call"),
    Report(name="of no call", state=running(), call="toolu_1", comes_to="unknown_call"),
)


@pytest.mark.parametrize("case", REPORTS, ids=lambda case: case.name)
def test_a_result_is_its_runners(case: Report) -> None:
    """The first result of the assigned runner counts; repeats change nothing; others are refused."""
    command = ToolResult(call=case.call, epoch=case.epoch, outcome="ok", content="c", ms=5)
    try:
        found: list[Event] | str = commands.finish_tool(case.state, command, client="laptop", tokens=2)
    except Refused as refusal:
        found = refusal.code
    recorded: list[Event] = [ToolFinished(call="3.0", outcome="ok", content="c", tokens=2, ms=5)]
    assert found == (recorded if case.comes_to == "recorded" else case.comes_to or [])


def test_autonomy_is_changed_once() -> None:
    """The same settings again change nothing."""
    rules = (Rule(verdict="deny", tool="run_command"),)
    command = Autonomy(mode="edit", rules=rules, eager=False)
    [event] = commands.set_autonomy(State(), command, client="laptop", world=WORLD)
    assert event == AutonomyChanged(mode="edit", rules=rules, eager=False, client="laptop")
    same = State(mode="edit", rules=rules, eager=False)
    assert commands.set_autonomy(same, command, client="phone", world=WORLD) == []


@dataclass(frozen=True, kw_only=True)
class Change:
    """A call that waits, a change of autonomy, and the verdict that the call gets by it (None: it keeps its own)."""

    name: str
    verdict: Any
    mode: Mode = "auto"
    rules: tuple[Rule, ...] = ()
    deployment: tuple[Rule, ...] = ()
    by: str = "mode ask"
    runner: str | None = None
    becomes: tuple[str, str] | None


CHANGES = (
    Change(name="plan denies what was allowed", verdict="allow", mode="plan", becomes=("deny", "mode plan")),
    Change(name="plan denies what is asked", verdict="ask", mode="plan", becomes=("deny", "mode plan")),
    Change(name="ask asks about what was allowed", verdict="allow", mode="ask", becomes=("ask", "mode ask")),
    Change(name="a question stays a question", verdict="ask", mode="ask", becomes=None),
    Change(name="auto answers no question", verdict="ask", becomes=None),
    Change(
        name="a rule denies",
        verdict="allow",
        rules=(Rule(verdict="deny", tool="t"),),
        becomes=("deny", "rule 1"),
    ),
    Change(
        name="the deployment's rules come first",
        verdict="allow",
        rules=(Rule(verdict="deny"),),
        deployment=(Rule(verdict="allow"),),
        becomes=None,
    ),
    Change(name="a person's yes is not asked again", verdict="allow", by="phone", mode="ask", becomes=None),
    Change(name="but may be denied", verdict="allow", by="phone", mode="plan", becomes=("deny", "mode plan")),
    Change(name="what runs goes on", verdict="allow", runner="laptop", mode="plan", becomes=None),
    Change(name="what is not judged yet will be", verdict=None, mode="plan", becomes=None),
)


@pytest.mark.parametrize("case", CHANGES, ids=lambda case: case.name)
def test_a_stricter_autonomy_holds_for_what_has_not_started(case: Change) -> None:
    """Whoever turns an agent down is not surprised by what it was allowed a moment before; a change never answers a question."""
    state = asked(case.verdict, by=case.by)
    state.calls["3.0"].runner = case.runner
    state.grants = (Rule(verdict="allow", tool="t"),)  # it ends with the change
    command, world = (
        Autonomy(mode=case.mode, rules=case.rules, eager=False),
        World(now=NOW, rules=case.deployment, question_ms=5),
    )
    changed, *judged = commands.set_autonomy(state, command, client=None, world=world)
    found = [(event.verdict, event.by) for event in judged if isinstance(event, CallJudged)]
    assert found == ([case.becomes] if case.becomes else [])
    session = Session(state)
    for event in (changed, *judged):
        session.apply(Recorded(seq=session.state.seq + 1, at=NOW, event=event))
    assert session.state.calls["3.0"].verdict == (case.becomes[0] if case.becomes else case.verdict)


def test_a_call_of_a_tool_that_is_gone_is_not_judged_anew() -> None:
    """It ends with an error by itself."""
    state = asked("allow")
    state.tools = ()
    [_] = commands.set_autonomy(state, Autonomy(mode="plan"), client=None, world=WORLD)


def asked(verdict: Any = "ask", outcome: Outcome | None = None, by: str = "mode ask", **fields: Any) -> State:
    """Step 3 with a question about one call of a mutating tool, open until just after NOW."""
    tool = spec("t", effect="mutate", **fields)
    call = Call(
        call="3.0",
        name="t",
        arguments='{"command":"make; rm x"}',
        verdict=verdict,
        judged_by=by,
        expires=NOW + 1,
        outcome=outcome,
    )
    answered = verdict in ("allow", "deny") and by in ("phone", "http", "expiry")
    return State(
        phase="settling",
        step=3,
        calls={"3.0": call},
        tools=(PlacedTool(place="edge", spec=tool),),
        answers={"3.0": (verdict == "allow", by), "2.0": (False, "http")} if answered else {},
    )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer and what it comes to."""

    name: str
    state: State
    call: str = "3.0"
    allow: bool = True
    session: bool = False
    at: int = NOW
    comes_to: list[Event] | str


SAME = ApprovalDecided(call="3.0", allowed=True, by="laptop")
ANSWERS = (
    Answer(name="yes", state=asked(), comes_to=[SAME]),
    Answer(name="no", state=asked(), allow=False, comes_to=[SAME.model_copy(update={"allowed": False})]),
    Answer(
        name="no for the session",
        state=asked(),
        allow=False,
        session=True,
        comes_to=[SAME.model_copy(update={"allowed": False})],
    ),
    Answer(
        name="yes for the session",
        state=asked(),
        session=True,
        comes_to=[SAME.model_copy(update={"grant": Rule(verdict="allow", tool="t")})],
    ),
    Answer(
        name="too much for the session",
        state=asked(touches={"command": "command"}),
        session=True,
        comes_to="conflict",
    ),
    Answer(name="the same again", state=asked("allow", by="phone"), comes_to=[]),
    Answer(name="the same when it has run", state=asked("allow", "ok", by="http"), comes_to=[]),
    Answer(name="the same no", state=asked("deny", "denied", by="phone"), allow=False, comes_to=[]),
    Answer(
        name="the same in the next step",
        state=asked("allow", by="http"),
        call="2.0",
        allow=False,
        comes_to=[],
    ),
    Answer(name="another in the next step", state=asked("allow", by="http"), call="2.0", comes_to="conflict"),
    Answer(name="another again", state=asked("allow", by="phone"), allow=False, comes_to="conflict"),
    Answer(name="yes after a no", state=asked("deny", "denied", by="phone"), comes_to="conflict"),
    Answer(name="when its time is up", state=asked(), at=NOW + 1, comes_to="conflict"),
    Answer(name="no when its time is up", state=asked(), at=NOW + 1, allow=False, comes_to="conflict"),
    Answer(
        name="no after its time",
        state=asked("deny", "denied", by="expiry"),
        allow=False,
        at=NOW + 2,
        comes_to="conflict",
    ),
    Answer(name="after a stop", state=asked("ask", "cancelled"), allow=False, comes_to="conflict"),
    Answer(name="where a rule allowed", state=asked("allow", by="rule 1"), comes_to="conflict"),
    Answer(name="where a grant allowed", state=asked("allow", by="grant 1"), comes_to="conflict"),
    Answer(
        name="where a mode denied",
        state=asked("deny", "denied", by="mode plan"),
        allow=False,
        comes_to="conflict",
    ),
    Answer(name="to no question", state=asked(None), comes_to="unknown_call"),
    Answer(name="to no call", state=asked(), call="3.9", comes_to="unknown_call"),
)


@pytest.mark.parametrize("case", ANSWERS, ids=lambda case: case.name)
def test_the_first_answer_wins(case: Answer) -> None:
    """A question is answered once; the same answer again is a no-op, any other is refused."""
    command = Decide(call=case.call, allow=case.allow, scope="session" if case.session else "once")
    try:
        found: list[Event] | str = commands.decide(case.state, command, by="laptop", now=case.at)
    except Refused as refusal:
        found = refusal.code
    assert found == case.comes_to


def test_a_question_about_a_tool_that_is_gone_grants_nothing() -> None:
    """Without its tool, a call cannot be granted for the session."""
    state = asked()
    state.tools = ()
    with pytest.raises(Refused, match="conflict"):
        commands.decide(state, Decide(call="3.0", allow=True, scope="session"), by="laptop", now=NOW)


def test_stop_is_recorded_once_and_only_in_a_turn() -> None:
    """Stopping what is over, or stopping already, is a no-op."""
    assert commands.stop(State(phase="streaming"), client="laptop") == [StopRequested(client="laptop")]
    assert commands.stop(State(phase="streaming", stopping=True), client="laptop") == []
    assert commands.stop(State(), client="laptop") == []


def test_a_calls_id_is_its_place() -> None:
    """Ours, not the provider's: the step and the block."""
    assert commands.call_id(12, 3) == "12.3"
