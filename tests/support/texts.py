"""Generated texts for diff and merge tests: few distinct lines, so that alignments are ambiguous."""

import random

_COMMON = (b"", b"}", b"  x();", b"{")


def random_text(rng: random.Random) -> bytes:
    """Up to sixty lines, sometimes with CRLF, sometimes without a final newline."""
    lines = [random_line(rng, rng.choice((3, 8, 30, 1000))) for _ in range(rng.randint(0, 60))]
    return _finish(rng, lines, rng.choice((b"\n", b"\n", b"\r\n")))


def random_line(rng: random.Random, distinct: int) -> bytes:
    """A line without its end."""
    return rng.choice(_COMMON) if rng.random() < 0.25 else b"line %d" % rng.randrange(distinct)


def edited(rng: random.Random, text: bytes, most: int = 4) -> bytes:
    """The text after a few deletions, replacements and insertions."""
    ending = b"\r\n" if b"\r\n" in text else b"\n"
    lines = text.split(ending)
    if lines[-1] == b"":
        lines.pop()
    for _ in range(rng.randint(0, most)):
        at = rng.randint(0, len(lines))
        choice = rng.random()
        if choice < 0.35:
            del lines[at : at + rng.randint(1, 3)]
        elif choice < 0.7 and at < len(lines):
            lines[at] = random_line(rng, 30)
        else:
            lines[at:at] = [random_line(rng, 30) for _ in range(rng.randint(1, 3))]
    return _finish(rng, lines, ending)


def _finish(rng: random.Random, lines: list[bytes], ending: bytes) -> bytes:
    text = b"".join(line + ending for line in lines)
    return text.removesuffix(ending) if rng.random() < 0.1 else text
