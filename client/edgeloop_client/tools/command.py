"""`run_command` and `read_output`: a shell command in the directory, after a person said yes.

A command is not confined: it can do what the person can, which is why it asks. Its process group ends with
it. The whole output is kept in a file of the client's, up to a limit; the model is given its head and tail,
and `read_output` gives the rest.
"""

import os
import secrets
import select
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from edgeloop_client.errors import ToolError, ToolTimeout
from edgeloop_client.tools.base import Arguments, Cancel, Output, Tool, Workspace, to_json

MAX_SHOWN = 32 * 1024
HALF = MAX_SHOWN // 2
MAX_KEPT = 64 << 20
"""Bytes of one output kept on disk; what a command says after that is counted and dropped."""
KEEP_SECONDS = 7 * 24 * 3600
GRACE_SECONDS = 2.0
"""Between asking the process group to end and killing it."""
LINGER_SECONDS = 0.5
"""How long output is still read when the command has ended but something holds its pipe."""
PIECE = 64 * 1024


class RunCommand(Arguments):
    command: str = Field(min_length=1, max_length=20_000, description="Given to sh -c in the root directory.")
    timeout_s: int = Field(default=120, ge=1, le=3_000, description="Seconds until it is ended.")


class ReadOutput(Arguments):
    ref: str = Field(pattern=r"^[0-9a-f]{16}$", description="`ref` of a run_command result.")
    offset: int = Field(default=0, ge=0, description="First byte.")
    limit: int = Field(default=MAX_SHOWN, ge=4, le=256 * 1024, description="Bytes at most.")


@dataclass(frozen=True, kw_only=True)
class _Ended:
    """How a command ended: `code` is None if it had to be killed; `why` says why it was ended by us."""

    code: int | None
    why: str | None
    written: int
    kept: int


def run_command(workspace: Workspace, arguments: RunCommand, cancel: Cancel) -> Output:
    """Run a command to its end or its deadline.

    Raises:
        ToolError: it could not be started.
        ToolTimeout: ended at its deadline, or cancelled; the text holds its output so far.
    """
    if "\0" in arguments.command:
        raise ToolError("the command holds a NUL; expected text that a shell can be given")
    workspace.root.check()
    _drop_old(workspace.outputs)
    ref = secrets.token_hex(8)
    path = workspace.outputs / ref
    began = time.monotonic()
    with open(
        os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "r+b", buffering=0
    ) as kept:
        try:
            ended = _run(arguments, workspace.root.directory, kept.fileno(), cancel)
        except OSError as error:
            path.unlink()
            raise ToolError(f"the command could not be started: {error.strerror}") from error
        shown = _shown(kept.fileno(), ended, ref)
    whole = ended.kept <= MAX_SHOWN
    if whole:
        path.unlink()
    answer: Output = {
        "exit_code": ended.code,
        "output": shown,
        "bytes": ended.written,
        "ref": None if whole else ref,
        "ms": int((time.monotonic() - began) * 1000),
    }
    if ended.why is not None:
        raise ToolTimeout(to_json({"ended": ended.why} | answer))
    return answer


def read_output(workspace: Workspace, arguments: ReadOutput, _cancel: Cancel) -> Output:
    """Read a range of a kept output.

    Raises:
        ToolError: not kept, or an offset past its end.
    """
    try:
        with open(workspace.outputs / arguments.ref, "rb") as kept:
            size = os.fstat(kept.fileno()).st_size
            if arguments.offset > size:
                raise ToolError(f"offset {arguments.offset} is past the end: {size} bytes are kept")
            kept.seek(arguments.offset)
            data = kept.read(arguments.limit)
    except FileNotFoundError:
        raise ToolError(
            f"no output is kept under {arguments.ref!r}; expected the ref of a run_command result"
        ) from None
    if arguments.offset + len(data) < size:
        data = _whole_characters(data)
    end = arguments.offset + len(data)
    return {
        "ref": arguments.ref,
        "offset": arguments.offset,
        "next": end if end < size else None,
        "bytes": size,
        "text": data.decode("utf-8", "replace"),
    }


def question(arguments: RunCommand) -> str:
    """What the person is asked."""
    return arguments.command


def _run(arguments: RunCommand, directory: Path, kept: int, cancel: Cancel) -> _Ended:
    process = subprocess.Popen(
        ["/bin/sh", "-c", arguments.command],
        cwd=directory,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    until = time.monotonic() + arguments.timeout_s
    sink = _Sink(process.stdout.fileno(), kept)
    try:
        why = _watch(process, sink, until, cancel)
        if why is not None:
            _signal_group(process, signal.SIGTERM)
            _pump(sink, time.monotonic() + GRACE_SECONDS, Cancel(), stop=lambda: process.poll() is not None)
    finally:
        # Also after a good end: what the command left running in the background must not outlive it.
        _signal_group(process, signal.SIGKILL)
        code = process.wait()
    _pump(sink, time.monotonic() + LINGER_SECONDS, Cancel(), stop=lambda: False)
    process.stdout.close()
    return _Ended(code=code if why is None else None, why=why, written=sink.written, kept=sink.kept)


def _watch(process: "subprocess.Popen[bytes]", sink: "_Sink", until: float, cancel: Cancel) -> str | None:
    """Read until the command ends; why it must be ended otherwise."""
    _pump(sink, until, cancel, stop=lambda: process.poll() is not None)
    while process.poll() is None:
        if cancel.is_set:
            return "cancelled"
        if time.monotonic() >= until:
            return "deadline"
        # It closed its output and goes on: nothing to read, only its end to wait for.
        time.sleep(0.05)
    return None


class _Sink:
    """The pipe of a command and the file its output is kept in."""

    def __init__(self, pipe: int, kept_in: int) -> None:
        os.set_blocking(pipe, False)
        self.pipe = pipe
        self.open = True
        self.written = 0
        self.kept = 0
        self._kept_in = kept_in

    def take(self) -> None:
        try:
            data = os.read(self.pipe, PIECE)
        except BlockingIOError:
            return
        self.open = bool(data)
        self.written += len(data)
        room = MAX_KEPT - self.kept
        if room > 0:
            self.kept += os.write(self._kept_in, data[:room])


def _pump(sink: _Sink, until: float, cancel: Cancel, *, stop: Callable[[], bool]) -> None:
    """Move output from the pipe to the file until it closes, time is up, or nothing comes and `stop` says so."""
    poll = select.poll()
    poll.register(sink.pipe, select.POLLIN)
    while sink.open and not cancel.is_set and (left := until - time.monotonic()) > 0:
        if poll.poll(min(left, 0.05) * 1000):
            sink.take()
        elif stop():
            return


def _signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def _environment() -> dict[str, str]:
    """The person's environment without our own secrets."""
    return {name: value for name, value in os.environ.items() if not name.startswith("EDGELOOP_")}


def _shown(kept: int, ended: _Ended, ref: str) -> str:
    if ended.kept <= MAX_SHOWN:
        return os.pread(kept, MAX_SHOWN, 0).decode("utf-8", "replace")
    head = _whole_characters(os.pread(kept, HALF, 0))
    tail = os.pread(kept, HALF, ended.kept - HALF)
    left_out = (
        f"[... {ended.kept - len(head) - HALF} bytes left out: read_output ref={ref} offset={len(head)} ...]"
    )
    dropped = (
        f"\n[{ended.written - ended.kept} bytes after these were not kept]"
        if ended.written > ended.kept
        else ""
    )
    return f"{head.decode('utf-8', 'replace')}\n{left_out}\n{tail.decode('utf-8', 'replace')}{dropped}"


def _whole_characters(data: bytes) -> bytes:
    """Without the beginning of a UTF-8 character that the cut went through."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            return data
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data if back >= needed else data[:-back]
    return data


def _drop_old(outputs: Path) -> None:
    outputs.mkdir(parents=True, exist_ok=True, mode=0o700)
    limit = time.time() - KEEP_SECONDS
    for path in outputs.iterdir():
        if path.stat().st_mtime < limit:
            path.unlink(missing_ok=True)


RUN = Tool(
    name="run_command",
    description=(
        "Run a shell command in the root directory; the person is asked first. Standard input is empty. Gives the exit code and"
        f" the output (both streams); of more than {MAX_SHOWN // 1024} KB the head and the tail, and a ref for read_output."
    ),
    arguments=RunCommand,
    effect="mutate",
    deadline_ms=0,
    run=run_command,
    touches={"command": "command"},
    question=question,
    guarded=True,
)
OUTPUT = Tool(
    name="read_output",
    description="Read more of a command's output, by the ref of its run_command result.",
    arguments=ReadOutput,
    effect="read",
    run=read_output,
)
