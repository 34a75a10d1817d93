"""The Workers that are measured beside each other: ours, and the peers under bench/peers, each in a workerd of its own.

Viewers speak to the Worker's own process, not to wrangler's development proxy in front of it: the proxy would add its own
cost to every contestant's. Objects are kept in memory where the machine lets us: local workerd syncs its disk on the one
thread, six times per object even for one that stores nothing, and the disk is not what is compared.
"""

import hashlib
import os
import secrets
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench._load import Provider, say
from scripts.evictable_edge import EvictableEdge
from scripts.local_edge import LocalEdge, LocalEdgeError, listening_ports
from scripts.setup import ROOT, STATE, VENV, node_binary

SHARED_MEMORY = Path("/dev/shm")
PEERS = ROOT / "bench" / "peers"


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A running Worker: how to speak to it (bench/load/protocols.mjs) and which process it is."""

    name: str
    protocol: str
    url: str
    pid: int
    token: str = field(repr=False, default="")

    def options(self, **more: Any) -> dict[str, Any]:
        """What a load tool must know of it, and `more`."""
        return {"protocol": self.protocol, "url": self.url, "pid": self.pid, "token": self.token, **more}


class Contestants:
    """Starts contestants and ends them all together."""

    def __init__(self, stack: ExitStack, provider: Provider) -> None:
        self._stack = stack
        self._provider = provider

    def edgeloop(self, dialect: str = "openai", **variables: str) -> Contestant:
        """Ours, as it ships: a real token, the real provider adapter, the edge's own tools."""
        return self._ours(LocalEdge, dialect, variables)

    def evictable(self, dialect: str = "openai", **variables: str) -> Contestant:
        """Ours, behind the door that can evict its sessions."""
        return self._ours(EvictableEdge, dialect, variables)

    def _ours(self, kind: type[LocalEdge], dialect: str, variables: dict[str, str]) -> Contestant:
        token = secrets.token_urlsafe(24)
        edge = kind(
            private_copy=True,
            variables={
                "EDGELOOP_TOKEN": token,
                "EDGELOOP_PROVIDER": dialect,
                "EDGELOOP_BASE_URL": self._provider.url,
                "EDGELOOP_MODEL": "bench",
                "EDGELOOP_MODE": "auto",
                "EDGELOOP_FETCH_HOSTS": self._provider.host,
                **variables,
            },
        )
        return self._start("edgeloop", "edgeloop", edge, token)

    def js_pump(self) -> Contestant:
        """The bare JavaScript pump."""
        return self._start("js pump", "plain", self._peer("js-pump", python=False, private_copy=True))

    def python_naive(self) -> Contestant:
        """A Python handler per chunk."""
        return self._start(
            "python per chunk", "plain", self._peer("python", private_copy=True, LOOP="python")
        )

    def js_pump_in_python(self) -> Contestant:
        """The bare JavaScript pump in a Python Worker."""
        return self._start(
            "js pump in Python", "plain", self._peer("python", private_copy=True, LOOP="javascript")
        )

    def bare_object(self) -> Contestant:
        """A Python object with a socket and a table."""
        return self._start("bare object", "plain", self._peer("bare-object", private_copy=True))

    def agents_sdk(self, folder: str = "agents-sdk", dialect: str = "openai") -> Contestant:
        """A plain `AIChatAgent`."""
        with _installing:
            install(PEERS / folder)
        return self._start(folder, "agents-sdk", self._peer(folder, python=False, DIALECT=dialect))

    def _peer(
        self, folder: str, *, python: bool = True, private_copy: bool = False, **more: str
    ) -> LocalEdge:
        variables = {"MODEL_URL": self._provider.url, "MODEL": "bench", **more}
        return LocalEdge(root=PEERS / folder, python=python, private_copy=private_copy, variables=variables)

    def _start(self, name: str, protocol: str, edge: LocalEdge, token: str = "") -> Contestant:
        edge.persist_to = Path(self._stack.enter_context(TemporaryDirectory(dir=_memory())))
        self._stack.enter_context(edge)
        pid = edge.workerd_pid()
        say(f"{name} is up ({edge.start_seconds:.1f} s)")
        return Contestant(name=name, protocol=protocol, url=own_url(pid), pid=pid, token=token)


def _memory() -> str | None:
    """A file system in memory, or None where there is none (then the machine's temporary folder serves)."""
    return str(SHARED_MEMORY) if os.access(SHARED_MEMORY, os.W_OK) else None


def start(starters: Sequence[Callable[[], Contestant]]) -> list[Contestant]:
    """Start contestants together, and return them in the given order."""
    with ThreadPoolExecutor(len(starters)) as pool:
        return [future.result() for future in [pool.submit(starter) for starter in starters]]


def own_url(pid: int) -> str:
    """The address at which a Worker's own process answers /healthz.

    Raises:
        LocalEdgeError: none of its ports does.
    """
    for port in listening_ports(pid):
        url = f"http://127.0.0.1:{port}"
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:
                if answer.status == 200:
                    return url
        except OSError:
            continue  # the inspector's port, or the debugger's
    raise LocalEdgeError(f"process {pid}: no port answers /healthz")


_installing = threading.Lock()


def install(folder: Path) -> None:
    """Install a peer's npm packages from its lock, if that has changed since.

    Raises:
        LocalEdgeError: npm failed.
    """
    stamp = STATE / "stamps" / f"peer-{folder.name}"
    key = hashlib.sha256(b"".join((folder / name).read_bytes() for name in _INPUTS)).hexdigest()
    if (folder / "node_modules").is_dir() and stamp.is_file() and stamp.read_text() == key:
        return
    say(f"installing {folder.name}'s npm packages (once) ...")
    path = os.pathsep.join([str(node_binary().parent), str(VENV / "bin"), os.environ.get("PATH", "")])
    done = subprocess.run(
        [str(VENV / "bin" / "npm"), "ci", "--loglevel=error"],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise LocalEdgeError(f"npm ci in {folder.name}: {(done.stdout + done.stderr).strip()[-2000:]}")
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(key)


_INPUTS = ("package.json", "package-lock.json", ".npmrc")
