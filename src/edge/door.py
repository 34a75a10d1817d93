"""What the Worker lets in: the token of a request, its origin, and the label that tells a session what they allow.

Decides from headers and the deployment's keys; what a scope may do is `edgeloop.access`'s. A session never sees a token.
"""

import hmac
from dataclasses import dataclass
from typing import Any

from edge.settings import text_of
from edgeloop.access import OPERATOR, PROTOCOL, Access, check_key, offered, unauthorized, verify
from edgeloop.errors import Refused

LABEL = "x-edgeloop-access"
"""The header between Worker and session. It is always set, so that what came from outside under its name is gone."""


@dataclass(frozen=True, kw_only=True)
class Door:
    """The operator's token, the keys that sign tokens (the present one first), and the origins of browsers let in."""

    token: str
    keys: tuple[str, ...]
    origins: frozenset[str]

    @classmethod
    def read(cls, env: Any) -> "Door":
        """Read them from the Worker's `env`.

        Raises:
            Refused: neither token nor key, or a key that is too short.
        """
        token = text_of(env, "EDGELOOP_TOKEN")
        named = {
            name: text_of(env, name) for name in ("EDGELOOP_SIGNING_KEY", "EDGELOOP_SIGNING_KEY_PREVIOUS")
        }
        if not token and not any(named.values()):
            raise Refused(
                code="not_configured",
                message="no token is configured",
                expected="`wrangler secret put EDGELOOP_TOKEN`, or EDGELOOP_SIGNING_KEY",
            )
        keys = {name: key for name, key in named.items() if key}
        for name, key in keys.items():
            _check(name, key)
        origins = frozenset(text_of(env, "EDGELOOP_ORIGINS").split())
        return cls(token=token, keys=tuple(keys.values()), origins=origins)

    def admit(self, headers: Any, *, agent: str, now: int) -> Access:
        """What the maker of a request may do. A token in its `Authorization` comes before one among its subprotocols.

        Raises:
            Refused: no token, not a good one, not for this agent, or a web page of another origin.
        """
        given, protocols = headers.get("authorization"), headers.get("sec-websocket-protocol")
        if isinstance(given, str):
            token = given.removeprefix("Bearer ") if given.startswith("Bearer ") else ""
        else:
            token = offered(protocols)[0] if isinstance(protocols, str) else ""
        access = self._access(token, agent, now)
        origin = headers.get("origin")
        if isinstance(origin, str) and origin not in self.origins:
            raise Refused(
                code="forbidden",
                message="pages of this origin may not",
                expected="an origin of EDGELOOP_ORIGINS",
            )
        return access

    def _access(self, token: str, agent: str, now: int) -> Access:
        if self.token and hmac.compare_digest(token.encode(), self.token.encode()):
            return OPERATOR
        if not token or not self.keys:
            raise unauthorized()
        return verify(token, keys=self.keys, agent=agent, now=now)


def _check(name: str, key: str) -> None:
    try:
        check_key(key)
    except ValueError as error:
        raise Refused(code="not_configured", message=f"{name}: {error}", expected="a random one") from None


# --- between Worker and session ---------------------------------------------------------------------------------------


def label(headers: Any, access: Access) -> None:
    """Write what a request's maker may do into its headers, and take the token out of them."""
    protocols = headers.get("sec-websocket-protocol")
    headers.delete("authorization")
    headers.delete("sec-websocket-protocol")
    if isinstance(protocols, str) and offered(protocols)[1]:
        headers.set("sec-websocket-protocol", PROTOCOL)
    headers.set(LABEL, f"{access.scope} {access.expires} {access.agent}")


def labelled(headers: Any) -> tuple[str, int]:
    """The scope that a request has in a session, and when that ends in ms (0: never). Without a label: none."""
    found = headers.get(LABEL)
    scope, expires, _ = found.split(" ") if isinstance(found, str) else ("", "0", "")
    return scope, int(expires)


def reaches(headers: Any, agent: str) -> bool:
    """Whether the maker of a request to one session may touch another agent's as well."""
    found = headers.get(LABEL)
    name = found.split(" ")[2] if isinstance(found, str) else ""
    return Access(agent=name, scope="admin", expires=0).covers(agent)
