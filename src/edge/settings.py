"""What the deployment decides, read from the Worker's variables and secrets. Nothing here is ever logged or sent."""

from dataclasses import dataclass, field
from typing import Any

from edgeloop.prompt import SYSTEM
from edgeloop.providers import PROVIDERS, Target


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The configured defaults of every session. An empty `token` means that nobody is let in."""

    provider: str
    model: str
    target: Target
    system: str
    token: str = field(repr=False)
    fetch_hosts: tuple[str, ...]
    """Hosts that the `fetch_url` tool may reach; with none the tool is not offered."""

    @classmethod
    def read(cls, env: Any) -> "Settings":
        """Read them from the Worker's `env`; what is missing is empty."""

        def text(name: str) -> str:
            value = getattr(env, name, None)
            return value.strip() if isinstance(value, str) else ""

        return cls(
            provider=text("EDGELOOP_PROVIDER"),
            model=text("EDGELOOP_MODEL"),
            target=Target(base_url=text("EDGELOOP_BASE_URL"), api_key=text("EDGELOOP_API_KEY")),
            system=text("EDGELOOP_SYSTEM") or SYSTEM,
            token=text("EDGELOOP_TOKEN"),
            fetch_hosts=tuple(text("EDGELOOP_FETCH_HOSTS").split()),
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
