"""What an agent may do without asking: ordered rules over tools and arguments, modes, and the grants of a session.

Pure judgement, as data in and a verdict out; questions and answers are events (`CallJudged`, `ApprovalDecided`). The first rule
that matches decides, the mode decides what no rule names, and a person's grants for the session turn an `ask` into an `allow`.

Arguments are hostile. So an `allow` matches only what it surely covers, while `ask` and `deny` match what they might cover:

* a command with shell syntax in it (`;`, `|`, `$(`, redirection, a newline ...) is never allowed by a prefix, and is caught by a
  prefix in any of its parts (`shell.py`);
* a path is judged after normalising; one that leaves the directory is never allowed;
* a URL that parsers read differently (backslash, user info, `2130706433` for a host ...) is never allowed;
* an `allow` with patterns must have one for every kind of thing that the tool touches.
"""

import json
import re
import shlex
from collections.abc import Iterator
from typing import Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError

from edgeloop.errors import Refused
from edgeloop.globs import glob_escape, glob_matches
from edgeloop.model import Frozen
from edgeloop.shell import may_run, plain_words
from edgeloop.tools import ToolSpec, Touched
from edgeloop.touched import (
    ELSEWHERE,
    address_of,
    folded,
    host_of,
    inside_of,
    name_of,
    texts_of,
    values_of,
)

Verdict = Literal["allow", "ask", "deny"]
Mode = Literal["plan", "ask", "edit", "auto"]
"""`plan` only reads; `ask` asks before any change; `edit` changes files and asks for the rest; `auto` asks nothing."""

STRICTNESS: dict[Verdict, int] = {"allow": 0, "ask": 1, "deny": 2}
MODES: tuple[Mode, ...] = get_args(Mode)
MAX_RULES = 256


class Rule(Frozen):
    """A verdict for calls that match all of its patterns.

    `tool` is a glob on the name. `path` (glob; `**` crosses directories), `command` (a prefix, word by word; with `exact` all of
    it) and `host` (glob) match the arguments that the tool declares as such (`ToolSpec.touches`); a tool that declares none of
    that kind never matches. What a pattern may be is `check_rules`' to say, not the model's: a stored rule is read for ever.
    """

    verdict: Verdict
    tool: str = Field(default="*", min_length=1, max_length=200)
    path: str | None = Field(default=None, min_length=1, max_length=1_000)
    command: str | None = Field(default=None, min_length=1, max_length=1_000)
    exact: bool = False
    host: str | None = Field(default=None, min_length=1, max_length=300)

    @property
    def kinds(self) -> set[Touched]:
        """What it has a pattern for."""
        patterns: dict[Touched, str | None] = {"path": self.path, "command": self.command, "url": self.host}
        return {kind for kind, pattern in patterns.items() if pattern is not None}


class Judgement(Frozen):
    """A verdict and what gave it: `grant N`, `rule N` (counted from 1) or `mode NAME`."""

    verdict: Verdict
    by: str


_rules = TypeAdapter(tuple[Rule, ...])


def parse_rules(text: str | bytes) -> tuple[Rule, ...]:
    """Read rules from JSON: an array of objects like `{"verdict": "deny", "tool": "run_command", "command": "git push"}`.

    Raises:
        Refused: not that, or too many; names the rule and the field.
    """
    try:
        rules = _rules.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "rules"
        raise Refused(
            code="bad_frame",
            message=f"{where}: {first['msg']}",
            expected="an array of rules, see docs/design/autonomy.md",
        ) from None
    _check_keys(text)
    check_rules(rules)
    return rules


def _check_keys(text: str | bytes) -> None:
    """Refuse a rule with two patterns of one kind: only the last would count."""

    def check(pairs: list[tuple[str, object]]) -> None:
        keys = [key for key, _ in pairs]
        for key in keys:
            if keys.count(key) > 1:
                raise Refused(
                    code="bad_frame", message=f"{key!r} twice in one rule", expected="a rule for each"
                )

    json.loads(text, object_pairs_hook=check)


def check_rules(rules: tuple[Rule, ...]) -> None:
    """Refuse rules with a pattern that could never match: a `deny` that does nothing is worse than none.

    Raises:
        Refused: such a pattern, or too many rules; names the rule and the field.
    """
    if len(rules) > MAX_RULES:
        raise Refused(code="too_large", message=f"{len(rules)} rules", expected=f"at most {MAX_RULES}")
    for number, rule in enumerate(rules):
        for name, expected in _faults(rule):
            raise Refused(
                code="bad_frame", message=f"{number}.{name}: {getattr(rule, name)!r}", expected=expected
            )


def _faults(rule: Rule) -> Iterator[tuple[str, str]]:
    path, command, host = rule.path, rule.command, rule.host
    if not re.fullmatch(r"[A-Za-z0-9_*?-]+", rule.tool):
        yield (
            "tool",
            "a tool's name, or a glob with * and ? on it; what it is called with is for path, command and host",
        )
    if path is not None and path != "." and set(path.split("/")) & {"", ".", ".."}:
        yield "path", "a glob below the agent's directory, like src/**"
    if path is not None and re.match(ELSEWHERE, path):
        yield "path", "a glob below the agent's directory: nothing else is ever matched"
    if path is not None and re.search(r"[\[\]{}]|\\", re.sub(r"\\[][{}*?]", "", path)):
        yield (
            "path",
            "a glob of *, ** and ?; a rule for each choice, and a backslash only before one of *?[]{} itself",
        )
    if command is not None and plain_words(command) is None:
        yield "command", "the first words of one command, without shell syntax"
    if host is not None and not _can_match(host.lower()):
        yield (
            "host",
            "a host's name or address alone, as it is usually written (no scheme, port or path), IDN as xn--",
        )
    if rule.exact and command is None:
        yield "exact", "a command beside it"


def _can_match(host: str) -> bool:
    """Whether a pattern can be a host's: names and addresses are matched in one form each (`host_of`)."""
    if "*" in host or "?" in host:
        return re.fullmatch(r"[a-z0-9.*?_-]*[a-z0-9*?]|[0-9a-f]*:[0-9a-f:.*?]*", host) is not None
    return (address_of(host) if ":" in host else name_of(host)) == host


def parse_mode(text: str) -> Mode:
    """Read a mode's name.

    Raises:
        Refused: there is no such mode.
    """
    for mode in MODES:
        if text == mode:
            return mode
    raise Refused(code="bad_frame", message=f"mode {text[:40]!r}", expected=f"one of {', '.join(MODES)}")


def judge(
    spec: ToolSpec, arguments: str, *, mode: Mode, rules: tuple[Rule, ...] = (), grants: tuple[Rule, ...] = ()
) -> Judgement:
    """Judge a call. `arguments` is the raw JSON text of an object; what cannot be read matches no pattern of an `allow`."""
    values = values_of(spec, texts_of(arguments))
    number = _first(rules, spec, values)
    verdict, by = (
        (rules[number].verdict, f"rule {number + 1}")
        if number is not None
        else (_by_mode(mode, spec, values), f"mode {mode}")
    )
    if verdict == "ask" and (grant := _first(grants, spec, values)) is not None:
        return Judgement(verdict="allow", by=f"grant {grant + 1}")
    return Judgement(verdict=verdict, by=by)


def _first(rules: tuple[Rule, ...], spec: ToolSpec, values: dict[Touched, str]) -> int | None:
    return next((number for number, rule in enumerate(rules) if _matches(rule, spec, values)), None)


def grant_for(spec: ToolSpec, arguments: str) -> Rule | None:
    """The rule that "always for this" stands for: this very command, path or host; None where it cannot be told safely."""
    values = values_of(spec, texts_of(arguments))
    words = plain_words(values.get("command", ""))
    path, host = inside_of(values.get("path", "")), host_of(values.get("url", ""))
    found: dict[Touched, str | None] = {
        "path": glob_escape(path) if path is not None else None,
        "command": shlex.join(words) if words is not None else None,
        "url": host,
    }
    if any(found[kind] is None for kind in spec.touches):
        return None
    patterns = {("host" if kind == "url" else kind): found[kind] for kind in spec.touches}
    try:
        return Rule.model_validate(
            {"verdict": "allow", "tool": spec.name, "exact": "command" in patterns} | patterns
        )
    except ValidationError:  # too long to be a pattern
        return None


def _by_mode(mode: Mode, spec: ToolSpec, values: dict[Touched, str]) -> Verdict:
    own_notes = spec.effect == "idempotent" and not spec.touches
    if spec.effect == "read" or own_notes or mode == "auto":
        return "allow"
    if mode == "plan":
        return "deny"
    is_edit = set(spec.touches) == {"path"} and inside_of(values.get("path", "")) is not None
    return "allow" if mode == "edit" and is_edit else "ask"


def _matches(rule: Rule, spec: ToolSpec, values: dict[Touched, str]) -> bool:
    if not glob_matches(rule.tool, spec.name) or not rule.kinds <= set(spec.touches):
        return False
    sure = rule.verdict == "allow"
    if sure and rule.kinds and rule.kinds != set(spec.touches):
        return False
    return all(_kind_matches(rule, kind, values.get(kind), sure) for kind in rule.kinds)


def _kind_matches(rule: Rule, kind: Touched, value: str | None, sure: bool) -> bool:
    """Whether a pattern covers what the call says: surely, or maybe. What is not said might be anything."""
    if value is None:
        return not sure
    match kind:
        case "path":
            return _path_matches(rule.path or "", value, sure)
        case "command":
            return _command_matches(rule.command or "", value, rule.exact, sure)
        case "url":
            return _host_matches(rule.host or "", value, sure)


# --- paths ----------------------------------------------------------------------------------------------------------


def _path_matches(pattern: str, path: str, sure: bool) -> bool:
    inside = inside_of(path)
    if inside is None:
        return not sure
    if sure:
        return glob_matches(pattern, inside)
    # A file system may ignore case, composition and what is invisible; a call on a directory may mean all that is in it.
    pattern, inside = folded(pattern), folded(inside)
    if glob_matches(pattern, inside) or glob_matches(pattern, f"{inside}/"):
        return True
    # The name of a file, or of a directory with all that is in it.
    is_name = not set(pattern.rpartition("/")[2]) & {"*", "?"}
    return is_name and glob_matches(f"{pattern}/**", inside)


# --- commands -------------------------------------------------------------------------------------------------------


def _command_matches(prefix: str, command: str, exact: bool, sure: bool) -> bool:
    wanted = plain_words(prefix) or []
    if not sure:
        return may_run(command, wanted)
    words = plain_words(command) or []
    return words == wanted if exact else words[: len(wanted)] == wanted


# --- hosts ----------------------------------------------------------------------------------------------------------


def _host_matches(pattern: str, url: str, sure: bool) -> bool:
    host = host_of(url)
    return not sure if host is None else glob_matches(pattern.lower(), host)
