# ruff: noqa: RUF001 (templates are marked with letters that occur nowhere else)
"""Compression analysis through the committed .wasm: every fold resolves to its bytes, and saves tokens."""

import random

import pytest

from edgeloop.kernels import FoldPlan, KernelRefused
from edgeloop_client import hot
from tests.support.texts import edited, random_text


def folded(text: bytes, plan: FoldPlan, blocks: list[bytes]) -> bytes:
    """The text as it would be read back from what the plan leaves: references followed, templates expanded."""
    if plan.duplicate_of is not None:
        return blocks[plan.duplicate_of]
    pieces = [(run.start, run.end, blocks[run.of][run.of_start : run.of_end]) for run in plan.runs]
    pieces += [(template.start, template.end, hot.fold_expand(template.text)) for template in plan.templates]
    out, at = b"", 0
    for start, end, stands_for in sorted(pieces):
        assert start >= at
        out += text[at:start] + stands_for
        at = end
    return out + text[at:]


def test_every_fold_resolves_to_its_bytes_and_saves_tokens() -> None:
    """A session of generated results: what a plan leaves reads back as the block, and never costs more."""
    rng = random.Random(3)
    index = hot.fold_new()
    blocks: list[bytes] = []
    vanished: set[int] = set()
    for number in range(400):
        source = rng.choice(blocks) if blocks and rng.random() < 0.6 else random_text(rng) * rng.randint(1, 3)
        text = edited(rng, source) if rng.random() < 0.7 else source
        plan = hot.fold_add(
            index, number, text, key=b"path %d" % rng.randrange(20), written=rng.random() < 0.2
        )
        pointed_to = {run.of for run in plan.runs} | ({plan.duplicate_of} - {None})
        assert not pointed_to & vanished, "a reference points to a block that was superseded"
        assert folded(text, plan, blocks) == text
        for template in plan.templates:
            assert hot.count_tokens(template.text) < hot.count_tokens(text[template.start : template.end])
        vanished |= set(plan.superseded)
        blocks.append(text)
    assert vanished
    hot.fold_free(index)


def test_log_lines_become_a_template() -> None:
    """Lines of one shape are written once, with a table of what varies."""
    log = b"".join(b"2026-11-21 09:%02d:07 status installed pkg%d:amd64\n" % (i, i * i) for i in range(30))
    plan = hot.fold_add(hot.fold_new(), 0, b"$ dpkg\n" + log, templating=True)
    assert [(template.start, template.end) for template in plan.templates] == [(7, 7 + len(log))]
    assert hot.fold_expand(plan.templates[0].text) == log


def test_an_unknown_index_or_a_broken_template_is_refused() -> None:
    """Misuse is a typed error."""
    index = hot.fold_new()
    hot.fold_free(index)
    with pytest.raises(KernelRefused):
        hot.fold_add(index, 0, b"x")
    with pytest.raises(KernelRefused):
        hot.fold_expand("⟦3 lines of: a ‹›⟧\n1\n".encode())
