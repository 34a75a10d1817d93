"""Diffs, edits and words through the committed .wasm; `git apply` is the judge of the unified form."""

import os
import random
import subprocess
from pathlib import Path

import pytest

from edgeloop.kernels import ApplyFailed, Edit
from edgeloop_client import hot
from tests.support.texts import edited, random_text

ROUNDS = 3000 if os.environ.get("EDGELOOP_FULL") == "1" else 60


def git_apply(folder: Path, text: bytes, patch: bytes, *options: str) -> bytes:
    """What `git apply` makes of a file."""
    (folder / "f").write_bytes(text)
    whole = b"--- a/f\n+++ b/f\n" + patch
    command = ["git", "apply", "--unidiff-zero", "--whitespace=nowarn", *options, "-"]
    subprocess.run(command, cwd=folder, input=whole, check=True, capture_output=True)
    return (folder / "f").read_bytes()


def test_unified_diffs_are_what_git_apply_takes(tmp_path: Path) -> None:
    """Generated texts: applied by git gives the second text, reversed the first, with and without context."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    rng = random.Random(5)
    for _ in range(ROUNDS):
        before = random_text(rng)
        after = edited(rng, before)
        if before == after or not before or not after:
            continue
        for context in (3, 0):
            patch = hot.diff_unified(before, after, context=context)
            # Without context git itself loses the end of a last line, also from its own `diff -U0`.
            if context == 0 and b"\\ No newline" in patch:
                continue
            assert git_apply(tmp_path, before, patch) == after
            assert git_apply(tmp_path, after, patch, "--reverse") == before


def test_own_apply_agrees() -> None:
    """Our own `apply_patch` and `apply_edits` lead to the second text too, whatever the texts."""
    rng = random.Random(6)
    for _ in range(ROUNDS * 5):
        before = random_text(rng)
        after = edited(rng, before)
        for algorithm in ("histogram", "myers"):
            assert hot.apply_patch(before, hot.diff_unified(before, after, algorithm=algorithm)) == after
        edits = hot.diff_edits(before, after)
        if all(edit.search and before.count(edit.search) == 1 for edit in edits):
            assert hot.apply_edits(before, edits) == after


def test_equal_texts_have_no_difference() -> None:
    """Nothing to say about equal texts, empty ones included."""
    for text in (b"", b"a", b"a\n", b"a\nb\r\n\n"):
        assert hot.diff_unified(text, text) == b""
        assert hot.diff_edits(text, text) == []
        assert hot.diff_words(text, text) == []


@pytest.mark.parametrize(
    ("edits", "problem", "edit", "lines"),
    [
        ([("two", "2")], "ambiguous", 0, (2, 4)),
        ([("one\n", "1\n"), ("one\ntwo", "x")], "overlap", 1, ()),
        ([("one", "1"), ("  three\nfive\n", "")], "not_found", 1, (3,)),
        ([("no such line", "")], "not_found", 0, ()),
    ],
)
def test_edits_fail_as_a_whole(
    edits: list[tuple[str, str]], problem: str, edit: int, lines: tuple[int, ...]
) -> None:
    """The error names the edit, the reason and the nearest lines."""
    text = b"one\ntwo\nthree\ntwo\nfour\n"
    with pytest.raises(ApplyFailed) as caught:
        hot.apply_edits(text, [Edit(search=old.encode(), replace=new.encode()) for old, new in edits])
    assert (caught.value.problem, caught.value.edit, caught.value.lines) == (problem, edit, lines)


def test_edits_are_found_but_for_white_space() -> None:
    """What a model gets wrong in indentation does not matter where the place is still the only one."""
    text = b"def f():\n    return 1\n\ndef g():\n    return 2\n"
    edit = Edit(search=b"def g():\n  return 2", replace=b"def g():\n    return 3")
    assert hot.apply_edits(text, [edit]) == text.replace(b"return 2", b"return 3")


def test_a_diff_that_cannot_be_read_is_refused_with_its_line() -> None:
    """Peers' diffs are hostile: a typed error, nothing applied."""
    with pytest.raises(ApplyFailed) as caught:
        hot.apply_patch(b"a\n", b"@@ -1 +1 @@\n?a\n")
    assert (caught.value.problem, caught.value.edit, caught.value.lines) == ("malformed", None, (2,))


def test_words_name_bytes() -> None:
    """Word differences are byte ranges of both sides."""
    assert hot.diff_words(b"let x = foo(1);", b"let x = bar(1);") == [(8, 11, 8, 11)]
