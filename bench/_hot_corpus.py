# ruff: noqa: RUF001 (CJK punctuation)
"""The documents that `make bench-hot` counts: about 5 MB of what agents read, from files that set-up brings along.

Python and JavaScript source, Rust, Markdown, package documentation, logs, JSON, and a share of CJK. What there is
differs between machines, so figures are ratios of programs over the same documents in the same run.
"""

import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_STDLIB = Path(sysconfig.get_path("stdlib"))
_MODULES = ROOT / "node_modules"
_LONGEST = 40_000
_SCRIPTS = "日本語のテキスト処理は、文字の境界が見えにくい。中文文本没有空格，分词必须靠词表。한국어 문장은 띄어쓰기가 있다.\n"

# (share in bytes, folder, patterns)
_SHARES: tuple[tuple[int, Path, tuple[str, ...]], ...] = (
    (1_800_000, _STDLIB, ("*.py", "asyncio/*.py", "email/*.py", "json/*.py", "unittest/*.py", "xml/**/*.py")),
    (1_100_000, _MODULES, ("**/*.js", "**/*.mjs", "**/*.ts")),
    (500_000, ROOT, ("rust-wasm/*/src/**/*.rs", "src/**/*.py", "client/**/*.py", "tests/**/*.py")),
    (400_000, _MODULES, ("**/*.md",)),
    (600_000, Path("/usr/share/doc"), ("*/copyright", "*/README*", "*/NEWS*")),
    (300_000, Path("/var/log"), ("dpkg.log",)),
    (300_000, ROOT, ("package-lock.json", "node_modules/*/package.json")),
)


def _texts(folder: Path, patterns: tuple[str, ...]) -> Iterator[bytes]:
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            if (
                path.is_file()
                and "rust-wasm/target" not in path.as_posix()
                and path.stat().st_size < 2_000_000
            ):
                yield path.read_bytes()


def _documents(size: int, folder: Path, patterns: tuple[str, ...]) -> Iterator[bytes]:
    for data in _texts(folder, patterns):
        for start in range(0, len(data), _LONGEST):
            document = data[start : start + _LONGEST].decode("utf-8", "ignore").encode()
            if len(document) < 200:
                continue
            yield document[:size]
            size -= len(document)
            if size <= 0:
                return


def documents() -> list[bytes]:
    """UTF-8 documents, the same list for every program of one run."""
    found = [document for share in _SHARES for document in _documents(*share)]
    git_log = subprocess.run(
        ["git", "log", "-p", "-n", "20"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    found.append(git_log[:_LONGEST].decode("utf-8", "ignore").encode())
    found += [(_SCRIPTS * 40).encode()] * 10
    return [document.decode("utf-8", "ignore").encode() for document in found]
