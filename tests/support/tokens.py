# ruff: noqa: RUF001 (letters that look alike are the point)
"""What token-counting tests share: tiktoken as the oracle, and texts. The edge ring uses the same texts."""

import base64
import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import tiktoken

ROOT = Path(__file__).resolve().parents[2]
_ASCII = "abcXYZ '\n\r\t/.019sStTdDreLLveVE"
_HARD = "ſ'sé中文字🙂👨\u200d👩\u0301\u0345ʰǅΣσ١٢Ⅷ²\u00a0\u2028\u3000\x85İK"


@cache
def oracle(name: str = "o200k_base") -> tiktoken.Encoding:
    """tiktoken with the ranks that npm's package carries, so that nothing is downloaded."""
    source = json.loads((ROOT / "node_modules" / "tiktoken" / "encoders" / f"{name}.json").read_text())
    ranks: dict[bytes, int] = {}
    for line in source["bpe_ranks"].splitlines():
        _, first, *tokens = line.split(" ")
        ranks |= {base64.b64decode(token): int(first) + i for i, token in enumerate(tokens)}
    return tiktoken.Encoding(name, pat_str=source["pat_str"], mergeable_ranks=ranks, special_tokens={})


def expected_count(text: str, name: str = "o200k_base") -> int:
    """tiktoken's answer."""
    return len(oracle(name).encode_ordinary(text))


def sample_texts() -> list[str]:
    """Texts on which tokenizers differ: case, digits, white space, contractions, scripts, joins, nothing at all."""
    return [
        "",
        "hello world",
        "it's IT'S we'll WE'LL we'Re x'ſ 'tis don''t",
        "HTTPServer parseJSON XMLHttpRequest ǅungla ʰa 中A文b",
        "1 12 123 1234 12345678 ١٢٣٤ Ⅷ² 3.14e-10",
        " \n\n  \t\r\n   x  \n y\u00a0\u2028z\u3000 ",
        "\n" * 40 + " " * 70 + "\t" * 9,
        "a" * 200 + "=" * 90 + "/" * 80 + "//\n\n//",
        "((x)) {[<>]} !?!? ... --- ## ** __ \\\\ ::",
        "日本語のテキスト、한국어 텍스트, עברית, العربية, हिन्दी, ไทย",
        "👨\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 🇪🇺 e\u0301 o\u0308\u0323 \u0301A \u0301",
        "\x00\x01\x7f\x85\ufeff\ufffd\U0010ffff\U0003d784",
    ]


def random_texts(count: int, seed: int = 1) -> Iterator[str]:
    """Seeded texts: ASCII that looks like code, hard cases mixed in, any code point."""
    rng = random.Random(seed)
    pools = (_ASCII, _ASCII + _HARD)
    for i in range(count):
        length = rng.randint(0, 40)
        if i % 3 < 2:
            yield "".join(rng.choice(pools[i % 3]) for _ in range(length))
        else:
            codes = (rng.randrange(rng.choice((0x100, 0x3000, 0x110000))) for _ in range(length))
            yield "".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000)
