"""Which request of a conversation fails: counted per conversation, so that a retry can be seen to succeed."""

from collections import OrderedDict
from typing import Protocol

from edgeloop_client.model.conversation import Conversation
from edgeloop_client.model.options import Fault, Options

MAX_CONVERSATIONS = 10_000


class Faults(Protocol):
    """Decides which requests fail, and how."""

    def next(self, conversation: Conversation, options: Options) -> Fault:
        """The fault of this request."""
        ...


class FaultCounter:
    """Counts the requests of each conversation (the same model name, first user message and `fault_key`)."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], int] = OrderedDict()

    def next(self, conversation: Conversation, options: Options) -> Fault:
        """The fault of this request."""
        if options.fault == "none":
            return "none"
        key = (f"{conversation.model}\n{options.fault_key}", conversation.first)
        number = self._seen.pop(key, 0)
        self._seen[key] = number + 1
        while len(self._seen) > MAX_CONVERSATIONS:
            self._seen.popitem(last=False)
        number -= options.fault_after
        over = options.fault_times and number >= options.fault_times
        return "none" if number < 0 or over else options.fault
