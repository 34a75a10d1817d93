"""Every error the client raises.

ClientError             what a person is told; `next_step` says what to do about it
├── CannotConnect       nobody answers at that URL, or not with Edgeloop's protocol
├── Unauthorized        the token is missing or wrong, or the edge has none configured
├── NotFound            no such agent, or no such path at that URL
├── VersionMismatch     the other side speaks another version of the protocol
└── MessageRefused      the session would not take the message
Gap                     the frames do not continue what the view holds: connect again from the cursor
ToolError               a tool could not do what it was asked; its text is for the model
ToolDenied              a person, or nobody to ask, said no
ToolTimeout             a deadline ended the work; its text holds what there is
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeloop_client.view import Change


class ClientError(Exception):
    """Something the person must know; `exit_code` is the CLI's."""

    exit_code = 3

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.next_step = next_step


class CannotConnect(ClientError):
    """Nobody answers at that URL, or not with Edgeloop's protocol."""


class Unauthorized(ClientError):
    """The token is missing or wrong, or the edge has none configured."""


class NotFound(ClientError):
    """No such agent or path."""


class VersionMismatch(ClientError):
    """The other side speaks another version of the protocol."""


class MessageRefused(ClientError):
    """The session would not take the message."""

    exit_code = 1


class Gap(Exception):
    """The frames do not continue what the view holds. `changes` were made before it was noticed."""

    changes: "tuple[Change, ...]" = ()


class ToolError(Exception):
    """A tool could not do what it was asked: what was wrong, what was expected."""


class ToolDenied(ToolError):
    """A person, or nobody to ask, said no."""


class ToolTimeout(ToolError):
    """A deadline ended the work."""
