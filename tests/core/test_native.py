"""The native kernels equal the .wasm's on shared vectors.

`make wheel` builds the optional wheel from `rust-wasm/py`; `make check` runs this with it. Skipped where it is not installed,
unless `EDGELOOP_NATIVE=1` says that it must be.
"""

import os
import random
from importlib import import_module
from typing import Any

import pytest

from edgeloop.analysis import Analysis
from edgeloop.claims import Claims
from edgeloop.kernels import ApplyFailed, read_frames
from edgeloop_client import hot
from tests.core.test_analysis import Conversation
from tests.core.test_claims import hunks
from tests.support.texts import edited, random_text
from tests.support.tokens import random_texts, sample_texts

if os.environ.get("EDGELOOP_NATIVE") == "1":
    native: Any = import_module("edgeloop_native")
else:
    native = pytest.importorskip("edgeloop_native", reason="optional: `make wheel` builds it")

_CLAIM = 24
_BLOCK = 6


class NativeDoor:
    """The native memories of conversations and claims, behind the .wasm's door."""

    def __init__(self) -> None:
        self._kept: dict[int, Any] = {}

    def call(self, name: str, data: bytes, *numbers: int) -> int:
        match name, numbers:
            case "analysis_open", (key, limit):
                self._kept[key] = native.Analysis(limit)
            case "claims_open", (key,):
                self._kept[key] = native.Claims()
            case "claims_remove", (key, writer):
                self._kept[key].remove(writer)
            case "analysis_close" | "claims_close", (key,):
                del self._kept[key]
            case _:
                raise AssertionError(name)
        return 0

    def call_bytes(self, name: str, data: bytes, *numbers: int) -> bytes:
        match name, numbers:
            case "analysis_enter", (key, n):
                parts = read_frames(n * _BLOCK, data)
                blocks = [parts[at : at + _BLOCK] for at in range(0, len(parts), _BLOCK)]
                return self._kept[key].enter([(role[0], *rest) for role, *rest in blocks])
            case "analysis_unfold", (length,):
                return native.analysis_unfold(data, length)
            case "claims_add", (key,):
                return b"".join(
                    self._add(key, at // _CLAIM, data[at : at + _CLAIM]) for at in range(0, len(data), _CLAIM)
                )
            case _:
                raise AssertionError(name)

    def _add(self, key: int, index: int, change: bytes) -> bytes:
        numbers = [int.from_bytes(change[at : at + 4], "little") for at in range(0, 16, 4)]
        clashes = self._kept[key].add(*numbers, int.from_bytes(change[16:], "little"))
        return b"".join(n.to_bytes(4, "little") for clash in clashes for n in (index, *clash))


def test_counts_are_equal() -> None:
    """One by one, in a batch, and up to a limit."""
    texts = [*sample_texts(), *random_texts(3000, seed=9)]
    encoded = [text.encode() for text in texts]
    assert native.count_batch(encoded) == hot.count_batch(encoded)
    for text in texts[:200]:
        assert native.count_tokens(text.encode()) == hot.count_tokens(text)
        assert native.count_prefix(text, 5) == hot.count_prefix(text, 5)
    for data in (b"\xff", b"a\xed\xa0\x80b", bytes(range(256))):
        assert native.count_tokens(data) == hot.count_tokens(data)


def test_diffs_edits_and_merges_are_equal() -> None:
    """Generated texts, both algorithms, all styles."""
    rng = random.Random(10)
    for _ in range(150):
        base = random_text(rng)
        ours, theirs = edited(rng, base), edited(rng, base)
        edits = hot.diff_edits(base, ours)
        assert native.diff_edits(base, ours) == [(edit.search, edit.replace) for edit in edits]
        assert native.diff_words(base, ours) == hot.diff_words(base, ours)
        assert applied(native.apply_edits, base, native.diff_edits(base, ours)) == applied(
            hot.apply_edits, base, edits
        )
        for algorithm in ("histogram", "myers"):
            patch = native.diff_unified(base, ours, algorithm=algorithm)
            assert patch == hot.diff_unified(base, ours, algorithm=algorithm)
            assert native.apply_patch(base, patch) == ours
            for style in ("merge", "diff3", "zdiff3"):
                text, conflicts = native.merge(base, ours, theirs, style=style, algorithm=algorithm)
                merged = hot.merge(base, ours, theirs, style=style, algorithm=algorithm)
                assert (text, conflicts) == (merged.text, merged.conflicts)


def applied(apply: Any, *arguments: Any) -> bytes | None:
    """What applying gives; None where it is refused."""
    try:
        return apply(*arguments)
    except (ApplyFailed, ValueError):
        return None


@pytest.mark.parametrize("seed", [1, 2])
def test_judgements_are_equal(seed: int) -> None:
    """A conversation's plans, in batches of any size, with much and with little memory; and what their templates stand for."""
    conversation, rng = Conversation(seed), random.Random(seed)
    blocks = [conversation.next() for _ in range(250)]
    folds = 0
    for limit in (6 << 20, 20_000):
        ours, theirs, at = hot.analysis(limit=limit), Analysis(NativeDoor(), limit=limit), 0
        while at < len(blocks):
            batch = blocks[at : at + rng.randint(1, 12)]
            plans = ours.enter(batch)
            assert theirs.enter(batch) == plans
            for fold in (fold for plan in plans for fold in plan.folds):
                source = blocks[fold.source].data if fold.kind != "template" else b""
                assert theirs.resolve(fold, source) == ours.resolve(fold, source)
                folds += 1
            at += len(batch)
        ours.close()
        theirs.close()
    assert folds > 100


def test_claims_are_equal() -> None:
    """Four writers' edits of one text, and one who leaves."""
    rng = random.Random(11)
    clashes = 0
    for _ in range(60):
        base = random_text(rng)
        changes = [(writer, hunk) for writer in range(4) for hunk in hunks(base, edited(rng, base))]
        ours, theirs = hot.claims(), Claims(NativeDoor())
        for claims in (ours, theirs):
            claims.add(changes[::2])
            claims.remove(1)
        found = ours.add(changes[1::2])
        assert theirs.add(changes[1::2]) == found
        clashes += len(found)
        ours.close()
        theirs.close()
    assert clashes > 20


def test_errors_are_typed() -> None:
    """What cannot be applied or is not known is a ValueError that says so."""
    with pytest.raises(ValueError, match="line 2 is not of a unified diff"):
        native.apply_patch(b"a\n", b"@@ -1 +1 @@\n?a\n")
    with pytest.raises(ValueError, match="nosuch"):
        native.diff_unified(b"", b"", algorithm="nosuch")
    with pytest.raises(ValueError, match="role 9"):
        native.Analysis(1).enter([(9, b"", b"", b"", b"", b"")])
    with pytest.raises(ValueError, match="lines 5 to 3"):
        native.Claims().add(0, 0, 5, 3, 0)
