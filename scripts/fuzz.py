"""Feed the stream decoders mutated streams for minutes: `make fuzz`. Needs the pinned Rust toolchain.

`EDGELOOP_FUZZ_SECONDS` (300) is how long; `EDGELOOP_FUZZ_SEED` repeats a run. A stream that breaks a decoder is kept, and its
path is printed: make it a fixture.
"""

import os
import subprocess
import sys
import time

from scripts.setup import ROOT

SECONDS = "300"
COMMAND = "cargo test --release --locked --quiet --package edgeloop-core --test decode_fuzz -- --nocapture"


def main() -> int:
    """Run the harness; its exit code says whether anything broke."""
    seed = os.environ.get("EDGELOOP_FUZZ_SEED") or str(time.time_ns() | 1)
    seconds = os.environ.get("EDGELOOP_FUZZ_SECONDS", SECONDS)
    print(f"fuzz: {seconds} s, EDGELOOP_FUZZ_SEED={seed}", flush=True)
    environment = {**os.environ, "EDGELOOP_FUZZ_SECONDS": seconds, "EDGELOOP_FUZZ_SEED": seed}
    try:
        return subprocess.run(COMMAND.split(), cwd=ROOT / "rust-wasm", env=environment).returncode
    except FileNotFoundError:
        print("fuzz: cargo is not installed; `make doctor` says how to get it", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
