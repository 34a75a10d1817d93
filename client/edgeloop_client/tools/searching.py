"""`search`: a regular expression over the lines of text files.

Patterns come from a model, so matching is bounded in time (the `regex` engine can be interrupted; `re` cannot, and would hold
every other thread while it backtracks).
"""

import os
import time
from collections.abc import Iterator

import regex
from pathspec import GitIgnoreSpec
from pydantic import Field

from edgeloop_client.errors import ToolError
from edgeloop_client.tools.base import Arguments, Cancel, Output, Tool, Workspace
from edgeloop_client.tools.ignore import parse_rule
from edgeloop_client.tools.root import kind_of, open_regular
from edgeloop_client.tools.walk import Found, LeftOut, walk

MAX_FILE = 64 << 20
MAX_PATTERN = 2_000
MAX_SHOWN = 400
"""Characters shown of a matching line."""
MATCHING_SECONDS = 40.0


class Search(Arguments):
    pattern: str = Field(
        min_length=1, max_length=MAX_PATTERN, description="Regular expression, matched within one line."
    )
    path: str = Field(default=".", description="Directory or file, relative to the root.")
    glob: str | None = Field(
        default=None, min_length=1, description='Only files like this, e.g. "*.py" or "src/**".'
    )
    max_matches: int = Field(default=100, ge=1, le=1_000, description="Matches told at most.")


class _Matcher:
    """A compiled pattern with a budget of time over all files."""

    def __init__(self, pattern: str) -> None:
        try:
            self._pattern = regex.compile(pattern, regex.MULTILINE | regex.VERSION0)
        except (regex.error, RecursionError, OverflowError, MemoryError) as error:
            raise ToolError(f"not a regular expression: {error}") from error
        self._until = time.monotonic() + MATCHING_SECONDS

    def lines(self, text: str) -> Iterator[tuple[int, int]]:
        """Start and end of every line with a match."""
        position = 0
        while position <= len(text):
            start = self._search(text, position)
            if start is None:
                return
            begin = text.rfind("\n", 0, start) + 1
            end = text.find("\n", begin)
            end = len(text) if end < 0 else end
            # A match that needs the next line is none: the whole text is searched only because that is fast.
            if begin < len(text) and self._search(text[begin:end], 0) is not None:
                yield begin, end
            position = end + 1

    def _search(self, text: str, position: int) -> int | None:
        left = self._until - time.monotonic()
        try:
            found = self._pattern.search(text, position, timeout=max(left, 0.001), concurrent=True)
        except TimeoutError:
            raise ToolError(
                f"the pattern took over {MATCHING_SECONDS:.0f} s; expected a simpler one"
            ) from None
        return None if found is None else found.start()


def search(workspace: Workspace, arguments: Search, cancel: Cancel) -> Output:
    """Search; matches are sorted by path and line.

    Raises:
        ToolError: a bad pattern or path, or a pattern that takes too long.
    """
    matcher = _Matcher(arguments.pattern)
    left_out = LeftOut()
    matches: list[Output] = []
    searched, matched, total = 0, 0, 0
    for path, text in _texts(workspace, arguments, cancel, left_out):
        searched += 1
        before = total
        for told in _matches(matcher, path, text):
            total += 1
            matches.append(told)
        matched += total > before
        if len(matches) > 4 * arguments.max_matches:
            matches = _first(matches, arguments.max_matches)
    answer: Output = {
        "pattern": arguments.pattern,
        "matches": _first(matches, arguments.max_matches),
        "files_searched": searched,
        "files_matched": matched,
        "total_matches": total,
        "truncated": total > arguments.max_matches,
    }
    return answer | ({"unreadable": len(left_out.unreadable)} if left_out.unreadable else {})


def _first(matches: list[Output], count: int) -> list[Output]:
    return sorted(matches, key=lambda match: (match["path"], match["line"]))[:count]


def _matches(matcher: _Matcher, path: str, text: str) -> Iterator[Output]:
    line, counted = 1, 0
    for begin, end in matcher.lines(text):
        line += text.count("\n", counted, begin)
        counted = begin
        yield {"path": path, "line": line, "text": _shown(text[begin:end])}


def _shown(line: str) -> str:
    line = line.rstrip("\r")
    return line if len(line) <= MAX_SHOWN else line[:MAX_SHOWN] + "…"


def _texts(
    workspace: Workspace, arguments: Search, cancel: Cancel, left_out: LeftOut
) -> Iterator[tuple[str, str]]:
    """Path and content of the text files to search."""
    wanted = _glob(arguments.glob)
    for found in _found(workspace, arguments.path, cancel, left_out):
        if wanted is not None and not wanted.match_file(found.path):
            continue
        if found.status.st_size > MAX_FILE:
            left_out.unreadable[found.path] = f"over {MAX_FILE} bytes"
            continue
        text = _text(found, left_out)
        if text is not None:
            yield found.path, text


def _glob(glob: str | None) -> GitIgnoreSpec | None:
    try:
        return None if glob is None else parse_rule(glob)
    except ValueError as error:
        raise ToolError(f"not a glob: {error}") from error


def _found(workspace: Workspace, path: str, cancel: Cancel, left_out: LeftOut) -> Iterator[Found]:
    with workspace.root.place(path) as place:
        try:
            status = os.stat(place.name, dir_fd=place.parent, follow_symlinks=False)
        except OSError as error:
            raise ToolError(f"no such file or directory: {path!r}") from error
        if kind_of(status.st_mode) != "a directory":
            os.close(open_regular(place.name, place.parent, shown=path))
            yield Found(path=place.path, name=place.name, parent=place.parent, status=status)
            return
    yield from walk(workspace.root, path, cancel, left_out)


def _text(found: Found, left_out: LeftOut) -> str | None:
    """The content, or None for binary and for what cannot be read."""
    try:
        with open(open_regular(found.name, found.parent, shown=found.path), "rb") as file:
            content = file.read(MAX_FILE)
    except (OSError, ToolError) as error:
        left_out.unreadable[found.path] = str(error)
        return None
    if b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


TOOL = Tool(
    name="search",
    description=(
        "Search text files for a regular expression, line by line. Gives path, line number and text of each match, and how many"
        " there are in all. Leaves out what list_files leaves out, and binary files."
    ),
    arguments=Search,
    effect="read",
    run=search,
    touches={"path": "path"},
)
