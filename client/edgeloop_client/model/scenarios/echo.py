"""`echo`: says what it was told."""

from collections.abc import Iterator

from edgeloop_client.model.conversation import Conversation, Part, Say


def echo(conversation: Conversation) -> Iterator[Part]:
    """Repeat the user's text."""
    yield Say(text=conversation.task or "(nothing was said)")
