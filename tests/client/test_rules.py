"""Rules on the command line: what `edgeloop rules` says, and what `run --mode --rules` sets and allows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgeloop.events import AutonomyChanged
from edgeloop.wire import Autonomy, SendMessage, ToolResult
from edgeloop_client.cli import app
from tests.client.conftest import Connect, Person
from tests.client.test_cli import ECHO, Shell, shell
from tests.support.memory_session import Ask, MemorySession, Say

__all__ = ["shell"]

RULES = [
    {"verdict": "deny", "tool": "run_command", "command": "git push"},
    {"verdict": "allow", "tool": "run_command", "command": "make"},
    {"verdict": "ask", "host": "*.example.com"},
]
Write = Callable[[Any], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of JSON, or of the text given."""

    def written(content: Any) -> Path:
        path = tmp_path / "given.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return written


def asked(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["rules", *arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("tool", "arguments", "mode", "verdict", "by"),
    [
        ("run_command", {"command": "git push origin"}, "auto", "deny", "rule 1"),
        ("run_command", {"command": "cd x && git push"}, "auto", "deny", "rule 1"),
        ("run_command", {"command": "make test"}, "plan", "allow", "rule 2"),
        ("run_command", {"command": "make test; rm x"}, "ask", "ask", "mode ask"),
        ("fetch_url", {"url": "https://a.example.com/x"}, "auto", "ask", "rule 3"),
        ("fetch_url", {"url": "https://example.org/x"}, "ask", "allow", "mode ask"),
        ("note_write", {"name": "a", "text": "b"}, "plan", "allow", "mode plan"),
        ("write_file", {"path": "a.txt", "text": ""}, "edit", "allow", "mode edit"),
        ("write_file", {"path": "../a.txt", "text": ""}, "edit", "ask", "mode edit"),
        ("write_file", {"path": "a.txt", "text": ""}, "plan", "deny", "mode plan"),
    ],
)
def test_what_a_call_would_get(
    write: Write, tool: str, arguments: dict[str, str], mode: str, verdict: str, by: str
) -> None:
    """The verdict, what gave it, and the exit code that stands for it; as text and as JSON."""
    given = ("test", "--rules", str(write(RULES)), "--mode", mode, tool, json.dumps(arguments))
    code, out, _ = asked(*given)
    assert out.startswith(f"{verdict}  by {by}\n")
    assert code == {"allow": 0, "ask": 10, "deny": 11}[verdict]
    again, out, _ = asked(*given, "--json")
    found = json.loads(out)
    assert (again, found["verdict"], found["by"], found["tool"]) == (code, verdict, by, tool)
    number = int(by.split()[1]) if by.startswith("rule") else 0
    assert found["rule"] == (RULES[number - 1] if number else None)


def test_what_always_would_mean() -> None:
    """A question comes with the grant that "always" would give, or that there is none."""
    _, out, _ = asked("test", "run_command", '{"command": "make test"}', "--json")
    assert json.loads(out)["grant"]["command"] == "make test"
    _, out, _ = asked("test", "run_command", '{"command": "make $X"}')
    assert "cannot be granted" in out


def test_arguments_that_do_not_fit_are_judged_and_told() -> None:
    """Rules can be tested with less than a whole call; that such a call would not be run is said beside the verdict."""
    _, out, _ = asked("test", "write_file", '{"path": "a"}', "--json")
    found = json.loads(out)
    assert (found["verdict"], found["misfit"].split(";")[0]) == ("ask", "content: missing, expected string")
    _, out, _ = asked("test", "write_file", '{"path": "a"}')
    assert "but it would not be run: content: missing" in out
    _, out, _ = asked("test", "run_command", '{"command": "ls"}', "--json")
    assert json.loads(out)["misfit"] is None


def test_other_tools(write: Write) -> None:
    """Declarations of other tools are judged like ours, alone or in an array."""
    spec = {
        "name": "browse",
        "description": "",
        "parameters": {"type": "object"},
        "effect": "mutate",
        "touches": {"url": "to"},
    }
    for given in (spec, [spec]):
        path = str(write(given))
        code, out, _ = asked("test", "--tool-spec", path, "browse", '{"to": "https://x.org"}')
        assert (code, out.splitlines()[0]) == (10, "ask  by mode ask")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[{", "Invalid JSON"),
        ([{"tool": "x"}], "0.verdict"),
        ([{"verdict": "maybe"}], "0.verdict"),
        ([{"verdict": "deny"}, {"verdict": "deny", "path": "/etc/**"}], "1.path"),
        ([{"verdict": "deny"}] * 257, "257 rules"),
        ([{"verdict": "deny", "regex": "x"}], "0.regex"),
    ],
)
def test_rules_that_cannot_be(write: Write, content: Any, told: str) -> None:
    """A file that holds no rules, or one that could never match, is refused with its place; exit 2."""
    path = str(write(content))
    for arguments in (("check", path), ("test", "--rules", path, "run_command", "{}")):
        code, out, err = asked(*arguments)
        assert (code, out) == (2, "")
        assert told in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("check", "/does/not/exist"), "No such file"),
        (("test", "nope", "{}"), "no tool 'nope' (expected one of"),
        (("test", "run_command", "{"), "not JSON"),
        (("test", "run_command", "[" * 100_000), "not JSON"),
        (("test", "run_command", "[]"), "not a JSON object"),
        (("test", "--mode", "yolo", "run_command", "{}"), "expected one of plan, ask, edit, auto"),
        (("test", "--tool-spec", "/does/not/exist", "x", "{}"), "No such file"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], told: str) -> None:
    """What cannot be judged exits 2 and says what was expected."""
    code, _, err = asked(*arguments)
    assert code == 2
    assert told in err


def test_rules_that_can_be(write: Write) -> None:
    """Good rules are counted; exit 0."""
    code, out, _ = asked("check", str(write(RULES)))
    assert code == 0
    assert "3 rules" in out


# --- run --mode --rules ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "rules", "made"),
    [
        (("--mode", "auto"), None, True),
        (("--mode", "edit"), None, False),
        (("--mode", "plan"), [{"verdict": "allow", "tool": "run_command"}], True),
        ((), [{"verdict": "allow", "tool": "run_*"}], True),
        (("--mode", "auto"), [{"verdict": "deny", "command": "echo"}], False),
        (("--mode", "auto"), [{"verdict": "ask", "command": "echo"}], False),
    ],
)
async def test_what_is_set_here_is_the_persons_word(
    shell: Shell, write: Write, flags: tuple[str, ...], rules: Any, made: bool
) -> None:
    """What `--mode` and `--rules` allow is not asked again, with nobody at the terminal; what they do not, is not run."""
    files = ("--rules", str(write(rules))) if rules is not None else ()
    async with MemorySession(ECHO, mode="ask") as session:
        ended = await shell.run("run", "go", *flags, *files, session=session)
    assert ended.code == 0, ended.err
    assert (shell.directory / "made").exists() == made
    assert [type(frame) for frame in session.received][:2] == [Autonomy, SendMessage]


async def test_an_edge_that_allows_by_itself_is_not_the_persons_word(shell: Shell) -> None:
    """A session in mode auto runs no command here when this person has set something stricter, or nothing."""
    async with MemorySession(ECHO, mode="auto") as session:
        assert (await shell.run("run", "go", session=session)).code == 0
    assert not (shell.directory / "made").exists()


async def test_bad_rules_are_told_before_anything_is_sent(shell: Shell, write: Write) -> None:
    """`run` with rules that cannot be read exits 2 without connecting."""
    ended = await shell.run("run", "go", "--rules", str(write([{"verdict": "maybe"}])))
    assert ended.code == 2
    assert "0.verdict" in ended.err


@pytest.mark.parametrize("mode", ["ask", "auto"])
async def test_it_is_set_once_whatever_is_lost(connect: Connect, mode: Any) -> None:
    """With the connection torn down after any frame, the autonomy is in force before the message and changed at most once."""
    for drop in range(1, 14):
        script: list[list[Any]] = [[Ask("ask", {"word": "w"})], [Say("done")]]
        session = MemorySession(script, mode=mode, drops=frozenset({drop}))
        async with session, connect(session, person=Person(says="no"), home=f"home{drop}") as user:
            await user.client.caught_up()
            user.client.ask("go", autonomy=Autonomy(mode="auto"))
            await user.client.over()
            await user.client.caught_up()
        changes = [r.event for r in session.log if isinstance(r.event, AutonomyChanged)]
        assert len(changes) == 1
        assert user.doings.ran["w"] == 1
        assert user.person.asked == []
        results = {f.call for f in session.received if isinstance(f, ToolResult)}
        assert len(results) == 1


async def test_autonomy_that_was_so_before_does_not_wait(connect: Connect) -> None:
    """Set again to what it is, nothing answers it; it is settled with the message behind it."""
    session = MemorySession([[Say("one")], [Say("two")]])
    async with session, connect(session) as user:
        for text in ("a", "b"):
            user.client.ask(text, autonomy=Autonomy(mode="edit"))
            await user.client.over()
        assert user.client.connection.is_settled
