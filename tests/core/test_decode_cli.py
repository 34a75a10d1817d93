"""`edgeloop decode`: a recorded stream as lines of JSON."""

import io
import json

import pytest

from edgeloop.kernels import KernelRefused
from edgeloop_client.decode import DIALECTS, Decoder, decode_file
from tests.support.streams import FIXTURES
from tests.support.traps import door_of_little_memory, trap


@pytest.mark.parametrize("name", sorted(path.stem for path in FIXTURES.glob("*.sse")))
def test_the_example_streams_decode_to_their_lines(name: str) -> None:
    """A stream of each dialect, and some of servers that only resemble one, lie here with the lines they must decode to."""
    out = io.StringIO()
    decode_file(str(FIXTURES / f"{name}.sse"), name.partition(".")[0], out)
    expected = (FIXTURES / f"{name}.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        json.loads(line) for line in expected.splitlines()
    ]


def test_every_dialect_has_an_example() -> None:
    """As its provider documents it."""
    assert {path.stem for path in FIXTURES.glob("*.sse")} >= set(DIALECTS)


def test_standard_input_and_a_bad_end() -> None:
    """`-` reads standard input; a stream that ended in an error says so in its last line."""
    out = io.StringIO()
    cut = (FIXTURES / "anthropic.sse").read_bytes()[:-100]
    decode_file("-", "anthropic", out, stdin=io.BytesIO(cut))
    assert json.loads(out.getvalue().splitlines()[-1])["class"] == "truncated"


def test_unknown_names_are_refused() -> None:
    """A dialect that is none, a file that is not there."""
    with pytest.raises(ValueError, match="'gpt'"):
        decode_file("-", "gpt", io.StringIO(), stdin=io.BytesIO())
    with pytest.raises(OSError, match="absent"):
        decode_file("absent.sse", "gemini", io.StringIO())


def test_a_decoder_that_went_with_its_instance_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a trap an old decoder is refused and harms no new one, also where that was opened first on the fresh instance."""
    door = door_of_little_memory(monkeypatch)
    with Decoder("anthropic", instance=door) as lost:
        trap(door)
        with Decoder("openai-chat", instance=door) as fresh:
            with pytest.raises(KernelRefused):
                lost.feed(b"data: [DONE]\n\n")
            assert [op["op"] for op in fresh.finish()] == ["error"]
    with pytest.raises(KernelRefused):
        fresh.partial()
