"""The request's bytes, kept: every entry of the conversation is encoded once, and a request only joins what is there.

Knows providers by their interface; holds no key. Rebuilding it from the log gives the same bytes, since encoding is pure.
"""

from dataclasses import dataclass, field

from edgeloop.providers import PROVIDERS, Plan, Request, Target
from edgeloop.state import State
from edgeloop.transcript import Transcript

SYSTEM = (
    "You are an agent working for a person through tools. Tools that read may be called several at a time. "
    "Say what you found, with figures from the tools' results, and say plainly what you could not find out."
)


@dataclass(kw_only=True)
class Prompt:
    """A transcript and the bytes of its entries for one provider; a change of provider starts the bytes anew."""

    transcript: Transcript = field(default_factory=Transcript)
    size: int = 0
    """Bytes of the encoded messages."""
    _provider: str = ""
    _messages: list[bytes] = field(default_factory=lambda: list[bytes]())

    def build(self, state: State, target: Target) -> Request:
        """Build the request for the step that has just begun: work is proportional to the new entries, plus one copy.

        Raises:
            KeyError: the state names a provider that is not known here.
        """
        provider = PROVIDERS[state.provider]
        if self._provider != state.provider:
            self._provider, self._messages, self.size = state.provider, [], 0
        new = [provider.encode(entry) for entry in self.transcript.entries[len(self._messages) :]]
        self._messages.extend(new)
        self.size += sum(map(len, new))
        tools = tuple(tool.spec for tool in state.tools)
        plan = Plan(model=state.model, system=state.system, tools=tools, messages=tuple(self._messages))
        return provider.build_request(plan, target)
