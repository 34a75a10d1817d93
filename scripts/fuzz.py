"""Feeds what reads peers' words mutated input for minutes: `make fuzz`.

First everything in Python, and the decoders and kernels through the wasm (`fuzz_core.py`); then, where the pinned toolchain is
installed, both in Rust at hundreds of times the speed. `EDGELOOP_FUZZ_SECONDS` (300) is how long in all; `EDGELOOP_FUZZ_SEED`
repeats a run, but for the kernels in Rust: what breaks one there, proptest prints and keeps. What else breaks something is saved,
and its path printed: a test replays all that lies in `tests/fixtures/crashers`.
"""

import os
import shutil
import subprocess
import sys
import time

from scripts import fuzz_core
from scripts.setup import ROOT

SECONDS = "300"
IN_PYTHON = 1 / 3
"""The share of the time for what is fuzzed from Python; all of it without Rust."""
IN_DECODERS = 1 / 2
"""Of what is left to Rust; the other half is the kernels'."""
COMMAND = "cargo test --release --locked --quiet --package edgeloop-core --test decode_fuzz -- --nocapture"
PROPERTIES = "cargo test --release --locked --quiet --test properties"
CASES = "20000"


def main() -> int:
    """Run everything; the exit code says whether anything broke."""
    seed = int(os.environ.get("EDGELOOP_FUZZ_SEED") or time.time_ns() | 1)
    seconds = float(os.environ.get("EDGELOOP_FUZZ_SECONDS", SECONDS))
    has_rust = shutil.which("cargo") is not None
    if not has_rust:
        print("fuzz: cargo is not installed; the decoders are met through the wasm alone", flush=True)
    print(f"fuzz: {seconds:.0f} s, EDGELOOP_FUZZ_SEED={seed}", flush=True)
    share = seconds * (IN_PYTHON if has_rust else 1)
    broken = fuzz_core.run(share, seed)
    code = _in_rust(seconds - share, seed) if has_rust else 0
    return code or bool(broken)


def _in_rust(seconds: float, seed: int) -> int:
    given = {"EDGELOOP_FUZZ_SECONDS": str(round(seconds * IN_DECODERS)), "EDGELOOP_FUZZ_SEED": str(seed)}
    code = subprocess.run(COMMAND.split(), cwd=ROOT / "rust-wasm", env={**os.environ, **given}).returncode
    return code or _properties(seconds * (1 - IN_DECODERS))


def _properties(seconds: float) -> int:
    """The kernels' laws over and over, on other input each time; proptest says and keeps what breaks one."""
    environment = {**os.environ, "EDGELOOP_FUZZ_CASES": CASES}
    until = time.monotonic() + seconds
    code = 0
    while code == 0 and time.monotonic() < until:
        code = subprocess.run(
            PROPERTIES.split(), cwd=ROOT / "rust-wasm" / "checks", env=environment
        ).returncode
    return code


if __name__ == "__main__":
    sys.exit(main())
