"""Runs every check that is not one of the three rings of tests, in the order of CI, and names each that failed.

Rust is checked and tested only where the pinned toolchain is installed: nobody needs it to use or change the Python.
"""

import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.setup import PYTHON, ROOT, VENV, node_binary

RUST = ROOT / "rust-wasm"
PYRIGHT = ROOT / "node_modules" / "pyright" / "index.js"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One command that must end in 0."""

    name: str
    command: tuple[str, ...]
    folder: Path = ROOT


def _checks() -> Iterator[Check]:
    ruff, python = str(VENV / "bin" / "ruff"), str(PYTHON)
    yield Check(name="format", command=(ruff, "format", "--check", "--quiet", "."))
    yield Check(name="lint", command=(ruff, "check", "--quiet", "."))
    yield Check(name="types", command=(str(node_binary()), str(PYRIGHT), "--pythonpath", python))
    yield Check(
        name="import arrows", command=(python, "-m", "pytest", "-q", "tests/core/test_architecture.py")
    )
    yield Check(name="generated documents", command=(python, "-m", "scripts.gen_docs", "--check"))
    yield Check(
        name="wasm manifest", command=(python, "-m", "pytest", "-q", "tests/core/test_wasm_manifest.py")
    )
    if _rust_is_here():
        yield from _rust_checks()


def _rust_checks() -> Iterator[Check]:
    """The shipped workspace, and the two crates beside it: the comparisons with others, and the native door."""
    clippy = (
        "cargo",
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    )
    for crate, folder in (("workspace", RUST), ("checks", RUST / "checks"), ("py", RUST / "py")):
        yield Check(name=f"rustfmt: {crate}", command=("cargo", "fmt", "--all", "--check"), folder=folder)
        yield Check(name=f"clippy: {crate}", command=clippy, folder=folder)
    yield Check(name="rust tests", command=("cargo", "test", "--quiet", "--locked"), folder=RUST)
    # With optimisation: properties are tried thousands of times, and bench-hot needs the same build for its rival.
    properties = ("cargo", "test", "--quiet", "--locked", "--release")
    yield Check(name="rust properties", command=properties, folder=RUST / "checks")
    yield Check(name="native kernels", command=(str(PYTHON), "-m", "scripts.wheel", "--test"))


def _rust_is_here() -> bool:
    """Whether cargo is the pinned one, with clippy and rustfmt. Says why the Rust checks are left out otherwise."""
    channel = tomllib.loads((RUST / "rust-toolchain.toml").read_text(encoding="utf-8"))["toolchain"][
        "channel"
    ]
    for tool in (["cargo", "--version"], ["cargo", "clippy", "--version"], ["cargo", "fmt", "--version"]):
        found = _output_of(tool)
        if found is None or (tool[1] == "--version" and f" {channel} " not in f"{found} "):
            print(f"check: all of Rust: left out, `{' '.join(tool)}` says {found!r}, pinned is {channel}")
            return False
    return True


def _output_of(command: list[str]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    # A rustup that lacks the pinned toolchain must say so, not fetch half a gigabyte.
    environment = {**os.environ, "RUSTUP_AUTO_INSTALL": "0"}
    done = subprocess.run(
        command, cwd=RUST, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    return done.stdout.strip() if done.returncode == 0 else None


def _passes(check: Check) -> bool:
    started = time.monotonic()
    print(f"check: {check.name} ...", flush=True)
    done = subprocess.run(
        check.command,
        cwd=check.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    verdict = "ok" if done.returncode == 0 else "FAILED"
    if done.returncode != 0:
        sys.stdout.flush()
        sys.stdout.buffer.write(done.stdout)
    print(f"check: {check.name}: {verdict} ({time.monotonic() - started:.1f} s)", flush=True)
    return done.returncode == 0


def main() -> int:
    failed = [check.name for check in _checks() if not _passes(check)]
    if failed:
        print(f"check: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
