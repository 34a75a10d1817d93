"""JSON of unknown shape, narrowed for the type checker: what peers send may be anything."""

from typing import Any, TypeGuard

Json = dict[str, Any]


def is_object(value: Any) -> TypeGuard[Json]:
    """Whether it is a JSON object."""
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    """Whether it is a JSON array."""
    return isinstance(value, list)


def objects(value: Any) -> list[Json]:
    """The objects of an array; none where it is no array."""
    return [item for item in value if is_object(item)] if is_array(value) else []
