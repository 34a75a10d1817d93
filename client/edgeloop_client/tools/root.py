"""The directory that local tools are confined to, and the only way they reach a file.

Decides which paths exist for the model. A path is walked component by component with directory descriptors and `O_NOFOLLOW`, and
a symbolic link is followed by hand, so neither `..`, nor a link, nor a directory swapped for a link in mid-walk leads outside.
Knows nothing of what is done with the file.
"""

import errno
import os
import stat
import unicodedata
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeloop_client.errors import ToolError

MAX_PATH = 4096
MAX_LINKS = 40
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Non-blocking, so that a FIFO swapped in after the check cannot hang the open.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a path leads: `name` in the open directory `parent`, `path` as seen from the root, links resolved.

    `name` is "." for the root itself. The last component may not exist; if it does it was no link when it was looked at.
    """

    parent: int
    name: str
    path: str


class Root:
    """A directory; paths are relative to it, with "/" between components.

    Raises:
        ToolError: not a directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(os.path.realpath(directory))
        try:
            self._descriptor = os.open(self.directory, _DIRECTORY)
        except OSError as error:
            raise ToolError(f"{directory}: {error.strerror}; expected a directory") from error

    @contextmanager
    def place(self, path: str, *, writes: bool = False, make_parents: bool = False) -> Generator[Place]:
        """Walk to a path; the place's descriptor is open inside the `with`.

        Raises:
            ToolError: it leads outside the directory, through something that is not a directory, or (to write) into `.git`.
        """
        walk = _Walk(self, path, writes, make_parents)
        try:
            yield walk.run()
        finally:
            walk.close()

    @contextmanager
    def open_file(self, path: str) -> Generator[tuple[int, Place]]:
        """Open a regular file for reading.

        Raises:
            ToolError: no such file, outside the directory, or not a regular file.
        """
        with self.place(path) as place:
            descriptor = open_regular(place.name, place.parent, shown=path)
            try:
                yield descriptor, place
            finally:
                os.close(descriptor)

    @contextmanager
    def open_directory(self, path: str) -> Generator[tuple[int, str]]:
        """Open a directory for listing; gives its descriptor and its path seen from the root ("." is the root).

        Raises:
            ToolError: no such directory, or outside.
        """
        with self.place(path) as place:
            try:
                descriptor = os.open(place.name, _DIRECTORY, dir_fd=place.parent)
            except OSError as error:
                raise _explained(path, error, "a directory") from error
            try:
                yield descriptor, place.path
            finally:
                os.close(descriptor)

    def check(self) -> None:
        """Raise:
        ToolError: the directory's name leads elsewhere by now, or nowhere.
        """
        try:
            same = os.path.samestat(os.stat(self.directory), os.fstat(self._descriptor))
        except OSError:
            same = False
        if not same:
            raise ToolError(f"the directory {str(self.directory)!r} was moved or deleted; nothing was run")

    def duplicate(self) -> int:
        """A descriptor of the root that the caller closes."""
        return os.dup(self._descriptor)


def open_regular(name: str, parent: int, *, shown: str) -> int:
    """Open a regular file in an open directory, never through a link.

    Raises:
        ToolError: anything else than a regular file.
    """
    try:
        # Looked at before it is opened: merely opening a device can have effects.
        _check_regular(os.stat(name, dir_fd=parent, follow_symlinks=False), shown)
        descriptor = os.open(name, _FILE, dir_fd=parent)
    except OSError as error:
        raise _explained(shown, error, "a regular file") from error
    try:
        _check_regular(os.fstat(descriptor), shown)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def kind_of(mode: int) -> str:
    """What a file is, in words."""
    for test, word in _KINDS:
        if test(mode):
            return word
    return "something unknown"


def is_git(name: str) -> bool:
    """Whether a file system may take a name for `.git`: it may fold case and drop marks, dots and blanks.

    What lies there is run by git (hooks, settings), so that writing it would be to run a command.
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in folded if unicodedata.category(c) != "Cf").rstrip(". ") == ".git"


_KINDS = (
    (stat.S_ISREG, "a regular file"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def _check_regular(status: os.stat_result, shown: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ToolError(f"{shown!r} is {kind_of(status.st_mode)}; expected a regular file")


def _explained(path: str, error: OSError, expected: str) -> ToolError:
    if error.errno == errno.ENOENT:
        return ToolError(f"no such file or directory: {path!r}")
    return ToolError(f"{path!r}: {error.strerror}; expected {expected}")


def _is_unicode(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Walk:
    """One walk from the root: a stack of open directories, and the components still to go."""

    def __init__(self, root: Root, path: str, writes: bool, make_parents: bool) -> None:
        self._root = root
        self._shown = path
        self._writes = writes
        self._make_parents = make_parents
        self._stack = [root.duplicate()]
        self._names: list[str] = []
        self._links = 0
        self._todo: list[str] = []

    def close(self) -> None:
        for descriptor in self._stack:
            os.close(descriptor)
        self._stack = []

    def run(self) -> Place:
        self._todo = self._components(self._shown)
        while self._todo:
            name = self._todo.pop(0)
            if name == "..":
                self._up()
                continue
            target = self._link(name)
            if target is not None:
                self._todo = self._components(target) + self._todo
                continue
            if self._todo:
                self._down(name)
            else:
                return Place(parent=self._stack[-1], name=name, path="/".join([*self._names, name]))
        return Place(parent=self._stack[-1], name=".", path="/".join(self._names) or ".")

    def _components(self, path: str) -> list[str]:
        if "\0" in path or len(path) > MAX_PATH or not _is_unicode(path):
            raise ToolError(f"not a path: expected at most {MAX_PATH} characters of Unicode and no NUL")
        if path.startswith("/"):
            path = self._inside(path)
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if self._writes and any(map(is_git, parts)):
            raise ToolError(f"{self._shown!r} lies in .git, which no tool writes; expected another path")
        return parts

    def _inside(self, path: str) -> str:
        """An absolute path as seen from the root, if it names something under it."""
        try:
            inside = os.path.relpath(path, self._root.directory) if ".." not in path.split("/") else ".."
        except ValueError:
            inside = ".."
        if inside == ".." or inside.startswith("../"):
            raise self._outside()
        while self._names:
            self._up()
        return inside

    def _outside(self) -> ToolError:
        return ToolError(
            f"{self._shown!r} leads outside the directory; expected a path inside it, relative to it"
        )

    def _up(self) -> None:
        if not self._names:
            raise self._outside()
        os.close(self._stack.pop())
        self._names.pop()

    def _link(self, name: str) -> str | None:
        """The target if the component is a symbolic link."""
        try:
            target = os.readlink(name, dir_fd=self._stack[-1])
        except OSError:
            return None
        self._links += 1
        if self._links > MAX_LINKS:
            raise ToolError(f"{self._shown!r} goes through more than {MAX_LINKS} symbolic links")
        return target

    def _down(self, name: str) -> None:
        try:
            if self._make_parents:
                self._make(name)
            self._stack.append(os.open(name, _DIRECTORY, dir_fd=self._stack[-1]))
        except OSError as error:
            raise _explained(self._shown, error, "a path through directories") from error
        self._names.append(name)

    def _make(self, name: str) -> None:
        try:
            os.mkdir(name, 0o777, dir_fd=self._stack[-1])
        except FileExistsError:
            pass
