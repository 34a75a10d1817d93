"""Who may do what to which agent: signed tokens, and the one table of what each request and frame needs.

Decides from a token's text, the keys and the time that it is given; knows no header and no clock. A token is
`v1.<payload>.<mac>`: the payload is JSON in base64url, the mac HMAC-SHA256 over the text before it. Nothing is said of a token
whose mac is wrong; what one with a good mac lacks is said plainly, for its holder may know what it holds.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from edgeloop.errors import Refused

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
"""Each may do what those before it may."""

VERSION = "v1"
KEY_CHARS = 32
"""A shorter signing key can be guessed from one token, without asking anybody."""
TOKEN_CHARS = 1_024
PROTOCOL = "edgeloop.v1"
"""The WebSocket subprotocol of browsers, which cannot send headers; the token comes as another one beside it."""
TOKEN_PROTOCOL = "edgeloop.token."

_PATTERN = re.compile(r"[A-Za-z0-9._:-]{0,128}\*?")
_ID = re.compile(r"[A-Za-z0-9._:-]{0,128}")

NEEDS: dict[str, Scope] = {
    "GET ws": "read",
    "GET events": "read",
    "GET state": "read",
    "POST messages": "write",
    "POST approvals": "write",
    "POST stop": "write",
    "PUT autonomy": "admin",
    "DELETE": "admin",
    "GET export": "admin",
    "POST import": "admin",
    "POST fork": "admin",
    "hello": "read",
    "next": "read",
    "hello with tools": "write",
    "message": "write",
    "tool_result": "write",
    "decide": "write",
    "stop": "write",
    "autonomy": "admin",
}
"""The scope that each request (method and last part of the path) and each frame needs; what is not listed needs `admin`.

Autonomy is the admin's: who may write answers what is asked, one logged answer at a time, and can never lift what is denied. A
change of autonomy does both for good, so a token that was handed to a browser or a bot must not reach it."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a token allows: agents by name, or by the beginning of their names (`team-*`); until `expires` in ms, 0 for ever."""

    agent: str
    scope: Scope
    expires: int
    id: str = ""

    def covers(self, agent: str) -> bool:
        """Whether it is for this agent."""
        if self.agent.endswith("*"):
            return agent.startswith(self.agent[:-1])
        return agent == self.agent


def is_over(expires: int, now: int) -> bool:
    """Whether the time of what expires then is over; 0 is never."""
    return 0 < expires <= now


OPERATOR = Access(agent="*", scope="admin", expires=0)
"""What the deployment's own token, EDGELOOP_TOKEN, allows: everything."""


def allows(scope: str, what: str) -> bool:
    """Whether a scope is enough for a request or frame of `NEEDS`; an unknown scope is enough for nothing."""
    return scope in SCOPES and SCOPES.index(scope) >= SCOPES.index(NEEDS.get(what, "admin"))


def check(scope: str, what: str, *, ref: str | None = None) -> None:
    """Raise Refused where a scope is not enough."""
    if not allows(scope, what):
        needed = NEEDS.get(what, "admin")
        raise Refused(
            code="forbidden",
            message=f"{what}: this token's scope is {scope!r}",
            expected=f"a token of scope {needed!r}",
            ref=ref,
        )


# --- tokens ---------------------------------------------------------------------------------------------------------


def mint(access: Access, key: str) -> str:
    """Sign a token.

    Raises:
        ValueError: a name that no agent has, no expiry, or a key that is too short.
    """
    if not access.agent or not _PATTERN.fullmatch(access.agent):
        raise ValueError(f"{access.agent!r} is no agent's name, nor the beginning of one with a * behind it")
    if access.scope not in SCOPES or access.expires <= 0 or not _ID.fullmatch(access.id):
        raise ValueError("a token has a scope, an expiry and an id of letters, digits and ._:-")
    check_key(key)
    payload: dict[str, Any] = {"agent": access.agent, "scope": access.scope, "exp": access.expires}
    text = json.dumps(payload | ({"id": access.id} if access.id else {}), separators=(",", ":"))
    signed = f"{VERSION}.{_encode(text.encode())}"
    return f"{signed}.{_encode(_mac(signed, key))}"


def verify(token: str, *, keys: Sequence[str], agent: str, now: int) -> Access:
    """What a token allows at this agent. `keys`: the one that signs now, and the one before it (rotation).

    Raises:
        Refused: `unauthorized` not signed by us, `expired`, or `forbidden` for this agent.
    """
    signed, _, mac = token.rpartition(".")
    given = _decode(mac) if len(token) <= TOKEN_CHARS and signed.startswith(f"{VERSION}.") else None
    good = [hmac.compare_digest(_mac(signed, key), given or b"") for key in keys]  # all, whichever it is
    access = _read(signed.partition(".")[2]) if any(good) else None
    if access is None:
        raise unauthorized()
    if is_over(access.expires, now):
        raise Refused(code="expired", message="this token has expired", expected="a new token")
    if not access.covers(agent):
        raise Refused(
            code="forbidden", message="this token is for another agent", expected="a token for this agent"
        )
    return access


def unauthorized() -> Refused:
    """The one answer to all tokens that are none."""
    return Refused(
        code="unauthorized",
        message="no or wrong token",
        expected="Authorization: Bearer <token>, or its subprotocol",
    )


def check_key(key: str) -> None:
    """Raise ValueError for a signing key that is too short to be one."""
    if len(key) < KEY_CHARS:
        raise ValueError(f"a signing key has at least {KEY_CHARS} characters, this one has {len(key)}")


def offered(protocols: str) -> tuple[str, bool]:
    """The token among the subprotocols that a socket offers ("" if none), and whether ours is among them."""
    names = [name.strip() for name in protocols.split(",")]
    token = next((name for name in names if name.startswith(TOKEN_PROTOCOL)), TOKEN_PROTOCOL)
    return token.removeprefix(TOKEN_PROTOCOL), PROTOCOL in names


def _mac(signed: str, key: str) -> bytes:
    return hmac.digest(key.encode(), signed.encode("utf-8", "surrogatepass"), hashlib.sha256)


def _read(payload: str) -> Access | None:
    """The payload of a token that we signed; None for one of a form that we do not know."""
    try:
        found: Any = json.loads(_decode(payload) or b"")
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    fields = cast(dict[str, Any], found)
    agent, scope, expires = fields.get("agent"), fields.get("scope"), fields.get("exp")
    if not isinstance(agent, str) or scope not in SCOPES or type(expires) is not int or expires <= 0:
        return None
    return Access(agent=agent, scope=scope, expires=expires, id=str(fields.get("id", "")))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes | None:
    """Strictly: two texts for the same bytes would be two tokens of one mac."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if _encode(data) == text else None
