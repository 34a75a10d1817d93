"""Make the tokenizer tables: merge pairs as byte planes, and the character classes of the pretokenizer.

Run by hand when a vocabulary or tiktoken changes, from the repository's root, offline:
`.venv/bin/python rust-wasm/gen/tables.py`. Sources: the ranks in npm's `tiktoken`, and tiktoken itself, which is
asked for the class of every code point so that our Unicode version is its Unicode version by construction.

`src/hot/o200k.bin`, and `rust-wasm/data/cl100k.bin` for those who want it: 256 bytes, the token id of each single
byte; then six planes of n bytes each, row i saying that token 256 + i is the merge (left id, right id): the high bytes
of the left and of the right ids, the middle ones, the low ones. Planes, because equal bytes then stand together and
the upload compresses to 0.73 MB.

`rust-wasm/core/src/count/classes.bin`: 4,352 bytes, the block number of each run of 256 code points, then the
blocks of 256 classes (the bits are explained in classes.rs).
"""

import base64
import json
import sys
from itertools import pairwise
from pathlib import Path

import tiktoken

ROOT = Path(__file__).resolve().parents[2]
UPPER, LOWER, MARK, NUMBER, SPACE, NEWLINE = 1, 2, 4, 8, 16, 32
CLASSES = {
    r"\p{Lu}|\p{Lt}": UPPER,
    r"\p{Ll}": LOWER,
    r"\p{Lm}|\p{Lo}": UPPER | LOWER,
    r"\p{M}": UPPER | LOWER | MARK,
    r"\p{N}": NUMBER,
    r"[^\S\r\n]": SPACE,
    r"[\r\n]": SPACE | NEWLINE,
}


def load_ranks(name: str) -> dict[bytes, int]:
    """The vocabulary as npm's `tiktoken` ships it: lines of `! <first rank> <base64 token> ...`."""
    path = ROOT / "node_modules" / "tiktoken" / "encoders" / f"{name}.json"
    ranks: dict[bytes, int] = {}
    for line in json.loads(path.read_text())["bpe_ranks"].splitlines():
        _, first, *tokens = line.split(" ")
        ranks |= {base64.b64decode(token): int(first) + i for i, token in enumerate(tokens)}
    return ranks


def last_merge(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The only pair that merges into `token`: what BPE of its bytes leaves when the token itself is forbidden."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        _, at = min((ranks.get(a + b, sys.maxsize), i) for i, (a, b) in enumerate(pairwise(parts)))
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    left, right = parts
    return left, right


def merge_planes(ranks: dict[bytes, int]) -> bytes:
    """The table described above; fails where a vocabulary is not what the format assumes."""
    by_rank = sorted(ranks, key=ranks.__getitem__)
    if [len(token) for token in by_rank[:256]] != [1] * 256 or ranks[by_rank[-1]] != len(by_rank) - 1:
        raise ValueError("expected 256 single bytes first and ranks without gaps")
    pairs = [last_merge(token, ranks) for token in by_rank[256:]]
    if len(set(pairs)) != len(pairs):
        raise ValueError("two tokens share a merge pair")
    ids = [(ranks[left], ranks[right]) for left, right in pairs]
    planes = [bytes(pair[side] >> shift & 255 for pair in ids) for shift in (16, 8, 0) for side in (0, 1)]
    return bytes(ranks[bytes([byte])] for byte in range(256)) + b"".join(planes)


def class_table() -> bytes:
    """Ask tiktoken's regex engine about every code point and fold the answer into shared blocks."""
    singles = {bytes([byte]): byte for byte in range(256)}
    classes = bytearray(0x110000)
    for pattern, value in CLASSES.items():
        probe = tiktoken.Encoding("probe", pat_str=pattern, mergeable_ranks=singles, special_tokens={})
        for code in range(0x110000):
            # Surrogates are not text; a probe drops what its pattern does not match.
            if not 0xD800 <= code < 0xE000 and probe.encode_ordinary(chr(code)):
                classes[code] |= value
    blocks = [bytes(classes[start : start + 256]) for start in range(0, 0x110000, 256)]
    distinct = list(dict.fromkeys(blocks))
    if len(distinct) > 256:
        raise ValueError(f"{len(distinct)} distinct blocks do not fit a byte index")
    number = {block: i for i, block in enumerate(distinct)}
    return bytes(number[block] for block in blocks) + b"".join(distinct)


def main() -> None:
    outputs = {
        ROOT / "src" / "hot" / "o200k.bin": merge_planes(load_ranks("o200k_base")),
        ROOT / "rust-wasm" / "data" / "cl100k.bin": merge_planes(load_ranks("cl100k_base")),
        ROOT / "rust-wasm" / "core" / "src" / "count" / "classes.bin": class_table(),
    }
    for path, data in outputs.items():
        path.write_bytes(data)
        print(f"{path.relative_to(ROOT)}: {len(data):,} bytes")


if __name__ == "__main__":
    main()
