"""The kernels beside what else does their work: in real workerd, on the same texts, in turns.

Ratios are of one round's times and reported as the median over the rounds, for the machine is shared and its speed
drifts. All times are processor times: of workerd's process less an empty request's (a Worker's own clock stands still
while it computes), or of the program that runs a rival. Native rivals run in this process; toktok-rs, which needs
Rust, only where cargo is. Compression analysis has a bench of its own.
"""

import difflib
import gzip
import http.client
import random
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench._contestants import install, own_url
from bench._hot_corpus import documents
from bench.report import Report
from edgeloop.kernels import frames
from scripts.local_edge import LocalEdge
from scripts.setup import ROOT, STATE
from tests.support.tokens import oracle

PEER = ROOT / "bench" / "peers" / "hot"
PROJECT = STATE / "bench-hot"
CHECKS = ROOT / "rust-wasm" / "checks"
ROUNDS = 7
COLD_ROUNDS = 3
_ENOUGH = 0.15

_MERGE3 = """
import sys, time, merge3
texts = [open(path, "rb").read().splitlines(True) for path in sys.argv[1:]]
started = time.process_time()
for _ in range(20):
    b"".join(merge3.Merge3(*texts).merge_lines())
print((time.process_time() - started) / 20)
"""

Contestant = Callable[[], float]


class Bench:
    """The Worker that runs programs, and how long they take: processor time of its process, all threads."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        address = urlsplit(own_url(pid))
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=600)
        self._times: dict[tuple[str, str], int] = {}
        self._empty = 0.0
        self.put("empty", [b""])
        self._empty = min(self._cost("nothing", "empty", 1)[0] for _ in range(20))

    def put(self, name: str, texts: Sequence[bytes]) -> None:
        """Hand the Worker texts under a name."""
        body = struct.pack("<I", len(texts)) + frames(texts)
        self._ask("POST", f"/put/{name}", body)

    def answer(self, program: str, name: str) -> int:
        """What a program answers."""
        return self._cost(program, name, 1)[1]

    def first(self, program: str, name: str) -> float:
        """Seconds of one run."""
        return self._cost(program, name, 1)[0] - self._empty

    def seconds(self, program: str, name: str) -> float:
        """Seconds of one run, of as many at a time as take long enough to be told."""
        times = self._times.get((program, name), 1)
        while (cost := self._cost(program, name, times)[0] - self._empty) < _ENOUGH:
            # The first runs are slow (nothing is compiled yet), so the number is found by doing.
            times *= 2
        self._times[program, name] = times
        return cost / times

    def contestant(self, program: str, name: str) -> Contestant:
        """A program over texts as a contestant."""
        return lambda: self.seconds(program, name)

    def _cost(self, program: str, name: str, times: int) -> tuple[float, int]:
        started = processor_seconds(self._pid)
        answer = self._ask("GET", f"/run/{program}/{name}/{times}", None)
        return processor_seconds(self._pid) - started, int(answer)

    def _ask(self, method: str, path: str, body: bytes | None) -> bytes:
        self._connection.request(method, path, body)
        response = self._connection.getresponse()
        data = response.read()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {data[:500]!r}")
        return data


def processor_seconds(pid: int) -> float:
    """What a process has run so far, to the nanosecond (utime counts in hundredths)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def build_project() -> Path:
    """A Worker with our kernels and doors as they are, and the npm rivals bundled into one module."""
    install(PEER)
    shutil.rmtree(PROJECT, ignore_errors=True)
    shutil.copytree(PEER, PROJECT, ignore=shutil.ignore_patterns("node_modules", ".wrangler"))
    for room in ("hot", "edgeloop"):
        shutil.copytree(
            ROOT / "src" / room, PROJECT / "src" / room, ignore=shutil.ignore_patterns("__pycache__")
        )
    (PROJECT / "src" / "edge").mkdir()
    shutil.copy2(ROOT / "src" / "edge" / "hot.py", PROJECT / "src" / "edge")
    entry = PEER / "src" / "rivals.entry.mjs"
    (PROJECT / "src" / entry.name).unlink()
    esbuild = ROOT / "node_modules" / ".bin" / "esbuild"
    bundle = ["--bundle", "--format=esm", "--log-level=error", f"--outfile={PROJECT / 'src' / 'rivals.mjs'}"]
    subprocess.run([str(esbuild), str(entry), *bundle], check=True)
    return PROJECT


@contextmanager
def running(project: Path) -> Any:
    """A fresh workerd."""
    with LocalEdge(root=project, private_copy=True) as edge:
        yield Bench(edge.workerd_pid())


def in_turns(contestants: dict[str, Contestant], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of each contestant, round by round."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            times[name].append(run())
    return times


def ratios(times: dict[str, list[float]], rival: str, ours: str) -> list[float]:
    """How many times our time a rival takes, round by round."""
    return [theirs / own for theirs, own in zip(times[rival], times[ours], strict=True)]


def timed(run: Callable[[], object]) -> Contestant:
    """A native program as a contestant."""

    def contestant() -> float:
        started = time.process_time()
        run()
        return time.process_time() - started

    return contestant


def counting(report: Report, bench: Bench, docs: list[bytes]) -> None:
    """Steady speed against other counters."""
    report.progress("counting ...")
    texts = [doc.decode() for doc in docs]
    expected = sum(len(oracle().encode_ordinary(text)) for text in texts)
    if (answer := bench.answer("count", "corpus")) != expected:
        raise RuntimeError(f"{answer} tokens, but tiktoken counts {expected}")
    contestants = {
        name: bench.contestant(name, "corpus") for name in ("count", "gpt-tokenizer", "ai-tokenizer")
    }
    contestants["tiktoken"] = timed(lambda: sum(len(oracle().encode_ordinary(text)) for text in texts))
    if toktok := native_toktok(report, docs):
        contestants["toktok-rs"] = toktok
    times = in_turns(contestants)
    size = sum(map(len, docs)) / 1e6
    for name, runs in times.items():
        report.figure(f"count: {name}", [size / seconds for seconds in runs], "MB/s")
    for rival, bound in (("tiktoken", 10), ("gpt-tokenizer", 10), ("ai-tokenizer", 8), ("toktok-rs", 0.9)):
        if rival in times:
            target_ratio(report, f"count: x {rival}", ratios(times, rival, "count"), bound)


def target_ratio(report: Report, name: str, runs: Sequence[float], bound: float) -> None:
    """A ratio that should be at least so much."""
    report.target(name, report.figure(name, runs, "x"), "at least", bound)


def native_toktok(report: Report, docs: list[bytes]) -> Contestant | None:
    """toktok-rs, built on the spot."""
    if shutil.which("cargo") is None:
        report.progress("cargo is not installed: toktok-rs is not measured")
        return None
    corpus = STATE / "bench-hot-corpus"
    corpus.write_bytes(struct.pack("<I", len(docs)) + frames(docs))
    built = subprocess.run(
        ["cargo", "build", "--release", "--locked", "--bin", "toktok"], cwd=CHECKS, capture_output=True
    )
    if built.returncode != 0:
        report.progress(f"toktok-rs did not build: {built.stderr.decode()[-300:]}")
        return None
    program = CHECKS / "target" / "release" / "toktok"

    def contestant() -> float:
        answer = subprocess.run([str(program), str(corpus)], check=True, capture_output=True).stdout
        return float(answer.split()[1])

    return contestant


def cold(report: Report, project: Path, docs: list[bytes]) -> None:
    """The first pass in a fresh isolate, after the tables are made."""
    size = sum(map(len, docs)) / 1e6
    loads: list[float] = []
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(COLD_ROUNDS):
        report.progress("cold start ...")
        with running(project) as bench:
            bench.put("corpus", docs)
            loads.append(1000 * bench.first("count-load", "empty"))
            ours.append(bench.first("count", "corpus"))
            bench.first("gpt-tokenizer", "empty")
            theirs.append(bench.first("gpt-tokenizer", "corpus"))
    report.target("count: made ready", report.figure("count: made ready", loads, "ms"), "at most", 15)
    report.figure("count, first pass", [size / seconds for seconds in ours], "MB/s")
    target_ratio(
        report, "count, first pass: x gpt-tokenizer", [a / b for a, b in zip(theirs, ours, strict=True)], 9
    )


def from_python(report: Report, bench: Bench, docs: list[bytes]) -> None:
    """The door from Python."""
    report.progress("from Python ...")
    joined = b"\n".join(docs).decode("utf-8", "ignore")
    bench.put("large", [joined[i : i + 20_000].encode() for i in range(0, 2_000_000, 20_000)])
    bench.put("messages", [joined[i : i + 300].encode() for i in range(0, 300_000, 300)])
    rounds = range(ROUNDS)
    calls = [1e6 * bench.seconds("python-count-small", "large") / 1000 for _ in rounds]
    large = [2 / bench.seconds("python-count-each", "large") for _ in rounds]
    batch = [1e6 * bench.seconds("python-count-batch", "messages") / 1000 for _ in rounds]
    report.target("Python: 40-byte call", report.figure("Python: 40-byte call", calls, "us"), "at most", 4)
    report.target(
        "Python: 20 KB a call", report.figure("Python: 20 KB a call", large, "MB/s"), "at least", 100
    )
    name = "Python: 300-byte message in a batch"
    report.target(name, report.figure(name, batch, "us"), "at most", 2.5)


def pairs() -> dict[str, tuple[bytes, bytes]]:
    """Two releases each of a small, a middling and a large file."""
    files = {
        "1k": ("ws", "lib/websocket.js"),
        "10k": ("jquery", "dist/jquery.js"),
        "50k": ("three", "build/three.module.js"),
    }
    modules = PEER / "node_modules"
    return {
        size: ((modules / f"{name}-old" / path).read_bytes(), (modules / f"{name}-new" / path).read_bytes())
        for size, (name, path) in files.items()
    }


def diffing(report: Report, bench: Bench) -> None:
    """Text in, unified text out."""
    bounds = {"1k": 25, "10k": 40, "50k": 60}
    for size, (before, after) in pairs().items():
        report.progress(f"diff of {size} lines ...")
        bench.put(f"pair-{size}", [before, after])
        programs = ("unified", "fast-myers", "python-difflib")
        times = in_turns({name: bench.contestant(name, f"pair-{size}") for name in programs})
        report.figure(f"diff {size}: ours", [1000 * seconds for seconds in times["unified"]], "ms")
        target_ratio(
            report,
            f"diff {size}: x difflib in Pyodide",
            ratios(times, "python-difflib", "unified"),
            bounds[size],
        )
        target_ratio(report, f"diff {size}: x fast-myers-diff", ratios(times, "fast-myers", "unified"), 4)


def sides(base: bytes, changed: bytes) -> tuple[bytes, bytes]:
    """A random half of the changed lines' blocks on one side, the others on the other."""
    rng = random.Random(1)
    old, new = base.splitlines(keepends=True), changed.splitlines(keepends=True)
    ours: list[bytes] = []
    theirs: list[bytes] = []
    for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        mine = tag != "equal" and rng.random() < 0.5
        ours += new[k:m] if mine else old[i:j]
        theirs += new[k:m] if tag != "equal" and not mine else old[i:j]
    return b"".join(ours), b"".join(theirs)


def merging(report: Report, bench: Bench, venv: Path) -> None:
    """Three-way merges."""
    report.progress("merge ...")
    base, changed = pairs()["1k"]
    ours, theirs = sides(base, changed)
    bench.put("merge", [base, ours, theirs, b"base", b"ours", b"theirs"])
    files = [STATE / f"bench-hot-{name}" for name in ("base", "ours", "theirs")]
    for path, text in zip(files, (base, ours, theirs), strict=True):
        path.write_bytes(text)
    times = in_turns(
        {
            "ours": lambda: bench.seconds("merge", "merge"),
            "merge3": lambda: float(native(venv, _MERGE3, *map(str, files))),
            "node-diff3": lambda: bench.seconds("node-diff3", "merge"),
        }
    )
    report.figure("merge 1k: ours", [1000 * seconds for seconds in times["ours"]], "ms")
    target_ratio(report, "merge 1k: x merge3", ratios(times, "merge3", "ours"), 15)
    target_ratio(report, "merge 1k: x node-diff3", ratios(times, "node-diff3", "ours"), 200)


def claiming(report: Report, bench: Bench) -> None:
    """Conflicts between sixteen writers of one large file, whose ten thousand edits arrive in any order."""
    report.progress("claims ...")
    rng = random.Random(1)
    edits = [
        (rng.randrange(16), rng.randrange(400_000), rng.choice((0, 1, 1, 2, 5, 40))) for _ in range(10_000)
    ]
    changes = [(w, 0, start, start + lines, number) for number, (w, start, lines) in enumerate(edits)]
    bench.put("claims", [b"".join(struct.pack("<4IQ", *change) for change in changes)])
    runs = [1000 * bench.seconds("claims", "claims") for _ in range(ROUNDS)]
    name = f"10,000 claims, {bench.answer('claims', 'claims'):,} clashes"
    report.target(name, report.figure(name, runs, "ms"), "at most", 2)


def native(venv: Path, script: str, *arguments: str) -> str:
    """What a Python program of the rivals' environment prints last."""
    command = [str(venv / "bin" / "python"), "-c", script, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]


def rivals_environment() -> Path:
    """The PyPI rivals, apart from our own packages, locked with hashes."""
    venv = STATE / "bench-hot-venv"
    lock = PEER / "requirements.txt"
    stamp = venv / "stamp"
    if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
        pip = [str(venv / "bin" / "pip"), "install", "--quiet", "--require-hashes", "-r", str(lock)]
        subprocess.run(pip, check=True)
        stamp.write_bytes(lock.read_bytes())
    return venv


def growing(report: Report, bench: Bench) -> None:
    """A conversation that grows, counted as it does."""
    report.progress("growing text ...")
    grown = in_turns({name: bench.contestant(name, "corpus") for name in ("growing", "count")})
    name = "counting a growing text against one pass"
    report.target(name, report.figure(name, ratios(grown, "growing", "count"), "x"), "at most", 1.1)


def sizes(report: Report, bench: Bench) -> None:
    """What is shipped and what it holds."""
    files = [ROOT / "src" / "hot" / name for name in ("edgeloop.wasm", "o200k.bin")]
    packed = sum(len(gzip.compress(path.read_bytes(), 9)) for path in files) / 1000
    report.target(
        "all kernels and the table, gzip",
        report.figure("all kernels and the table, gzip", [packed], "KB"),
        "at most",
        1200,
    )
    held = bench.answer("memory", "corpus") / 1e6
    report.target("counting: memory", report.figure("counting: memory", [held], "MB"), "at most", 6.5)


def main() -> None:
    """Run all."""
    report = Report("hot")
    project, venv = build_project(), rivals_environment()
    docs = documents()
    print(f"  {len(docs)} documents, {sum(map(len, docs)):,} bytes, CPython {sys.version.split()[0]}")
    with running(project) as bench:
        bench.put("corpus", docs)
        counting(report, bench, docs)
        from_python(report, bench, docs)
        diffing(report, bench)
        merging(report, bench, venv)
        claiming(report, bench)
        growing(report, bench)
        sizes(report, bench)
    cold(report, project, docs)
    report.finish()


if __name__ == "__main__":
    main()
