"""The compression analysis, in real workerd: how fast blocks are judged, and that a long conversation costs no more.

Times are processor times, as in bench/hot.py. What is measured as a text's judgement is all of it: the lookup, every
byte compared, and the exact tokens of what folds; results have shapes and sketches besides. drain3 only finds
templates, where ours writes the lines anew; it runs natively, in CPython.
"""

import random
import sys
from collections.abc import Sequence
from pathlib import Path

from bench._hot_corpus import documents
from bench.hot import (
    ROUNDS,
    Bench,
    build_project,
    in_turns,
    native,
    ratios,
    rivals_environment,
    running,
    target_ratio,
)
from bench.report import Report
from edgeloop.analysis import Block
from edgeloop_client import hot as client_hot
from scripts.setup import STATE

_DPKG = Path("/var/log/dpkg.log")
_LOG_BYTES = 300_000
_TURNS = 1000
_TURN_BYTES = 4000
_DRAIN3 = """
import sys, time
from drain3 import TemplateMiner
from drain3.template_miner_config import TemplateMinerConfig
lines = open(sys.argv[1], encoding="utf-8").read().splitlines()
miner = TemplateMiner(config=TemplateMinerConfig())
started = time.process_time()
for line in lines:
    miner.add_log_message(line)
print(time.process_time() - started)
"""


def log() -> bytes:
    """This machine's package log, or one of the same form."""
    if _DPKG.exists() and _DPKG.stat().st_size >= _LOG_BYTES:
        return _DPKG.read_bytes()[:_LOG_BYTES]
    rng = random.Random(1)
    steps = ("half-configured", "unpacked", "half-installed", "triggers-pending", "installed")
    lines = (
        f"2026-11-21 10:{i // 60 % 60:02}:{i % 60:02} status {rng.choice(steps)} package-{i // 7}:amd64 1.{i % 9}-2\n"
        for i in range(_LOG_BYTES // 70)
    )
    return "".join(lines).encode()


def turns(docs: Sequence[bytes]) -> list[bytes]:
    """The blocks of a long conversation, of one size and in random order, so that its parts are alike."""
    joined = b"\n".join(docs)
    cut = [joined[i : i + _TURN_BYTES] for i in range(0, len(joined), _TURN_BYTES)]
    blocks = [block.decode("utf-8", "ignore").encode() for block in cut]
    random.Random(2).shuffle(blocks)
    return blocks[:_TURNS]


def speed(report: Report, bench: Bench, docs: list[bytes]) -> None:
    """Bytes judged in a second."""
    size = sum(map(len, docs)) / 1e6
    programs = ("judge-texts", "judge-results", "sketch", "count")
    times = in_turns({name: bench.contestant(name, "corpus") for name in programs})
    rates = {name: [size / seconds for seconds in runs] for name, runs in times.items()}
    name = "analysis: duplicates of texts, with tokens"
    report.target(name, report.figure(name, rates["judge-texts"], "MB/s"), "at least", 500)
    report.figure("analysis: results, all of it", rates["judge-results"], "MB/s")
    name = "analysis: near-duplicate sketch"
    report.target(name, report.figure(name, rates["sketch"], "MB/s"), "at least", 150)
    report.figure("for comparison: counting", rates["count"], "MB/s")


def templating(report: Report, bench: Bench, venv: Path) -> None:
    """Log lines to templates."""
    report.progress("templates ...")
    text = log()
    path = STATE / "bench-hot-log"
    path.write_bytes(text)
    bench.put("log", [text])
    times = in_turns(
        {
            "ours": bench.contestant("templates", "log"),
            "drain3": lambda: float(native(venv, _DRAIN3, str(path))),
        }
    )
    for name, runs in times.items():
        report.figure(f"templates: {name}", [len(text) / 1e6 / seconds for seconds in runs], "MB/s")
    target_ratio(report, "templates: x drain3", ratios(times, "drain3", "ours"), 200)


def long_conversation(report: Report, bench: Bench, docs: list[bytes]) -> None:
    """Whether late turns cost more than early ones: all turns less the first half, against that half."""
    report.progress("a long conversation ...")
    blocks = turns(docs)
    bench.put("half", blocks[: len(blocks) // 2])
    bench.put("all", blocks)
    shares: list[float] = []
    for _ in range(ROUNDS):
        half, whole = bench.seconds("judge-results", "half"), bench.seconds("judge-results", "all")
        shares.append((whole - half) / half)
        report.progress(f"{1e6 * whole / len(blocks):.0f} us a turn")
    name = "analysis: turns 501 to 1,000 against 1 to 500"
    report.target(name, report.figure(name, shares, "x"), "at most", 1.2)


def from_python(report: Report, bench: Bench, docs: list[bytes]) -> None:
    """The same through the edge's door, plans read into Python; it must judge as the client's door does."""
    report.progress("from Python ...")
    blocks = turns(docs)
    analysis = client_hot.analysis()
    plans = analysis.enter([Block(role="result", tool="run", data=block) for block in blocks])
    analysis.close()
    expected = sum(len(plan.folds) for plan in plans)
    if (answer := bench.answer("python-judge", "all")) != expected:
        raise RuntimeError(f"{answer} folds at the edge, but {expected} at the client")
    runs = [1e6 * bench.seconds("python-judge", "all") / len(blocks) for _ in range(ROUNDS)]
    report.figure("Python: a result of 4 KB, in batches of ten", runs, "us")


def main() -> None:
    """Run all."""
    report = Report("hot_analysis")
    project, venv = build_project(), rivals_environment()
    docs = documents()
    print(f"  {len(docs)} documents, {sum(map(len, docs)):,} bytes, CPython {sys.version.split()[0]}")
    with running(project) as bench:
        bench.put("corpus", docs)
        speed(report, bench, docs)
        templating(report, bench, venv)
        long_conversation(report, bench, docs)
        from_python(report, bench, docs)
    report.finish()


if __name__ == "__main__":
    main()
