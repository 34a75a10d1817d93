"""Events and snapshots as stored text: JSON with a schema version, read back whatever version wrote it.

One stored row is a batch: the events recorded together, as a JSON array (rows written are the bill). Each
event carries the schema version that wrote it; `_UPGRADES` lifts old ones, one version at a time. `VERSIONS` says in a sentence
what each version is; a test holds it complete.
"""

import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import lru_cache
from itertools import islice
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from edgeloop.errors import CorruptLog
from edgeloop.estimate import Estimator
from edgeloop.events import Event, Recorded
from edgeloop.spend import Spend
from edgeloop.state import Call, State
from edgeloop.tools import PlacedTool

VERSIONS = {
    1: "The first: one record {v, seq, at, event} per event, batches as JSON arrays.",
    2: "A record may name the `producer` of its command; a failure may be of class `budget`; a timing has `held_ms`.",
}
CURRENT = max(VERSIONS)

Json = dict[str, Any]
_UPGRADES: dict[int, Callable[[Json], Json]] = {1: lambda record: record}
"""`_UPGRADES[n]` turns a record of version n into one of version n+1."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_event = TypeAdapter[Event](Event)
_state = TypeAdapter(State)
_placed = TypeAdapter(tuple[PlacedTool, ...])
_SHAPE = zlib.crc32(
    ",".join(field.name for kind in (State, Call, Spend, Estimator) for field in fields(kind)).encode()
)
"""A snapshot of other fields than ours is not read: those it lacks would silently be defaults, not what the log says."""


def encode_batch(batch: Iterable[Recorded]) -> str:
    """Encode events that are stored together; default values are left out."""
    return _encode([_record(recorded) for recorded in batch])


def decode_batch(text: str, *, after: int = 0, limit: int | None = None) -> list[Recorded]:
    """Decode one stored batch; of a large one only what is asked for: the first `limit` events with a `seq` above `after`.

    Raises:
        CorruptLog: not what any known version wrote.
    """
    try:
        batch = json.loads(text)
        if not isinstance(batch, list):
            raise CorruptLog(f"a stored batch is an array, not {type(batch).__name__}")
        wanted = (record for record in cast(list[Json], batch) if after == 0 or record["seq"] > after)
        return [_recorded(record) for record in islice(wanted, limit)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptLog(f"a stored batch cannot be read: {error}") from error


def decode_record(record: Json) -> Recorded:
    """Decode one record from elsewhere, so to the letter.

    Raises:
        CorruptLog: not what any known version wrote.
    """
    if not all(type(record.get(name)) is int for name in ("v", "seq", "at")):
        raise CorruptLog("v, seq and at are integers")
    if set(record) - {"v", *Recorded.model_fields}:
        raise CorruptLog("a field that is not part of a record")
    try:
        return _recorded(record)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptLog(_told(error)) from error


def _told(error: Exception) -> str:
    """What is wrong, in a line and without the peer's own words."""
    if not isinstance(error, ValidationError):
        return type(error).__name__
    first = error.errors(include_input=False, include_url=False)[0]
    if first["type"] == "extra_forbidden":
        return f"a field that is not part of {'.'.join(map(str, first['loc'][:-1]))}"
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def encode_state(state: State) -> str:
    """Encode a snapshot of the control state."""
    return _encode({"v": CURRENT, "shape": _SHAPE, "state": _state.dump_python(state, mode="json")})


def decode_state(text: str) -> State | None:
    """Decode a snapshot; None if another version wrote it: the log is the truth, so it is replayed instead."""
    try:
        stored = json.loads(text)
        if (stored["v"], stored["shape"]) != (CURRENT, _SHAPE):
            return None
        tools = _tools(json.dumps(stored["state"]["tools"]))
        state = _state.validate_python({**stored["state"], "tools": ()})
        state.tools = tools
        return state
    except (ValueError, KeyError, TypeError, ValidationError, RecursionError):
        return None


@lru_cache(maxsize=64)
def _tools(text: str) -> tuple[PlacedTool, ...]:
    # Most sessions offer the same: told apart by their text they are checked once and held once, not by every session (10 KB).
    return _placed.validate_json(text)


def decode_base(text: str) -> State:
    """Decode the state that a condensed log begins with, whatever version wrote it: there is no log to replay in its stead.

    So a field that is added to the state needs a default that is true of a session in which it never mattered.

    Raises:
        CorruptLog: not what any known version wrote.
    """
    try:
        stored = json.loads(text)
        _check_version(stored["v"])
        return _state.validate_python(stored["state"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptLog(f"the state that the log begins with cannot be read: {_told(error)}") from error


def _record(recorded: Recorded) -> Json:
    event = recorded.event.model_dump(mode="json", exclude_defaults=True)
    event["kind"] = recorded.event.kind
    record = {"v": CURRENT, "seq": recorded.seq, "at": recorded.at, "event": event}
    if recorded.producer is not None:
        record["producer"] = recorded.producer.model_dump()
    return record


def _recorded(record: Json) -> Recorded:
    version = record["v"]
    _check_version(version)
    for step in range(version, CURRENT):
        record = _UPGRADES[step](record)
    return Recorded(
        seq=record["seq"],
        at=record["at"],
        event=_event.validate_python(record["event"]),
        producer=record.get("producer"),
    )


def _check_version(version: Any) -> None:
    if version not in VERSIONS:
        raise CorruptLog(f"schema version {version!r} is not known here; the newest known is {CURRENT}")
