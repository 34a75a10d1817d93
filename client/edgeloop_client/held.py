"""What the session holds of files: which lines of which versions the model was shown, and by which results.

Derived from the log alone: a result counts once its `tool_finished` is in the log, not when it was sent, so a client that starts
anew and folds the log knows the same. Where contents were lost (`contents.py`) less is known, never more. Knows no tool: a tool
says what a result of its own shows (`Sight`).

`forget` is the place for what the session no longer holds: whatever folds old results away says so there.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgeloop_client.contents import Contents, content_hash
from edgeloop_client.errors import ToolError
from edgeloop_client.parts import Change, Part, carried, count_lines, hunks, with_part

MAX_VERSIONS = 8
"""Versions remembered of one file; older ones are taken for never seen."""

Versions = Mapping[str, tuple[Part, ...]]
"""What is held of each version of a file, by its hash; the version seen last comes last."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A result that showed lines `start` to `end` of a version; as a diff, it showed them to whoever holds `base`."""

    path: str
    hash: str
    start: int
    end: int
    base: str | None = None


@dataclass(frozen=True, kw_only=True)
class Made:
    """A result that says: the model's change made this version.

    `make` gives the model's own version out of the one it was made for (`base`; None: out of nothing) and may raise `ToolError`.
    With `merged` the result showed what the version has beyond that.
    """

    path: str
    hash: str
    base: str | None
    make: Callable[[bytes], Change]
    merged: bool = False


Sight = Shown | Made


@dataclass(frozen=True, kw_only=True)
class _Seen:
    seq: int
    call: str
    sight: Sight


class Held:
    """See the module's text. Told by the event loop, asked by tools in threads."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        self._guard = threading.Lock()
        """Of what was not read yet: held for a moment only, since the event loop waits for it."""
        self._reading = threading.Lock()
        """Of what was read: diffs are made under it."""
        self._unread: dict[str, list[_Seen]] = {}
        self._files: dict[str, dict[str, tuple[Part, ...]]] = {}

    def see(self, seq: int, call: str, sight: Sight) -> None:
        """Take what a recorded result showed; in the order of the log."""
        with self._guard:
            self._unread.setdefault(sight.path, []).append(_Seen(seq=seq, call=call, sight=sight))

    def versions(self, path: str) -> Versions:
        """What is held of a file, by its path as the tools tell it."""
        with self._reading:
            self._read(path)
            return dict(self._files.get(path, {}))

    def forget(self, seq: int) -> None:
        """Say that the session no longer holds the result `seq`: what was known by it, or with its help, is unknown."""
        with self._reading:
            for path in list(self._unread):
                self._read(path)
            for file in self._files.values():
                for version, parts in file.items():
                    file[version] = tuple(part for part in parts if not part.oldest <= seq <= part.seq)

    def clear(self) -> None:
        """Say that it is another log from here on."""
        with self._reading, self._guard:
            self._unread.clear()
            self._files.clear()

    def _read(self, path: str) -> None:
        """Take up what was seen of a file. Late, since it may take contents and diffs, and most files are never read again."""
        with self._guard:
            unread = self._unread.pop(path, [])
        for seen in unread:
            file = self._files.setdefault(path, {})
            parts = self._parts(file, seen)
            # The version seen last comes last.
            file.pop(seen.sight.hash, None)
            file[seen.sight.hash] = parts
            if len(file) > MAX_VERSIONS:
                del file[next(iter(file))]

    def _parts(self, file: Versions, seen: _Seen) -> tuple[Part, ...]:
        known = file.get(seen.sight.hash, ())
        match seen.sight:
            case Shown(base=None) as shown:
                return _with_lines(known, shown, seen, oldest=seen.seq)
            case Shown() as shown:
                base = file.get(shown.base or "", ())
                return (
                    _with_lines(known, shown, seen, oldest=min(part.oldest for part in base))
                    if base
                    else known
                )
            case Made() as made:
                for part in self._made(file, made, seen):
                    known = with_part(known, part)
                return known

    def _made(self, file: Versions, made: Made, seen: _Seen) -> tuple[Part, ...]:
        before = b"" if made.base is None else self.contents.get(made.base)
        if before is None:
            return ()
        try:
            own = made.make(before)
        except ToolError:
            return ()
        parts = _whole(own.content, seen) if made.base is None else file.get(made.base, ())
        for hunk in own.hunks:
            parts = carried(parts, [hunk], seq=seen.seq, call=seen.call, shown=False)
        if not made.merged:
            return parts if content_hash(own.content) == made.hash else ()
        after = self.contents.get(made.hash)
        if after is None:
            return ()
        others = hunks(own.content, after, context=0)
        return carried(parts, others, seq=seen.seq, call=seen.call, shown=True)


def _with_lines(known: tuple[Part, ...], shown: Shown, seen: _Seen, *, oldest: int) -> tuple[Part, ...]:
    if shown.start > shown.end:
        return known
    part = Part(start=shown.start, end=shown.end, seq=seen.seq, call=seen.call, oldest=oldest)
    return with_part(known, part)


def _whole(text: bytes, seen: _Seen) -> tuple[Part, ...]:
    lines = count_lines(text)
    part = Part(start=1, end=lines, seq=seen.seq, call=seen.call, oldest=seen.seq)
    return (part,) if lines else ()
