"""The decoders' own JSON reader against Python's: what is JSON, and what its strings say."""

import json
import random

import pytest

from edgeloop_client.decode import Decoder

DOCUMENTS = [
    '{"a": [1, -2.5e+3, 0, 1E5, 0.1], "b": {"c": null, "d": true, "e": false}, "f": "x"}',
    r'["\u00e9\ud83d\ude00\n\t\"\\\/\b\f\r", "é😀", "", "\u0000"]',
    '[[[[]]], {}, {"": {}}, " "]',
    "-0",
    '{"a":1,"a":2}',
]
ALPHABET = '{}[]",:\\u019eE+-.\t tfnruls/éd8\x00\x1f\x7f\u2028'
INVALID = ["", "01", "1.", ".5", "-", "+1", "1e", "nul", "True", "NaN", '"', '"\\x"', '"\\u12"', "[1,]", "[,]", "{,}", '{"a"}',
           '{"a":}', '{"a":1,}', "{1:2}", "[1 2]", "]", "{]", '"\t"', "\u00a01"]  # fmt: skip


def _refused(text: str) -> object:
    raise ValueError(text)


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_refused)
    except ValueError:
        return False
    return True


def _accepts(decoder: Decoder, text: str) -> bool:
    ops = decoder.feed(f'data: {{"x":{text}}}\n\n'.encode())
    return all(op["op"] != "malformed" for op in ops)


def test_mutated_documents_are_judged_as_python_judges_them() -> None:
    """Ten thousand near misses: valid is valid, anything else is malformed."""
    rng = random.Random(7)
    valid = 0
    with Decoder("openai-responses") as decoder:
        for _ in range(10_000):
            text = list(rng.choice(DOCUMENTS))
            for _ in range(rng.randrange(1, 4)):
                at = rng.randrange(len(text) + 1)
                text[at : at + rng.randrange(2)] = rng.choices(ALPHABET, k=rng.randrange(2))
            document = "".join(text)
            expected = _is_json(f'{{"x":{document}}}')
            valid += expected
            assert _accepts(decoder, document) == expected, document
    assert 500 < valid < 9_500


@pytest.mark.parametrize("text", INVALID)
def test_what_is_no_json(text: str) -> None:
    """The classic mistakes."""
    with Decoder("gemini") as decoder:
        assert not _accepts(decoder, text)


def test_strings_say_what_python_reads() -> None:
    """Every code unit escaped, alone and in pairs; lone surrogates become U+FFFD."""
    rng = random.Random(11)
    units = [
        *range(0x20),
        0x22,
        0x5C,
        0x7F,
        0x80,
        0x2028,
        0xD7FF,
        0xD800,
        0xDBFF,
        0xDC00,
        0xDFFF,
        0xE000,
        0xFFFD,
        0xFFFF,
    ]
    raws = ["".join(f"\\u{rng.choice(units):04x}" for _ in range(rng.randrange(1, 6))) for _ in range(1_000)]
    with Decoder("workers-ai") as decoder:
        for raw in raws:
            ops = decoder.feed(f'data: {{"response":"{raw}"}}\n\n'.encode())
            expected = (
                json.loads(f'"{raw}"').encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
            )
            # A first half at the end waits for its second; the next text decides.
            more = decoder.feed(b'data: {"response":"|"}\n\n')
            assert "".join(op["text"] for op in ops + more if op["op"] == "text") == expected + "|"
