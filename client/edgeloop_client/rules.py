"""What rules would say to a call, asked without an edge: `edgeloop rules test` and `edgeloop rules check`.

The session's own judge reads the same rules over the same declarations, so its answer is the session's, but for what only the
session knows: rules of its deployment come before these, and a person's grants turn an `ask` into an `allow`.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edgeloop.autonomy import Judgement, Mode, Rule, Verdict, grant_for, judge, parse_mode, parse_rules
from edgeloop.edge_tools import edge_specs
from edgeloop.errors import Refused
from edgeloop.schema import misfit
from edgeloop.tools import ToolSpec
from edgeloop.wire import Autonomy
from edgeloop_client.terminal import visible
from edgeloop_client.tools import LOCAL_TOOLS

EXIT_CODES: dict[Verdict, int] = {"allow": 0, "ask": 10, "deny": 11}
DEFAULT_MODE: Mode = "ask"

Json = dict[str, Any]
_specs = TypeAdapter(ToolSpec | tuple[ToolSpec, ...])


class BadInput(Exception):
    """A file or an argument that cannot be used: what was wrong, what was expected."""


def read_rules(path: Path | None) -> tuple[Rule, ...]:
    """The rules in a file; none without one.

    Raises:
        BadInput: no such file, or no rules in it.
    """
    if path is None:
        return ()
    try:
        return parse_rules(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    except Refused as error:
        raise BadInput(_worded(path, error)) from error


def autonomy(mode: str | None, rules: Path | None) -> Autonomy | None:
    """What a person sets for a session with `--mode` and `--rules`; rules alone come with the mode `ask`, nothing sets nothing.

    Raises:
        BadInput: no such mode, or as `read_rules`.
    """
    if mode is None and rules is None:
        return None
    return Autonomy(mode=_mode(mode or DEFAULT_MODE), rules=read_rules(rules))


def check(path: Path) -> str:
    """Say how many rules a file holds.

    Raises:
        BadInput: as `read_rules`.
    """
    rules = read_rules(path)
    return f"{path}: {len(rules)} rule{'' if len(rules) == 1 else 's'}, all can match"


def test(*, rules: Path | None, mode: str, tool: str, arguments: str, tool_spec: Path | None) -> Json:
    """Judge one call: `verdict`, `by`, the `rule` that decided (None: the mode did) and the `grant` that "always" would give;
    `misfit` is why the session would not come to judge it: its arguments do not fit the tool's schema.

    Raises:
        BadInput: anything that is not what it should be.
    """
    spec = _spec(tool, tool_spec)
    _check_arguments(arguments)
    read = read_rules(rules)
    judged = judge(spec, arguments, mode=_mode(mode), rules=read)
    grant = grant_for(spec, arguments) if judged.verdict == "ask" else None
    return {
        "verdict": judged.verdict,
        "by": judged.by,
        "rule": _json(_decider(judged, read)),
        "tool": spec.name,
        "effect": spec.effect,
        "touches": spec.touches,
        "grant": _json(grant),
        "misfit": misfit(spec.parameters, arguments),
    }


def told(found: Json) -> str:
    """A judgement for a person."""
    kinds = ", ".join(found["touches"]) or "nothing named"
    lines = [
        f"{found['verdict']}  by {found['by']}",
        f"      {found['tool']}: {found['effect']}, touches {kinds}",
    ]
    if found["rule"] is not None:
        lines.append(f"      {json.dumps(found['rule'], ensure_ascii=False)}")
    if found["verdict"] == "ask":
        grant = found["grant"]
        always = "cannot be granted" if grant is None else json.dumps(grant, ensure_ascii=False)
        lines.append(f"      always for this session: {always}")
    if found["misfit"] is not None:
        lines.append(f"      but it would not be run: {found['misfit']}")
    return visible("\n".join(lines))


def _decider(judged: Judgement, rules: tuple[Rule, ...]) -> Rule | None:
    kind, _, number = judged.by.partition(" ")
    return rules[int(number) - 1] if kind == "rule" else None


def _json(rule: Rule | None) -> Json | None:
    return rule.model_dump(exclude_defaults=True) if rule is not None else None


def _mode(text: str) -> Mode:
    try:
        return parse_mode(text)
    except Refused as error:
        raise BadInput(f"{error.message} (expected {error.expected})") from error


def _spec(name: str, file: Path | None) -> ToolSpec:
    known = {spec.name: spec for spec in (*_own_specs(), *_given_specs(file))}
    if name not in known:
        raise BadInput(f"there is no tool {name!r} (expected one of {', '.join(sorted(known))})")
    return known[name]


def _own_specs() -> Iterable[ToolSpec]:
    return (*edge_specs(fetch=True), *(tool.spec for tool in LOCAL_TOOLS.values()))


def _given_specs(path: Path | None) -> tuple[ToolSpec, ...]:
    if path is None:
        return ()
    try:
        given = _specs.validate_json(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise BadInput(
            f"{path}: {first['msg']} (expected one tool's declaration, or an array of them)"
        ) from None
    return given if isinstance(given, tuple) else (given,)


def _check_arguments(text: str) -> None:
    """A call with other arguments is never run, whatever the rules say; here it can only be a slip."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the arguments are not JSON: {error}") from error
    if not isinstance(given, dict):
        raise BadInput("the arguments are not a JSON object")


def _worded(path: Path, error: Refused) -> str:
    return f"{path}: {error.message}" + (f" (expected {error.expected})" if error.expected else "")
