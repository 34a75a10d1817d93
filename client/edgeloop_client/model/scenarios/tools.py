"""`tools`: calls what the user's message says, then reports the results; for tests of tools.

Lines `call NAME {JSON}` of one message are called in parallel; a line `then` parts what must wait for the results before it.
"""

import json
import re
from collections.abc import Iterator

from edgeloop_client.model.conversation import Call, Conversation, Part, Say

_THEN = re.compile(r"^\s*then\s*$", re.MULTILINE)
MAX_REPORT = 2_000


def tools(conversation: Conversation) -> Iterator[Part]:
    """Make the calls of the next batch, or report all results."""
    batches = [list(_calls(part)) for part in _THEN.split(conversation.task)]
    batches = [batch for batch in batches if batch]
    step = conversation.steps
    if step < len(batches):
        for name, arguments in batches[step]:
            yield from _call(name, arguments)
    elif not batches:
        yield Say(text='Nothing to call: expected lines like `call read_file {"path": "README.md"}`.')
    else:
        yield Say(text="\n".join(_report(conversation)))


def _calls(text: str) -> Iterator[tuple[str, str]]:
    for line in map(str.strip, text.splitlines()):
        if line.startswith("call "):
            name, brace, rest = line.removeprefix("call ").partition("{")
            yield name.strip(), brace + rest or "{}"


def _call(name: str, arguments: str) -> Iterator[Part]:
    try:
        yield Call(name=name, arguments=json.loads(arguments))
    except ValueError as error:
        yield Say(text=f"The arguments for {name} are no JSON: {error}.\n")


def _report(conversation: Conversation) -> Iterator[str]:
    yield f"{len(conversation.answers)} results:"
    for answer in conversation.answers:
        text = answer.text if len(answer.text) <= MAX_REPORT else answer.text[:MAX_REPORT] + "…"
        yield f"{answer.call.name}: {'failed: ' if answer.failed else ''}{text}"
