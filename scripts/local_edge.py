"""Runs the real Worker on this machine, in real workerd under `wrangler dev`, and ends it for sure.

Decides how wrangler is started, found ready, killed and cleaned up after; refuses to know what the Worker does beyond
answering 200 on /healthz. Used by the tests, the benches, the demo and `make dev`.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from scripts.pyodide_bundle import ROOT, Bundle, current
from scripts.setup import WORKER_PACKAGES, node_binary

WRANGLER = ROOT / "node_modules" / "wrangler" / "bin" / "wrangler.js"
RUNS = ROOT / ".edgeloop" / "runs"
LOG_TAIL_LINES = 40
STARTED = "workerds"  # in the run's folder: a line for each workerd started, pid and arguments
_LISTENING = "0A"  # of /proc/net/tcp's state column
_READY = re.compile(r"Ready on (http://\S+)")
# Never beyond this machine: no update check, no telemetry, no fetch of a sample Request.cf, no questions asked.
QUIET = {
    "CI": "1",
    "NO_COLOR": "1",
    "WRANGLER_SEND_METRICS": "false",
    "WRANGLER_HIDE_BANNER": "true",
    "CLOUDFLARE_CF_FETCH_ENABLED": "false",
    "X_LOCAL_EXPLORER": "false",
    "X_LOCAL_OBSERVABILITY": "false",
}


class LocalEdgeError(Exception):
    """The edge did not start, or is not running; the message ends with the last lines of its log."""


class LocalEdge:
    """One Worker in one workerd, with a state folder of its own.

    `variables` become the Worker's vars and secrets (through a private file, so that none shows in a process list).
    `persist_to` keeps the Durable Objects' SQLite; without it the state goes with stop(). Never give two edges that run
    at once the same folder: both would write the same databases, without any error. `private_copy` runs a copy of
    the sources, so that an edit meanwhile does not restart the Worker (wrangler watches them). `python` false runs a project
    that has no Python, with the flags of its own wrangler.toml.
    """

    def __init__(
        self,
        *,
        variables: Mapping[str, str] | None = None,
        port: int = 0,
        persist_to: Path | None = None,
        root: Path = ROOT,
        private_copy: bool = False,
        python: bool = True,
        compatibility_date: str | None = None,
        log_to: Path | None = None,
    ) -> None:
        self.variables = dict(variables or {})
        self.port = port
        self.persist_to = persist_to
        self.root = root
        self.private_copy = private_copy
        self.python = python
        self.compatibility_date = compatibility_date
        self.url = ""
        self.start_seconds = 0.0
        self._log_to = log_to
        self._log_begins = 0  # a kept log may hold earlier runs
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- life ------------------------------------------------------------------------------------------------------

    def start(self, timeout: float = 90.0) -> Self:
        """Start and return when /healthz answers 200. Raises LocalEdgeError (and leaves nothing running) otherwise."""
        if self._process is not None:
            raise LocalEdgeError("start: this edge is running already")
        started = time.monotonic()
        _sweep_runs()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=RUNS))
        try:
            with self.log_path.open("ab") as log:
                self._log_begins = log.tell()
                self._process = self._spawn(self._folder, current(), log)
            self._await_ready(started + timeout)
        except BaseException:
            self.stop()
            raise
        self.start_seconds = time.monotonic() - started
        return self

    def stop(self) -> None:
        """End every process of this edge and remove what it wrote, but for `persist_to` and `log_to`. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()  # the leash ends the group when its standard input does
            process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def restart(self) -> Self:
        """Stop and start with the same address; with `persist_to` this is what a redeploy looks like to a client."""
        self.port = int(self.url.rsplit(":", 1)[1])
        self.stop()
        return self.start()

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until the edge ends by itself and return its exit code; None when `timeout` (seconds) is over first."""
        try:
            return self._require_process().wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    @property
    def log_path(self) -> Path:
        return self._log_to or self._running_folder() / "edge.log"

    def log_text(self) -> str:
        """Everything this run has logged: wrangler's words and the Worker's."""
        return self.log_path.read_bytes()[self._log_begins :].decode("utf-8", errors="replace")

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        return "\n".join(self.log_text().splitlines()[-lines:])

    # --- starting --------------------------------------------------------------------------------------------------

    def _spawn(self, folder: Path, bundle: Bundle, log: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "scripts.leash", str(node_binary()), str(WRANGLER), "dev"]
        environment = {**os.environ, **QUIET, **self._private_places(folder, bundle)}
        return subprocess.Popen(
            [*command, *self._arguments(folder, bundle)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal is for the starter to handle
        )

    def _arguments(self, folder: Path, bundle: Bundle) -> list[str]:
        project = _copy_sources(self.root, folder / "project") if self.private_copy else self.root
        arguments = [
            f"--config={project / 'wrangler.toml'}",
            f"--env-file={_write_variables(folder / 'variables.env', self.variables)}",
            f"--persist-to={self.persist_to or folder / 'state'}",
            "--ip=127.0.0.1",
            f"--port={self.port}",
            "--inspector-port=0",
            "--show-interactive-dev-session=false",
        ]
        if self.python:
            arguments += ["--compatibility-flags", *_python_flags(bundle)]
        if self.compatibility_date is not None:
            arguments.append(f"--compatibility-date={self.compatibility_date}")
        return arguments

    def _private_places(self, folder: Path, bundle: Bundle) -> dict[str, str]:
        return {
            "MINIFLARE_WORKERD_PATH": str(_write_wrapper(folder / "workerd", bundle)),
            "WRANGLER_LOG_PATH": str(folder / "wrangler-logs"),
            # Two edges must not find each other through the machine-wide registry of dev sessions.
            "WRANGLER_REGISTRY_PATH": str(folder / "registry"),
        }

    def _await_ready(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise LocalEdgeError(f"the edge ended while it started:\n{self.log_tail()}")
            found = _READY.search(self.log_text())
            if found is not None and _is_healthy(found[1]):
                self.url = found[1]
                return
            time.sleep(0.05)
        raise LocalEdgeError(f"the edge is not ready in time:\n{self.log_tail()}")

    # --- trouble, for recovery tests -------------------------------------------------------------------------------

    def workerd_pid(self) -> int:
        """The process that runs the Worker (wrangler keeps another workerd as its proxy).

        Raises LocalEdgeError while there is none: for a moment after kill_workerd().
        """
        self._require_process()
        for line in reversed(_lines(self._running_folder() / STARTED)):
            pid, _, arguments = line.partition(" ")
            # Only the Worker's own process gets a debug port; the other workerd is wrangler's proxy.
            if "--debug-port=" in arguments and _is_alive(int(pid)):
                return int(pid)
        raise LocalEdgeError(f"no workerd is running the Worker:\n{self.log_tail()}")

    def kill_workerd(self) -> int:
        """SIGKILL the Worker's process, as a machine's loss would, and return its pid. wrangler starts it again."""
        pid = self.workerd_pid()
        os.kill(pid, signal.SIGKILL)
        return pid

    def await_recovery(self, killed: int, timeout: float = 30.0) -> float:
        """Wait until another process than `killed` answers; returns the seconds it took."""
        started = time.monotonic()
        while time.monotonic() - started < timeout:
            try:
                if self.workerd_pid() != killed and _is_healthy(self.url):
                    return time.monotonic() - started
            except LocalEdgeError:
                pass
            time.sleep(0.05)
        raise LocalEdgeError(f"workerd was not started again in {timeout:.0f} s:\n{self.log_tail()}")

    def redeploy(self, timeout: float = 60.0) -> float:
        """Change the code of a `private_copy`, as a deployment would, and wait until it runs; returns the seconds it took.

        wrangler restarts workerd for it: every object is reset, in-flight requests are cut off.
        """
        assert self.private_copy, "the sources are other people's too"
        before, started = self.workerd_pid(), time.monotonic()
        worker = self._running_folder() / "project" / "src" / "worker.py"
        worker.write_text(f"{worker.read_text(encoding='utf-8')}\n# {time.time()}\n", encoding="utf-8")
        return self.await_recovery(before, timeout - (time.monotonic() - started))

    def _require_process(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise LocalEdgeError("the edge is not running")
        return self._process

    def _running_folder(self) -> Path:
        if self._folder is None:
            raise LocalEdgeError("the edge is not running")
        return self._folder


def _python_flags(bundle: Bundle) -> list[str]:
    development = ["python_workers_development", "experimental"] if bundle.source == "assembled" else []
    return ["python_workers", *development]


# --- files wrangler is given ---------------------------------------------------------------------------------------


def _sweep_runs() -> None:
    """Make the folder of runs, and remove what starters killed outright left in it."""
    RUNS.mkdir(parents=True, exist_ok=True)
    for folder in RUNS.iterdir():
        pid = folder.name.partition("-")[0]
        if not (pid.isdigit() and _is_alive(int(pid))):
            shutil.rmtree(folder, ignore_errors=True)


def _write_wrapper(path: Path, bundle: Bundle) -> Path:
    """miniflare passes workerd no cache folder, so workerd would fetch its Python runtime at every start."""
    path.write_text(
        "#!/bin/sh\n"
        f'echo "$$ $*" >> "{path.parent / STARTED}"\n'
        f'exec "{_workerd_binary()}" "$@" --pyodide-bundle-disk-cache-dir="{bundle.directory}"\n'
    )
    path.chmod(0o700)
    return path


def _workerd_binary() -> Path:
    found = sorted((ROOT / "node_modules" / "@cloudflare").glob("workerd-*/bin/workerd"))
    if not found:
        raise LocalEdgeError("node_modules has no workerd for this machine: run `make setup`")
    return found[0]


def _write_variables(path: Path, variables: Mapping[str, str]) -> Path:
    """Write wrangler's --env-file, readable by this person only. Raises LocalEdgeError for what it cannot carry."""
    lines: list[str] = []
    for name, value in variables.items():
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name) or re.search(r"['\n\r]", value):
            raise LocalEdgeError(
                f"variable {name!r} cannot be written to an env file: expected a name of capitals, and a value of one"
                " line without single quotes"
            )
        # dotenv takes single quotes literally, but its expander still looks for dollars.
        lines.append(f"{name}='{value.replace('$', chr(92) + '$')}'\n")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.writelines(lines)
    return path


def _copy_sources(root: Path, target: Path) -> Path:
    target.mkdir()
    shutil.copy2(root / "wrangler.toml", target)
    shutil.copytree(root / "src", target / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (target / "python_modules").symlink_to(WORKER_PACKAGES, target_is_directory=True)
    return target


# --- looking ---------------------------------------------------------------------------------------------------------


def listening_ports(pid: int) -> list[int]:
    """The TCP ports of this machine that a process listens on."""
    sockets = set[str]()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(os.readlink(descriptor))
        except OSError:
            continue  # closed meanwhile
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    rows = [line.split() for line in lines]
    mine = [row for row in rows if row[3] == _LISTENING and f"socket:[{row[9]}]" in sockets]
    return [int(row[1].split(":")[1], 16) for row in mine]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, so alive
        return True
    return True


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=30) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
