"""What of a conversation says again what it has said before: the compression analysis, as the core sees it.

Each block is judged once, when it enters, by rust-wasm/core/src/analysis; the judgement is a `Plan` that never changes.
This room knows how blocks and plans are laid out for the kernel. Which plans are carried out, and when, is decided
elsewhere, with prices at hand; a plan may be left undone, but what is carried out is so in the order of the plans.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

from edgeloop.errors import EdgeloopError
from edgeloop.kernels import Door, KernelRefused, frames, utf8

Role = Literal["text", "call", "result"]
FoldKind = Literal["copy", "echo", "template"]

_ROLES: dict[Role, bytes] = {"text": b"\0", "call": b"\1", "result": b"\2"}
_KINDS: tuple[FoldKind, ...] = ("copy", "echo", "template")
_NONE = 0xFFFFFFFF
_HEAD = struct.Struct("<5I")
_FOLD = struct.Struct("<8I")
LIMIT = 6 << 20
"""Bytes of texts that are remembered unless told: more than a context of a million tokens."""

# Never the same twice in a process, so a number of before a trap does not name another's memory after it.
_keys = count(1)


class AnalysisLost(EdgeloopError):
    """The memory went with a trapped wasm instance: begin a new analysis and enter the blocks that still matter."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block as it enters.

    `name` is what stubs call it: 1 to 64 bytes of ASCII without spaces and brackets, else its number is used. `path` is
    the file that it is about, and `command` the command or whatever else tells two calls of this tool apart: results
    that agree in tool, path and command are about one thing, and the later one is right.
    """

    role: Role
    data: bytes
    name: str = ""
    tool: str = ""
    path: str = ""
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Bytes `start` to `end` of a new block that `replacement` may stand for.

    The bytes stand in block `source` from `source_start` on; a template's replacement holds all it stands for.
    `tokens_before` and `tokens_after` are o200k tokens of the range and of the replacement, each by itself.
    """

    kind: FoldKind
    start: int
    end: int
    source: int
    source_start: int
    tokens_before: int
    tokens_after: int
    replacement: bytes


@dataclass(frozen=True, kw_only=True)
class Near:
    """An earlier block much like the new one: the estimated share of runs of words that they have in common."""

    block: int
    likeness: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The judgement of one block; blocks count from 0 in the order of entering.

    `superseded` are earlier results that later ones have made stale and no fold refers to any more, in the order in
    which they may become stubs: a block comes after those that refer to it.
    """

    block: int
    folds: tuple[Fold, ...]
    superseded: tuple[int, ...]
    near: Near | None

    def render(self, data: bytes) -> bytes:
        """The block with its folds made."""
        pieces: list[bytes] = []
        at = 0
        for fold in self.folds:
            pieces += (data[at : fold.start], fold.replacement)
            at = fold.end
        return b"".join((*pieces, data[at:]))


class Analysis:
    """The memory of one conversation, behind a door to the kernels. `close` it, or its memory stays."""

    def __init__(self, door: Door, *, limit: int = LIMIT) -> None:
        """Remember up to `limit` bytes of texts; what is older is forgotten, and never referred to again."""
        self._door = door
        self._key = next(_keys)
        door.call("analysis_open", b"", self._key, limit)

    def enter(self, blocks: Sequence[Block]) -> list[Plan]:
        """Judge blocks, in their order, and remember them: O(their bytes), however long the conversation.

        Raises:
            AnalysisLost: some call, of whatever kernel, has trapped since this analysis began.
        """
        parts = [part for block in blocks for part in _parts(block)]
        try:
            answer = self._door.call_bytes("analysis_enter", frames(parts), self._key, len(blocks))
        except KernelRefused as error:
            raise AnalysisLost(f"analysis {self._key} is no longer known: {error}") from error
        return list(_plans(answer))

    def resolve(self, fold: Fold, source: bytes) -> bytes:
        """The bytes that a fold stands for; `source` is the whole block that it refers to (any, for a template).

        Raises:
            ValueError: `source` is not long enough to be that block.
        """
        if fold.kind == "template":
            return self._door.call_bytes("analysis_unfold", fold.replacement, fold.end - fold.start)
        found = source[fold.source_start : fold.source_start + fold.end - fold.start]
        if len(found) != fold.end - fold.start:
            raise ValueError(f"block of {len(source)} bytes is not the source of {fold!r}")
        return found

    def close(self) -> None:
        """Forget the conversation."""
        self._door.call("analysis_close", b"", self._key)


def _parts(block: Block) -> tuple[bytes, ...]:
    described = (utf8(text) for text in (block.name, block.tool, block.path, block.command))
    return (_ROLES[block.role], *described, block.data)


def _plans(data: bytes) -> Iterator[Plan]:
    at = 0
    while at < len(data):
        block, n_folds, n_superseded, near, likeness = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        heads = [_FOLD.unpack_from(data, at + index * _FOLD.size) for index in range(n_folds)]
        at += n_folds * _FOLD.size
        superseded = struct.unpack_from(f"<{n_superseded}I", data, at)
        at += 4 * n_superseded
        folds: list[Fold] = []
        for *numbers, length in heads:
            folds.append(_fold(numbers, data[at : at + length]))
            at += length
        yield Plan(
            block=block,
            folds=tuple(folds),
            superseded=superseded,
            near=None if near == _NONE else Near(block=near, likeness=likeness / 1000),
        )


def _fold(numbers: Sequence[int], replacement: bytes) -> Fold:
    kind, start, end, source, source_start, before, after = numbers
    return Fold(
        kind=_KINDS[kind],
        start=start,
        end=end,
        source=source,
        source_start=source_start,
        tokens_before=before,
        tokens_after=after,
        replacement=replacement,
    )
