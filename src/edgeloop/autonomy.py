"""What an agent may do without asking: ordered rules over tools and arguments, modes, and the grants of a session.

Pure judgement, as data in and a verdict out; questions and answers are events (`CallJudged`, `ApprovalDecided`). The first rule
that matches decides, the mode decides what no rule names, and a person's grants for the session turn an `ask` into an `allow`.

Arguments are hostile. So an `allow` matches only what it surely covers, while `ask` and `deny` match what they might cover:

* a command with shell syntax in it (`;`, `|`, `$(`, redirection, a newline ...) is never allowed by a prefix, and is caught by a
  prefix in any of its parts;
* a path is judged after normalising; one that leaves the directory is never allowed;
* a URL that parsers read differently (backslash, control characters, user info) is never allowed.
"""

import json
import re
import shlex
from functools import lru_cache
from posixpath import normpath
from typing import Any, Literal, cast, get_args
from urllib.parse import urlsplit

from pydantic import Field, TypeAdapter, ValidationError

from edgeloop.errors import Refused
from edgeloop.model import Frozen
from edgeloop.tools import ToolSpec

Verdict = Literal["allow", "ask", "deny"]
Mode = Literal["plan", "ask", "edit", "auto"]
"""`plan` only reads; `ask` asks before any change; `edit` changes files and asks for the rest; `auto` asks nothing."""

MODES: tuple[Mode, ...] = get_args(Mode)
MAX_RULES = 256


class Rule(Frozen):
    """A verdict for calls that match all of its patterns.

    `tool` is a glob on the name. `path` (glob; `**` crosses directories), `command` (a prefix, word by word) and `host` (glob)
    match the arguments that the tool declares as such (`ToolSpec.touches`); a tool that declares none of that kind never matches.
    """

    verdict: Verdict
    tool: str = Field(default="*", min_length=1, max_length=200)
    path: str | None = Field(default=None, min_length=1, max_length=1_000)
    command: str | None = Field(default=None, min_length=1, max_length=1_000)
    host: str | None = Field(default=None, min_length=1, max_length=300)


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
    if len(rules) > MAX_RULES:
        raise Refused(code="too_large", message=f"{len(rules)} rules", expected=f"at most {MAX_RULES}")
    return rules


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
    values = _values(spec, arguments)
    number = _first(rules, spec, values)
    verdict, by = (
        (rules[number].verdict, f"rule {number + 1}")
        if number is not None
        else (_by_mode(mode, spec), f"mode {mode}")
    )
    if verdict == "ask" and (grant := _first(grants, spec, values)) is not None:
        return Judgement(verdict="allow", by=f"grant {grant + 1}")
    return Judgement(verdict=verdict, by=by)


def _first(rules: tuple[Rule, ...], spec: ToolSpec, values: dict[str, Any]) -> int | None:
    return next((number for number, rule in enumerate(rules) if _matches(rule, spec, values)), None)


def grant_for(spec: ToolSpec, arguments: str) -> Rule | None:
    """The rule that "always for this" stands for: this very command, path or host; None where it cannot be told safely."""
    values = _values(spec, arguments)
    tool = _escape(spec.name)
    match values:
        case {"command": str(command)}:
            words = _simple(command)
            return Rule(verdict="allow", tool=tool, command=shlex.join(words)) if words else None
        case {"path": str(path)}:
            inside = _inside(path)
            return Rule(verdict="allow", tool=tool, path=_escape(inside)) if inside is not None else None
        case {"url": str(url)}:
            host = _host(url)
            return Rule(verdict="allow", tool=tool, host=_escape(host)) if host else None
        case _:
            return None if spec.touches else Rule(verdict="allow", tool=tool)


def _values(spec: ToolSpec, arguments: str) -> dict[str, Any]:
    """The arguments that the tool declares as path, command or url."""
    try:
        given: Any = json.loads(arguments)
    except (ValueError, RecursionError):  # a model can nest as deep as it likes
        return {}
    if not isinstance(given, dict):
        return {}
    return {kind: cast(dict[str, Any], given).get(name) for kind, name in spec.touches.items()}


def _by_mode(mode: Mode, spec: ToolSpec) -> Verdict:
    harmless = spec.effect == "read" or (
        spec.effect == "idempotent" and not spec.touches
    )  # the agent's own notes, say
    if harmless or mode == "auto":
        return "allow"
    if mode == "plan":
        return "deny"
    return "allow" if mode == "edit" and set(spec.touches) == {"path"} else "ask"


def _matches(rule: Rule, spec: ToolSpec, values: dict[str, Any]) -> bool:
    if not _glob(rule.tool).fullmatch(spec.name):
        return False
    sure = rule.verdict == "allow"
    return (
        (rule.path is None or ("path" in spec.touches and _path_matches(rule.path, values.get("path"), sure)))
        and (
            rule.command is None
            or ("command" in spec.touches and _command_matches(rule.command, values.get("command"), sure))
        )
        and (
            rule.host is None or ("url" in spec.touches and _host_matches(rule.host, values.get("url"), sure))
        )
    )


# --- paths ----------------------------------------------------------------------------------------------------------


def _path_matches(pattern: str, path: Any, sure: bool) -> bool:
    if not isinstance(path, str):
        return not sure
    inside = _inside(path)
    if inside is None:
        return not sure
    return _glob(pattern).fullmatch(inside) is not None


def _inside(path: str) -> str | None:
    """The path relative to the agent's directory, normalised; None if it leaves it or cannot be a path."""
    if not path or path.startswith("/") or "\0" in path or "\\" in path:
        return None
    clean = normpath(path)
    return None if clean == ".." or clean.startswith("../") else clean


@lru_cache(maxsize=512)
def _glob(pattern: str) -> re.Pattern[str]:
    """A glob as a regular expression: `**/` any directories or none, `**` anything, `*` and `?` in a segment, `\\` escapes."""
    out: list[str] = []
    position = 0
    while position < len(pattern):
        for token, regex in (("**/", "(?:.*/)?"), ("**", ".*"), ("*", "[^/]*"), ("?", "[^/]")):
            if pattern.startswith(token, position):
                out.append(regex)
                position += len(token)
                break
        else:
            position += pattern[position] == "\\" and position + 1 < len(pattern)
            out.append(re.escape(pattern[position]))
            position += 1
    return re.compile("".join(out), re.DOTALL)


def _escape(text: str) -> str:
    return re.sub(r"([*?\\])", r"\\\1", text)


# --- commands -------------------------------------------------------------------------------------------------------

_SHELL = re.compile(r"[;&|<>`$(){}\n\r\\*?\[\]~#!]")


def _command_matches(prefix: str, command: Any, sure: bool) -> bool:
    wanted = shlex.split(prefix, comments=False) if _quotes_close(prefix) else prefix.split()
    if not isinstance(command, str):
        return not sure
    if sure:
        words = _simple(command)
        return words is not None and words[: len(wanted)] == wanted
    return any(_begins(part, wanted) for part in re.split(r"[;&|\n\r`(){}<>]+|\$\(", command))


def _simple(command: str) -> list[str] | None:
    """The words of a command without any shell syntax but quotes; None for all others."""
    bare = re.sub(r"'[^']*'", "''", command)
    if _SHELL.search(bare) or not _quotes_close(command):
        return None
    words = shlex.split(command, comments=False)
    return words or None


def _begins(part: str, wanted: list[str]) -> bool:
    """Whether a part may be the command: its words begin with the wanted ones, after assignments and wrappers like `sudo`."""
    words = shlex.split(part) if _quotes_close(part) else part.replace('"', " ").replace("'", " ").split()
    while words and (
        "=" in words[0] or words[0] in ("sudo", "env", "exec", "command", "nohup", "time", "xargs")
    ):
        words = words[1:]
    if not words or not wanted:
        return False
    words[0] = words[0].rpartition("/")[2] or words[0]
    return words[: len(wanted)] == wanted


def _quotes_close(text: str) -> bool:
    try:
        shlex.split(text, comments=False)
    except ValueError:
        return False
    return True


# --- hosts ----------------------------------------------------------------------------------------------------------


def _host_matches(pattern: str, url: Any, sure: bool) -> bool:
    host = _host(url) if isinstance(url, str) else None
    if host is None:
        return not sure
    return _glob(pattern.lower()).fullmatch(host) is not None


def _host(url: str) -> str | None:
    """The host of a URL that every parser reads alike; None otherwise."""
    if re.search(r"[\s\\\x00-\x20\x7f]", url):
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return None
    return (
        host.rstrip(".") if host and parts.scheme in ("http", "https") and "@" not in parts.netloc else None
    )
