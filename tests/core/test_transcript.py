"""The conversation: which entries come of which events, and that none ever changes."""

from dataclasses import dataclass

import pytest

from edgeloop.events import (
    BlockFinished,
    ConfigChanged,
    Event,
    Recorded,
    StepFailed,
    StepFinished,
    StepStarted,
    StopReason,
    ToolCallCompleted,
    ToolFinished,
    TurnFinished,
    Usage,
    UserMessageReceived,
)
from edgeloop.prompt import Prompt, build_request
from edgeloop.providers import PROVIDERS
from edgeloop.providers.base import around
from edgeloop.providers.failures import local
from edgeloop.state import State
from edgeloop.transcript import (
    CONTINUE,
    Block,
    CallBlock,
    Entry,
    ModelEntry,
    Result,
    ResultsEntry,
    Transcript,
    UserEntry,
    is_minted,
)
from tests.support.core import TARGET, TIMING, Ask, Kept, Sim, Tool, said


def user(text: str) -> Event:
    """A person's message."""
    return UserMessageReceived(id=f"m-{text}", text=text, tokens=1)


def text(words: str, block: int = 0, *, partial: bool = False) -> Event:
    """A block of text."""
    return BlockFinished(step=1, block=block, type="text", text=words, partial=partial)


def asks(call: str, block: int, provider_id: str = "p", *, invalid: str | None = None) -> Event:
    """A call."""
    return ToolCallCompleted(
        step=1,
        block=block,
        call=call,
        provider_id=provider_id,
        name="t",
        arguments='{"a":1}',
        invalid=invalid,
    )


def gets(call: str, content: str = "c") -> Event:
    """A call's result."""
    return ToolFinished(call=call, outcome="ok", content=content)


def ends(stop: StopReason = "end") -> Event:
    """The message's end."""
    return StepFinished(step=1, stop=stop, usage=Usage(), timing=TIMING)


CONFIG = ConfigChanged(provider="anthropic", model="m", system="")
FAILS = StepFailed(step=1, attempt=1, error=local("truncated", ""), jitter=0)
STEP = StepStarted(step=1, attempt=1)
DONE = TurnFinished(reason="done")
HI = UserEntry(text="hi")
BEGUN: tuple[Event, ...] = (CONFIG, user("hi"), STEP)


def model(*blocks: Block | CallBlock) -> ModelEntry:
    """A message of the model."""
    return ModelEntry(provider="anthropic", blocks=blocks)


def shown(words: str, *, partial: bool = False) -> Block:
    """A text block as an entry has it."""
    return Block(type="text", text=words, echo=None, partial=partial)


def asked(provider_id: str = "p", arguments: str = '{"a":1}') -> CallBlock:
    """A call as an entry has it."""
    return CallBlock(provider_id=provider_id, name="t", arguments=arguments)


def came(provider_id: str = "p", content: str = "c") -> Result:
    """A result as an entry has it."""
    return Result(provider_id=provider_id, name="t", outcome="ok", content=content)


@dataclass(frozen=True, kw_only=True)
class Case:
    """Events, and the entries they make up to the last step's start."""

    name: str
    events: tuple[Event, ...]
    entries: list[Entry]


CASES = (
    Case(name="nothing before a step", events=(CONFIG, user("hi")), entries=[]),
    Case(name="a message", events=BEGUN, entries=[HI]),
    Case(
        name="two messages", events=(CONFIG, user("hi"), user("ho"), STEP), entries=[HI, UserEntry(text="ho")]
    ),
    Case(
        name="an answer and the next message",
        events=(*BEGUN, text("yes"), ends(), DONE, user("ho"), STEP),
        entries=[HI, model(shown("yes")), UserEntry(text="ho")],
    ),
    Case(
        name="results in call order",
        events=(
            *BEGUN,
            asks("1.0", 0, "p"),
            asks("1.1", 1, "q"),
            gets("1.1", "d"),
            gets("1.0"),
            ends("tool_use"),
            STEP,
        ),
        entries=[HI, model(asked("p"), asked("q")), ResultsEntry(results=(came("p"), came("q", "d")))],
    ),
    Case(
        name="blocks by number, whatever came first",
        events=(*BEGUN, asks("1.1", 1), text("look", 0), gets("1.1"), ends("tool_use"), STEP),
        entries=[HI, model(shown("look"), asked()), ResultsEntry(results=(came(),))],
    ),
    Case(
        name="a message after results",
        events=(*BEGUN, asks("1.0", 0), user("ho"), gets("1.0"), ends("tool_use"), STEP),
        entries=[HI, model(asked()), ResultsEntry(results=(came(),)), UserEntry(text="ho")],
    ),
    Case(
        name="a call without an id",
        events=(*BEGUN, asks("1.0", 0, ""), gets("1.0"), ends("tool_use"), STEP),
        entries=[HI, model(asked("e00001000")), ResultsEntry(results=(came("e00001000"),))],
    ),
    Case(
        name="unusable arguments",
        events=(*BEGUN, asks("1.0", 0, invalid="cut"), gets("1.0"), ends("tool_use"), STEP),
        entries=[HI, model(asked(arguments="{}")), ResultsEntry(results=(came(),))],
    ),
    Case(name="a failure that showed nothing", events=(*BEGUN, FAILS, STEP), entries=[HI]),
    Case(
        name="a failure after text",
        events=(*BEGUN, text("ye", partial=True), FAILS, STEP),
        entries=[HI, model(shown("ye", partial=True)), UserEntry(text=CONTINUE)],
    ),
    Case(
        name="a failure after calls",
        events=(*BEGUN, asks("1.0", 0), gets("1.0"), FAILS, STEP),
        entries=[HI, model(asked()), ResultsEntry(results=(came(),))],
    ),
    Case(
        name="a failure and a message",
        events=(*BEGUN, text("ye", partial=True), FAILS, user("ho"), STEP),
        entries=[HI, model(shown("ye", partial=True)), UserEntry(text="ho")],
    ),
    Case(
        name="a pause is sent back as it is",
        events=(*BEGUN, text("so"), ends("pause"), STEP),
        entries=[HI, model(shown("so"))],
    ),
    Case(
        name="a failure after a pause",
        events=(*BEGUN, text("so"), ends("pause"), STEP, text("far"), FAILS, STEP),
        entries=[HI, model(shown("so")), model(shown("far")), UserEntry(text=CONTINUE)],
    ),
)


def fold(events: tuple[Event, ...]) -> Transcript:
    """The transcript of some events; entries are checked to only grow."""
    transcript = Transcript()
    for seq, event in enumerate(events, 1):
        before = list(transcript.entries)
        transcript.apply(Recorded(seq=seq, at=seq, event=event))
        assert transcript.entries[: len(before)] == before
    return transcript


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_events_make_entries(case: Case) -> None:
    """Each run of events makes these entries."""
    assert fold(case.events).entries == case.entries


def test_an_entry_names_the_provider_that_made_it() -> None:
    """A change in mid-step counts from the next one."""
    other = CONFIG.model_copy(update={"provider": "openai"})
    entries = fold(
        (*BEGUN, other, text("a"), ends(), user("ho"), STEP, text("b"), ends(), user("hu"), STEP)
    ).entries
    assert [entry.provider for entry in entries if isinstance(entry, ModelEntry)] == ["anthropic", "openai"]


def test_only_its_maker_is_given_a_calls_id_back() -> None:
    """Servers that number calls anew in each message take that back; another refuses an id that names two, for ever."""
    events = (*BEGUN, asks("1.0", 0, "functions.t:0"), gets("1.0"), ends("tool_use"), STEP)
    for reader, expected in (("", "functions.t:0"), ("anthropic", "functions.t:0"), ("openai", "e00001000")):
        transcript = Transcript(reader=reader)
        for seq, event in enumerate(events, 1):
            transcript.apply(Recorded(seq=seq, at=seq, event=event))
        assert transcript.entries[1:] == [model(asked(expected)), ResultsEntry(results=(came(expected),))]


@pytest.mark.parametrize(
    ("identifier", "minted"), [("e00001000", True), ("toolu_01", False), ("call_abc", False)]
)
def test_ids_of_our_own_are_told_apart(identifier: str, minted: bool) -> None:
    """A stand-in for an id that the provider did not give can be told from one that it gave."""
    assert is_minted(identifier) is minted


# --- the prompt over it ---------------------------------------------------------------------------------------------


LOOKS = [said("Look. ", Ask("t")), said("Done."), said("Again. ", Ask("t"), Ask("t")), said("Well.")]


def two_turns() -> Sim:
    """A log of two turns with calls, a change of the provider between them and one in mid-step."""
    sim = Sim(tools=(Tool(name="t"),), script=LOOKS).begin().run()
    config = sim.events(ConfigChanged)[-1]
    sim.record(config.model_copy(update={"provider": "openai"}))
    sim.say("and now")
    sim.stream_tick()
    sim.record(config)
    return sim.run()


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_a_prompt_goes_on_from_its_bytes_at_any_cut(name: str) -> None:
    """Wherever its bytes are kept and taken up again, they become those that the whole log gives, and each step's are a prefix
    of the next one's."""
    log = two_turns().log
    for cut in range(len(log) + 1):
        kept = Kept(name)
        for recorded in log[:cut]:
            before = kept.messages
            kept.apply(recorded)
            assert kept.messages.startswith(before)
        kept.reopened(log)


def test_an_entry_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the bytes is not held, and not encoded again."""
    kept, log = Kept("anthropic"), two_turns().log
    for recorded in log:
        kept.apply(recorded)
    steps = [recorded.seq for recorded in log if isinstance(recorded.event, StepStarted)]
    assert kept.prompt.upto == steps[-1]

    def refuse(*_: object) -> bytes:
        raise AssertionError("encoded again")

    monkeypatch.setattr("edgeloop.providers.anthropic.Anthropic.encode", refuse)
    again = Prompt.resume("anthropic", steps[-1])
    assert b"".join(again.apply(recorded) for recorded in log[steps[-1] :]) == b""


def test_bytes_of_another_provider_do_not_go_on() -> None:
    """They are good for the provider of the open step alone: who made it is not in them."""
    kept = {name: Kept(name) for name in ("anthropic", "openai")}
    found = list[tuple[bool, bool]]()
    for recorded in two_turns().log:
        for one in kept.values():
            one.apply(recorded)
        if isinstance(recorded.event, StepStarted):
            found.append((kept["anthropic"].prompt.goes_on, kept["openai"].prompt.goes_on))
    assert found == [(True, False), (True, False), (False, True), (True, False)]


@pytest.mark.parametrize("name", sorted(PROVIDERS))
@pytest.mark.parametrize("system", ["", "Be brief."])
def test_messages_go_where_around_says(name: str, system: str) -> None:
    """A body made without its messages, put around them, is the body made with them."""
    state = State(provider=name, model="m", system=system)
    kept = Kept(name)
    for recorded in two_turns().log:
        kept.apply(recorded)
    before, after = around(build_request(state, TARGET).body)
    assert before + kept.messages + after == build_request(state, TARGET, kept.messages).body


def test_an_unknown_provider_is_a_key_error() -> None:
    """A state that names a provider not known here cannot be asked."""
    with pytest.raises(KeyError):
        build_request(State(provider="nobody"), TARGET)
