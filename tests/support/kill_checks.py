"""What holds for any run of a streamed turn that has come to rest, whatever struck it: no call twice, nothing lost, an end."""

import json
from collections import Counter

from edgeloop.events import BlockFinished, StepStarted, ToolCallCompleted, ToolFinished, ToolStarted
from edgeloop.transcript import Block, ModelEntry, Transcript
from tests.support.core import Sim
from tests.support.streamed import StreamedSim


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
    done = Counter(what(made, event.call) for event in made.events(ToolFinished) if event.outcome == "ok")
    assert set(done.values()) <= {1}, f"asked for again although the result was there: {done}"
    mutating = {tool.name for tool in made.tools if tool.effect == "mutate"}
    changes = {what: runs for what, runs in effects(made).items() if what[0] in mutating}
    assert set(changes.values()) <= {1}, changes


def effects(made: StreamedSim) -> Counter[tuple[str, str]]:
    """How often each tool ran with each arguments, however the dialect spaces them."""
    return Counter(
        {(name, json.dumps(json.loads(text))): runs for (name, text), runs in made.side_effects.items()}
    )


def what(made: StreamedSim, call: str) -> tuple[str, str]:
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
