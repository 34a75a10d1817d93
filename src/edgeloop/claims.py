"""Who changes what of one base version of a file: conflicts between any number of writers, found as they edit, without merging.

The rules are rust-wasm/core/src/merge/claims.rs's. This room knows how changes and clashes are laid out for the kernel; whether a
clash is shown, waited for or merged is decided elsewhere. A file that another is renamed to has claims of its own, with a
`Created` among them.
"""

import struct
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from typing import Literal, assert_never

from edgeloop.errors import EdgeloopError
from edgeloop.kernels import Door, KernelRefused

ClashKind = Literal["lines", "deleted", "created", "renamed", "moved"]
"""Both changed these lines; one deleted what the other changed; both created it; both renamed it, apart; one renamed what the
other changed, where nothing is lost if the change follows the file."""

_KINDS: tuple[ClashKind, ...] = ("lines", "deleted", "created", "renamed", "moved")
_CHANGE = struct.Struct("<4I8s")
_CLASH = struct.Struct("<5I")
_NO_HASH = bytes(8)

# Never the same twice in a process, so a number of before a trap does not name another file's claims after it.
_keys = count(1)


class ClaimsLost(EdgeloopError):
    """The claims went with a trapped wasm instance: begin anew and add the changes that still matter."""


@dataclass(frozen=True, kw_only=True)
class Changed:
    """Lines `start` up to `end` of the base, from 0, became `content`; without lines, an insertion before `start`."""

    start: int
    end: int
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Deleted:
    """The file is gone."""


@dataclass(frozen=True, kw_only=True)
class Created:
    """A file that the base does not have."""

    content: bytes


@dataclass(frozen=True, kw_only=True)
class Renamed:
    """The file has another path; what it says is claimed apart."""

    path: str


Change = Changed | Deleted | Created | Renamed


@dataclass(frozen=True, kw_only=True)
class Clash:
    """Two writers' changes that do not go together: the `change`th that was added, and an earlier one of writer `other`.

    `start` to `end` are the lines that both touch, of the kind `lines`; else both are 0.
    """

    change: int
    other: int
    kind: ClashKind
    start: int
    end: int


class Claims:
    """The changes to one file since one base version, behind a door to the kernels. `close` it, or its memory stays."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._key = next(_keys)
        door.call("claims_open", b"", self._key)

    def add(self, changes: Sequence[tuple[int, Change]]) -> list[Clash]:
        """Record changes, each with the number of its writer, in their order: O(log n) each, and what they clash with.

        Raises:
            ClaimsLost: some call, of whatever kernel, has trapped since these claims began.
        """
        data = b"".join(_packed(writer, change) for writer, change in changes)
        with self._known():
            answer = self._door.call_bytes("claims_add", data, self._key)
        return [_clash(*numbers) for numbers in _CLASH.iter_unpack(answer)]

    def remove(self, writer: int) -> None:
        """Forget a writer's changes: O(all).

        Raises:
            ClaimsLost: as `add`.
        """
        with self._known():
            self._door.call("claims_remove", b"", self._key, writer)

    def close(self) -> None:
        """Forget them all."""
        self._door.call("claims_close", b"", self._key)

    @contextmanager
    def _known(self) -> Generator[None]:
        try:
            yield
        except KernelRefused as error:
            raise ClaimsLost(f"claims {self._key} are no longer known: {error}") from error


def _packed(writer: int, change: Change) -> bytes:
    match change:
        case Changed(start=start, end=end, content=content):
            if not 0 <= start <= end:
                raise ValueError(f"lines {start} to {end} are no lines")
            return _CHANGE.pack(writer, 0, start, end, _hash(content))
        case Deleted():
            return _CHANGE.pack(writer, 1, 0, 0, _NO_HASH)
        case Created(content=content):
            return _CHANGE.pack(writer, 2, 0, 0, _hash(content))
        case Renamed(path=path):
            return _CHANGE.pack(writer, 3, 0, 0, _hash(path.encode("utf-8", "surrogatepass")))
        case _:
            assert_never(change)


def _hash(content: bytes) -> bytes:
    # Eight bytes, against accidents: who wants two contents taken for one can find a pair, and hides his own clash.
    return blake2b(content, digest_size=8).digest()


def _clash(change: int, other: int, kind: int, start: int, end: int) -> Clash:
    return Clash(change=change, other=other, kind=_KINDS[kind], start=start, end=end)
