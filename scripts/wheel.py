"""Builds the optional native kernels as a wheel (`make wheel`), or tests them against the .wasm (`make check`).

The wheel goes to `dist/`. `--test` unpacks it beside the environment, not into it, and runs the tests that are skipped without
it. Needs Rust; maturin is of the development environment.
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from scripts.setup import PYTHON, ROOT, STATE, VENV

CRATE = ROOT / "rust-wasm" / "py"
DIST = ROOT / "dist"
UNPACKED = STATE / "native"


def build() -> Path:
    """The wheel, built from what lies here.

    Raises:
        subprocess.CalledProcessError: the build failed; it has said why.
    """
    command = [str(VENV / "bin" / "maturin"), "build", "--release", "--locked", "--quiet"]
    subprocess.run(
        [*command, "--out", str(DIST), "--interpreter", str(PYTHON)],
        cwd=CRATE,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return max(DIST.glob("edgeloop_native-*.whl"), key=lambda wheel: wheel.stat().st_mtime_ns)


def test(wheel: Path) -> int:
    """Run the tests of the native kernels; the exit code."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(UNPACKED)
    given = {**os.environ, "PYTHONPATH": str(UNPACKED), "EDGELOOP_NATIVE": "1"}
    command = [str(PYTHON), "-m", "pytest", "-q", "tests/core/test_native.py"]
    return subprocess.run(command, cwd=ROOT, env=given, stdin=subprocess.DEVNULL).returncode


def main(arguments: list[str]) -> int:
    """Build; the exit code is that of the tests, where they were asked for."""
    wheel = build()
    print(f"wheel: {wheel.relative_to(ROOT)}, {wheel.stat().st_size:,} bytes", flush=True)
    return test(wheel) if "--test" in arguments else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as problem:
        sys.exit(problem.returncode)
