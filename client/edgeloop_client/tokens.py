"""Making tokens where the signing key is: what `edgeloop token` prints. What they allow is `edgeloop.access`'s."""

import re
import time

from edgeloop.access import SCOPES, Access, mint

_TTL = re.compile(r"([0-9]{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def signed(agent: str, *, scope: str, ttl: str, name: str, key: str) -> str:
    """A token that holds from now on for `ttl`.

    Raises:
        ValueError: what of it cannot be.
    """
    if not key:
        raise ValueError("EDGELOOP_SIGNING_KEY is not set: the key that the edge checks tokens with")
    if scope not in SCOPES:
        raise ValueError(f"there is no scope {scope!r}; expected {', '.join(SCOPES)}")
    expires = int((time.time() + seconds(ttl)) * 1000)
    return mint(Access(agent=agent, scope=scope, expires=expires, id=name), key)


def seconds(ttl: str) -> int:
    """How many seconds a text like `30m` means.

    Raises:
        ValueError: none, or not such a text.
    """
    found = _TTL.fullmatch(ttl)
    if found is None or not int(found[1]):
        raise ValueError(f"{ttl!r} is no time to live; expected a number and s, m, h or d")
    return int(found[1]) * _SECONDS[found[2]]
