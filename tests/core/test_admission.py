"""The pace at which sessions are opened."""

from edgeloop.admission import BURST, EVERY_MS, Admission


def test_a_few_at_once_then_one_after_the_other():
    """The first few do not wait; the others take turns in the order in which they came."""
    admission = Admission()
    waits = [admission.wait_ms(1_000) for _ in range(BURST + 3)]
    assert waits == [0] * BURST + [EVERY_MS, 2 * EVERY_MS, 3 * EVERY_MS]


def test_no_one_waits_at_an_even_pace():
    """Who comes no faster than the pace never waits."""
    admission = Admission()
    assert [admission.wait_ms(n * EVERY_MS) for n in range(200)] == [0] * 200


def test_a_storm_is_forgotten_when_it_is_over():
    """The last of a storm waits for all before it; a while later nobody does."""
    admission = Admission()
    last = [admission.wait_ms(0) for _ in range(200)][-1]
    assert last == (200 - BURST) * EVERY_MS
    later = 200 * EVERY_MS
    assert [admission.wait_ms(later) for _ in range(BURST)] == [0] * BURST
