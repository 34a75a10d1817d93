"""What sessions leave in the isolate that they share: 128 MB for all of them, and wasm memory that never shrinks.

Real sessions in real workerd, evicted by the runtime's own test hook (scripts/evictable_edge.py), the heaps read through its
inspector. `make bench-memory` measures the same beside named peers.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from bench._contestants import Contestant, Contestants
from bench._load import Provider, held, load
from scripts.evictable_edge import heap_of

SAY = "reply:1x5000"
GROWTH_STEP = 1.2
"""A wasm heap that is full grows to this much at most."""


@pytest.fixture
def edge() -> Iterator[Contestant]:
    """A Worker of the test's own, whose sessions can be evicted."""
    with ExitStack() as stack:
        yield Contestants(stack, stack.enter_context(Provider())).evictable()


def test_abandoned_sessions_are_not_held(edge: Contestant):
    """300 sessions opened, used and abandoned in five cycles of eviction: one step of growth at most, 96 MiB in all."""
    start = heap_of(edge.pid)
    load("cycles.mjs", edge.options(prefix="abandoned", say=SAY, sessions=300, cycles=5))
    after = heap_of(edge.pid)
    assert after.wasm <= start.wasm * GROWTH_STEP, (start, after)
    assert after.total < 96, (start, after)


def test_a_thousand_sessions_fit(edge: Contestant):
    """1,000 sessions awake, each with a turn behind it, fit into an isolate's 128 MB."""
    with held("crowd.mjs", edge.options(prefix="live", say=SAY, warm=1, sizes=(1_000,))):
        heap = heap_of(edge.pid)
    assert heap.total < 128, heap
