"""Kill, cut, error and stop at every operation of a streamed answer with several tool calls, in every dialect.

Whatever happens, no call runs twice, no finished result and no shown text is lost, and the turn ends. Every request on the way is
read by the embedded model as strictly as the provider would.
"""

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import product

import pytest

from edgeloop.events import BlockFinished, StepStarted, ToolCallCompleted, ToolFinished, ToolStarted
from edgeloop.transcript import Block, ModelEntry, Transcript
from tests.support.core import Sim, Tool
from tests.support.streamed import ALL_DONE, BASES, CALLS, LOOKING, Blow, How, StreamedSim

TOOLS = (
    Tool(name="read"),
    Tool(name="write", effect="mutate"),
    Tool(name="read_here", place="client"),
    Tool(name="write_here", effect="mutate", place="client"),
)
PROVIDERS = sorted(BASES)
HOWS: tuple[How, ...] = ("cut", "error", "kill", "stop")
SIBLINGS = tuple(sorted((name, f'{{"n": {number}}}') for name, number in CALLS))


def sim(
    provider: str, blow: Blow | None = None, *, tools_first: bool = True, stale: bool = False
) -> StreamedSim:
    return StreamedSim(provider=provider, tools=TOOLS, blow=blow, tools_first=tools_first, stale=stale)


@cache
def calm(provider: str) -> StreamedSim:
    """The turn that nothing happens to."""
    made = sim(provider, Blow(how="kill", after=-1))
    made.begin().run()
    return made


def struck(provider: str, how: How) -> Iterator[StreamedSim]:
    """One run for each piece of the answer and each order of tools and stream."""
    step = 2 if how == "error" else 1  # in the middle of an event nobody can be told of an error
    for after, tools_first in product(range(0, calm(provider).pieces + 1, step), (True, False)):
        for stale in (True, False) if how == "kill" else (False,):
            made = sim(provider, Blow(how=how, after=after), tools_first=tools_first, stale=stale)
            made.begin().run()
            yield made


def check(made: StreamedSim) -> None:
    """What holds for any run that has come to rest."""
    check_runs_once(made)
    check_results_are_told(made)
    check_text_is_kept(made)
    assert (made.state.phase, made.state.open_calls) == ("idle", [])


def check_runs_once(made: StreamedSim) -> None:
    ended = set[str]()
    for event in (recorded.event for recorded in made.log):
        if isinstance(event, ToolStarted):
            assert event.call not in ended, "started after its end"
        elif isinstance(event, ToolFinished):
            assert event.call not in ended, "ended twice"
            ended.add(event.call)
    assert ended == {event.call for event in made.events(ToolCallCompleted)}
    done = Counter(_what(made, event.call) for event in made.events(ToolFinished) if event.outcome == "ok")
    assert set(done.values()) <= {1}, f"asked for again although the result was there: {done}"
    changes = {what: runs for what, runs in effects(made).items() if what[0].startswith("write")}
    assert set(changes.values()) <= {1}, changes


def effects(made: StreamedSim) -> Counter[tuple[str, str]]:
    """How often each tool ran with each arguments, however the dialect spaces them."""
    return Counter(
        {(name, json.dumps(json.loads(text))): runs for (name, text), runs in made.side_effects.items()}
    )


def _what(made: StreamedSim, call: str) -> tuple[str, str]:
    made_call = next(event for event in made.events(ToolCallCompleted) if event.call == call)
    return made_call.name, json.dumps(json.loads(made_call.arguments))


def check_results_are_told(made: StreamedSim) -> None:
    """Every result that was there when a request was made is in it."""
    for request in made.requests:
        finished = [r.event for r in made.log[: request.seq] if isinstance(r.event, ToolFinished)]
        for event in finished:
            assert json.dumps(event.content)[1:-1].encode() in request.body


def check_text_is_kept(made: StreamedSim) -> None:
    """What the log ever said of a block is what the conversation holds: nothing shorter comes after."""
    longest = dict[tuple[int, int], str]()
    for event in made.events(BlockFinished):
        key = (event.step, event.block)
        longest[key] = max(longest.get(key, ""), event.text, key=len)
    transcript = Transcript()
    for recorded in made.log:
        transcript.apply(recorded)
    transcript.apply(made.log[-1].model_copy(update={"event": _next_step(made)}))
    said = [block for entry in transcript.entries if isinstance(entry, ModelEntry) for block in entry.blocks]
    texts = [block.text for block in said if isinstance(block, Block)]
    assert sorted(texts) == sorted(longest.values())


def _next_step(made: Sim) -> StepStarted:
    return StepStarted(step=made.state.step + 1, attempt=1)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_calm_turn(provider: str) -> None:
    """Nothing happens: five calls, each once, reads before the message's end; then the answer."""
    made = calm(provider)
    check(made)
    assert made.ends() == ["done"]
    assert sorted(_what(made, call) for call in made.outcomes()) == list(SIBLINGS)
    assert effects(made) == dict.fromkeys(SIBLINGS, 1)
    texts = [event.text for event in made.events(BlockFinished) if event.type == "text"]
    assert texts == [LOOKING, ALL_DONE]
    assert made.kinds.index("tool_finished") < made.kinds.index("step_finished")


@pytest.mark.parametrize(("provider", "how"), [*product(PROVIDERS, ("cut", "error"))])
def test_a_stream_that_breaks_anywhere(provider: str, how: How) -> None:
    """The end of the bytes or an error after any piece: the turn goes on from what is there, and all is done once."""
    for made in struck(provider, how):
        check(made)
        assert made.ends() == ["done"]
        assert effects(made) == dict.fromkeys(SIBLINGS, 1)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_object_that_dies_anywhere(provider: str) -> None:
    """All that is volatile is lost after any piece, with a fresh and with an old recovery row."""
    for made in struck(provider, "kill"):
        check(made)
        assert made.ends() == ["done"]
        assert {_what(made, call) for call in made.outcomes()} == set(SIBLINGS)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_object_that_dies_after_any_event(provider: str) -> None:
    """The same right after each event became durable, before anything else was done about it."""
    for seq, tools_first in product(range(1, len(calm(provider).log) + 1), (True, False)):
        made = sim(provider, tools_first=tools_first)
        made.crash_after = seq
        made.begin().run()
        check(made)
        assert made.ends() == ["done"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_stop_anywhere(provider: str) -> None:
    """A stop after any piece ends the turn; the next message finds all that was finished, and what was not is done then."""
    for made in struck(provider, "stop"):
        check(made)
        end = "stopped" if made.blow is None else "done"  # the answer was over before the last piece
        assert made.ends() == [end]
        made.say("go on")
        made.run()
        check(made)
        assert made.ends() == [end, "done"]
        assert {_what(made, call) for call in made.outcomes()} == set(SIBLINGS)
