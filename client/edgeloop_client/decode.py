"""Look into a recorded stream: the decoders that run at the edge, run here on a file's bytes by the same .wasm.

Decides how records become lines of JSON; what the bytes mean is the decoder's (`rust-wasm/core/src/decode`).
"""

import json
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TextIO

from edgeloop.kernels import KernelRefused
from edgeloop_client.hot import WasmDoor, door

DIALECTS = ("anthropic", "openai-chat", "openai-responses", "gemini", "workers-ai", "gemini-interactions")
"""The decoders' names, in the order of their numbers at the wasm door."""

_READ = 1 << 16
_COUNT = struct.Struct("<I")
_RECORD = struct.Struct("<6I")
_DELTAS = {1: ("text", "text"), 2: ("reasoning", "text"), 3: ("args", "bytes")}
_PING = 4
# Never the same twice in a process, so a decoder of before a trap is refused after it, not taken for another.
_keys = count(1)

Op = dict[str, Any]


class Decoder:
    """Decodes one response. Feed it the body in pieces of any size, then `finish`; use it as a context manager.

    Raises:
        ValueError: `dialect` is none of `DIALECTS`.
    """

    def __init__(self, dialect: str, *, args: bool = True, instance: WasmDoor | None = None) -> None:
        if dialect not in DIALECTS:
            raise ValueError(f"dialect {dialect!r} is none of {', '.join(DIALECTS)}")
        self._door = instance or door
        self._key = next(_keys)
        self._door.call("decode_open", b"", self._key, DIALECTS.index(dialect), int(args))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(KernelRefused):  # it went with a trapped instance
            self._door.call("decode_close", b"", self._key)

    def feed(self, data: bytes) -> list[Op]:
        """The operations that these bytes complete, each tagged `op`."""
        self._door.call("decode_feed", data, self._key)
        return self._take()

    def finish(self) -> list[Op]:
        """The operations that the end of the bytes completes."""
        self._door.call("decode_finish", b"", self._key)
        return self._take()

    def _take(self) -> list[Op]:
        return list(_operations(self._door.call_bytes("decode_take", b"", self._key)))

    def partial(self, *, open_only: bool = False) -> list[Op]:
        """The blocks so far; `open_only`: the text and reasoning that are not complete."""
        return json.loads(self._door.call_bytes("decode_partial", b"", self._key, int(open_only)))


def decode_file(source: str, dialect: str, out: TextIO, *, stdin: BinaryIO | None = None) -> bool:
    """Write the operations of a recorded stream to `out` as JSON lines; `source` is a path, or `-` for standard input.

    Returns:
        Whether anything in it was of that dialect, be it an error.

    Raises:
        ValueError: `dialect` is unknown.
        OSError: the file cannot be read.
    """
    with Decoder(dialect) as decoder:
        understood = False
        for op in _decode(decoder, source, stdin or sys.stdin.buffer):
            out.write(json.dumps(op, ensure_ascii=False) + "\n")
            understood = understood or _says_something(op)
    return understood


def _says_something(op: Op) -> bool:
    """Whether it can only come of the dialect: what any bytes give is a nameless start, and an end that never came."""
    if op["op"] == "start":
        return bool(op["response_id"] or op["model"])
    return op["op"] not in ("malformed", "ping") and not str(op.get("message")).startswith(
        "the stream ended before"
    )


def _decode(decoder: Decoder, source: str, stdin: BinaryIO) -> Iterator[Op]:
    if source == "-":
        yield from _pieces(decoder, iter(lambda: stdin.read(_READ), b""))
        return
    with Path(source).open("rb") as file:
        yield from _pieces(decoder, iter(lambda: file.read(_READ), b""))


def _pieces(decoder: Decoder, pieces: Iterable[bytes]) -> Iterator[Op]:
    for piece in pieces:
        yield from decoder.feed(piece)
    yield from decoder.finish()


def _operations(result: bytes) -> Iterator[Op]:
    """Cut taken records into operations; their layout is described in `rust-wasm/wasm/src/decode.rs`."""
    if not result:
        return
    (count,) = _COUNT.unpack_from(result)
    at = _COUNT.size + count * _RECORD.size
    for tag, block, _, size, _, _ in _RECORD.iter_unpack(result[_COUNT.size : at]):
        text = result[at : at + size].decode()
        at += size
        if tag in _DELTAS:
            name, field = _DELTAS[tag]
            yield {"op": name, "block": block, field: json.loads(f'"{text}"')}
        elif tag == _PING:
            yield {"op": "ping"}
        else:
            yield json.loads(text)
