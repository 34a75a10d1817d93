"""`list_files`: what lies under a directory, page by page, with totals that cover all of it."""

import os
import threading
from bisect import bisect_right
from operator import itemgetter
from typing import Any

from pydantic import Field

from edgeloop_client.errors import ToolError
from edgeloop_client.tools.base import Arguments, Cancel, Output, Tool, Workspace
from edgeloop_client.tools.root import open_regular
from edgeloop_client.tools.text import measure
from edgeloop_client.tools.walk import Found, LeftOut, walk

LARGEST = 5
MAX_TOLD = 50
"""Ignored and unreadable paths told one by one; the rest is summed up."""
MAX_KNOWN = 200_000


class ListFiles(Arguments):
    path: str = Field(default=".", description="Directory, relative to the root.")
    cursor: str | None = Field(default=None, description="`next` of the page before.")
    limit: int = Field(default=1000, ge=1, le=5_000, description="Entries per page.")


class _Lines:
    """Line counts by file identity, so that the next page does not read every file again."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], int | None] = {}
        self._guard = threading.Lock()

    def of(self, found: Found, cancel: Cancel) -> int | None:
        """Lines of a file; None for binary.

        Raises:
            ToolError: it cannot be read.
        """
        status = found.status
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        with self._guard:
            if key in self._known:
                return self._known[key]
        lines = _count_lines(found, cancel)
        with self._guard:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[key] = lines
        return lines


_lines = _Lines()


def list_files(workspace: Workspace, arguments: ListFiles, cancel: Cancel) -> Output:
    """List everything under a directory, sorted by path.

    Raises:
        ToolError: no directory inside the root.
    """
    left_out = LeftOut()
    entries: list[Output] = []
    for found in walk(workspace.root, arguments.path, cancel, left_out):
        try:
            entries.append(_entry(found, _lines.of(found, cancel)))
        except ToolError as error:
            left_out.unreadable[found.path] = str(error)
    entries.sort(key=itemgetter("path"))
    start = 0 if arguments.cursor is None else bisect_right(entries, arguments.cursor, key=itemgetter("path"))
    page = entries[start : start + arguments.limit]
    more = start + len(page) < len(entries)
    return {
        "path": arguments.path,
        "entries": page,
        "next": page[-1]["path"] if more else None,
        "total": _total(entries, left_out),
    }


def kind_of_name(name: str) -> str:
    """The extension in lower case without its dot, or the whole name where it has none (`.gitignore`, `Makefile`)."""
    return os.path.splitext(name)[1][1:].lower() or name


def _entry(found: Found, lines: int | None) -> Output:
    return {
        "path": found.path,
        "bytes": found.status.st_size,
        "lines": lines,
        "kind": kind_of_name(found.name),
    }


def _count_lines(found: Found, cancel: Cancel) -> int | None:
    try:
        descriptor = open_regular(found.name, found.parent, shown=found.path)
        try:
            return measure(descriptor, cancel).lines
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ToolError(error.strerror or "cannot be read") from error


def _total(entries: list[Output], left_out: LeftOut) -> Output:
    by_kind: dict[str, dict[str, int]] = {}
    for entry in entries:
        kind = by_kind.setdefault(entry["kind"], {"files": 0, "lines": 0, "bytes": 0})
        kind["files"] += 1
        kind["lines"] += entry["lines"] or 0
        kind["bytes"] += entry["bytes"]
    largest = sorted(entries, key=lambda entry: (-entry["bytes"], entry["path"]))[:LARGEST]
    total: Output = {
        "files": len(entries),
        "bytes": sum(entry["bytes"] for entry in entries),
        "lines": sum(entry["lines"] or 0 for entry in entries),
        "binary": sum(entry["lines"] is None for entry in entries),
        "dirs": left_out.dirs,
        "links": left_out.links,
        "by_kind": dict(sorted(by_kind.items(), key=lambda item: (-item[1]["files"], item[0]))),
        "largest": [{key: entry[key] for key in ("path", "bytes", "lines")} for entry in largest],
    }
    return total | _ignored(left_out.ignored) | _unreadable(left_out.unreadable)


def _ignored(ignored: dict[str, int]) -> Output:
    most = sorted(ignored.items(), key=lambda item: (-item[1], item[0]))
    told: Output = {"ignored": [{"path": path, "files": files} for path, files in most[:MAX_TOLD]]}
    if rest := most[MAX_TOLD:]:
        told["ignored_more"] = {"paths": len(rest), "files": sum(files for _, files in rest)}
    return told


def _unreadable(unreadable: dict[str, str]) -> dict[str, Any]:
    told: Output = {
        "unreadable": [{"path": path, "why": why} for path, why in sorted(unreadable.items())[:MAX_TOLD]]
    }
    if len(unreadable) > MAX_TOLD:
        told["unreadable_more"] = len(unreadable) - MAX_TOLD
    return told


TOOL = Tool(
    name="list_files",
    description=(
        "List the files under a directory, recursively, sorted by path, with bytes and lines (lines null: binary). `total` covers"
        " everything under the directory, not only this page; `next` is the cursor of the next page. Left out: .git, what"
        " .gitignore files name (counted in total.ignored), symbolic links (counted in total.links)."
    ),
    arguments=ListFiles,
    effect="read",
    run=list_files,
    touches={"path": "path"},
)
