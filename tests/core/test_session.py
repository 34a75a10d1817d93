"""Whole turns through the core, and the same turns with a crash after every event of theirs.

What a crash may change: seqs, times, attempts, epochs, steps (a broken message is continued in the next one). What it may not is
`Sim.story`. A mutating call is never started twice; after a crash at the edge it ends as lost where its result would have been.
"""

import itertools
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal, get_args

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgeloop import commands
from edgeloop.autonomy import Rule, Verdict
from edgeloop.effects import AbortModel, CallModel, CancelTool, RunTool
from edgeloop.errors import CorruptLog, IllegalTransition, Refused
from edgeloop.events import (
    ApprovalDecided,
    AutonomyChanged,
    BlockFinished,
    CallJudged,
    ConfigChanged,
    Event,
    Recorded,
    RetryScheduled,
    StepError,
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
from edgeloop.schedule import MAX_ATTEMPTS, MAX_STARTS, RETRY_AFTER_CAP_MS
from edgeloop.session import Session, add_usage
from edgeloop.state import TRANSITIONS, Call, Phase, State
from edgeloop.transcript import CONTINUE, ModelEntry, ResultsEntry, UserEntry
from edgeloop.wire import Autonomy, ToolResult
from tests.support.core import TIMING, Action, Ask, Crash, Fault, Sim, Tool, failure, said

READ = Tool(name="read")
READ_HERE = Tool(name="read_here", place="client")
WRITE = Tool(name="write", effect="mutate")
WRITE_HERE = Tool(name="write_here", effect="mutate", place="client")
TOOLS = (READ, READ_HERE, WRITE, WRITE_HERE)


def seen(kind: str, count: int = 1) -> Callable[[Sim], bool]:
    """Whether the log holds that many events of a kind."""
    return lambda sim: sim.kinds.count(kind) >= count


def leave(sim: Sim) -> None:
    """All clients go away."""
    sim.attach()


def arrive(name: str) -> Callable[[Sim], None]:
    """A client comes."""
    return lambda sim: sim.attach(*sim.hosts, name)


def swap(sim: Sim) -> None:
    """The laptop goes and the desktop comes."""
    sim.attach("desktop")


# --- the table ------------------------------------------------------------------------------------------------------

ERROR = StepError(cls="overloaded", retryable=True)
EVENTS: tuple[Event, ...] = (
    ConfigChanged(provider="openai", model="n", system="s"),
    ToolsDeclared(client="c", tools=()),
    AutonomyChanged(mode="plan"),
    UserMessageReceived(id="m", text="hello", tokens=1),
    StepStarted(step=2, attempt=1),
    BlockFinished(step=1, block=1, type="text", text="a"),
    ToolCallCompleted(step=1, block=1, call="1.1", provider_id="p", name="read", arguments="{}"),
    CallJudged(call="1.0", verdict="ask", by="mode ask", expires=9),
    ApprovalDecided(call="1.0", allowed=True, by="laptop"),
    ToolStarted(call="1.0", runner="edge", epoch=1),
    ToolFinished(call="1.0", outcome="ok", content="c"),
    StepFinished(step=1, stop="end", usage=Usage(), timing=TIMING),
    StepFailed(step=1, attempt=1, error=ERROR, jitter=0.5),
    RetryScheduled(due=5),
    StopRequested(),
    TurnFinished(reason="done"),
)
KINDS = [event.kind for event in EVENTS]
EVENT = {event.kind: event for event in EVENTS}
VERDICTS: dict[str, Verdict | None] = {
    "call_judged": None,
    "approval_decided": "ask",
    "tool_started": "allow",
    "tool_finished": "allow",
}
"""The kinds that need an open call, and the verdict on it that they need."""


def state_in(phase: Phase, *, open_call: bool, verdict: Verdict | None = "allow") -> State:
    """A state in that phase, at step 1, with or without an open call 1.0."""
    calls = {"1.0": Call(call="1.0", name="read", arguments="{}", verdict=verdict)} if open_call else {}
    return State(phase=phase, seq=7, step=1, attempt=1, calls=calls, stop="end", error=ERROR)


def test_every_event_kind_is_tried() -> None:
    """The list above holds one event of every kind there is."""
    union = get_args(get_args(Event)[0])
    assert sorted(KINDS) == sorted(kind.model_fields["kind"].default for kind in union)


@pytest.mark.parametrize("event", EVENTS, ids=KINDS)
@pytest.mark.parametrize("phase", get_args(Phase))
def test_every_pair_of_the_table(phase: Phase, event: Event) -> None:
    """A listed pair moves as the table says; an unlisted one raises and leaves the state as it was."""
    verdict = VERDICTS.get(event.kind, "allow")
    session = Session(state_in(phase, open_call=event.kind in VERDICTS, verdict=verdict))
    before = deepcopy(session.state)
    if event.kind in TRANSITIONS[phase]:
        session.apply(Recorded(seq=8, at=1, event=event))
        assert (TRANSITIONS[phase][event.kind], 8) == (session.state.phase, session.state.seq)
        return
    with pytest.raises(IllegalTransition) as caught:
        session.apply(Recorded(seq=8, at=1, event=event))
    assert (phase, event.kind) == (caught.value.phase, caught.value.kind)
    assert before == session.state


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """An event of a listed kind that does not name what is open."""

    name: str
    phase: Phase
    event: Event
    open_call: bool = True


MISFITS = (
    Misfit(
        name="block of another step",
        phase="streaming",
        event=EVENT["block_finished"].model_copy(update={"step": 2}),
    ),
    Misfit(
        name="call of another step",
        phase="streaming",
        event=EVENT["tool_call_completed"].model_copy(update={"step": 2}),
    ),
    Misfit(
        name="call twice",
        phase="streaming",
        event=EVENT["tool_call_completed"].model_copy(update={"call": "1.0"}),
    ),
    Misfit(
        name="end of another step",
        phase="streaming",
        event=EVENT["step_finished"].model_copy(update={"step": 2}),
    ),
    Misfit(
        name="failure of another step",
        phase="streaming",
        event=EVENT["step_failed"].model_copy(update={"step": 2}),
    ),
    Misfit(
        name="verdict twice",
        phase="settling",
        event=EVENT["call_judged"].model_copy(update={"verdict": "allow"}),
    ),
    Misfit(name="answer without a question", phase="settling", event=EVENT["approval_decided"]),
    Misfit(
        name="start of an unknown call",
        phase="settling",
        event=ToolStarted(call="9.9", runner="edge", epoch=1),
    ),
    Misfit(
        name="start out of epoch", phase="settling", event=ToolStarted(call="1.0", runner="edge", epoch=2)
    ),
    Misfit(
        name="end of an unknown call",
        phase="settling",
        event=ToolFinished(call="9.9", outcome="ok", content=""),
    ),
    Misfit(name="turn over a call", phase="settling", event=TurnFinished(reason="done")),
    Misfit(name="step over a call", phase="settling", event=StepStarted(step=2, attempt=1)),
    Misfit(name="skipped step", phase="settling", event=StepStarted(step=3, attempt=1), open_call=False),
)


@pytest.mark.parametrize("case", MISFITS, ids=lambda case: case.name)
def test_an_event_must_name_what_is_open(case: Misfit) -> None:
    """A listed kind that names another step or call raises and leaves the state as it was."""
    session = Session(state_in(case.phase, open_call=case.open_call))
    before = deepcopy(session.state)
    with pytest.raises(IllegalTransition):
        session.apply(Recorded(seq=8, at=1, event=case.event))
    assert before == session.state


@pytest.mark.parametrize(
    "event",
    [EVENT["tool_started"], EVENT["tool_finished"], EVENT["call_judged"], EVENT["approval_decided"]],
    ids=lambda event: event.kind,
)
def test_a_finished_call_stays_finished(event: Event) -> None:
    """The first terminal state of a call wins: it can neither start nor finish again."""
    session = Session(state_in("settling", open_call=True))
    session.apply(Recorded(seq=8, at=1, event=EVENT["tool_finished"]))
    with pytest.raises(IllegalTransition):
        session.apply(Recorded(seq=9, at=1, event=event))


@pytest.mark.parametrize("seq", [1, 7, 9])
def test_a_gap_in_seq_is_a_corrupt_log(seq: int) -> None:
    """An event that is not the next one is refused, applied or replayed."""
    with pytest.raises(CorruptLog):
        Session(state_in("idle", open_call=False)).apply(
            Recorded(seq=seq, at=1, event=EVENT["user_message_received"])
        )


def test_replay_refuses_what_cannot_follow() -> None:
    """An illegal event in a stored log is a corrupt log, named by its seq."""
    with pytest.raises(CorruptLog, match="seq 1"):
        Session.replay(None, [Recorded(seq=1, at=1, event=TurnFinished(reason="done"))])


def test_an_edge_call_of_an_undeclared_tool_has_no_deadline() -> None:
    """A start whose tool is not declared any more is performed without a deadline."""
    session = Session(state_in("settling", open_call=True))
    effects = session.apply(Recorded(seq=8, at=1, event=EVENT["tool_started"]))
    assert [RunTool(call="1.0", epoch=1, name="read", arguments="{}")] == effects


def test_usage_adds_up_and_none_stays_none() -> None:
    """Absent is not zero: a field that neither side reports stays None."""
    total = add_usage(Usage(output=1, cache_read=2), Usage(output=3, cost_reported=0.5))
    assert Usage(output=4, cache_read=2, cost_reported=0.5) == total


# --- whole turns ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A world to run from "go" to rest, and how its turns end and its calls come out."""

    name: str
    make: Callable[[], Sim]
    ends: tuple[str, ...] = ("done",)
    outcomes: tuple[str, ...] = ()


def parallel() -> Sim:
    return Sim(
        tools=TOOLS,
        script=[
            said("Looking. ", Ask("read", '{"a":1}'), Ask("read_here", '{"a":2}'), Ask("read", '{"a":3}')),
            said("Found it."),
        ],
    )


def mutating() -> Sim:
    return Sim(
        tools=TOOLS,
        script=[said("I write. ", Ask("write"), Ask("write_here"), Ask("read"), " Wait."), said("Written.")],
    )


def cut_after_calls() -> Sim:
    return Sim(
        tools=TOOLS,
        script=[said("One. ", Ask("read"), Ask("write"), Ask("read_here", '{"b":1}')), said("Done.")],
        faults={"end 0": [Fault(failure("truncated"))]},
    )


def steered() -> Sim:
    act = Action(seen("tool_started"), lambda sim: sim.say("and mind the gap"))
    return Sim(tools=TOOLS, script=[said(Ask("read")), said("Minded.")], actions=[act])


def after_stop() -> Sim:
    acts = [
        Action(seen("tool_started"), lambda sim: sim.stop()),
        Action(seen("stop_requested"), lambda sim: sim.say("something else")),
    ]
    return Sim(tools=TOOLS, script=[said(Ask("read_here")), said("Else.")], actions=acts, tools_first=False)


def left_and_back() -> Sim:
    acts = [
        Action(seen("tool_started"), leave),
        Action(lambda sim: sim.state.phase != "streaming" and not sim.hosts, arrive("laptop")),
    ]
    return Sim(
        tools=TOOLS,
        script=[said(Ask("read_here"), Ask("write_here")), said("Back.")],
        actions=acts,
        tools_first=False,
    )


def taken_over() -> Sim:
    act = Action(seen("tool_started"), swap)
    return Sim(
        tools=TOOLS, script=[said(Ask("read_here")), said("Taken over.")], actions=[act], tools_first=False
    )


def lost() -> Sim:
    act = Action(seen("tool_started"), swap)
    return Sim(tools=TOOLS, script=[said(Ask("write_here")), said("Lost.")], actions=[act], tools_first=False)


def open_question(sim: Sim) -> bool:
    """Whether a person is asked something."""
    return any(call.verdict == "ask" for call in sim.state.open_calls)


def asking(*, allow: bool | None, scope: Literal["once", "session"] = "once") -> Callable[[], Sim]:
    """A world that asks before writes; the person answers each question, or never."""

    def answer(sim: Sim) -> None:
        sim.answer(allow=bool(allow), scope=scope)

    def make() -> Sim:
        script = [said(Ask("write"), Ask("read")), said(Ask("write_here")), said("Asked.")]
        answers = [] if allow is None else [Action(open_question, answer) for _ in range(4)]
        return Sim(tools=TOOLS, script=script, mode="ask", actions=answers)

    return make


def failing(*faults: Fault, at: int = 0) -> Callable[[], Sim]:
    return lambda: Sim(script=[said("Some words and more."), said("Next.")], faults={at: list(faults)})


def hanging(tool: Tool) -> Callable[[], Sim]:
    return lambda: Sim(tools=(tool,), script=[said(Ask(tool.name)), said("Gave up.")])


TURNS = (
    Turn(name="text only", make=lambda: Sim(script=[said("Hello.")])),
    Turn(name="parallel tools", make=parallel, outcomes=("ok", "ok", "ok")),
    Turn(name="mutating tools", make=mutating, outcomes=("ok", "ok", "ok")),
    Turn(name="unknown tool", make=lambda: Sim(script=[said(Ask("nope")), said("Ah.")]), outcomes=("error",)),
    Turn(
        name="invalid arguments",
        make=lambda: Sim(tools=TOOLS, script=[said(Ask("read", "{", "cut off")), said("Ah.")]),
        outcomes=("error",),
    ),
    Turn(
        name="a tool that fails",
        make=lambda: Sim(tools=(Tool(name="bad", outcome="error"),), script=[said(Ask("bad")), said("Ah.")]),
        outcomes=("error",),
    ),
    Turn(name="failure before anything", make=failing(Fault(failure()), Fault(failure("connection")))),
    Turn(name="failure after text", make=failing(Fault(failure("truncated"), 5), Fault(failure(), 9))),
    Turn(name="failure after calls", make=cut_after_calls, outcomes=("cancelled", "ok", "ok", "ok")),
    Turn(name="retry-after", make=failing(Fault(failure("rate_limit", retry_after_ms=7_000)))),
    Turn(name="not retryable", make=failing(Fault(failure("auth"))), ends=("failed",)),
    Turn(name="not retryable after text", make=failing(Fault(failure("billing"), 4)), ends=("failed",)),
    Turn(name="attempts spent", make=failing(*[Fault(failure())] * (MAX_ATTEMPTS + 2)), ends=("failed",)),
    Turn(name="message while working", make=steered, outcomes=("ok",)),
    Turn(name="message after stop", make=after_stop, ends=("stopped", "done"), outcomes=("cancelled", "ok")),
    Turn(name="client leaves and is back", make=left_and_back, outcomes=("ok", "ok")),
    Turn(name="another client takes a read over", make=taken_over, outcomes=("ok",)),
    Turn(name="a mutating call is lost", make=lost, outcomes=("lost",)),
    Turn(name="an edge tool hangs", make=hanging(Tool(name="slow", hangs=True)), outcomes=("timeout",)),
    Turn(
        name="a client tool hangs",
        make=hanging(Tool(name="slow", hangs=True, place="client")),
        outcomes=("timeout",),
    ),
    Turn(name="asked and allowed", make=asking(allow=True), outcomes=("ok", "ok", "ok")),
    Turn(
        name="asked, allowed for the session",
        make=asking(allow=True, scope="session"),
        outcomes=("ok", "ok", "ok"),
    ),
    Turn(name="asked and denied", make=asking(allow=False), outcomes=("denied", "denied", "ok")),
    Turn(name="asked and never answered", make=asking(allow=None), outcomes=("denied", "denied", "ok")),
    Turn(name="refused", make=lambda: Sim(script=[said("No.", stop="refusal")]), ends=("refused",)),
    Turn(name="too long", make=lambda: Sim(script=[said("Long", stop="max_tokens")]), ends=("truncated",)),
)


@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: turn.name)
def test_a_turn_comes_to_its_end(turn: Turn) -> None:
    """Each world comes to rest, with its turns and calls ended as listed."""
    sim = turn.make().begin().run()
    assert (sim.state.phase, sim.state.open_calls) == ("idle", [])
    assert turn.ends == tuple(sim.ends())
    assert sorted(turn.outcomes) == sorted(sim.outcomes().values())


@pytest.mark.parametrize("snapshots", [False, True], ids=["from the log", "from a snapshot"])
@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: turn.name)
def test_a_crash_after_any_event_changes_no_story(turn: Turn, snapshots: bool) -> None:
    """Stopped after any of its events and rebuilt from storage, the turn tells the same story and repeats no side effect."""
    calm = turn.make().begin().run()
    for seq in range(1, len(calm.log) + 1):
        sim = turn.make()
        sim.crash_after = seq
        sim.snapshot_at = (seq + 1) // 2 if snapshots else None
        sim.begin().run()
        assert sim.crashes == 1
        assert calm.story() == sim.story(), f"crashed after {seq}: {calm.kinds[seq - 1]}"
        mutating_names = {tool.name for tool in sim.tools if tool.effect == "mutate"}
        assert all(n <= 1 for (name, _), n in sim.side_effects.items() if name in mutating_names)


def test_tools_run_in_parallel_and_answer_in_call_order() -> None:
    """Reads start while the model still talks; the results' order is the calls', whoever is first."""
    sim = parallel()
    sim.tools_first = False
    sim.begin().run()
    kinds = sim.kinds
    assert kinds.index("tool_started") < kinds.index("step_finished")
    first_done = kinds.index("tool_finished")
    assert kinds[:first_done].count("tool_started") == 3
    results = next(entry for entry in sim.transcript.entries if isinstance(entry, ResultsEntry)).results
    assert [result.content.rpartition(" ")[2] for result in results] == ['{"a":1}', '{"a":2}', '{"a":3}']


def test_a_mutating_call_waits_for_the_end_of_the_message() -> None:
    """A mutating call starts only once the model's message has ended well."""
    sim = mutating().begin().run()
    ended = next(recorded.seq for recorded in sim.log if isinstance(recorded.event, StepFinished))
    starts = {r.event.call: r.seq for r in sim.log if isinstance(r.event, ToolStarted)}
    assert starts["1.1"] > ended
    assert starts["1.2"] > ended > starts["1.3"]


@pytest.mark.parametrize("reason", ["max_tokens", "refusal", "pause", "content_filter"])
def test_a_mutating_call_of_an_unsafe_end_never_runs(reason: str) -> None:
    """A message that ends in any way but well cancels its mutating calls."""
    sim = Sim(tools=TOOLS, script=[said(Ask("write"), stop=reason)])  # type: ignore[arg-type]
    sim.begin()
    sim.stream_tick()
    sim.stream_tick()
    assert sim.outcomes() == {"1.0": "cancelled"}
    assert not sim.side_effects


def test_failure_before_anything_was_shown_repeats_the_step() -> None:
    """Nothing shown, nothing called: the same step is attempted again."""
    sim = failing(Fault(failure()))().begin().run()
    assert [(event.step, event.attempt) for event in sim.events(StepStarted)] == [(1, 1), (1, 2)]


def test_failure_after_text_keeps_it_and_continues() -> None:
    """What was shown is kept, and the next step is told to go on where it ended."""
    sim = failing(Fault(failure("truncated"), 5))().begin().run()
    assert [(event.step, event.attempt) for event in sim.events(StepStarted)] == [(1, 1), (2, 2)]
    entries = sim.transcript.entries
    assert isinstance(entries[1], ModelEntry)
    assert UserEntry(text=CONTINUE) == entries[2]
    assert sim.story()["text"] == "Some words and more."


def test_failure_after_calls_keeps_early_results_and_cancels_mutating_calls() -> None:
    """Finished reads go into the next request; a mutating call of the broken message is not run, and no note is needed."""
    sim = cut_after_calls().begin().run()
    entries = sim.transcript.entries
    results = entries[2]
    assert isinstance(results, ResultsEntry)
    assert [result.outcome for result in results.results][:2] == ["ok", "cancelled"]
    assert UserEntry(text=CONTINUE) not in entries
    assert sim.side_effects[("write", "{}")] == 1


def test_retry_after_is_honoured() -> None:
    """No attempt is made before the provider's hint has passed."""
    sim = failing(Fault(failure("rate_limit", retry_after_ms=7_000)))().begin().run()
    failed = next(r.at for r in sim.log if isinstance(r.event, StepFailed))
    again = next(r.at for r in sim.log if isinstance(r.event, StepStarted) and r.event.attempt == 2)
    assert 7_000 <= again - failed <= 7_500


def test_a_hint_too_long_to_wait_for_fails_the_turn() -> None:
    """A person should hear of an hour's wait now."""
    sim = failing(Fault(failure("rate_limit", retry_after_ms=RETRY_AFTER_CAP_MS + 1)))().begin().run()
    assert sim.ends() == ["failed"]
    assert len(sim.events(StepFailed)) == 1


def test_attempts_are_bounded_and_spaced() -> None:
    """After MAX_ATTEMPTS failures in a row the turn fails; each wait is longer than the one before, up to the cap."""
    sim = failing(*[Fault(failure())] * 20)().begin().run()
    failed = [r.at for r in sim.log if isinstance(r.event, StepFailed)]
    waits = [b - a for a, b in itertools.pairwise(failed)]
    assert len(failed) == MAX_ATTEMPTS
    assert sorted(waits) == waits


def test_a_finished_step_resets_the_attempts() -> None:
    """Failures count in a row only: progress starts the count anew."""
    faults: dict[int | str, list[Fault]] = {n: [Fault(failure())] * (MAX_ATTEMPTS - 1) for n in (0, 1)}
    sim = Sim(tools=TOOLS, script=[said(Ask("read")), said("Made it.")], faults=faults).begin().run()
    assert sim.ends() == ["done"]


def test_attempts_are_shared_by_repeats_and_continuations() -> None:
    """A step that is repeated and a message that is continued draw on one budget: neither makes the other's new."""
    faults = [Fault(failure(), off) for off in (0, 3, 0, 6, 9, 0, 12, 15, 0, 0)]
    sim = failing(*faults)().begin().run()
    assert len(sim.events(StepFailed)) == MAX_ATTEMPTS
    assert sim.ends() == ["failed"]
    steps = sim.events(StepStarted)
    assert [step.attempt for step in steps] == list(range(1, MAX_ATTEMPTS + 1))
    assert len({step.step for step in steps}) == 5


def test_no_budget_runs_while_a_person_is_asked() -> None:
    """A question may be open for most of a day: no attempt is made meanwhile, and the tool's own time begins with its start."""
    sim = Sim(tools=TOOLS, mode="ask", script=[said(Ask("write")), said("Made it.")]).begin()
    while not any(call.verdict == "ask" for call in sim.state.open_calls):
        sim.stream_tick()
    before = len(sim.log)
    for _ in range(23):
        sim.now += 3_600_000
        sim.record()
    assert len(sim.log) == before
    sim.answer(allow=True)
    sim.run()
    assert sim.outcomes() == {"1.0": "ok"}
    assert sim.ends() == ["done"]


@pytest.mark.parametrize("snapshots", [False, True], ids=["from the log", "from a snapshot"])
@pytest.mark.parametrize(
    "kind",
    ["step_started", "block_finished", "tool_started", "step_finished", "step_failed", "retry_scheduled"],
)
def test_stop_in_every_phase(kind: str, snapshots: bool) -> None:
    """Stop ends the turn from any phase, with and without a crash behind it; what was said stays, what ran is cancelled."""

    def make() -> Sim:
        hanging_tools = tuple(Tool(name=t.name, place=t.place, effect=t.effect, hangs=True) for t in TOOLS)
        return Sim(
            tools=hanging_tools,
            script=[said("Words. ", Ask("read"), Ask("read_here"), Ask("write")), said("Never.")],
            faults={}
            if kind != "step_failed" and kind != "retry_scheduled"
            else {"end 0": [Fault(failure())]},
            actions=[Action(seen(kind), lambda sim: sim.stop())],
        )

    calm = make().begin().run()
    assert calm.ends() == ["stopped"]
    assert set(calm.outcomes().values()) <= {"cancelled"}
    for seq in range(1, len(calm.log) + 1):
        sim = make()
        sim.crash_after, sim.snapshot_at = seq, seq if snapshots else None
        sim.begin().run()
        assert sim.ends() == ["stopped"], f"crashed after {seq}: {calm.kinds[seq - 1]}"
        assert not sim.state.stopping


def test_stop_aborts_the_stream_and_keeps_the_partial_text() -> None:
    """Stop aborts the model call; the text shown by then is kept in the log."""
    sim = Sim(script=[said("A long story.")], partial_on_abort=6).begin()
    sim.stop()
    assert AbortModel(step=1) == sim.performed[-1]
    sim.run()
    assert [(event.text, event.partial) for event in sim.events(BlockFinished)] == [("A long", True)]
    assert sim.ends() == ["stopped"]


def test_stop_skips_what_was_queued_before_it() -> None:
    """A message queued behind the stopped turn starts none of its own; the next one brings it along."""
    sim = Sim(script=[said("Never."), said("Both.")]).begin()
    sim.say("queued")
    sim.stop()
    sim.run()
    assert (sim.state.phase, sim.ends()) == ("idle", ["stopped"])
    sim.say("next")
    sim.run()
    assert sim.story()["users"] == ["go", "queued", "next"]
    assert sim.ends() == ["stopped", "done"]


def test_stop_cancels_edge_calls_only() -> None:
    """A running edge call is cancelled as an effect; a client hears of it from the log."""
    tools = (Tool(name="read", hangs=True), Tool(name="read_here", place="client", hangs=True))
    sim = Sim(tools=tools, script=[said(Ask("read"), Ask("read_here"))]).begin()
    sim.stream_tick()
    sim.stream_tick()
    sim.stop()
    assert [CancelTool(call="1.0")] == [effect for effect in sim.performed if isinstance(effect, CancelTool)]


def test_a_message_while_working_is_delivered_at_the_next_step() -> None:
    """Steering: it follows the results of the step it came in."""
    sim = steered().begin().run()
    kinds = [type(entry).__name__ for entry in sim.transcript.entries]
    assert kinds[:4] == ["UserEntry", "ModelEntry", "ResultsEntry", "UserEntry"]
    assert sim.ends() == ["done"]


def test_a_message_before_the_end_keeps_the_turn_going() -> None:
    """A message that comes while the last words are said is answered in the same turn."""
    act = Action(seen("block_finished"), lambda sim: sim.say("one more"))
    sim = Sim(script=[said("First."), said("Second.")], actions=[act]).begin().run()
    assert (sim.ends(), sim.story()["text"]) == (["done"], "First.Second.")


def test_a_mutating_call_waits_for_its_runner() -> None:
    """With nobody else attached, a call waits for its client however long it is away, without an alarm."""
    sim = left_and_back()
    sim.actions = sim.actions[:1]
    sim.begin().run()
    assert sim.state.phase == "settling"
    sim.now += 86_400_000
    arrive("laptop")(sim)
    sim.run()
    assert {"ok"} == set(sim.outcomes().values())


def test_a_read_lost_in_a_crash_runs_again() -> None:
    """An edge read that died with its isolate is started again with the next epoch."""
    sim = Sim(tools=TOOLS, script=[said(Ask("read")), said("Read.")]).begin()
    while not sim.running:
        sim.tick()
    sim.wake()
    sim.run()
    assert [event.epoch for event in sim.events(ToolStarted)] == [1, 2]
    assert sim.outcomes() == {"1.0": "ok"}


def test_a_read_that_takes_its_isolate_down_is_given_up() -> None:
    """Starts are bounded: a call whose every start ends in a crash is lost in the end."""
    sim = Sim(tools=TOOLS, script=[said(Ask("read")), said("Gave up.")], tools_first=False).begin()
    while sim.state.phase != "settling":
        sim.tick()
    for _ in range(MAX_STARTS):
        sim.wake()
    assert sim.outcomes() == {"1.0": "lost"}
    assert len(sim.events(ToolStarted)) == MAX_STARTS


def test_a_mutating_edge_call_lost_in_a_crash_is_not_repeated() -> None:
    """What may have taken effect is never started again: the model is told that it is not known."""
    sim = Sim(tools=TOOLS, script=[said(Ask("write")), said("Checked.")]).begin()
    while ("write", "{}") not in sim.side_effects:
        sim.tick()
    sim.wake()
    sim.run()
    assert (sim.outcomes(), sim.side_effects[("write", "{}")]) == ({"1.0": "lost"}, 1)


def test_a_crash_at_every_event_of_a_row_of_crashes() -> None:
    """Repeated deaths, one every few events, still end with the same story."""
    calm = parallel().begin().run()
    sim = parallel().begin()
    while sim.state.phase != "idle":
        try:
            sim.tick()
            if len(sim.log) % 4 == 0 and sim.crashes < 6:
                raise Crash
        except Crash:
            sim.recover()
    assert calm.story() == sim.story()


def test_an_effect_comes_with_its_event() -> None:
    """A step calls the model, and an edge start runs the tool with its deadline."""
    sim = Sim(tools=TOOLS, script=[said(Ask("read", '{"p":1}')), said("Ok.")]).begin().run()
    assert [
        CallModel(step=1, attempt=1),
        RunTool(call="1.0", epoch=1, name="read", arguments='{"p":1}'),
        CallModel(step=2, attempt=1),
    ] == sim.performed


@pytest.mark.parametrize("name", ["read", "write", "nope"])
def test_arguments_nested_beyond_reason_stop_nobody(name: str) -> None:
    """Arguments that Python cannot read are judged, run or refused like any others; the turn goes on."""
    touching = tuple(Tool(name=t.name, effect=t.effect, touches={"path": "path"}) for t in (READ, WRITE))
    deep = '{"path":' + "[" * 100_000 + "]" * 100_000 + "}"
    sim = Sim(tools=touching, script=[said(Ask(name, deep), Ask("write")), said("Deep.")]).begin().run()
    assert sim.ends() == ["done"]


# --- any order of anything ------------------------------------------------------------------------------------------

MOVES = (
    "tick",
    "tick",
    "tick",
    "stream",
    "tool",
    "say",
    "stop",
    "leave",
    "laptop",
    "desktop",
    "crash",
    "wait",
    "model",
    "tools",
    "late",
    "allow",
    "deny",
    "mode",
    "fail",
    "burst",
    "plan",
    "rules",
)


PLAN = Autonomy(mode="plan")
ASKING = Autonomy(mode="auto", rules=(Rule(verdict="ask", tool="write_here"),))


class World:
    """Random moves of everybody around one session."""

    def __init__(self) -> None:
        self.sim = Sim(
            tools=TOOLS,
            script=[
                said(
                    "One. ",
                    Ask("read", '{"n":1}'),
                    Ask("write", '{"n":2}'),
                    "Two. ",
                    Ask("read_here", '{"n":3}'),
                    Ask("write_here", '{"n":5}'),
                ),
                said(Ask("write_here", '{"n":4}'), Ask("nope")),
                said("Pausing.", stop="pause"),
                said("Three. ", Ask("read", "{", "cut off")),
                said("Four."),
                said("Five."),
            ],
        )
        self.said = 0
        self.sim.declare()

    def move(self, name: str) -> None:
        sim = self.sim
        match name:
            case "stream" if sim.stream is not None:
                sim.stream_tick()
            case "tool":
                sim.tool_tick()
            case "say":
                self.said += 1
                sim.say(f"message {self.said}")
            case "stop":
                sim.stop()
            case "leave":
                leave(sim)
            case "laptop" | "desktop" if name not in sim.hosts:
                arrive(name)(sim)
            case "crash":
                sim.wake()
            case "wait":
                sim.now += 45_000
                sim.record()
            case "allow" | "deny":
                sim.answer(allow=name == "allow")
            case "model" | "tools" | "mode" | "plan" | "rules":
                self.change(name)
            case "burst" if sim.stream is not None and not sim.faults:
                sim.burst()
            case "late":
                self.late_result()
            case "fail" if sim.stream is not None:
                sim.faults.setdefault(sim.stream.left[0] if sim.stream.left else "end 0", []).append(
                    Fault(failure(), 2)
                )
            case _:
                sim.tick()

    def change(self, name: str) -> None:
        """A person or a deployment changes what holds."""
        sim = self.sim
        match name:
            case "model" if sim.state.phase == "idle":
                sim.declare(model=f"m{self.said % 2}")
            case "tools":
                sim.declare(client="desktop")
            case "mode":
                sim.mode = "ask" if sim.mode == "auto" else "auto"
                sim.record()
            case "plan" | "rules":
                command = PLAN if name == "plan" else ASKING
                sim.record(*commands.set_autonomy(sim.state, command, client=None, world=sim.world))
            case _:
                sim.tick()

    def late_result(self) -> None:
        """A client repeats, or invents, a result."""
        for call in list(self.sim.state.calls.values()):
            result = ToolResult(call=call.call, epoch=1, outcome="ok", content="late")
            try:
                events = commands.finish_tool(self.sim.state, result, client="laptop", tokens=1)
            except Refused:
                continue
            self.sim.record(*events)


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(MOVES), max_size=60))
@example(["rules", "say", "burst"])
@example(["say", "stream", "stream", "stream", "plan", "burst"])
def test_any_interleaving_comes_to_rest(moves: list[str]) -> None:
    """No order of what may happen is illegal; when a client stays, all ends; no message is lost, no write made twice.

    The simulator asserts on the way that entries and requests only grow (law 4), and that no alarm fires for nothing.
    """
    world = World()
    for name in moves:
        world.move(name)
    sim = world.sim
    sim.attach("laptop")
    sim.run()
    sim.say("the last")
    sim.run()
    assert (sim.state.phase, sim.state.open_calls, sim.state.queued) == ("idle", [], 0)
    starts = [event.call for event in sim.events(ToolStarted)]
    writes = [e.call for e in sim.events(ToolCallCompleted) if e.name.startswith("write")]
    assert all(starts.count(call) <= 1 for call in writes)
    assert [f"message {n + 1}" for n in range(world.said)] + ["the last"] == sim.story()["users"]
    sim.wake()
