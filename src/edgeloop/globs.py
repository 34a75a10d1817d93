"""Globs over names and paths, in time linear in the text: the text is a model's word, and a regular expression with a few `**` in
it can be made to take minutes.

`*` is any run of characters within a path segment, `?` one of them, `**` any run across segments, `**/` any directories or none;
a backslash takes the next character as it is.

The pattern becomes a row of places; a set of places is an integer with a bit for each. Reading a character moves all of them at
once, so there is nothing to go back to.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache


@dataclass(kw_only=True)
class _Glob:
    """Bit sets of places. A place before a character waits for it; the last one is the end."""

    literal: defaultdict[str, int] = field(default_factory=lambda: defaultdict[str, int](int))
    one: int = 0
    """Waiting for any character but a slash."""
    stay: int = 0
    """May also stay, at any character but a slash."""
    stay_always: int = 0
    skip: int = 0
    """May be left out: the next place is reached for nothing."""
    skip_two: int = 0
    end: int = 1

    def add(self, token: str) -> None:
        here = self.end
        match token:
            case "**/":  # nothing, or anything up to a slash
                self.skip |= here
                self.skip_two |= here
                self.stay_always |= here << 1
                self.literal["/"] |= here << 1
                self.end = here << 2
                return
            case "**":
                self.skip |= here
                self.stay_always |= here
            case "*":
                self.skip |= here
                self.stay |= here
            case "?":
                self.one |= here
            case _:
                self.literal[token[-1]] |= here
        self.end = here << 1

    def matches(self, text: str) -> bool:
        places = self._reach(1)
        for char in text:
            moving = self.literal.get(char, 0)
            staying = self.stay_always
            if char != "/":
                moving |= self.one
                staying |= self.stay
            places = self._reach((places & moving) << 1 | places & staying)
            if not places:
                return False
        return bool(places & self.end)

    def _reach(self, places: int) -> int:
        while True:
            more = places | (places & self.skip) << 1 | (places & self.skip_two) << 2
            if more == places:
                return places
            places = more


def glob_matches(pattern: str, text: str) -> bool:
    """Whether the whole text is what the pattern describes."""
    return _compile(pattern).matches(text)


def glob_escape(text: str) -> str:
    """The pattern that matches just this text."""
    return "".join(f"\\{char}" if char in "*?[]{}\\" else char for char in text)


@lru_cache(maxsize=512)
def _compile(pattern: str) -> _Glob:
    glob, position = _Glob(), 0
    while position < len(pattern):
        token = next(
            (t for t in ("**/", "**", "*", "?") if pattern.startswith(t, position)), pattern[position]
        )
        if token == "\\" and position + 1 < len(pattern):
            token = pattern[position : position + 2]
        glob.add(token)
        position += len(token)
    return glob
