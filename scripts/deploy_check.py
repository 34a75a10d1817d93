"""Proves that the production configuration uploads: `wrangler deploy --dry-run`, and says how large the upload is."""

import os
import re
import subprocess
import sys
import tempfile
import tomllib

from scripts.local_edge import QUIET, WRANGLER
from scripts.setup import ROOT, node_binary

# workerd takes an unverified runtime under these: right for a test on this machine, never in production.
LOCAL_ONLY_FLAGS = {"python_workers_development", "experimental"}


def _dry_run(outdir: str) -> subprocess.CompletedProcess[str]:
    command = [str(node_binary()), str(WRANGLER), "deploy", "--dry-run", f"--outdir={outdir}"]
    environment = {**os.environ, **QUIET, "WRANGLER_LOG_PATH": f"{outdir}/logs"}
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def main() -> int:
    config = tomllib.loads((ROOT / "wrangler.toml").read_text(encoding="utf-8"))
    leaked = LOCAL_ONLY_FLAGS & set(config.get("compatibility_flags", []))
    if leaked:
        print(f"deploy-check: wrangler.toml has flags for local use only: {sorted(leaked)}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as outdir:
        done = _dry_run(outdir)
    size = re.search(r"Total Upload: .*", done.stdout)
    if done.returncode != 0 or size is None:
        print(
            f"deploy-check: wrangler ended with {done.returncode}:\n{done.stdout}{done.stderr}",
            file=sys.stderr,
        )
        return 1
    print(f"deploy-check: the production configuration uploads. {size[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
