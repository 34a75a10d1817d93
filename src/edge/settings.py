"""What the deployment decides, read from the Worker's variables and secrets. Nothing here is ever logged or sent."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from edge.budget import KeyBudget, key_name
from edgeloop.autonomy import Mode, Rule, parse_mode, parse_rules
from edgeloop.errors import Refused
from edgeloop.limits import SESSION_BYTES
from edgeloop.prompt import SYSTEM
from edgeloop.providers import PROVIDERS, Target
from edgeloop.providers.base import Deadlines
from edgeloop.providers.workers_ai import BINDING
from edgeloop.schedule import QUESTION_MS

T = TypeVar("T")
_HEADERS = TypeAdapter(dict[str, str])
_DOLLARS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The configured defaults of every session."""

    provider: str
    model: str
    target: Target
    system: str
    fetch_hosts: tuple[str, ...]
    """Hosts that the `fetch_url` tool may reach; with none the tool is not offered."""
    mode: Mode
    rules: tuple[Rule, ...]
    """The deployment's autonomy: its rules come before a session's own (docs/design/autonomy.md)."""

    first_ms: int | None
    idle_ms: int | None
    total_ms: int | None
    """Bounds on the silence before a model's answer and within it, and on all of it; None: the provider's own (a slow local
    server needs more)."""

    session_bytes: int
    """What a session may store."""

    question_ms: int
    """How long a question to a person stays open."""

    retain_events: int | None
    """How many of the last events stay raw; None: all."""

    session_usd: float | None
    key_usd: float | None
    """What a session may spend, and all sessions of the provider's key in a day; None: without end."""

    ledger: Any
    """The binding of the keys' ledgers."""

    ai: Any
    """The Workers AI binding `AI`; None if there is none."""

    @classmethod
    def read(cls, env: Any) -> "Settings":
        """Read them from the Worker's `env`; what is missing is empty.

        Raises:
            Refused: a variable is not what it should be; above all, never run with fewer rules than were meant.
        """

        def text(name: str) -> str:
            return text_of(env, name)

        provider, ai = (
            text("EDGELOOP_PROVIDER"),
            getattr(env._env, "AI", None),
        )  # as it is, without the SDK's wrapper
        bound = f"{BINDING}AI" if provider == "workers-ai" and ai is not None else ""
        return cls(
            provider=provider,
            model=text("EDGELOOP_MODEL"),
            target=Target(
                base_url=text("EDGELOOP_BASE_URL") or bound,
                api_key=text("EDGELOOP_API_KEY"),
                headers=_headers(text("EDGELOOP_HEADERS")),
            ),
            system=text("EDGELOOP_SYSTEM") or SYSTEM,
            fetch_hosts=tuple(text("EDGELOOP_FETCH_HOSTS").split()),
            mode=_named("EDGELOOP_MODE", parse_mode, text("EDGELOOP_MODE") or "ask"),
            rules=_named("EDGELOOP_RULES", parse_rules, text("EDGELOOP_RULES") or "[]"),
            first_ms=_number("EDGELOOP_FIRST_MS", text("EDGELOOP_FIRST_MS"), "milliseconds"),
            idle_ms=_number("EDGELOOP_IDLE_MS", text("EDGELOOP_IDLE_MS"), "milliseconds"),
            total_ms=_number("EDGELOOP_TOTAL_MS", text("EDGELOOP_TOTAL_MS"), "milliseconds"),
            question_ms=_number("EDGELOOP_QUESTION_MS", text("EDGELOOP_QUESTION_MS"), "milliseconds")
            or QUESTION_MS,
            session_bytes=_number("EDGELOOP_SESSION_BYTES", text("EDGELOOP_SESSION_BYTES"), "bytes")
            or SESSION_BYTES,
            retain_events=_number(
                "EDGELOOP_RETAIN_EVENTS", text("EDGELOOP_RETAIN_EVENTS").removeprefix("0"), "events"
            ),
            session_usd=_dollars("EDGELOOP_SESSION_USD", text("EDGELOOP_SESSION_USD")),
            key_usd=_dollars("EDGELOOP_KEY_USD", text("EDGELOOP_KEY_USD")),
            ledger=getattr(env._env, "LEDGER", None),
            ai=ai,
        )

    def deadlines(self, own: Deadlines) -> Deadlines:
        """The provider's own deadlines, with what the deployment decides in their place."""
        return replace(
            own,
            first_ms=self.first_ms or own.first_ms,
            idle_ms=self.idle_ms or own.idle_ms,
            total_ms=self.total_ms or own.total_ms,
        )

    def budget(self, session: str) -> KeyBudget | None:
        """A session's way to its key's ledger; None without a cap for the key."""
        if self.key_usd is None or self.ledger is None:
            return None
        name = key_name(self.target.api_key, self.target.base_url)
        return KeyBudget(ledger=self.ledger.getByName(name), cap=self.key_usd, session=session)

    def problem(self) -> str | None:
        """What keeps a model call from being made, and how to mend it; None when all is there."""
        if self.provider not in PROVIDERS:
            known = ", ".join(sorted(PROVIDERS))
            return f"EDGELOOP_PROVIDER is {self.provider!r}; expected one of: {known}"
        base_url = self.target.base_url
        if base_url.startswith(BINDING) and self.ai is None:
            return f'EDGELOOP_BASE_URL is {base_url!r}, but there is no such binding; expected `[ai] binding = "AI"`'
        if not base_url.startswith(("http://", "https://", BINDING)):
            return f"EDGELOOP_BASE_URL is {base_url!r}; expected the provider's base URL, http://... or https://..."
        if not self.model:
            return "EDGELOOP_MODEL is not set; expected a model's name"
        if self.key_usd is not None and self.ledger is None:
            return "EDGELOOP_KEY_USD is set, but there is no binding LEDGER; expected that of wrangler.toml"
        return None


def _named(name: str, read: Callable[[str], T], value: str) -> T:
    try:
        return read(value)
    except Refused as error:
        raise Refused(
            code="not_configured", message=f"{name}: {error.message}", expected=error.expected
        ) from None


def _number(name: str, value: str, unit: str) -> int | None:
    if not value:
        return None
    if not value.isdecimal() or not int(value):
        raise Refused(code="not_configured", message=f"{name} is {value!r}", expected=f"{unit}, 1 or more")
    return int(value)


def _dollars(name: str, value: str) -> float | None:
    if not value:
        return None
    if not _DOLLARS.fullmatch(value):
        raise Refused(code="not_configured", message=f"{name} is {value!r}", expected="US dollars, like 2.50")
    return float(value)


def _headers(text: str) -> dict[str, str]:
    """Headers for every request to the provider: a gateway's, say."""
    try:
        return _HEADERS.validate_json(text or "{}")
    except ValidationError:
        raise Refused(
            code="not_configured",
            message="EDGELOOP_HEADERS cannot be read",
            expected='{"name": "value"} as JSON',
        ) from None


def text_of(env: Any, name: str) -> str:
    """A variable's or secret's text; what is missing is empty."""
    value = getattr(env, name, None)
    return value.strip() if isinstance(value, str) else ""
