"""What comes next, rule by rule; whole turns are in test_session.py."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop.autonomy import Rule
from edgeloop.events import (
    ApprovalDecided,
    BlockFinished,
    CallJudged,
    Event,
    RetryScheduled,
    StepFailed,
    StepStarted,
    ToolFinished,
    ToolStarted,
    TurnFinished,
)
from edgeloop.providers.failures import local
from edgeloop.schedule import (
    BACKOFF_CAP_MS,
    LEASE_MS,
    LOST_AFTER_MS,
    MAX_ATTEMPTS,
    MAX_PARALLEL,
    MAX_STARTS,
    MAX_TURN_STEPS,
    QUESTION_MS,
    RUNNER_GRACE_MS,
    World,
    backoff_ms,
    deadline,
    due,
    interrupted,
    reopen_ms,
)
from edgeloop.state import Call, State
from edgeloop.tools import Place, PlacedTool, ToolSpec

NOW = 1_000_000
WORLD = World(now=NOW, hosts=("laptop",), mode="auto")


def placed(name: str, place: Place, **fields: Any) -> PlacedTool:
    """A tool with a deadline of a second."""
    shape: dict[str, Any] = {
        "name": name,
        "description": "",
        "parameters": {"type": "object"},
        "effect": "read",
        "deadline_ms": 1_000,
    }
    return PlacedTool(place=place, spec=ToolSpec.model_validate(shape | fields))


TOOLS = (
    placed("look", "edge"),
    placed("look_here", "client"),
    placed("change", "edge", effect="mutate", touches={"path": "path"}),
    placed("change_here", "client", effect="mutate"),
    placed("ask_person", "client", deadline_ms=0),
)


def call(name: str, number: int = 0, **fields: Any) -> Call:
    """A call of step 3, allowed to run."""
    shape: dict[str, Any] = {"call": f"3.{number}", "name": name, "arguments": "{}", "verdict": "allow"}
    return Call(**(shape | fields))


def running(name: str, runner: str, *, since: int = 0, number: int = 0, epoch: int = 1) -> Call:
    """A call that was started that long ago."""
    return call(name, number, runner=runner, epoch=epoch, started_at=NOW - since)


def state(*calls: Call, **fields: Any) -> State:
    """A settling step 3 whose message ended for its tools."""
    shape: dict[str, Any] = {
        "phase": "settling",
        "stop": "tool_use",
        "step": 3,
        "attempt": 1,
        "turn_steps": 3,
    }
    return State(tools=TOOLS, calls={c.call: c for c in calls}, tools_client="laptop", **(shape | fields))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A state and a world, and the kind of event due with some of its fields (None: nothing is due)."""

    name: str
    state: State
    world: World = WORLD
    event: type[Any] | None
    fields: dict[str, Any] = field(default_factory=lambda: dict[str, Any]())


FAILED = local("overloaded", "x")
EDGE_RUNS = replace(WORLD, running=frozenset({"3.0"}))
NOBODY = replace(WORLD, hosts=())
OTHER = replace(WORLD, hosts=("phone",))

STRICT = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}

CALLS = (
    Case(
        name="a call is judged first",
        state=state(call("look", verdict=None)),
        event=CallJudged,
        fields={"verdict": "allow", "by": "mode auto", "expires": None},
    ),
    Case(
        name="arguments that do not fit the schema are not even asked about",
        state=replace(
            state(call("strict", verdict=None, arguments='{"path": 7}')),
            tools=(placed("strict", "client", effect="mutate", parameters=STRICT),),
        ),
        world=replace(WORLD, mode="ask"),
        event=ToolFinished,
        fields={
            "outcome": "error",
            "content": "The arguments do not fit the tool's schema: path: expected string, not 7. The tool was not run.",
        },
    ),
    Case(
        name="a change is asked about",
        state=state(call("change", verdict=None)),
        world=replace(WORLD, mode="ask"),
        event=CallJudged,
        fields={"verdict": "ask", "expires": NOW + QUESTION_MS},
    ),
    Case(
        name="the deployment says how long a question is open",
        state=state(call("change", verdict=None)),
        world=replace(WORLD, mode="ask", question_ms=5),
        event=CallJudged,
        fields={"verdict": "ask", "expires": NOW + 5},
    ),
    Case(
        name="the session's mode wins",
        state=state(call("change", verdict=None), mode="plan"),
        event=CallJudged,
        fields={"verdict": "deny"},
    ),
    Case(
        name="the deployment's rules come first",
        state=state(call("look", verdict=None), rules=(Rule(verdict="allow"),)),
        world=replace(WORLD, rules=(Rule(verdict="deny"),)),
        event=CallJudged,
        fields={"verdict": "deny", "by": "rule 1"},
    ),
    Case(
        name="denied by a rule",
        state=state(call("look", verdict="deny", judged_by="rule 1")),
        event=ToolFinished,
        fields={"outcome": "denied"},
    ),
    Case(
        name="denied by a person",
        state=state(call("look", verdict="deny", judged_by="laptop", reason="later")),
        event=ToolFinished,
        fields={"outcome": "denied", "content": "A person said no to this. They said: later"},
    ),
    Case(
        name="denied by a silent person",
        state=state(call("look", verdict="deny", judged_by="laptop")),
        event=ToolFinished,
        fields={"content": "A person said no to this."},
    ),
    Case(
        name="denied by time",
        state=state(call("look", verdict="deny", judged_by="expiry")),
        event=ToolFinished,
        fields={"outcome": "denied"},
    ),
    Case(name="a question is open", state=state(call("change", verdict="ask", expires=NOW + 1)), event=None),
    Case(
        name="a question is over",
        state=state(call("change", verdict="ask", expires=NOW)),
        event=ApprovalDecided,
        fields={"allowed": False, "by": "expiry"},
    ),
    Case(
        name="a question about a cut message",
        state=state(call("change", verdict="ask", expires=NOW + 1), stop="max_tokens"),
        event=ToolFinished,
        fields={"outcome": "cancelled"},
    ),
    Case(
        name="a sibling of a question waits",
        state=state(call("change", verdict="ask", expires=NOW + 1), call("change_here", 1)),
        event=None,
    ),
    Case(
        name="nothing starts before all siblings are judged",
        state=state(
            call("change", arguments='{"path":"a"}'),
            call("change", 1, arguments='{"path":"b"}', verdict=None),
        ),
        world=replace(WORLD, rules=(Rule(verdict="ask", path="b"),)),
        event=CallJudged,
        fields={"call": "3.1", "verdict": "ask"},
    ),
    Case(
        name="a read beside a question runs",
        state=state(call("change", verdict="ask", expires=NOW + 1), call("look", 1)),
        event=ToolStarted,
        fields={"call": "3.1"},
    ),
    Case(
        name="a read starts in mid-stream",
        state=state(call("look"), phase="streaming", stop=None),
        event=ToolStarted,
        fields={"runner": "edge", "epoch": 1},
    ),
    Case(
        name="unless the session is not eager",
        state=state(call("look"), phase="streaming", stop=None, eager=False),
        event=None,
    ),
    Case(
        name="a change waits in mid-stream",
        state=state(call("change"), phase="streaming", stop=None),
        event=None,
    ),
    Case(
        name="a change starts when settled",
        state=state(call("change")),
        event=ToolStarted,
        fields={"runner": "edge"},
    ),
    Case(
        name="a change of a failed message",
        state=state(call("change"), phase="failed", stop=None, error=FAILED),
        event=ToolFinished,
        fields={"outcome": "cancelled"},
    ),
    Case(
        name="a local call goes to its declarer",
        state=state(call("look_here")),
        world=replace(WORLD, hosts=("phone", "laptop")),
        event=ToolStarted,
        fields={"runner": "laptop"},
    ),
    Case(
        name="or to the best there is",
        state=state(call("look_here")),
        world=OTHER,
        event=ToolStarted,
        fields={"runner": "phone"},
    ),
    Case(name="or waits", state=state(call("look_here")), world=NOBODY, event=None),
    Case(
        name="two changes of one path take turns",
        state=state(running("change", "edge"), call("change", 1)),
        world=EDGE_RUNS,
        event=None,
    ),
    Case(
        name="changes of two paths run together",
        state=state(
            call("change", arguments='{"path":"a"}', runner="edge", epoch=1, started_at=NOW),
            call("change", 1, arguments='{"path":"b"}'),
        ),
        world=EDGE_RUNS,
        event=ToolStarted,
        fields={"call": "3.1"},
    ),
    Case(
        name="stopped",
        state=state(running("look", "edge"), stopping=True),
        world=EDGE_RUNS,
        event=ToolFinished,
        fields={"outcome": "cancelled"},
    ),
    Case(
        name="a running call is waited for", state=state(running("look", "edge")), world=EDGE_RUNS, event=None
    ),
    Case(
        name="its deadline at the edge",
        state=state(running("look", "edge", since=1_000)),
        world=EDGE_RUNS,
        event=ToolFinished,
        fields={"outcome": "timeout"},
    ),
    Case(
        name="its deadline at a client",
        state=state(running("look_here", "laptop", since=1_000 + RUNNER_GRACE_MS)),
        event=ToolFinished,
        fields={"outcome": "timeout"},
    ),
    Case(
        name="a client that is back has its deadline again",
        state=state(running("look_here", "laptop", since=10**6)),
        world=replace(WORLD, joined=NOW),
        event=None,
    ),
    Case(name="without a deadline", state=state(running("ask_person", "laptop", since=10**6)), event=None),
    Case(name="of a tool that is gone", state=state(running("gone", "laptop", since=10**6)), event=None),
    Case(
        name="an edge read that died",
        state=state(running("look", "edge")),
        event=ToolStarted,
        fields={"epoch": 2},
    ),
    Case(
        name="that died too often",
        state=state(running("look", "edge", epoch=MAX_STARTS)),
        event=ToolFinished,
        fields={"outcome": "lost"},
    ),
    Case(
        name="an edge change that died",
        state=state(running("change", "edge")),
        event=ToolFinished,
        fields={"outcome": "lost"},
    ),
    Case(
        name="a read whose client left",
        state=state(running("look_here", "laptop", since=10**6)),
        world=OTHER,
        event=ToolStarted,
        fields={"runner": "phone", "epoch": 2},
    ),
    Case(
        name="with nobody else there",
        state=state(running("look_here", "laptop", since=10**6)),
        world=NOBODY,
        event=None,
    ),
    Case(
        name="a change whose client left just now",
        state=state(running("change_here", "laptop")),
        world=OTHER,
        event=None,
    ),
    Case(
        name="a change whose client stays away",
        state=state(running("change_here", "laptop", since=LOST_AFTER_MS)),
        world=OTHER,
        event=ToolFinished,
        fields={"outcome": "lost"},
    ),
    Case(
        name="with nobody else there to go on",
        state=state(running("change_here", "laptop", since=10**6)),
        world=NOBODY,
        event=None,
    ),
    Case(
        name="at most so many at a time",
        state=state(
            *(running("look", "edge", number=n) for n in range(MAX_PARALLEL)), call("look", MAX_PARALLEL)
        ),
        world=replace(WORLD, running=frozenset(f"3.{n}" for n in range(MAX_PARALLEL))),
        event=None,
    ),
    Case(
        name="an unknown tool",
        state=state(call("gone")),
        event=ToolFinished,
        fields={
            "outcome": "error",
            "content": "There is no tool named 'gone'. The tools are: look, look_here, change, change_here, ask_person.",
        },
    ),
    Case(
        name="an unknown tool among none",
        state=replace(state(call("gone")), tools=()),
        event=ToolFinished,
        fields={"content": "There is no tool named 'gone'. The tools are: none."},
    ),
    Case(
        name="invalid arguments",
        state=state(call("look", invalid="cut off")),
        event=ToolFinished,
        fields={"outcome": "error"},
    ),
)

STEPS = (
    Case(name="idle", state=State(), event=None),
    Case(
        name="a message starts a turn",
        state=State(queued=1),
        event=StepStarted,
        fields={"step": 1, "attempt": 1},
    ),
    Case(name="streaming", state=state(phase="streaming"), event=None),
    Case(name="done", state=state(stop="end"), event=TurnFinished, fields={"reason": "done"}),
    Case(name="refused", state=state(stop="refusal"), event=TurnFinished, fields={"reason": "refused"}),
    Case(
        name="filtered", state=state(stop="content_filter"), event=TurnFinished, fields={"reason": "refused"}
    ),
    Case(
        name="truncated", state=state(stop="max_tokens"), event=TurnFinished, fields={"reason": "truncated"}
    ),
    Case(name="paused", state=state(stop="pause"), event=StepStarted, fields={"step": 4, "attempt": 1}),
    Case(name="a message came", state=state(stop="end", queued=1), event=StepStarted, fields={"step": 4}),
    Case(
        name="results go back", state=state(call("look", outcome="ok")), event=StepStarted, fields={"step": 4}
    ),
    Case(
        name="stopped",
        state=state(call("look", outcome="ok"), stopping=True),
        event=TurnFinished,
        fields={"reason": "stopped"},
    ),
    Case(
        name="too many steps",
        state=state(call("look", outcome="ok"), turn_steps=MAX_TURN_STEPS),
        event=TurnFinished,
        fields={"reason": "budget"},
    ),
    Case(
        name="retry",
        state=state(phase="failed", error=FAILED, failures=1, failed_at=NOW),
        event=RetryScheduled,
        fields={"due": NOW + 500},
    ),
    Case(
        name="retry with calls open",
        state=state(call("look_here"), phase="failed", error=FAILED, failures=1),
        world=NOBODY,
        event=RetryScheduled,
    ),
    Case(
        name="attempts spent",
        state=state(phase="failed", error=FAILED, failures=MAX_ATTEMPTS),
        event=TurnFinished,
        fields={"reason": "failed", "detail": "overloaded: x"},
    ),
    Case(
        name="failed with calls open",
        state=state(call("look_here"), phase="failed", error=local("auth", "x"), failures=1),
        world=NOBODY,
        event=None,
    ),
    Case(
        name="stopped in failure",
        state=state(phase="failed", error=FAILED, failures=1, stopping=True),
        event=TurnFinished,
        fields={"reason": "stopped"},
    ),
    Case(name="too early", state=state(phase="backoff", retry_at=NOW + 1, failures=1), event=None),
    Case(
        name="nothing shown",
        state=state(phase="backoff", retry_at=NOW, failures=1),
        event=StepStarted,
        fields={"step": 3, "attempt": 2},
    ),
    Case(
        name="something shown",
        state=state(phase="backoff", retry_at=NOW, attempt=2, failures=2, kept=True),
        event=StepStarted,
        fields={"step": 4, "attempt": 3},
    ),
    Case(
        name="calls open",
        state=state(call("look_here"), phase="backoff", retry_at=NOW),
        world=NOBODY,
        event=None,
    ),
    Case(
        name="stopped in backoff",
        state=state(phase="backoff", stopping=True),
        event=TurnFinished,
        fields={"reason": "stopped"},
    ),
    Case(
        name="too many steps in backoff",
        state=state(phase="backoff", retry_at=NOW, turn_steps=MAX_TURN_STEPS),
        event=TurnFinished,
        fields={"reason": "budget"},
    ),
)


@pytest.mark.parametrize("case", [*CALLS, *STEPS], ids=lambda case: case.name)
def test_what_is_due(case: Case) -> None:
    """Each state in its world has one event due, or none."""
    found = due(case.state, case.world)
    assert type(found) is (case.event or type(None))
    assert {name: getattr(found, name) for name in case.fields} == case.fields


@pytest.mark.parametrize(
    ("given_state", "world", "expected"),
    [
        (State(), WORLD, None),
        (state(phase="streaming"), WORLD, NOW + LEASE_MS),
        (state(phase="backoff", retry_at=NOW + 7), WORLD, NOW + 7),
        (state(call("look_here"), phase="backoff", retry_at=NOW - 7), NOBODY, None),
        (state(running("look", "edge")), EDGE_RUNS, NOW + 1_000),
        (state(running("look_here", "laptop")), WORLD, NOW + 1_000 + RUNNER_GRACE_MS),
        (state(running("ask_person", "laptop")), WORLD, None),
        (state(running("change_here", "laptop")), NOBODY, None),
        (state(running("change_here", "laptop")), OTHER, NOW + LOST_AFTER_MS),
        (state(running("look", "edge"), running("look", "edge", number=1, since=600)), EDGE_RUNS, NOW + 400),
        (state(call("change", verdict="ask", expires=NOW + 9)), WORLD, NOW + 9),
        (state(call("look_here")), NOBODY, None),
    ],
)
def test_when_to_look_again(given_state: State, world: World, expected: int | None) -> None:
    """The earliest of what may come due; nothing while only somebody is waited for."""
    assert deadline(given_state, world) == expected


@pytest.mark.parametrize(
    ("failures", "hint", "jitter", "expected"),
    [
        (1, None, 0.0, 500),
        (2, None, 0.0, 1_000),
        (5, None, 0.0, 8_000),
        (8, None, 0.0, BACKOFF_CAP_MS),
        (80, None, 0.0, BACKOFF_CAP_MS),
        (1, None, 1.0, 375),
        (8, 120, 0.0, 120),
        (1, 7_000, 0.5, 7_250),
        (3, 0, 0.0, 2_000),
    ],
)
def test_backoff(failures: int, hint: int | None, jitter: float, expected: int) -> None:
    """Doubling to the cap, less the jitter; a hint is kept, and one of 0 is none."""
    assert backoff_ms(failures, hint, jitter) == expected


@given(st.integers(1, MAX_ATTEMPTS), st.none() | st.integers(0, 300_000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_never_shorter_than_asked(failures: int, hint: int | None, jitter: float) -> None:
    """No jitter undercuts a provider's hint, and no wait is nothing."""
    assert backoff_ms(failures, hint, jitter) >= (hint or 375)


def test_an_interrupted_step_keeps_what_was_shown() -> None:
    """Blocks with text stay, empty ones do not, and the failure names its attempt."""
    streaming = state(phase="streaming", attempt=2)
    blocks = [
        BlockFinished(step=3, block=n, type="text", text=text, partial=True)
        for n, text in enumerate(("a", ""))
    ]
    events: list[Event] = interrupted(streaming, blocks, FAILED, 0.5)
    assert events == [blocks[0], StepFailed(step=3, attempt=2, error=FAILED, jitter=0.5)]


def test_a_session_that_cannot_be_opened_is_tried_less_and_less_often():
    """The first day costs a few dozen attempts, and every later one an attempt an hour."""
    at = tries = 0
    while at < 24 * 3_600_000:
        at += reopen_ms(at)
        tries += 1
    assert (reopen_ms(0), reopen_ms(at)) == (30_000, 3_600_000)
    assert 24 <= tries <= 36
