"""Three-way merges through the committed .wasm; `git merge-file` is the judge."""

import os
import random
import subprocess
from pathlib import Path

import pytest

from edgeloop.kernels import Merged, MergeStyle
from edgeloop_client import hot
from tests.support.texts import edited, random_text

CASES = 10_000 if os.environ.get("EDGELOOP_FULL") == "1" else 200
OPTIONS: dict[MergeStyle, list[str]] = {"merge": [], "diff3": ["--diff3"], "zdiff3": ["--zdiff3"]}


def git_merge(folder: Path, base: bytes, ours: bytes, theirs: bytes, style: MergeStyle) -> Merged:
    """What `git merge-file` answers; its exit status is the number of conflicts."""
    for name, text in (("base", base), ("ours", ours), ("theirs", theirs)):
        (folder / name).write_bytes(text)
    labels = ["-L", "ours", "-L", "base", "-L", "theirs", "ours", "base", "theirs"]
    command = ["git", "merge-file", "-p", "-q", *OPTIONS[style], *labels]
    answer = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    return Merged(text=answer.stdout, conflicts=answer.returncode)


def case(rng: random.Random) -> tuple[bytes, bytes, bytes]:
    """A base and two sides; mostly the sides share some edits."""
    base = random_text(rng)
    shared = edited(rng, base, rng.choice((0, 0, 1)))
    return base, edited(rng, rng.choice((shared, base))), edited(rng, rng.choice((shared, base)))


@pytest.mark.parametrize("style", OPTIONS)
def test_verdicts_and_clean_texts_are_gits(style: MergeStyle, tmp_path: Path) -> None:
    """At least 99 verdicts in 100 are git's, none is clean where git conflicts, clean texts are byte for byte git's."""
    rng = random.Random(f"merge {style}")
    other_verdict = clean_where_git_conflicts = 0
    for _ in range(CASES):
        base, ours, theirs = case(rng)
        merged = hot.merge(base, ours, theirs, style=style, algorithm="myers")
        expected = git_merge(tmp_path, base, ours, theirs, style)
        other_verdict += bool(merged.conflicts) != bool(expected.conflicts)
        clean_where_git_conflicts += bool(expected.conflicts) and not merged.conflicts
        if not merged.conflicts and not expected.conflicts:
            assert merged.text == expected.text
    assert clean_where_git_conflicts == 0
    assert other_verdict <= CASES // 100


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged"),
    [
        (b"a\nb\nc\n", b"a\nB\nc\n", b"a\nb\nc\n", b"a\nB\nc\n"),
        (b"a\nb\nc\n", b"A\nb\nc\n", b"a\nb\nC\n", b"A\nb\nC\n"),
        (b"a\nb\nc\n", b"a\nB\nc\n", b"a\nB\nc\n", b"a\nB\nc\n"),
        (b"a\n", b"a", b"a\n", b"a"),
        (b"", b"x\n", b"", b"x\n"),
    ],
)
def test_changes_that_go_together_merge(base: bytes, ours: bytes, theirs: bytes, merged: bytes) -> None:
    """One side's change, both sides' apart, and the same change on both sides are clean, either way round."""
    for algorithm in ("histogram", "myers"):
        assert hot.merge(base, ours, theirs, algorithm=algorithm) == Merged(text=merged, conflicts=0)
        assert hot.merge(base, theirs, ours, algorithm=algorithm) == Merged(text=merged, conflicts=0)


def test_conflicts_show_what_the_style_says() -> None:
    """Markers, the base between them, and lines that both sides share left out or kept."""
    base, ours, theirs = b"1\n2\n3\n", b"1\nx\na\n3\n", b"1\nx\nb\n3\n"
    texts = {style: hot.merge(base, ours, theirs, style=style).text.decode() for style in OPTIONS}
    assert texts == {
        "merge": "1\nx\n<<<<<<< ours\na\n=======\nb\n>>>>>>> theirs\n3\n",
        "diff3": "1\n<<<<<<< ours\nx\na\n||||||| base\n2\n=======\nx\nb\n>>>>>>> theirs\n3\n",
        "zdiff3": "1\nx\n<<<<<<< ours\na\n||||||| base\n2\n=======\nb\n>>>>>>> theirs\n3\n",
    }


def test_markers_end_as_the_lines_do() -> None:
    """A conflict in a text with CRLF has CRLF markers, and a last line without an end gets one before a marker."""
    merged = hot.merge(b"a\r\nb\r\n", b"a\r\nx", b"a\r\ny")
    assert merged.text == b"a\r\n<<<<<<< ours\r\nx\r\n=======\r\ny\r\n>>>>>>> theirs\r\n"
