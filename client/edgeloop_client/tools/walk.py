"""A walk over a directory: every file under it, what is left out and why, by directory descriptors only.

Links are counted, never followed. Decides what exists for `list_files` and `search`; does not look into files.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from edgeloop_client.tools.base import Cancel
from edgeloop_client.tools.ignore import Ignore
from edgeloop_client.tools.root import Root, kind_of

MAX_DEPTH = 200
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True)
class Found:
    """A regular file: openable as `name` in the directory descriptor `parent` until the walk goes on."""

    path: str
    name: str
    parent: int
    status: os.stat_result


@dataclass(kw_only=True)
class LeftOut:
    """What a walk did not give: ignored paths with the number of files in them, unreadable ones with the reason."""

    dirs: int = 0
    links: int = 0
    ignored: dict[str, int] = field(default_factory=lambda: dict[str, int]())
    unreadable: dict[str, str] = field(default_factory=lambda: dict[str, str]())


def walk(root: Root, path: str, cancel: Cancel, left_out: LeftOut) -> Iterator[Found]:
    """Every file under a directory, in no order; the rest is told in `left_out`.

    Raises:
        ToolError: the path is no directory inside the root.
        ToolTimeout: cancelled.
    """
    ignore = rules_above(root, path)
    with root.open_directory(path) as (descriptor, seen):
        prefix = "" if seen == "." else seen + "/"
        yield from _walk(descriptor, prefix, ignore, cancel, left_out, 0)


def rules_above(root: Root, path: str) -> Ignore:
    """The rules that hold for a directory from above it; none if they leave out the directory itself, which was asked for."""
    with root.open_directory(path) as (_, seen):
        parts = [] if seen == "." else seen.split("/")
    ignore = Ignore()
    for depth, name in enumerate(parts):
        above = "/".join(parts[:depth])
        with root.open_directory(above or ".") as (descriptor, _):
            ignore = ignore.within(descriptor, above + "/" if above else "")
        if ignore.ignores("/".join(parts[: depth + 1]), name, directory=True):
            return Ignore()
    return ignore


def _walk(
    descriptor: int, prefix: str, ignore: Ignore, cancel: Cancel, left_out: LeftOut, depth: int
) -> Iterator[Found]:
    ignore = ignore.within(descriptor, prefix)
    for name, status in _entries(descriptor, prefix, left_out):
        cancel.check()
        path = prefix + name
        directory = stat.S_ISDIR(status.st_mode)
        if ignore.ignores(path, name, directory=directory):
            left_out.ignored[path] = _count(descriptor, name, cancel) if directory else 1
        elif directory:
            left_out.dirs += 1
            yield from _enter(descriptor, name, path, ignore, cancel, left_out, depth)
        elif stat.S_ISLNK(status.st_mode):
            left_out.links += 1
        elif stat.S_ISREG(status.st_mode):
            yield Found(path=path, name=name, parent=descriptor, status=status)
        else:
            left_out.unreadable[path] = f"{kind_of(status.st_mode)}, not a regular file"


def _enter(
    parent: int, name: str, path: str, ignore: Ignore, cancel: Cancel, left_out: LeftOut, depth: int
) -> Iterator[Found]:
    if depth >= MAX_DEPTH:
        left_out.unreadable[path] = f"more than {MAX_DEPTH} directories deep"
        return
    try:
        descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
    except OSError as error:
        left_out.unreadable[path] = error.strerror or "cannot be opened"
        return
    try:
        yield from _walk(descriptor, path + "/", ignore, cancel, left_out, depth + 1)
    finally:
        os.close(descriptor)


def _entries(descriptor: int, prefix: str, left_out: LeftOut) -> Iterator[tuple[str, os.stat_result]]:
    try:
        with os.scandir(descriptor) as entries:
            names = [entry.name for entry in entries]
    except OSError as error:
        left_out.unreadable[prefix or "."] = error.strerror or "cannot be listed"
        return
    for name in names:
        try:
            name.encode()
            yield name, os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except UnicodeEncodeError:
            left_out.unreadable[prefix + os.fsencode(name).decode("utf-8", "backslashreplace")] = (
                "its name is not UTF-8"
            )
        except OSError as error:
            left_out.unreadable[prefix + name] = error.strerror or "cannot be looked at"


def _count(parent: int, name: str, cancel: Cancel) -> int:
    """Files under an ignored directory: counted, not looked at."""
    total = 0
    try:
        for _, _, files, _ in os.fwalk(name, dir_fd=parent, follow_symlinks=False):
            cancel.check()
            total += len(files)
    except (OSError, RecursionError):
        pass  # too deep or closed to us: what was counted is told
    return total
