"""The pace at which sockets are taken."""

from edgeloop.admission import BURST, EVERY_MS, EVERY_MS_AT_MOST, EVERY_MS_PER_STREAM, Admission


def test_a_few_at_once_then_one_after_the_other():
    """The first few do not wait; the others take turns in the order in which they came."""
    admission = Admission()
    waits = [admission.wait_ms(1_000, 0) for _ in range(BURST + 3)]
    assert waits == [0] * BURST + [EVERY_MS, 2 * EVERY_MS, 3 * EVERY_MS]


def test_no_one_waits_at_an_even_pace():
    """Who comes no faster than the pace never waits."""
    admission = Admission()
    assert [admission.wait_ms(n * EVERY_MS, 0) for n in range(200)] == [0] * 200


def test_a_storm_is_forgotten_when_it_is_over():
    """The last of a storm waits for all before it; a while later nobody does."""
    admission = Admission()
    last = [admission.wait_ms(0, 0) for _ in range(200)][-1]
    assert last == (200 - BURST) * EVERY_MS
    later = 200 * EVERY_MS
    assert [admission.wait_ms(later, 0) for _ in range(BURST)] == [0] * BURST


def test_streams_are_left_their_time():
    """The more streams run, the longer the others wait, to a bound; the first few never do."""
    for streams, every in ((100, EVERY_MS + int(100 * EVERY_MS_PER_STREAM)), (10_000, EVERY_MS_AT_MOST)):
        admission = Admission()
        waits = [admission.wait_ms(1_000, streams) for _ in range(BURST + 1)]
        assert waits == [0] * BURST + [every]
