"""`python -m scripts.chaos [--seconds N] [--seed N]`: exits 1 where anything was lost, done twice, or never ended.

What was found lies in the folder that is printed then; a run that finds nothing leaves nothing.
"""

import argparse
import asyncio
import sys
import time

from scripts.chaos.run import Run
from scripts.setup import ROOT


def main() -> int:
    """Run it and say what came of it."""
    parser = argparse.ArgumentParser(prog="chaos")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    folder = ROOT / ".edgeloop" / "chaos" / f"{given.seed}-{int(time.time())}"
    run = Run(seconds=given.seconds, seed=given.seed, folder=folder)
    began = time.monotonic()
    try:
        asyncio.run(run.run())
    except Exception as error:
        run.wrong.append(f"the run itself: {type(error).__name__}: {error}")
    return _judge(run, time.monotonic() - began)


def _judge(run: Run, seconds: float) -> int:
    counts = run.count + run.world.did
    asked, size = run.world.requests()
    print(f"\nchaos: seed {run.seed}, {seconds:.0f} s")
    for what in sorted(counts):
        print(f"  {counts[what]:>9,}  {what}")
    print(f"  {asked:>9,}  requests at the model, {size:,} bytes, each a prefix of its session's next")
    for why, times in run.why_lost.most_common(8):
        print(f"  {times:>9,}  connections lost: {why}")
    for what in run.wrong:
        print(f"  WRONG  {what}")
    if run.wrong:
        print(f"chaos: {len(run.wrong)} WRONG with seed {run.seed}; the evidence is in {run.world.folder}")
        return 1
    run.world.remove()
    print("chaos: 0 lost, 0 duplicated, every turn ended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
