"""The README keeps its word: its transcript is what the demo prints today."""

from scripts import transcript


def test_the_readme_shows_what_the_demo_prints() -> None:
    """The same files read, the same answer, the same figures; only times and bytes on the wire may differ."""
    fresh = transcript.comparable(transcript.run_demo())
    assert transcript.comparable(transcript.shown()) == fresh
