"""The conversation as one provider's bytes: a fold of the log that adds what a step's beginning made certain, and nothing else.

The bytes themselves are the shell's to keep: they only ever grow, so it stores them and copies them into each request. With
`provider` and `upto` they are all there is to know: `Prompt.resume` goes on from there, and folding the log anew gives the same
bytes, since encoding is pure. Knows providers by their interface; holds no key.
"""

from dataclasses import dataclass, field, replace

from edgeloop.events import Recorded, StepStarted
from edgeloop.providers import PROVIDERS, Plan, Request, Target
from edgeloop.spend import head_of
from edgeloop.state import State
from edgeloop.transcript import Transcript

SYSTEM = (
    "You are an agent working for a person through tools. Tools that read may be called several at a time. "
    "Say what you found, with figures from the tools' results, and say plainly what you could not find out."
)


@dataclass(kw_only=True)
class Prompt:
    """The fold for one provider. It holds the open step; entries become bytes when the next one begins, and are forgotten."""

    provider: str
    upto: int = 0
    """The seq of the last `step_started` taken: everything before it is in the bytes."""
    _transcript: Transcript = field(default_factory=Transcript)

    def __post_init__(self) -> None:
        self._transcript.reader = self.provider

    @classmethod
    def resume(cls, provider: str, upto: int) -> "Prompt":
        """Go on where the bytes of a prompt that `goes_on` end: give it the events after `upto`."""
        return cls(provider=provider, upto=upto, _transcript=Transcript(provider=provider))

    @property
    def goes_on(self) -> bool:
        """Whether `provider` made the open step too; if another did, the bytes must be made anew from the log."""
        return self._transcript.provider == self.provider

    def apply(self, recorded: Recorded) -> bytes:
        """Take the next event and return what it adds to the messages, joined by commas; nothing for most.

        Raises:
            KeyError: no such provider is known here.
        """
        self._transcript.apply(recorded)
        if not isinstance(recorded.event, StepStarted):
            return b""
        self.upto = recorded.seq
        encode = PROVIDERS[self.provider].encode
        return b",".join(filter(None, map(encode, self._transcript.take())))


def build_request(state: State, target: Target, messages: bytes = b"") -> Request:
    """The request for the step that has just begun. Without `messages` they go where `providers.base.around` says.

    Raises:
        KeyError: the state names a provider that is not known here.
    """
    provider = PROVIDERS[state.provider]
    tools = tuple(tool.spec for tool in state.tools)
    plan = Plan(model=state.model, system=state.system, tools=tools, messages=(messages,))
    tokens = state.spend.input_tokens(head_of(state.system, state.tools), cached=provider.counts_cached)
    return replace(provider.build_request(plan, target), tokens=tokens)
