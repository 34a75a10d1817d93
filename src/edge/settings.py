"""What the deployment decides, read from the Worker's variables and secrets. Nothing here is ever logged or sent."""

from dataclasses import dataclass
from typing import Any

from edgeloop.autonomy import Mode, Rule, parse_mode, parse_rules
from edgeloop.prompt import SYSTEM
from edgeloop.providers import PROVIDERS, Target


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

    @classmethod
    def read(cls, env: Any) -> "Settings":
        """Read them from the Worker's `env`; what is missing is empty.

        Raises:
            Refused: `EDGELOOP_MODE` or `EDGELOOP_RULES` are not what they should be: never run with fewer rules than were meant.
        """

        def text(name: str) -> str:
            return _text(env, name)

        return cls(
            provider=text("EDGELOOP_PROVIDER"),
            model=text("EDGELOOP_MODEL"),
            target=Target(base_url=text("EDGELOOP_BASE_URL"), api_key=text("EDGELOOP_API_KEY")),
            system=text("EDGELOOP_SYSTEM") or SYSTEM,
            fetch_hosts=tuple(text("EDGELOOP_FETCH_HOSTS").split()),
            mode=parse_mode(text("EDGELOOP_MODE") or "ask"),
            rules=parse_rules(text("EDGELOOP_RULES") or "[]"),
        )

    def problem(self) -> str | None:
        """What keeps a model call from being made, and how to mend it; None when all is there."""
        if self.provider not in PROVIDERS:
            known = ", ".join(sorted(PROVIDERS))
            return f"EDGELOOP_PROVIDER is {self.provider!r}; expected one of: {known}"
        if not self.target.base_url:
            return "EDGELOOP_BASE_URL is not set; expected the provider's base URL"
        if not self.model:
            return "EDGELOOP_MODEL is not set; expected a model's name"
        return None


def configured_token(env: Any) -> str:
    """The token that clients must present; empty means that nobody is let in."""
    return _text(env, "EDGELOOP_TOKEN")


def _text(env: Any, name: str) -> str:
    value = getattr(env, name, None)
    return value.strip() if isinstance(value, str) else ""
