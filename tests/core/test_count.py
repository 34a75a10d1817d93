"""Token counts equal tiktoken's, through the committed .wasm. Needs no Rust."""

import os
import sysconfig
from pathlib import Path

import pytest

from edgeloop.kernels import KernelRefused, utf8
from edgeloop_client import hot
from tests.support.tokens import ROOT, expected_count, oracle, random_texts, sample_texts
from tests.support.traps import door_of_little_memory, trap

# The exhaustive runs (a minute or more) are for `make check` and for whoever changes the kernel.
FULL = os.environ.get("EDGELOOP_FULL") == "1"


def corpus() -> list[Path]:
    """This repository's own text files and part of Python's standard library."""
    here = [
        path
        for folder in ("src", "client", "tests", "scripts", "rust-wasm/core")
        for path in (ROOT / folder).rglob("*")
    ]
    stdlib = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return [path for path in here if path.suffix in {".py", ".rs", ".mjs", ".md"}] + stdlib[
        : None if FULL else 60
    ]


@pytest.mark.parametrize("text", sample_texts())
def test_sample_counts_as_tiktoken_does(text: str) -> None:
    """Each sample, alone and followed by text, counts as in tiktoken."""
    assert hot.count_tokens(text) == expected_count(text)
    assert hot.count_tokens(text + "x") == expected_count(text + "x")


def test_files_count_as_tiktoken_does() -> None:
    """Source and prose files: no difference in any file."""
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in corpus()]
    counts = hot.count_batch([text.encode() for text in texts])
    assert len(texts) > 40
    assert counts == [expected_count(text) for text in texts]


def test_random_texts_count_as_tiktoken_does() -> None:
    """Seeded random strings, from code-like ASCII to any code point."""
    texts = list(random_texts(1_000_000 if FULL else 10_000))
    wrong = [text for text in texts if hot.count_tokens(text) != expected_count(text)]
    assert wrong == []


def test_cl100k_counts_as_tiktoken_does() -> None:
    """The optional vocabulary: samples, random strings, files and code points."""
    door = hot.WasmDoor(table=ROOT / "rust-wasm" / "data" / "cl100k.bin", pattern="cl100k")
    codes = range(0, 0x110000, 1 if FULL else 127)
    characters = [chr(code) for code in codes if not 0xD800 <= code < 0xE000]
    texts = [*sample_texts(), *random_texts(1_000_000 if FULL else 5_000, seed=2)]
    texts += [path.read_text(encoding="utf-8", errors="replace") for path in corpus()]
    texts += [f"a{character}b {character}'s {character}1" for character in characters] + characters
    wrong = [
        text for text in texts if door.call("count_tokens", utf8(text)) != expected_count(text, "cl100k_base")
    ]
    assert wrong == []


def test_every_code_point_counts_as_tiktoken_does() -> None:
    """Every code point alone and in context; without EDGELOOP_FULL=1, a spread of them."""
    codes = range(0, 0x110000, 1 if FULL else 61)
    characters = [chr(code) for code in codes if not 0xD800 <= code < 0xE000]
    contexts = ("{}", "a{}b", " {}'s A{}1", "\n{} {}\n")
    texts = [context.replace("{}", character) for character in characters for context in contexts]
    counts = hot.count_batch([text.encode() for text in texts])
    wrong = [text for text, count in zip(texts, counts, strict=True) if count != expected_count(text)]
    assert wrong == []


def test_bytes_that_are_not_utf8_count_as_they_would_be_shown() -> None:
    """Invalid bytes count as U+FFFD, a lone surrogate in a str as one U+FFFD (as in tiktoken), and nothing raises."""
    for data in (b"\xff", b"a\xed\xa0\x80b", b"\xf0\x9f\x99", b"caf\xe9 \xc3", bytes(range(256))):
        assert hot.count_tokens(data) == expected_count(data.decode("utf-8", "replace"))
    assert hot.count_tokens("a\ud800b") == len(oracle().encode_ordinary("a\ud800b"))


def test_one_long_piece_is_not_quadratic() -> None:
    """600 KB without a boundary count right, and in far less time than a quadratic merge would take."""
    assert hot.count_tokens(b"ab" * 300_000) == expected_count("ab" * 300_000)


def test_batch_equals_single_calls() -> None:
    """One crossing answers what many do, also for no texts and for empty ones."""
    texts = [text.encode() for text in sample_texts()]
    assert hot.count_batch(texts) == [hot.count_tokens(text) for text in texts]
    assert hot.count_batch([]) == []
    assert hot.count_batch([b"", b""]) == [0, 0]


def test_a_batch_with_wrong_lengths_is_refused_and_harms_nothing() -> None:
    """A frame that lies about its lengths is a typed refusal; the next call answers."""
    for n, data in ((5, b"abc"), (1, b"\x09\0\0\0ab"), (1, b"\x01\0\0\0ab"), (2**30, b"abcd")):
        with pytest.raises(KernelRefused):
            hot.door.call("count_batch", data, n)
    assert hot.count_tokens(b"hello world") == 2


def test_an_instance_that_runs_out_of_memory_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed allocation the error is typed, and the same door answers again on a fresh instance."""
    door = door_of_little_memory(monkeypatch)
    assert door.call("count_tokens", b"hello world") == 2
    trap(door)
    assert door.call("count_tokens", b"hello world") == 2
