"""The native kernels equal the .wasm's on shared vectors. Skipped where the optional wheel (`rust-wasm/py`) is not installed."""

import random
from typing import Any

import pytest

from edgeloop_client import hot
from tests.support.texts import edited, random_text
from tests.support.tokens import random_texts, sample_texts

native: Any = pytest.importorskip(
    "edgeloop_native", reason="optional: `pip install ./rust-wasm/py` builds it"
)


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


def test_diffs_and_merges_are_equal() -> None:
    """Generated texts, both algorithms, all styles."""
    rng = random.Random(10)
    for _ in range(150):
        base = random_text(rng)
        ours, theirs = edited(rng, base), edited(rng, base)
        for algorithm in ("histogram", "myers"):
            patch = native.diff_unified(base, ours, algorithm=algorithm)
            assert patch == hot.diff_unified(base, ours, algorithm=algorithm)
            assert native.apply_patch(base, patch) == ours
            for style in ("merge", "diff3", "zdiff3"):
                text, conflicts = native.merge(base, ours, theirs, style=style, algorithm=algorithm)
                merged = hot.merge(base, ours, theirs, style=style, algorithm=algorithm)
                assert (text, conflicts) == (merged.text, merged.conflicts)


def test_errors_are_typed() -> None:
    """What cannot be applied or is not known is a ValueError that says so."""
    with pytest.raises(ValueError, match="line 2 is not of a unified diff"):
        native.apply_patch(b"a\n", b"@@ -1 +1 @@\n?a\n")
    with pytest.raises(ValueError, match="nosuch"):
        native.diff_unified(b"", b"", algorithm="nosuch")
