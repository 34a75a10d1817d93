"""What can still be read of a session that cannot be opened, and how it is forgotten: nothing here replays anything.

A log of a later version, or one that something has damaged, must not take its own events with it.
"""

from edge.store import Store
from edgeloop.schedule import reopen_ms

_failing: dict[str, int] = {}
"""Since when the sessions of this isolate have failed to open, by object."""


def lying(store: Store) -> tuple[str, int]:
    """The log's name and its last `seq`, of a store that could not be opened."""
    found: dict[str, str] = dict(store.exec("SELECT key, value FROM meta"))  # type: ignore[arg-type]
    store.base = int(found.get("base", 0))
    return found["log"], int(store.exec("SELECT coalesce(max(seq), 0) FROM log")[0][0])


def opened(key: str) -> None:
    """Note that a session could be opened, or looked at by its alarm."""
    _failing.pop(key, None)


def wait_ms(key: str, now: int) -> int:
    """How long to wait with the next attempt to open a session."""
    return reopen_ms(now - _failing.setdefault(key, now))
