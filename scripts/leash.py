"""Runs a command that must not outlive whoever started it, however that one ends.

`python -m scripts.leash COMMAND...`: the command gets a process group of its own; when standard input closes (the starter
asked for it, or died, by SIGKILL too) or a signal asks for an end, the whole group is ended. Exits as the command did.
"""

import os
import select
import signal
import subprocess
import sys
import time
from types import FrameType

GRACE_SECONDS = 3.0


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
    child.poll()  # reap it: a zombie leader would keep the group alive for ever
    try:
        os.killpg(child.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _stop(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
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
