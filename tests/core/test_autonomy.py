"""What a call would get: every mode and effect, the order of rules, grants, and arguments made to slip through."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop.autonomy import (
    MAX_RULES,
    MODES,
    Judgement,
    Mode,
    Rule,
    Verdict,
    check_rules,
    grant_for,
    judge,
    parse_mode,
    parse_rules,
)
from edgeloop.errors import Refused
from edgeloop.tools import Effect, ToolSpec, Touched

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "design" / "autonomy.md"


def tool(name: str, effect: Effect, **touches: str) -> ToolSpec:
    """A tool that says what it touches."""
    touched: dict[Touched, str] = {kind: touches[kind] for kind in get_args(Touched) if kind in touches}
    return ToolSpec(name=name, description="", parameters={"type": "object"}, effect=effect, touches=touched)


RUN = tool("run_command", "mutate", command="command")
WRITE = tool("write_file", "mutate", path="path")
READ = tool("read_file", "read", path="path")
FETCH = tool("fetch_url", "mutate", url="url")
NOTE = tool("take_note", "idempotent")
MAIL = tool("send_mail", "mutate")
RUN_IN = tool("run_in", "mutate", command="command", path="cwd")


def arguments(spec: ToolSpec, value: Any) -> str:
    """The arguments of a call: `value` for the one thing that the tool touches."""
    return json.dumps(dict.fromkeys(spec.touches.values(), value))


def verdict(
    spec: ToolSpec, value: Any, *rules: Rule, mode: Mode = "ask", grants: tuple[Rule, ...] = ()
) -> Verdict:
    """What a call gets."""
    return judge(spec, arguments(spec, value), mode=mode, rules=rules, grants=grants).verdict


def allow(**patterns: Any) -> Rule:
    """A rule that allows."""
    return Rule(verdict="allow", **patterns)


def deny(**patterns: Any) -> Rule:
    """A rule that denies."""
    return Rule(verdict="deny", **patterns)


# --- modes ----------------------------------------------------------------------------------------------------------

BY_MODE: dict[str, tuple[ToolSpec, str, tuple[Verdict, Verdict, Verdict, Verdict]]] = {
    #                            plan     ask      edit     auto
    "read": (READ, "a", ("allow", "allow", "allow", "allow")),
    "own notes": (NOTE, "", ("allow", "allow", "allow", "allow")),
    "idempotent": (tool("touch", "idempotent", path="path"), "a", ("deny", "ask", "allow", "allow")),
    "edit a file": (WRITE, "a", ("deny", "ask", "allow", "allow")),
    "edit outside": (WRITE, "../a", ("deny", "ask", "ask", "allow")),
    "run a command": (RUN, "ls", ("deny", "ask", "ask", "allow")),
    "run in a directory": (RUN_IN, "ls", ("deny", "ask", "ask", "allow")),
    "reach the net": (FETCH, "http://a", ("deny", "ask", "ask", "allow")),
    "touch nothing named": (MAIL, "", ("deny", "ask", "ask", "allow")),
}


@pytest.mark.parametrize("name", BY_MODE)
def test_modes(name: str) -> None:
    """Without a rule the mode decides, by the tool's effect and what it touches; and says so."""
    spec, value, wanted = BY_MODE[name]
    assert tuple(verdict(spec, value, mode=mode) for mode in MODES) == wanted
    found = judge(spec, arguments(spec, value), mode="ask")
    assert found == Judgement(verdict=wanted[1], by="mode ask")


def test_every_effect_and_mode_is_in_the_table() -> None:
    """The table above leaves none out."""
    assert {spec.effect for spec, _, _ in BY_MODE.values()} == set(get_args(Effect))
    assert get_args(Mode) == MODES
    assert [parse_mode(mode) for mode in MODES] == list(MODES)


# --- order and grants -----------------------------------------------------------------------------------------------


def test_the_first_rule_that_matches_decides() -> None:
    """Rules are read in order; the one that decided is named, counted from 1."""
    rules = (
        deny(tool="write_*", path="**/*.lock"),
        allow(path="src/**"),
        Rule(verdict="ask", tool="write_file"),
    )
    found = [
        judge(WRITE, arguments(WRITE, path), mode="auto", rules=rules)
        for path in ("src/a.lock", "src/a", "b")
    ]
    assert [(one.verdict, one.by) for one in found] == [
        ("deny", "rule 1"),
        ("allow", "rule 2"),
        ("ask", "rule 3"),
    ]
    assert verdict(WRITE, "src/a.lock", *reversed(rules), mode="auto") == "ask"


def test_a_rule_is_stronger_than_a_mode() -> None:
    """`plan` with an allow runs it, `auto` with a deny does not."""
    assert verdict(RUN, "ls", allow(command="ls"), mode="plan") == "allow"
    assert verdict(READ, ".env", deny(path=".env"), mode="auto") == "deny"


def test_a_grant_turns_only_an_ask_into_an_allow() -> None:
    """What is denied, by rule or mode, stays denied whatever was granted."""
    granted = (allow(tool="other"), allow(command="ls"))
    found = judge(RUN, arguments(RUN, "ls"), mode="ask", grants=granted)
    assert found == Judgement(verdict="allow", by="grant 2")
    asked = judge(RUN, arguments(RUN, "ls"), mode="auto", rules=(Rule(verdict="ask"),), grants=granted)
    assert asked.by == "grant 2"
    assert verdict(RUN, "ls", deny(tool="run_command"), grants=granted) == "deny"
    assert verdict(RUN, "ls", mode="plan", grants=granted) == "deny"


# --- matching -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Case:
    """A pattern, and arguments that an `allow` of it covers, that a `deny` of it catches, and that are none of its business.

    `caught` is what might be covered but not surely: denied and asked about, never allowed.
    """

    name: str
    spec: ToolSpec
    pattern: dict[str, Any]
    covered: list[Any] = field(default_factory=lambda: list[Any]())
    caught: list[Any] = field(default_factory=lambda: list[Any]())
    other: list[Any] = field(default_factory=lambda: list[Any]())


NO_TEXT = [None, 7, True, ["a"], {"a": 1}]

CASES = [
    Case(name="tool", spec=RUN, pattern={"tool": "run_*"}, covered=["ls", "rm -rf /; x", None]),
    Case(name="another tool", spec=RUN, pattern={"tool": "run"}, other=["ls"]),
    Case(name="a tool's name is no prefix", spec=RUN, pattern={"tool": "*_comman"}, other=["ls"]),
    Case(name="a path for a tool without one", spec=RUN, pattern={"path": "**"}, other=["ls", None]),
    Case(name="command", spec=RUN, pattern={"command": "git push"},
         covered=["git push", "git  push", " git push origin main", "'git' \"push\" -f"],
         caught=["git status; git push", "git push; rm -rf /", "git push\nrm -rf /", "git push $(rm -rf /)", "git push `x`",
                 "FOO=1 git push", "/usr/bin/git push", "sudo git push", "GIT push", "git -C x push", "git push > ~/.bashrc",
                 "sh -c 'git push'", "$x", "git 'push", "echo \"'\" ; git push; \"'\"", *NO_TEXT],
         other=["git status; rm -rf /", "git\u00a0push", "gіt push", "git pushy", "git stash push", "", "echo git push"]),  # noqa: RUF001
    Case(name="exact command", spec=RUN, pattern={"command": "git push", "exact": True},
         covered=["git push", " git  'push' "], caught=["git push -f", "git push; x", "sudo git push"], other=["git pull"]),
    Case(name="path", spec=WRITE, pattern={"path": "src/**"},
         covered=["src/a", "src/x/y.py", "./src/a", "src//a", "src/../src/a", "a/../src/b"],
         caught=["../x", "a/../../x", "/etc/passwd", "/src/a", "src/\0", "..\\x", "src\\a", "~/src/a", "C:/src/a", "", "src/\n",
                 "src/\ud800", "x" * 5_000, "SRC/a", "src", "sr\u200cc/a", "\ufeffsrc/a", "\uff53rc/a", *NO_TEXT],
         other=["srcs/a", "a/src/b", "src/../b", "s"]),
    Case(name="every file of a kind", spec=WRITE, pattern={"path": "**/*.py"},
         covered=["a.py", "src/a.py", "a/b/c.py", "x/.py"], caught=["../a.py", "/a.py", "a.PY"],
         other=["a.pyc", "a.py/x", "py"]),
    Case(name="files right in a directory", spec=WRITE, pattern={"path": "src/*"}, covered=["src/a"], caught=["SRC/a"],
         other=["src/a/b", "a/src/b"]),
    Case(name="one file", spec=WRITE, pattern={"path": ".env"}, covered=[".env", "./.env", "x/../.env", ".env/"],
         caught=[".ENV", "x/../../y/.env"], other=["x/.env", ".env2"]),
    Case(name="a directory by its name", spec=WRITE, pattern={"path": "secrets"}, covered=["secrets", "secrets/"],
         caught=["secrets/a", "secrets/a/b", "Secrets/a"], other=["secrets2/a", "a/secrets", "a/secrets/b"]),
    Case(name="the directory itself", spec=READ, pattern={"path": "."}, covered=[".", "./", "a/.."], other=["a", "./a"]),
    Case(name="composed letters", spec=WRITE, pattern={"path": "caf\u00e9"}, covered=["caf\u00e9"],
         caught=["cafe\u0301", "CAF\u00c9"], other=["cafe"]),
    Case(name="host", spec=FETCH, pattern={"host": "api.example.com"},
         covered=["https://api.example.com", "http://API.Example.COM/x?y#z", "https://api.example.com:8443/",
                  "https://api.example.com./x"],
         caught=["https://u:p@api.example.com/", "https://api.example.com@evil.com/", "https://api.example.com\\@evil.com/",
                 "https:\\\\api.example.com", "//api.example.com/", "ftp://api.example.com/", "https://api.example.com:99999/",
                 "https://api.example.com:x/", " https://api.example.com", "https://api.exam\tple.com/", "https://[api",
                 "https://ap%69.example.com/", "https://äpi.example.com/", "https://\uff41pi.example.com/", "https://",
                 "javascript:1", "https://a..b/", "https://2130706433/", "https://0x7f.1/", "https://127.1/",
                 "https://010.0.0.1/", "", *NO_TEXT],
         other=["https://example.com/", "https://xapi.example.com/", "https://api.example.com.evil.com/",
                "https://evil.com/api.example.com", "https://evil.com#@api.example.com", "https://xn--pi-uia.example.com/"]),
    Case(name="hosts below", spec=FETCH, pattern={"host": "*.Example.com"},
         covered=["https://a.example.com", "https://a.b.example.com"], other=["https://example.com", "https://aexample.com"]),
    Case(name="an address", spec=FETCH, pattern={"host": "127.0.0.1"},
         covered=["http://127.0.0.1:80", "http://[::ffff:127.0.0.1]/"],
         caught=["http://127.1", "http://0177.0.0.1", "http://0x7f000001", "http://2130706433"],
         other=["http://127.0.0.2", "http://[::1]", "http://localhost"]),
    Case(name="a longer address", spec=FETCH, pattern={"host": "::1"}, covered=["http://[::1]:8080/", "http://[0:0:0:0:0:0:0:1]/"],
         caught=["http://[::1", "http://[v1.x]/", "http://[::1%25lo]/", "http://[::1%lo]/"], other=["http://[::2]/"]),
    Case(name="one of two kinds", spec=RUN_IN, pattern={"path": "**"}, caught=["ls", "src"]),
    Case(name="both kinds", spec=RUN_IN, pattern={"path": "l*", "command": "ls"}, covered=["ls"], caught=["ls; x"], other=["x"]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_matching(case: Case) -> None:
    """An `allow` covers only what is sure; a `deny` also catches what might be meant."""
    yes, no = allow(**case.pattern), deny(**case.pattern)
    for value in case.covered:
        assert (verdict(case.spec, value, yes), verdict(case.spec, value, no)) == ("allow", "deny"), value
    for value in case.caught:
        assert verdict(case.spec, value, yes, Rule(verdict="ask")) == "ask", value
        assert verdict(case.spec, value, no, mode="auto") == "deny", value
    for value in case.other:
        assert verdict(case.spec, value, yes, deny()) == "deny", value
        assert verdict(case.spec, value, no, allow()) == "allow", value


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "{",
        "[]",
        "null",
        "1",
        "[" * 9_000,
        '{"command":"ls","command":"ls -a"}',
        '{"n":' + "9" * 5_000 + "}",
    ],
)
def test_unreadable_arguments(raw: str) -> None:
    """What cannot be read, or read in two ways, fits no pattern of an `allow` and every one of a `deny`."""
    assert judge(RUN, raw, mode="ask", rules=(allow(command="ls"), deny(command="rm"))).by == "rule 2"
    assert grant_for(RUN, raw) is None


# --- grants for a session -------------------------------------------------------------------------------------------

WORDS = st.text("abc-./ '\"$;*\\\n", min_size=1, max_size=12)
VALUES = {
    RUN.name: st.lists(WORDS, min_size=1, max_size=3).map(" ".join),
    WRITE.name: WORDS,
    FETCH.name: st.tuples(
        st.sampled_from(["http://a.b/", "https://A.b:1/", "http://*.b/", "http://[::1]/"]), WORDS
    ).map("".join),
}


@pytest.mark.parametrize("spec", [RUN, WRITE, FETCH], ids=lambda spec: spec.name)
@given(st.data())
def test_what_is_granted_is_then_allowed_and_nothing_wider(spec: ToolSpec, data: st.DataObject) -> None:
    """The grant of a call covers that call; what it covers has the same words, path or host; and it is a rule one may load."""
    value, other = data.draw(VALUES[spec.name]), data.draw(VALUES[spec.name])
    grant = grant_for(spec, arguments(spec, value))
    if grant is None:
        return
    check_rules((grant,))
    assert verdict(spec, value, grants=(grant,)) == "allow"
    if verdict(spec, other, grants=(grant,)) == "allow":
        assert grant_for(spec, arguments(spec, other)) == grant


@pytest.mark.parametrize(
    ("spec", "granted", "wider"),
    [
        (RUN, "rm build", ["rm build /", "rm build; ls", "rm", "rm 'build /'", "sudo rm build"]),
        (RUN, "git commit -m 'a b'", ["git commit -m a b", "git commit -m 'a b' -a"]),
        (WRITE, "src/a*.py", ["src/ab.py", "src/a*.pyc", "src/x/../../a*.py"]),
        (WRITE, "a?", ["ab", "a"]),
        (FETCH, "https://a.example.com/x", ["https://b.example.com/x", "https://example.com/"]),
    ],
)
def test_a_grant_is_for_this_call(spec: ToolSpec, granted: str, wider: list[str]) -> None:
    """No prefix, no glob, no neighbour."""
    grant = grant_for(spec, arguments(spec, granted))
    assert grant is not None
    for value in wider:
        assert verdict(spec, value, grants=(grant,)) == "ask", value
    elsewhere = spec.model_copy(update={"name": f"{spec.name}_2"})
    assert verdict(elsewhere, granted, grants=(grant,)) == "ask"


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        (RUN, "ls; rm x"), (RUN, "ls | sh"), (RUN, "$x"), (RUN, ""), (RUN, None), (RUN, "a" * 1_001),
        (WRITE, "../x"), (WRITE, "/x"), (WRITE, ""), (WRITE, 7), (WRITE, "a" * 1_001),
        (FETCH, "https://u@a.b/"), (FETCH, "a.b"), (FETCH, None), (FETCH, "https://bücher.example/"),
        (RUN_IN, "../x"), (RUN_IN, "ls; x"),
    ],
)  # fmt: skip
def test_what_cannot_be_granted(spec: ToolSpec, value: Any) -> None:
    """Where it is not clear what else a grant would cover there is none."""
    assert grant_for(spec, arguments(spec, value)) is None


def test_a_tool_that_touches_nothing_named_is_granted_whole() -> None:
    """And one that touches two kinds is granted with both."""
    assert grant_for(MAIL, "{}") == allow(tool="send_mail")
    both = grant_for(RUN_IN, '{"command": "ls", "cwd": "src"}')
    assert both == allow(tool="run_in", command="ls", path="src", exact=True)


# --- a promise ------------------------------------------------------------------------------------------------------

SYNTAX = st.sampled_from(
    [";", "|", "&", "\n", "\r", "$", "`", "<", ">", "(", ")", "{", "*", "?", "[", "~", "\\", "!", "#"]
)


@given(st.text("git push-abc ", max_size=10), SYNTAX, st.text("git push-abc ", max_size=10))
def test_no_prefix_allows_shell_syntax(before: str, syntax: str, after: str) -> None:
    """Outside of quotes a single character of syntax is enough to be asked."""
    command = f"git push {before}{syntax}{after}"
    assert verdict(RUN, command, allow(command="git"), allow(command="git push")) == "ask"


@given(st.text(max_size=30), st.sampled_from([RUN, WRITE, READ, FETCH, RUN_IN]))
def test_no_argument_raises(value: str, spec: ToolSpec) -> None:
    """Every text gets a verdict, and a denied pattern of everything catches it."""
    everything = {"command": "x", "path": "**", "url": "*"}
    patterns = {
        ("host" if kind == "url" else kind): everything[kind] for kind in spec.touches if kind != "command"
    }
    assert verdict(spec, value, deny(**patterns)) == "deny"
    grant_for(spec, arguments(spec, value))


# --- loading --------------------------------------------------------------------------------------------------------


def test_rules_are_read_from_json() -> None:
    """An array of objects; absent patterns match anything."""
    text = (
        '[{"verdict":"deny","tool":"run_command","command":"git push"},{"verdict":"allow","path":"src/**"}]'
    )
    assert parse_rules(text) == (deny(tool="run_command", command="git push"), allow(path="src/**"))
    assert parse_rules("[]") == ()


def test_the_documented_rules_can_be_loaded() -> None:
    """The examples in docs/design/autonomy.md are rules."""
    examples = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    assert [len(parse_rules(example)) for example in examples] == [7]


REFUSED: list[tuple[Any, str]] = [
        ("nonsense", "rules"),
        ({}, "rules"),
        ([{"verdict": "maybe"}], "0.verdict"),
        ([{}], "0.verdict"),
        ([{"verdict": "deny", "tol": "x"}], "0.tol"),
        ([{"verdict": "deny", "command": ""}], "0.command"),
        ([{"verdict": "allow"}, {"verdict": "deny", "command": " "}], "1.command"),
        ([{"verdict": "deny", "command": "rm 'x"}], "0.command"),
        ([{"verdict": "deny", "command": "rm | sh"}], "0.command"),
        ([{"verdict": "allow", "exact": True}], "0.exact"),
        *[([{"verdict": "deny", "tool": t}], "0.tool") for t in ("run_command ", "Bash(git *)", "{a,b}", "a|b", "a.b", "")],
        *[([{"verdict": "deny", "path": p}], "0.path") for p in ("/etc/**", "./a", "a/../b", "..", "a//b", "secrets/", "",
          "~/.ssh/**", "~", "C:/x", "*.{key,pem}", "[ab]/**", "a\\b", "secrets\\\\**", "a\\")],
        *[([{"verdict": "deny", "host": h}], "0.host") for h in ("http://a", "a/b", "a b", "u@a", "bücher.de", "a.", "",
          "a.b:80",
          "*:80", "*.b:80", "127.0.0.1:80", "a..b", "127.1", "0x7f.0.0.1", "2130706433", "[::1]", "0:0:0:0:0:0:0:1",
          "::ffff:1.2.3.4",          "fe80::1%eth0", "a:80")],
        ('[{"verdict":"deny","path":"a/**","path":"b/**"}]', "'path' twice"),
        ([{"verdict": "deny"}] * (MAX_RULES + 1), "257 rules"),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "names"), REFUSED)
def test_rules_that_cannot_be_meant_are_refused(rules: Any, names: str) -> None:
    """A mistake in a rule is told on load, with its place: a `deny` that never matches is worse than none."""
    with pytest.raises(Refused) as caught:
        parse_rules(rules if isinstance(rules, str) else json.dumps(rules))
    assert names in caught.value.message


def test_every_pattern_that_can_match_is_taken() -> None:
    """Names, addresses and globs in the form that calls are matched in, and brackets that are meant as such."""
    for host in (
        "a",
        "A.example",
        "a_b.c-d",
        "*",
        "*.example.com",
        "a?",
        "127.0.0.1",
        "127.*",
        "::1",
        "FE80::1",
        "fe80:*",
        "2001:db8::?",
    ):
        check_rules((deny(host=host),))
    for path in (".", "**", "a b/*.py", "app/\\[id\\]/**", "\\{x\\}", "\\*", "x~", "ab:c"):
        check_rules((deny(path=path),))
    assert verdict(WRITE, "app/[id]/page.tsx", deny(path="app/\\[id\\]/**"), mode="auto") == "deny"


@pytest.mark.parametrize("name", ["", "yolo", "Plan", "ask "])
def test_there_are_no_other_modes(name: str) -> None:
    """A mode that is not there is refused, not taken for another."""
    with pytest.raises(Refused):
        parse_mode(name)
