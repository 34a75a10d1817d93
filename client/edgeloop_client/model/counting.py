"""Exact o200k token counts of request parts and of the pieces an answer is sent in; parts seen before are not counted again."""

from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b

import regex

from edgeloop_client.hot import count_batch

MAX_KNOWN = 50_000
# The pieces that o200k_base never merges across, so that counts of pieces add up (tiktoken's public pattern).
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_PIECE = regex.compile(
    rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+{_ENDING}"
    rf"|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*{_ENDING}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LONGEST = 64


class TokenCounter:
    """Counts bytes, remembering by digest."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, int] = OrderedDict()

    def of(self, texts: list[bytes]) -> list[int]:
        """The tokens of each text."""
        digests = [blake2b(text, digest_size=16).digest() for text in texts]
        fresh = {
            digest: text for digest, text in zip(digests, texts, strict=True) if digest not in self._known
        }
        counts = dict(zip(fresh, count_batch(list(fresh.values())), strict=True)) if fresh else {}
        answer = [counts[digest] if digest in counts else self._known[digest] for digest in digests]
        self._known.update(counts)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return answer


def pieces(text: str, chunk_tokens: int) -> Iterator[tuple[str, int]]:
    """Cut a text into deltas of at least so many tokens each (the last may have fewer), with their counts."""
    held: list[str] = []
    tokens = 0
    for part, count in _counted(text):
        held.append(part)
        tokens += count
        if tokens >= chunk_tokens:
            yield "".join(held), tokens
            held, tokens = [], 0
    if held:
        yield "".join(held), tokens


@lru_cache(maxsize=64)
def _counted(text: str) -> list[tuple[str, int]]:
    parts = [
        part[at : at + _LONGEST]
        for part in _PIECE.findall(text)
        for at in range(0, len(part), _LONGEST)  # a long unbroken run still comes in pieces
    ]
    return list(zip(parts, count_batch([part.encode("utf-8", "replace") for part in parts]), strict=True))
