"""What the Rust kernels offer, whichever door leads to them.

Two doors exist, src/edge/hot.py (through JS) and the client's hot.py (through wasmtime); each is a `Door` and offers the
functions of `Kernels` under the same names. This room knows how bytes are laid out for a kernel and what its answers
mean; it does not know how they get there, nor what sessions and tools do with them.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from edgeloop.errors import EdgeloopError

Algorithm = Literal["histogram", "myers"]
MergeStyle = Literal["merge", "diff3", "zdiff3"]
ApplyProblem = Literal["not_found", "ambiguous", "overlap", "malformed"]

_ALGORITHMS: dict[Algorithm, int] = {"histogram": 0, "myers": 1}
_STYLES: dict[MergeStyle, int] = {"merge": 0, "diff3": 1, "zdiff3": 2}
_PROBLEMS: dict[int, ApplyProblem] = {1: "not_found", 2: "ambiguous", 3: "overlap", 4: "malformed"}


class KernelTrapped(EdgeloopError):
    """The wasm instance died in this call; it has been dropped, and the next call runs on a fresh one."""


class KernelRefused(EdgeloopError):
    """The kernel cannot take these arguments: our bug. The instance is unharmed."""


class ApplyFailed(EdgeloopError):
    """Nothing was applied.

    `edit` counts from 0 and is None for a diff that cannot be read; `lines` count from 1: of the text the nearest place
    (none if nothing is like it) or the two places found, of a malformed diff the line that cannot be read.
    """

    def __init__(self, *, problem: ApplyProblem, edit: int | None, lines: tuple[int, ...]) -> None:
        where = f"edit {edit}" if edit is not None else "the diff"
        near = f", see line {' and '.join(map(str, lines))}" if lines else ""
        super().__init__(f"{where}: {problem.replace('_', ' ')}{near}")
        self.problem = problem
        self.edit = edit
        self.lines = lines


@dataclass(frozen=True, kw_only=True)
class Edit:
    """Replace `search`, which stands once in the text, by `replace`."""

    search: bytes
    replace: bytes


@dataclass(frozen=True, kw_only=True)
class Merged:
    """A merged text, with markers where there are conflicts."""

    text: bytes
    conflicts: int


class Door(Protocol):
    """A way to the kernels."""

    def call(self, name: str, data: bytes, *numbers: int) -> int:
        """Run the kernel `name` over `data` and the numbers before its length; answers its number."""
        ...

    def call_bytes(self, name: str, data: bytes, *numbers: int) -> bytes:
        """The same for a kernel whose answer is bytes."""
        ...


class Kernels:
    """The kernels behind one door. Any call may raise `KernelTrapped`; calling again is then safe."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def count_tokens(self, text: str | bytes) -> int:
        """Count o200k_base tokens, exactly as tiktoken does; invalid UTF-8 counts as replacement characters."""
        return self._door.call("count_tokens", utf8(text))

    def count_batch(self, texts: Sequence[bytes]) -> list[int]:
        """The same for many texts in one crossing."""
        return _numbers(self._door.call_bytes("count_batch", frames(texts), len(texts)))

    def count_prefix(self, text: str | bytes, limit: int) -> tuple[int, int]:
        """The longest prefix of whole pieces within `limit` tokens: its length in bytes of UTF-8 and its tokens."""
        length, tokens = _numbers(self._door.call_bytes("count_prefix", utf8(text), limit))
        return length, tokens

    def diff_unified(
        self, before: bytes, after: bytes, *, context: int = 3, algorithm: Algorithm = "histogram"
    ) -> bytes:
        """The hunks of a unified diff, without its two header lines; empty for equal texts."""
        data = frames([before, after])
        return self._door.call_bytes("diff_unified", data, context, _ALGORITHMS[algorithm])

    def diff_edits(self, before: bytes, after: bytes) -> list[Edit]:
        """Edits that lead from one text to the other, each search found once; for empty texts it may be empty."""
        answer = self._door.call_bytes("diff_edits", frames([before, after]))
        parts = read_frames(_numbers(answer[:4])[0], answer[4:])
        return [
            Edit(search=search, replace=replace)
            for search, replace in zip(parts[::2], parts[1::2], strict=True)
        ]

    def diff_words(self, before: bytes, after: bytes) -> list[tuple[int, int, int, int]]:
        """Words changed between the sides of a hunk: bytes from and to in the first, from and to in the second."""
        ends = _numbers(self._door.call_bytes("diff_words", frames([before, after])))
        return list(zip(ends[::4], ends[1::4], ends[2::4], ends[3::4], strict=True))

    def apply_patch(self, text: bytes, patch: bytes) -> bytes:
        """Apply a unified diff of one file, whole or not at all.

        Raises:
            ApplyFailed: a hunk is not found, or not only once, or the diff cannot be read.
        """
        return _applied(self._door.call_bytes("apply_patch", frames([text, patch])))

    def apply_edits(self, text: bytes, edits: Sequence[Edit]) -> bytes:
        """Apply edits, all or none: found exactly, else but for white space, and only once.

        Raises:
            ApplyFailed: which edit, why, and where the text comes nearest.
        """
        parts = [text, *(part for edit in edits for part in (edit.search, edit.replace))]
        return _applied(self._door.call_bytes("apply_edits", frames(parts), len(parts)))

    def merge(
        self,
        base: bytes,
        ours: bytes,
        theirs: bytes,
        *,
        style: MergeStyle = "merge",
        algorithm: Algorithm = "histogram",
        labels: tuple[str, str, str] = ("base", "ours", "theirs"),
    ) -> Merged:
        """Merge two texts that came from `base`, by the rules of `git merge-file`; `labels` in the texts' order."""
        data = frames([base, ours, theirs, *(label.encode() for label in labels)])
        answer = self._door.call_bytes("merge3", data, _STYLES[style], _ALGORITHMS[algorithm])
        return Merged(text=answer[4:], conflicts=_numbers(answer[:4])[0])


def utf8(text: str | bytes) -> bytes:
    """UTF-8 of a text as a tokenizer would see it: a lone surrogate becomes U+FFFD, as in tiktoken."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def frames(parts: Sequence[bytes]) -> bytes:
    """Several byte strings for one crossing: their lengths (u32, little-endian), then the bytes."""
    return struct.pack(f"<{len(parts)}I", *map(len, parts)) + b"".join(parts)


def read_frames(n: int, data: bytes) -> list[bytes]:
    """`n` byte strings out of what `frames` made of them."""
    parts: list[bytes] = []
    at = 4 * n
    for length in _numbers(data[:at]):
        parts.append(data[at : at + length])
        at += length
    return parts


def _numbers(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 4}I", data))


def _applied(answer: bytes) -> bytes:
    if answer[0] == 0:
        return answer[1:]
    problem = _PROBLEMS[answer[0]]
    numbers = _numbers(answer[1:])
    edit = None if problem == "malformed" else numbers.pop(0)
    raise ApplyFailed(problem=problem, edit=edit, lines=tuple(line for line in numbers if line))
