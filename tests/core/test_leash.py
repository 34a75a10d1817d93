"""A command on the leash ends with whoever started it, and all its own children with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A command with a child of its own, each writing its pid.
FAMILY = "sh -c 'echo $$ > {child}; sleep 60 & wait' & echo $$ > {leader}; wait"
# The same, deaf to the polite signal: what wrangler and workerd are at their worst.
STUBBORN = (
    "trap '' TERM; sh -c 'echo $$ > {child}; sleep 60 & wait; sleep 60' & echo $$ > {leader}; wait; sleep 60"
)


def _start(tmp_path: Path, script: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "scripts.leash", "sh", "-c", script]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, start_new_session=True)


def _pid(path: Path) -> int:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if path.exists() and path.read_text().strip():
            return int(path.read_text())
        time.sleep(0.02)
    raise AssertionError(f"{path.name} was never written")


def _await_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if (
            Path(f"/proc/{pid}/stat").exists()
            and Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] == "Z"
        ):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("script", "how"),
    [(STUBBORN, "stdin closes"), (FAMILY, "stdin closes"), (FAMILY, "SIGTERM"), (FAMILY, "SIGINT")],
)
def test_whole_group_ends(tmp_path: Path, script: str, how: str):
    """However the end is asked for, neither the command nor its child is left, deaf as they may be."""
    leash = _start(tmp_path, script.format(child=tmp_path / "child", leader=tmp_path / "leader"))
    pids = [_pid(tmp_path / "leader"), _pid(tmp_path / "child")]
    assert leash.stdin is not None
    if how == "stdin closes":
        leash.stdin.close()
    else:
        leash.send_signal(signal.SIGTERM if how == "SIGTERM" else signal.SIGINT)
    leash.wait(20)
    assert all(map(_await_gone, pids))


def test_starter_killed_outright(tmp_path: Path):
    """SIGKILL of the starter, which can clean up nothing, ends the command as well."""
    starter_code = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-m', 'scripts.leash', 'sh', '-c', 'echo $$ > {tmp_path}/leader; sleep 60'],"
        " stdin=subprocess.PIPE, start_new_session=True)\n"
        "time.sleep(60)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", starter_code], cwd=ROOT)
    leader = _pid(tmp_path / "leader")
    starter.kill()
    starter.wait()
    assert _await_gone(leader)


def test_exit_code_is_the_commands(tmp_path: Path):
    """A command that ends by itself is not waited for any longer, and its exit code is passed on."""
    leash = _start(tmp_path, "exit 7")
    assert leash.wait(20) == 7
