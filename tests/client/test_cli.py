"""The `edgeloop` command as a process: what it prints, where, and how it exits."""

import asyncio
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeloop.access import verify
from edgeloop.events import StepError
from tests.support.memory_session import TOKEN, Ask, Fail, Hang, MemorySession, Part, Say
from tests.support.streams import FIXTURES, chat

COMMAND = [sys.executable, "-c", "from edgeloop_client.cli import main; main()"]
LS: list[list[Part]] = [[Say("Looking."), Ask("list_files")], [Say("There is one file.")]]
ECHO: list[list[Part]] = [[Ask("run_command", {"command": "echo hi > made"})], [Say("ok")]]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Shell:
    """Starts commands that work in `directory`."""

    directory: Path
    home: Path

    def environment(self, session: MemorySession | None) -> dict[str, str]:
        url = session.url if session is not None else "http://127.0.0.1:9"
        return os.environ | {"EDGELOOP_URL": url, "EDGELOOP_TOKEN": TOKEN, "XDG_STATE_HOME": str(self.home)}

    @asynccontextmanager
    async def starting(
        self, *arguments: str, session: MemorySession | None, terminal: int | None = None
    ) -> AsyncGenerator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            cwd=self.directory,
            env=self.environment(session),
            stdin=terminal or asyncio.subprocess.DEVNULL,
            stdout=terminal or asyncio.subprocess.PIPE,
            stderr=terminal or asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def run(self, *arguments: str, session: MemorySession | None = None) -> Ended:
        async with self.starting(*arguments, session=session) as process:
            out, err = await asyncio.wait_for(process.communicate(), 30)
            return Ended(code=process.returncode or 0, out=out.decode(), err=err.decode())


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A directory with one file, and a state folder of its own."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "a.txt").write_text("one\n")
    return Shell(directory=work, home=tmp_path / "state")


async def test_a_run_for_people(shell: Shell) -> None:
    """Text, calls with their states, and the table, on standard output; exit 0."""
    async with MemorySession(LS) as session:
        ended = await shell.run("run", "what is here?", session=session)
    assert ended.code == 0, ended.err
    assert "Looking." in ended.out
    assert "→ list_files" in ended.out
    assert "✓ list_files" in ended.out
    assert ended.out.index("There is one file.") < ended.out.index("cached share")
    assert "\x1b" not in ended.out
    assert TOKEN not in ended.out + ended.err


async def test_a_run_for_programs(shell: Shell) -> None:
    """With --json standard output is one line, the report; the rest is on standard error."""
    async with MemorySession(LS) as session:
        ended = await shell.run("run", "what is here?", "--json", "--agent", "mine", session=session)
    assert ended.code == 0
    report = json.loads(ended.out)
    assert ended.out.count("\n") == 1
    assert (report["agent"], report["answer"], report["outcome"]) == ("mine", "There is one file.", "done")
    assert [(call["name"], call["outcome"]) for call in report["tool_calls"]] == [("list_files", "ok")]
    assert report["bytes_up"] > 0
    assert report["bytes_down"] > 0
    assert report["events"] > 5
    assert {"ttft_ms", "wall_ms", "output_tokens_per_s", "steps"} == set(report["timings"])
    assert "Looking." in ended.err


async def test_a_failed_turn(shell: Shell) -> None:
    """A turn that fails exits 1 and says why."""
    error = StepError(cls="auth", message="bad\x1b[2Jkey", retryable=False)
    async with MemorySession([[Fail(error)]]) as session:
        ended = await shell.run("run", "go", session=session)
    assert ended.code == 1
    assert "auth: bad\\x1b[2Jkey" in ended.out


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("run",), 2, "Missing argument"),
        (("run", "go", "--dir", "/does/not/exist"), 2, "does not exist"),
        (("run", "go"), 3, "no Edgeloop at http://127.0.0.1:9"),
        (("run", "go", "--url", "ftp://x"), 3, "is not the URL of an Edgeloop"),
        (("state", "a"), 3, "make dev"),
        (("attach", "a"), 3, "make dev"),
    ],
)
async def test_what_cannot_be(shell: Shell, arguments: tuple[str, ...], code: int, told: str) -> None:
    """Wrong usage exits 2, nobody there 3, each with what to do."""
    ended = await shell.run(*arguments)
    assert ended.code == code
    assert told in " ".join(ended.err.split())
    assert "Traceback" not in ended.err


async def test_a_token_is_made_from_the_environments_key(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`edgeloop token` prints one token that the edge's rules let in, for so long and no longer."""
    monkeypatch.setenv("EDGELOOP_SIGNING_KEY", "k" * 32)
    ended = await shell.run("token", "team-*", "--scope", "read", "--ttl", "30m", "--id", "ci")
    assert (ended.code, ended.out.count("\n"), ended.err) == (0, 1, "")
    now = int(time.time() * 1000)
    access = verify(ended.out.strip(), keys=("k" * 32,), agent="team-7", now=now)
    assert (access.agent, access.scope, access.id) == ("team-*", "read", "ci")
    assert 0 <= 30 * 60_000 - (access.expires - now) < 30_000


@pytest.mark.parametrize(
    ("arguments", "key", "told"),
    [
        (("a",), "", "EDGELOOP_SIGNING_KEY is not set"),
        (("a",), "k" * 31, "at least 32 characters"),
        (("a/b",), "k" * 32, "no agent's name"),
        (("a", "--scope", "root"), "k" * 32, "expected read, write, admin"),
        (("a", "--ttl", "1w"), "k" * 32, "no time to live"),
        (("a", "--ttl", "0h"), "k" * 32, "no time to live"),
    ],
)
async def test_a_token_that_cannot_be(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], key: str, told: str
) -> None:
    """Wrong usage exits 2 and never prints the key."""
    monkeypatch.setenv("EDGELOOP_SIGNING_KEY", key)
    ended = await shell.run("token", *arguments)
    assert ended.code == 2
    assert told in " ".join(ended.err.replace("│", " ").split())
    assert not key or key not in ended.out + ended.err


async def test_a_wrong_token(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused token exits 3 and names the variable."""
    monkeypatch.setattr("tests.client.test_cli.TOKEN", "other")
    async with MemorySession([]) as session:
        ended = await shell.run("run", "go", session=session)
    assert ended.code == 3
    assert "EDGELOOP_TOKEN" in ended.err


async def test_a_command_with_nobody_to_ask(shell: Shell) -> None:
    """Without a terminal and without --yes a command is not run, and the model hears why; with --yes it is."""
    for flags, made in (((), False), (("--yes",), True)):
        for mode in ("ask", "auto"):
            async with MemorySession(ECHO, mode=mode) as session:
                ended = await shell.run("run", "go", "--json", *flags, session=session)
            assert ended.code == 0, ended.err
            assert json.loads(ended.out)["tool_calls"][0]["outcome"] == ("ok" if made else "denied")
            assert (shell.directory / "made").exists() == made


@pytest.mark.parametrize(("typed", "made"), [("y\n", True), ("n\n", False), ("\n", False), ("a\n", True)])
async def test_a_question_at_the_terminal(shell: Shell, typed: str, made: bool) -> None:
    """At a terminal the person is asked, once, and sees the command whole; only a clear yes runs it."""
    async with MemorySession(ECHO, mode="ask") as session:
        code, seen = await _at_terminal(shell, session, typed)
    assert code == 0
    assert "echo hi > made" in seen
    assert seen.count("allow?") == 1
    assert (shell.directory / "made").exists() == made


async def _at_terminal(shell: Shell, session: MemorySession, typed: str) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    seen = bytearray()
    async with shell.starting("run", "go", session=session, terminal=theirs) as process:
        os.close(theirs)
        os.set_blocking(ours, False)
        while process.returncode is None:
            try:
                seen += os.read(ours, 4096)
            except (BlockingIOError, OSError):
                await asyncio.sleep(0.01)
            if b"allow?" in seen and typed:
                await asyncio.sleep(0.05)
                os.write(ours, typed.encode())
                typed = ""
        os.close(ours)
        return await process.wait(), seen.decode("utf-8", "replace")


async def test_ctrl_c_stops_the_turn(shell: Shell) -> None:
    """The first Ctrl-C stops the turn and waits for its end; what was said stays."""
    async with (
        MemorySession([[Say("half an answer"), Hang()]]) as session,
        shell.starting("run", "go", "--json", session=session) as process,
    ):
        await _streaming(session)
        process.send_signal(signal.SIGINT)
        out, _ = await asyncio.wait_for(process.communicate(), 10)
        assert process.returncode == 130
        assert json.loads(out)["outcome"] == "stopped"
        assert session.session.state.phase == "idle"


async def test_ctrl_c_twice_leaves(shell: Shell) -> None:
    """The second Ctrl-C leaves at once, with the way back; the agent is not stopped by that."""
    async with (
        MemorySession([[Say("half"), Hang()]]) as session,
        shell.starting("run", "go", "--agent", "mine", session=session) as process,
    ):
        await _streaming(session)
        session.deaf = True
        process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.3)
        assert process.returncode is None
        process.send_signal(signal.SIGINT)
        out, _ = await asyncio.wait_for(process.communicate(), 10)
        assert process.returncode == 130
        assert "edgeloop attach mine" in out.decode()


async def _streaming(session: MemorySession) -> None:
    async with asyncio.timeout(20):
        while session.session.state.phase != "streaming":
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)


async def test_attach(shell: Shell) -> None:
    """Attaching to an agent at rest shows what was asked and answered last, and ends; watching only, it runs nothing."""
    async with MemorySession(LS) as session:
        assert (await shell.run("run", "what is here?", session=session)).code == 0
        ended = await shell.run("attach", "memory", session=session)
        assert ended.code == 0
        assert "> what is here?" in ended.out
        assert "There is one file." in ended.out
        assert session.hellos[1].tools is None


async def test_attach_in_mid_turn(shell: Shell) -> None:
    """Attaching in the middle shows what was said so far, then what comes, to the turn's end."""
    async with MemorySession([[Say("0123456789" * 8, size=2)]]) as session:
        session.pause = 0.05
        async with shell.starting("run", "go", session=session) as process:
            await _streaming(session)
            ended = await shell.run("attach", "memory", session=session)
            await process.wait()
    assert ended.code == 0
    assert "0123456789" * 8 in ended.out


async def test_decode_and_model_are_reached(shell: Shell) -> None:
    """The other commands' own help, results and errors come through."""
    ended = await shell.run("model", "serve", "--help")
    assert ended.code == 0
    assert "--port" in ended.out
    stream = FIXTURES / "anthropic.sse"
    ended = await shell.run("decode", "--dialect", "anthropic", str(stream))
    assert ended.code == 0, ended.err
    assert all(json.loads(line)["op"] for line in ended.out.splitlines())
    for arguments in (("--dialect", "nope", str(stream)), ("--dialect", "anthropic", "/does/not/exist")):
        ended = await shell.run("decode", *arguments)
        assert ended.code == 2
        assert "Traceback" not in ended.err


STREAM = (FIXTURES / "anthropic.sse").read_bytes()


@pytest.mark.parametrize(
    ("dialect", "stream", "code"),
    [
        ("anthropic", STREAM[:-100], 0),
        ("anthropic", b'{"type":"error","error":{"type":"overloaded_error","message":"m"}}', 0),
        ("anthropic", b"x" * (9 << 20), 0),
        ("gemini", STREAM, 1),
        ("openai-chat", STREAM, 1),
        ("anthropic", bytes(range(256)) * 64, 1),
        ("anthropic", b"", 1),
    ],
    ids=["cut", "an error", "an endless line", "not gemini", "not chat", "binary", "empty"],
)
async def test_decode_says_if_nothing_was_understood(
    shell: Shell, dialect: str, stream: bytes, code: int
) -> None:
    """A stream that ended badly was decoded well; one of another dialect was not, and that is told beside its operations."""
    (shell.directory / "stream").write_bytes(stream)
    ended = await shell.run("decode", "--dialect", dialect, "stream")
    assert ended.code == code
    assert json.loads(ended.out.splitlines()[-1])["op"] == "error"
    assert ended.err.startswith(f"edgeloop: nothing in stream is of the dialect {dialect}") == (code == 1)


def test_decode_into_a_closed_pipe_is_silent(shell: Shell) -> None:
    """`| head` is no mistake of the person's."""
    deltas: list[dict[str, str]] = [{"content": "a" * 40}, {"reasoning_content": "b" * 40}]
    (shell.directory / "stream").write_bytes(chat(*deltas * 2_000))
    line = shlex.join((*COMMAND, "decode", "--dialect", "openai-chat", "stream"))
    pipe = ["bash", "-c", f"{line} | true; exit ${{PIPESTATUS[0]}}"]
    ended = subprocess.run(
        pipe, cwd=shell.directory, env=shell.environment(None), capture_output=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (1, b"")
