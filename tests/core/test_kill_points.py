"""Kill, cut, error and stop at every operation of a streamed answer with several tool calls, in every dialect.

Whatever happens, no call runs twice, no finished result and no shown text is lost, and the turn ends. Every request on the way is
read by the embedded model as strictly as the provider would.
"""

from collections.abc import Iterator
from functools import cache
from itertools import product

import pytest

from edgeloop.events import AutonomyChanged, BlockFinished, StepFailed, StepFinished, ToolStarted
from tests.support.core import Tool
from tests.support.kill_checks import check, effects, what
from tests.support.streamed import ALL_DONE, BASES, CALLS, LOOKING, Blow, How, StreamedSim

TOOLS = (
    Tool(name="read"),
    Tool(name="write", effect="mutate"),
    Tool(name="read_here", place="client"),
    Tool(name="write_here", effect="mutate", place="client"),
)
PROVIDERS = sorted(BASES)
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


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_calm_turn(provider: str) -> None:
    """Nothing happens: five calls, each once, reads before the message's end; then the answer."""
    made = calm(provider)
    check(made)
    assert made.ends() == ["done"]
    assert sorted(what(made, call) for call in made.outcomes()) == list(SIBLINGS)
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
        assert {what(made, call) for call in made.outcomes()} == set(SIBLINGS)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_object_that_dies_after_any_event(provider: str) -> None:
    """The same right after each event became durable, before anything else was done about it."""
    for seq, tools_first in product(range(1, len(calm(provider).log) + 1), (True, False)):
        made = sim(provider, tools_first=tools_first)
        made.crash_after = seq
        made.begin().run()
        check(made)
        assert made.ends() == ["done"]


@pytest.mark.parametrize(("provider", "how"), [*product(PROVIDERS, ("cut", "error", "kill"))])
def test_an_object_that_dies_while_it_recovers(provider: str, how: How) -> None:
    """A second blow after each event that follows the first one: in its wake, in the wait, in the next attempt, in its tools."""
    middle = calm(provider).pieces // 2 // 2 * 2  # between two events
    first = sim(provider, Blow(how=how, after=middle))
    first.begin().run()
    begun = next(r.seq for r in first.log if isinstance(r.event, StepFailed))
    for seq, tools_first in product(range(begun, len(first.log) + 1), (True, False)):
        made = sim(provider, Blow(how=how, after=middle), tools_first=tools_first)
        made.crash_after = seq
        made.begin().run()
        check(made)
        assert made.ends() == ["done"]
        assert made.crashes == (how == "kill") + 1


@pytest.mark.parametrize("provider", PROVIDERS)
def test_tools_that_wait_are_struck_anywhere(provider: str) -> None:
    """With eagerness off no tool starts before the message has ended well, whatever struck the ones before it."""
    for after, how in product(range(0, calm(provider).pieces + 1, 2), ("cut", "kill")):
        made = sim(provider, Blow(how=how, after=after))
        made.record(AutonomyChanged(mode="auto", eager=False))
        made.begin().run()
        check(made)
        assert made.ends() == ["done"]
        ended = {r.event.step: r.seq for r in made.log if isinstance(r.event, StepFinished)}
        for recorded in made.log:
            if isinstance(recorded.event, ToolStarted):
                assert recorded.seq > ended[int(recorded.event.call.partition(".")[0])]


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
        assert {what(made, call) for call in made.outcomes()} == set(SIBLINGS)
