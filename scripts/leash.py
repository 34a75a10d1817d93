"""Runs a command that must not outlive whoever started it, however that one ends.

`python -m scripts.leash COMMAND...`: the command gets a process group of its own; when standard input closes (the starter
asked for it, or died, by SIGKILL too) or a signal asks for an end, the whole group is ended. Exits as the command did.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from types import FrameType

GRACE_SECONDS = 3.0
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def _adopt_orphans() -> None:
    """Have the command's orphaned children reparented to us: a container's first process may never reap them (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """SIGTERM, a grace period, SIGKILL: to the group, because wrangler's own children outlive it otherwise."""
    _signal_group(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline and _group_lives(child):
        time.sleep(0.05)
    _signal_group(child.pid, signal.SIGKILL)
    child.wait()


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass


def _group_lives(child: subprocess.Popen[bytes]) -> bool:
    # Dead processes that nobody has reaped still count as a living group: the leader first, then its orphans.
    if child.poll() is not None:
        _reap_orphans()
    try:
        os.killpg(child.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _reap_orphans() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _stop(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    _adopt_orphans()
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        while child.poll() is None:
            readable, _, _ = select.select([sys.stdin], [], [], 0.2)
            if readable and not os.read(sys.stdin.fileno(), 1024):
                break
    finally:
        _end_group(child)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main())
