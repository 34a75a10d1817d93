"""Where an agent is, and what its refusals before any socket mean to a person."""

from urllib.parse import quote, urlsplit

from pydantic import ValidationError
from websockets.exceptions import InvalidStatus

from edgeloop.model import Frozen
from edgeloop.wire import PROTOCOL_VERSION, ErrorFrame
from edgeloop_client.errors import CannotConnect, ClientError, NotFound, Unauthorized, VersionMismatch

_LOCAL = ("localhost", "127.0.0.1", "::1")


class _Refusal(Frozen):
    """The body of an HTTP refusal."""

    error: ErrorFrame


class Endpoint:
    """An agent at a URL, and the token that opens it.

    Raises:
        CannotConnect: not an http or https URL.
    """

    def __init__(self, *, url: str, agent: str, token: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CannotConnect(
                f"{url!r} is not the URL of an Edgeloop", next_step="expected http://… or https://…"
            )
        self.base = url.rstrip("/")
        self.agent = agent
        self._token = token
        self.is_local = parts.hostname in _LOCAL
        self.is_exposed = parts.scheme == "http" and not self.is_local
        """Whether the token travels in the clear."""

    @property
    def http(self) -> str:
        """The agent's URL."""
        return f"{self.base}/v1/agents/{quote(self.agent, safe='')}"

    @property
    def socket(self) -> str:
        """The agent's WebSocket URL."""
        return f"ws{self.http.removeprefix('http')}/ws"

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Authorization": f"Bearer {self._token}"}

    def nobody(self, why: object) -> CannotConnect:
        """The error for a URL where nobody answers."""
        return CannotConnect(
            f"no Edgeloop at {self.base}: {why}", next_step="start one with `make dev`, or give --url"
        )

    def refused(self, status: int, body: bytes) -> ClientError | None:
        """The error for an HTTP refusal; None if it may pass."""
        told = _error_of(body)
        if told is not None:
            return self.told(told)
        if status in (401, 403):
            return Unauthorized(f"{self.base} wants another token", next_step="set EDGELOOP_TOKEN")
        if status == 429 or status >= 500:
            return None
        return CannotConnect(
            f"{self.base} answers {status}, which is not Edgeloop's way", next_step="check --url"
        )

    def told(self, error: ErrorFrame) -> ClientError | None:
        """The error for a typed refusal that is about nothing sent in particular; None if it may pass."""
        text = f"{error.message}" + (f" (expected {error.expected})" if error.expected else "")
        match error.code:
            case "internal" | "too_frequent" | "too_many_sockets":
                return None
            case "unauthorized" | "not_configured":
                return Unauthorized(
                    f"{self.base}: {text}", next_step="set EDGELOOP_TOKEN to the edge's token"
                )
            case "expired" | "forbidden":
                return Unauthorized(
                    f"{self.base}: {text}",
                    next_step="`edgeloop token` makes tokens, where the signing key is",
                )
            case "not_found":
                return NotFound(f"{self.base}: {text}", next_step="check --url and the agent's id")
            case "fenced":
                return ClientError(
                    f"{self.base}: {text}",
                    next_step="another process, or a machine with a copy of this home, goes on as this client",
                )
            case "corrupt_log":
                step = "the edge's console says more; deleting the agent begins a new log"
                return ClientError(f"{self.base}: {text}", next_step=step)
            case "conflict" | "bad_log" | "gone":
                return ClientError(f"{self.base}: {text}")
            case _:
                step = f"this client speaks version {PROTOCOL_VERSION}; use the client of the edge's version"
                return VersionMismatch(f"{self.base} does not understand this client: {text}", next_step=step)


def refusal_of(error: InvalidStatus) -> tuple[int, bytes]:
    """Status and body of a refused upgrade."""
    return error.response.status_code, bytes(error.response.body or b"")


def _error_of(body: bytes) -> ErrorFrame | None:
    try:
        return _Refusal.model_validate_json(body).error
    except ValidationError:
        return None
