"""The local tools against hostile names, files, neighbours and commands: no input leads outside, hangs, or breaks in silence."""

import errno
import json
import os
import shutil
import stat
import threading
import time
import unicodedata
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from edgeloop_client.errors import ToolError, ToolTimeout
from edgeloop_client.tools import command
from edgeloop_client.tools.base import to_json
from tests.support.workspace import At, Json

FILE_TOOLS = ("read_file", "search", "list_files", "edit_file", "write_file")


def arguments(name: str, path: str, base: str = "0" * 16) -> Json:
    """Arguments with which a tool touches a path."""
    return {
        "read_file": {"path": path},
        "search": {"path": path, "pattern": "secret"},
        "list_files": {"path": path},
        "edit_file": {"path": path, "base_hash": base, "edits": [{"search": "harmless", "replace": "x"}]},
        "write_file": {"path": path, "base_hash": None, "content": "x"},
    }[name]


def told(at: At, name: str, path: str) -> str:
    """What a tool says about a path, be it an answer or a refusal; anything else fails the test."""
    try:
        return to_json(at.call(name, **arguments(name, path)))
    except ToolError as error:
        return str(error)


@pytest.fixture
def at(tmp_path: Path) -> At:
    """An empty root beside a secret."""
    return At.make(tmp_path)


# --- races ----------------------------------------------------------------------------------------------------------


@contextmanager
def swapping(swap: Callable[[], None]) -> Generator[None]:
    """While in here, another thread swaps without pause."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            with suppress(OSError):  # the tool was there first
                swap()

    swapper = threading.Thread(target=work)
    swapper.start()
    try:
        yield
    finally:
        stop.set()
        swapper.join()


@pytest.mark.parametrize("name", FILE_TOOLS)
def test_a_directory_swapped_for_a_link(at: At, name: str) -> None:
    """While a directory is swapped for a link outside and back, no tool reads the secret, changes it, or makes a file there."""
    inside, away = at.root / "sub", at.root / "away"
    inside.mkdir()
    (inside / "secret").write_text("harmless\n")

    def swap() -> None:
        if away.exists():  # write_file had made `sub` anew
            shutil.rmtree(inside, ignore_errors=True)
        else:
            inside.rename(away)
            inside.symlink_to("../outside")
            inside.unlink()
        away.rename(inside)

    with swapping(swap):
        path = "sub" if name == "list_files" else "sub/new" if name == "write_file" else "sub/secret"
        said = {told(at, name, path) for _ in range(300)}
    assert not any("the secret" in one for one in said)
    assert (at.outside / "secret").read_text() == "the secret\n"
    assert [entry.name for entry in at.outside.iterdir()] == ["secret"]


@pytest.mark.parametrize("name", FILE_TOOLS)
def test_a_file_swapped_for_what_is_none(at: At, name: str) -> None:
    """While a file is swapped for a link, a FIFO and a directory, nothing hangs and nothing is written through."""
    file = at.root / "f"

    def swap() -> None:
        shutil.rmtree(file, ignore_errors=True)
        file.unlink(missing_ok=True)
        for make in (lambda: file.symlink_to("../outside/secret"), lambda: os.mkfifo(file), file.mkdir):
            make()
            file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()
        file.write_text("harmless\n")
        file.unlink(missing_ok=True)

    with swapping(swap):
        said = {told(at, name, "f") for _ in range(300)}
    assert not any("the secret" in one for one in said)
    assert (at.outside / "secret").read_text() == "the secret\n"


# --- names ----------------------------------------------------------------------------------------------------------

NAMES = {
    "too long a name": "x" * 256,
    "too long a path": "x/" * 3_000,
    "deep": "x/" * 1_000,
    "nul": "a\0b",
    "dots": "../../../../etc/passwd",
    "dots inside": "sub/../../outside/secret",
    "absolute": "/etc/passwd",
    "the root's neighbour": "../root-2/x",
    "file url": "file:///etc/passwd",
    "proc": "/proc/self/root/etc/passwd",
    "home": "~/.ssh/id_rsa",
    "windows": "..\\..\\outside\\secret",
    "a newline": "a\nb",
    "an option": "-rf",
    "a right-to-left mark": "a\u202eb",
}


@pytest.mark.parametrize("path", NAMES.values(), ids=NAMES.keys())
@pytest.mark.parametrize("name", ["read_file", "search", "list_files", "edit_file"])
def test_names(at: At, name: str, path: str) -> None:
    """A name that is no file here is refused with a type, and shows nothing of what lies outside."""
    said = at.refused(name, **arguments(name, path))
    assert "root:" not in said
    assert len(said) < 10_000


def test_names_are_what_they_are(at: At) -> None:
    """No name stands for another: not in another case, nor in another normalisation, on a file system that tells them apart."""
    composed, apart = (unicodedata.normalize(form, "Ä.txt") for form in ("NFC", "NFD"))
    (at.root / composed).write_text("composed")
    (at.root / "Case").write_text("upper")
    if not (at.root / "case").exists():
        assert "no such file" in at.refused("read_file", path="case")
    if not (at.root / apart).exists():
        assert "no such file" in at.refused("read_file", path=apart)
        (at.root / apart).write_text("apart")
        assert [at.call("read_file", path=path)["text"] for path in (composed, apart)] == [
            "composed",
            "apart",
        ]


@pytest.mark.parametrize(
    "path",
    [
        ".git/hooks/pre-commit",
        ".git/config",
        "sub/.git/config",
        ".GIT/config",
        ".git",
        "to-git/config",
        ".gi\u200ct/x",
    ],
)
def test_git_is_not_written(at: At, path: str) -> None:
    """Nothing is written into `.git`, by whatever name: what lies there is run by git, and a command needs a person's word."""
    (at.root / ".git").mkdir()
    (at.root / ".git" / "config").write_text("harmless\n")
    (at.root / "to-git").symlink_to(".git")
    base = at.call("read_file", path=".git/config")["hash"]
    for name in ("edit_file", "write_file"):
        assert ".git" in at.refused(name, **arguments(name, path, base))
    assert [entry.name for entry in (at.root / ".git").iterdir()] == ["config"]
    assert (at.root / ".git" / "config").read_text() == "harmless\n"
    assert sorted(entry.name for entry in at.root.iterdir()) == [".git", "to-git"]


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_sparse_giant(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file of 10 GB no tool reads more than a few megabytes."""
    with (at.root / "giant").open("wb") as file:
        file.truncate(10 << 30)
    (at.root / ".gitignore").symlink_to("giant")
    taken = 0
    real = os.read

    def counted(descriptor: int, size: int) -> bytes:
        nonlocal taken
        data = real(descriptor, size)
        taken += len(data)
        return data

    monkeypatch.setattr(os, "read", counted)
    assert "binary (10737418240 bytes)" in at.refused("read_file", path="giant")
    assert "at most" in at.refused("edit_file", **arguments("edit_file", "giant"))
    assert "at most" in at.refused("write_file", path="giant", content="x", base_hash="0" * 16)
    assert at.call("list_files")["entries"][0] == {
        "path": "giant",
        "bytes": 10 << 30,
        "lines": None,
        "kind": "giant",
    }
    assert at.call("search", pattern="x")["unreadable"] == 1
    assert taken < 8 << 20


SPECIAL: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "directory": Path.mkdir,
    "link to itself": lambda path: path.symlink_to(path.name),
    "link outside": lambda path: path.symlink_to("../outside/secret"),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "binary": lambda path: path.write_bytes(b"\0" * 100),
    "not utf-8": lambda path: path.write_bytes(b"harmless \xff\n"),
    "cut character": lambda path: path.write_bytes("harmless ä".encode()[:-1]),
}


@pytest.mark.parametrize("make", SPECIAL.values(), ids=SPECIAL.keys())
@pytest.mark.parametrize("name", ["read_file", "edit_file", "write_file"])
def test_what_is_no_text(at: At, name: str, make: Callable[[Path], object]) -> None:
    """What is no regular text file is neither read nor changed."""
    path = at.root / "special"
    make(path)
    before = path.lstat()
    assert at.refused(name, **arguments(name, "special"))
    assert path.lstat() == before
    assert [entry.name for entry in at.root.iterdir()] == ["special"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
@pytest.mark.parametrize("name", ["read_file", "edit_file", "write_file", "search"])
def test_a_device(at: At, name: str) -> None:
    """A device is not even opened."""
    os.mknod(at.root / "zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    assert "a device" in at.refused(name, **arguments(name, "zero"))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE])
def test_what_cannot_be_opened(at: At, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A file the system does not let us open is told, and the others are listed and searched all the same."""
    (at.root / "closed").write_text("secret")
    (at.root / "open").write_text("secret")
    real = os.open

    def refusing(path: Any, *given: Any, **options: Any) -> int:
        if path == "closed":
            raise OSError(number, os.strerror(number))
        return real(path, *given, **options)

    monkeypatch.setattr(os, "open", refusing)
    for name in ("read_file", "edit_file", "write_file"):
        assert os.strerror(number) in at.refused(name, **arguments(name, "closed"))
    listing = at.call("list_files")
    assert [entry["path"] for entry in listing["entries"]] == ["open"]
    assert [entry["path"] for entry in listing["total"]["unreadable"]] == ["closed"]
    found = at.call("search", pattern="secret")
    assert ([match["path"] for match in found["matches"]], found["unreadable"]) == (["open"], 1)


@pytest.mark.parametrize("function", ["fsync", "replace", "link", "fchmod"])
def test_a_disk_that_fails(at: At, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    """Where a write fails at any point, the file is as it was, nothing is left beside it, and it is told."""
    (at.root / "f").write_text("harmless\n")
    base = at.call("read_file", path="f")["hash"]

    def failing(*_given: Any, **_options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, function, failing)
    if function == "link":
        assert "No space" in at.refused("write_file", path="new", content="x", base_hash=None)
    else:
        assert "No space" in at.refused("edit_file", **arguments("edit_file", "f", base))
    assert (at.root / "f").read_text() == "harmless\n"
    assert [entry.name for entry in at.root.iterdir()] == ["f"]


def test_a_hard_link_is_not_written_through(at: At) -> None:
    """A file that is also known by a name outside keeps its content there."""
    os.link(at.outside / "secret", at.root / "f")
    base = at.call("read_file", path="f")["hash"]
    at.call("write_file", path="f", content="new", base_hash=base)
    assert (at.outside / "secret").read_text() == "the secret\n"
    assert (at.root / "f").read_text() == "new"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_stays(at: At) -> None:
    """A file of somebody else that root edits is still theirs, with its permission bits."""
    (at.root / "f").write_text("harmless\n")
    os.chown(at.root / "f", 1234, 5678)
    (at.root / "f").chmod(0o4755)
    at.call("edit_file", **arguments("edit_file", "f", at.call("read_file", path="f")["hash"]))
    status = (at.root / "f").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1234, 5678, 0o4755)


@pytest.mark.parametrize("gone", ["deleted", "replaced"])
def test_a_root_that_is_gone(at: At, gone: str) -> None:
    """When the directory itself is deleted or replaced, every tool says so; none works in what took its name."""
    shutil.rmtree(at.root)
    if gone == "replaced":
        at.root.symlink_to(at.outside)
    for name in FILE_TOOLS:
        assert "the secret" not in told(at, name, "." if name == "list_files" else "secret")
    assert "directory" in at.refused("run_command", command="touch made")
    assert sorted(entry.name for entry in at.outside.iterdir()) == ["secret"]


def test_a_tree_without_end(at: At) -> None:
    """A tree deeper than anybody needs is listed down to a limit."""
    here = os.open(at.root, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    listing = at.call("list_files")
    assert listing["total"]["dirs"] == 201
    assert "deep" in listing["total"]["unreadable"][0]["why"]


@pytest.mark.parametrize(
    "rule",
    ["*a" * 12 + "b", "**/" * 12 + "b", "a*" * 30, "*?" * 20 + "b", "[", "[z-a]", "\\", "!", "/", "a\0b"],
)
def test_a_cruel_rule(at: At, rule: str) -> None:
    """No .gitignore and no glob takes for ever, or breaks a listing: what would is no rule."""
    (at.root / ("a" * 200)).write_text("x")
    (at.root / ".gitignore").write_text(rule + "\n*.log\n")
    (at.root / "x.log").write_text("x")
    began = time.process_time()
    listing = at.call("list_files")
    assert [entry["path"] for entry in listing["total"]["ignored"]] in (["x.log"], ["a" * 200, "x.log"])
    with suppress(ToolError):
        at.call("search", pattern="x", glob=rule)
    assert time.process_time() - began < 5


# --- commands -------------------------------------------------------------------------------------------------------

COMMANDS = {
    "quotes": ("""printf %s 'a"b' "c'd" e\\ f""", "a\"bc'de f"),
    "newlines": ("echo a\necho b\n# c\necho d", "a\nb\nd\n"),
    "substitution": ("echo $(echo $((1 + 2))) `echo x`", "3 x\n"),
    "here document": ("cat <<'E'\n$x `y`\nE", "$x `y`\n"),
    "unicode": ("printf 'ä👩‍👧'", "ä👩‍👧"),
    "not utf-8": ("printf '\\377\\000x'", "\ufffd\0x"),
    "its own exit": ("exit 7", ""),
    "not found": ("nothing-like-this 2>/dev/null", ""),
    "syntax error": ("if 2>/dev/null", None),
    "no terminal": ("(read x < /dev/tty) 2>/dev/null || echo none", "none\n"),
    "no input": ("read x || echo none", "none\n"),
    "variables": ("echo ${EDGELOOP_TOKEN-unset} $OTHER", "unset kept\n"),
    "huge": (f"echo {'x' * 19_000} | wc -c", "19001\n"),
    "an escape": ("printf '\\033[2J'", "\x1b[2J"),
}


@pytest.mark.parametrize(("line", "output"), COMMANDS.values(), ids=COMMANDS.keys())
def test_commands(at: At, monkeypatch: pytest.MonkeyPatch, line: str, output: str | None) -> None:
    """A command is what a shell makes of the text, byte for byte; what it says is told as it is."""
    monkeypatch.setenv("EDGELOOP_TOKEN", "very secret")
    monkeypatch.setenv("OTHER", "kept")
    answer = at.call("run_command", command=line)
    assert output is None or answer["output"] == output


@pytest.mark.parametrize("line", ["echo a\0b", "", "x" * 20_001, "\ud800"])
def test_what_is_no_command(at: At, line: str) -> None:
    """What no shell could be given is refused, and nothing is kept of it."""
    assert at.refused("run_command", command=line)
    assert not at.workspace.outputs.exists() or not list(at.workspace.outputs.iterdir())


@pytest.mark.parametrize(
    "line",
    [
        "kill -STOP $$",
        "trap '' TERM INT HUP; while :; do :; done",
        "yes & yes & wait",
        "cat /dev/zero",
        "sh -c 'trap \"\" TERM; sleep 60' & sleep 60",
        "exec >/dev/null 2>&1; sleep 60",
    ],
)
def test_a_command_that_will_not_end(at: At, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """At its deadline every command ends, whatever it does with signals and output, and its output is bounded."""
    monkeypatch.setattr(command, "MAX_KEPT", 100_000)
    began = time.monotonic()
    with pytest.raises(ToolTimeout) as raised:
        at.call("run_command", command=line, timeout_s=1)
    assert time.monotonic() - began < 10
    assert json.loads(str(raised.value))["ended"] == "deadline"
    assert len(str(raised.value)) < 250_000
    assert sum(path.stat().st_size for path in at.workspace.outputs.iterdir()) <= 100_000


def test_who_leaves_the_group_does_not_hold_the_answer(at: At) -> None:
    """A process that left the command's group and holds its pipe is not waited for."""
    began = time.monotonic()
    answer = at.call("run_command", command="setsid sleep 20 & echo $!", timeout_s=15)
    assert time.monotonic() - began < 10
    assert answer["exit_code"] == 0
    os.kill(int(answer["output"]), 9)
