"""Whether a call's arguments fit its tool's JSON Schema: what is wrong with them, in words for the model.

Decides only what is sure and cheap. Keywords that are not here (`pattern` and `format` above all: a stranger's regular expression
over a stranger's text), and what lies too deep or too far back in large arguments, are the tool's own to check.
"""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, TypeGuard, cast

_DEPTH_MAX = 64
_VALUES_MAX = 10_000
_TOLD_MAX = 3

Json = dict[str, Any]

_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: _is_number(value),
    "integer": lambda value: _is_number(value) and value == value // 1,
}


def misfit(schema: Json, arguments: str) -> str | None:
    """What is wrong with arguments, a JSON text; None where they fit, or where nobody here can tell."""
    try:
        value: Any = json.loads(arguments)
        found = list(islice(_Check(schema).faults(schema, value, "", 0), _TOLD_MAX))
    except (ValueError, RecursionError):  # a model can nest as deep as it likes
        return None
    return "; ".join(found) or None


class _Check:
    """One look at arguments; `_left` bounds the work that they, or a schema made for it, can cause."""

    def __init__(self, root: Json) -> None:
        self._root = root
        self._left = _VALUES_MAX

    def faults(self, schema: Any, value: Any, where: str, depth: int) -> Iterator[str]:
        if not self._may_look(1 + len(_list(schema, "enum"))):
            return
        if schema is False:
            yield f"{where}: not expected"
        if not isinstance(schema, dict) or depth > _DEPTH_MAX:
            return
        rule = cast(Json, schema)
        wrong = _own(rule, value)
        if wrong is not None:
            yield f"{where or 'the arguments'}: {wrong}, not {_shown(value)}"
            return
        for part in self._also(rule):
            yield from self.faults(part, value, where, depth + 1)
        yield from self._any_of(_list(rule, "anyOf") or _list(rule, "oneOf"), value, where, depth)
        if isinstance(value, dict):
            yield from self._object(rule, cast(Json, value), where, depth)
        if isinstance(value, list) and isinstance(rule.get("items"), dict):
            for number, item in enumerate(cast(list[Any], value)):
                if self._left < 0:
                    return
                yield from self.faults(rule["items"], item, f"{where}[{number}]", depth + 1)

    def _may_look(self, many: int) -> bool:
        self._left -= many
        return self._left >= 0

    def _also(self, rule: Json) -> list[Any]:
        also, ref = _list(rule, "allOf"), rule.get("$ref")
        return [*also, self._referred(ref)] if isinstance(ref, str) else also

    def _referred(self, ref: str) -> Any:
        """The schema of `#/$defs/x`; one that is not here says nothing."""
        found: Any = self._root
        for name in ref.removeprefix("#").split("/")[1:]:
            found = cast(Json, found).get(name) if isinstance(found, dict) else None
        return found if ref.startswith("#") else None

    def _any_of(self, choices: list[Any], value: Any, where: str, depth: int) -> Iterator[str]:
        found = [next(self.faults(choice, value, where, depth + 1), None) for choice in choices]
        if found and None not in found:
            yield " or ".join(list(dict.fromkeys(map(str, found)))[:_TOLD_MAX])

    def _object(self, rule: Json, value: Json, where: str, depth: int) -> Iterator[str]:
        known = cast(Json, rule.get("properties") if isinstance(rule.get("properties"), dict) else {})
        others = rule.get("additionalProperties") if "patternProperties" not in rule else None
        for name in _list(rule, "required"):
            if isinstance(name, str) and name not in value and self._may_look(1):
                yield f"{_below(where, name)}: missing, {_expected(known.get(name))}"
        for name, item in value.items():
            if self._left < 0:
                return
            if name not in known and others is False:
                yield f"{_below(where, name)}: unknown, expected one of: {', '.join(known) or 'none'}"
            else:
                yield from self.faults(known.get(name, others), item, _below(where, name), depth + 1)


def _own(rule: Json, value: Any) -> str | None:
    """What a value must be by itself and is not; bounds hold for values of their own kind only."""
    if not _has_type(rule.get("type"), value):
        return _expected(rule)
    if "enum" in rule and not any(_same(value, one) for one in _list(rule, "enum")):
        return f"expected one of: {', '.join(map(_shown, _list(rule, 'enum')[:20]))}"
    if "const" in rule and not _same(value, rule["const"]):
        return f"expected {_shown(rule['const'])}"
    for measure, unit, least, most in (
        (len(value) if isinstance(value, str) else None, " characters", "minLength", "maxLength"),
        (len(cast(list[Any], value)) if isinstance(value, list) else None, " items", "minItems", "maxItems"),
        (value if _is_number(value) else None, "", "minimum", "maximum"),
    ):
        low, high = rule.get(least), rule.get(most)
        if measure is not None and _is_number(low) and measure < low:
            return f"expected at least {low}{unit}"
        if measure is not None and _is_number(high) and measure > high:
            return f"expected at most {high}{unit}"
    return _beyond(rule, value) if _is_number(value) else None


def _beyond(rule: Json, value: Any) -> str | None:
    low, high = rule.get("exclusiveMinimum"), rule.get("exclusiveMaximum")
    if _is_number(low) and value <= low:
        return f"expected more than {low}"
    return f"expected less than {high}" if _is_number(high) and value >= high else None


def _has_type(wanted: Any, value: Any) -> bool:
    names = cast(list[Any], wanted) if isinstance(wanted, list) else [wanted]
    checks = [_TYPES[name] for name in names if isinstance(name, str) and name in _TYPES]
    return len(checks) < len(names) or any(check(value) for check in checks)


def _expected(rule: Any) -> str:
    wanted = cast(Json, rule).get("type") if isinstance(rule, dict) else None
    names = cast(list[Any], wanted) if isinstance(wanted, list) else [wanted] if wanted else ["a value"]
    return f"expected {' or '.join(map(str, names))}"


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(a: Any, b: Any) -> bool:
    """JSON's equality: 1 is 1.0, and neither is true."""
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, dict | list) else ""
    return text if text and len(text) <= 60 else f"{_kind(value)}"


def _list(rule: Any, name: str) -> list[Any]:
    found = cast(Json, rule).get(name) if isinstance(rule, dict) else None
    return cast(list[Any], found) if isinstance(found, list) else []


def _kind(value: Any) -> str:
    return next(name for name, check in _TYPES.items() if check(value))


def _below(where: str, name: Any) -> str:
    return f"{where}.{name}"[-100:] if where else str(name)[:100]
