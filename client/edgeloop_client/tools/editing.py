"""`edit_file` and `write_file`: changes based on a version, all or nothing.

A file is never written in place: the new content goes to a file beside it, which then takes its name. A change made by someone
else since the base version is reported, never overwritten.
"""

import os
import secrets
from dataclasses import dataclass

from pydantic import Field

from edgeloop_client.errors import ToolError
from edgeloop_client.tools.base import Arguments, Cancel, Output, Tool, Workspace
from edgeloop_client.tools.root import Place, open_regular
from edgeloop_client.tools.text import content_hash, count_lines

MAX_EDITED = 16 << 20
MAX_CONTENT = 1 << 20
MAX_ASKED_LINES = 60


class Edit(Arguments):
    search: str = Field(min_length=1, description="Text that occurs exactly once in the file.")
    replace: str = Field(description="Text to put in its place.")


class EditFile(Arguments):
    path: str = Field(description="File, relative to the root.")
    base_hash: str = Field(description="`hash` of the version the edits are made for.")
    edits: tuple[Edit, ...] = Field(
        min_length=1, max_length=200, description="Applied in order, all or none."
    )


class WriteFile(Arguments):
    path: str = Field(description="File, relative to the root; missing directories are made.")
    content: str = Field(description="The whole new content.")
    base_hash: str | None = Field(
        description="`hash` of the version to replace; null: the file must not exist."
    )


@dataclass(frozen=True, kw_only=True)
class _Version:
    """A file as it is now; `mode` are its permission bits."""

    content: bytes
    mode: int

    @property
    def hash(self) -> str:
        return content_hash(self.content)


def edit_file(workspace: Workspace, arguments: EditFile, _cancel: Cancel) -> Output:
    """Replace pieces of a text file.

    Raises:
        ToolError: another version than `base_hash`, or a search text that does not occur exactly once; nothing was changed.
    """
    with workspace.root.place(arguments.path) as place, workspace.locks.of(place.path):
        version = _current(place, arguments.path)
        if version is None:
            raise ToolError(f"no such file: {arguments.path!r}; write_file with base_hash null makes one")
        _check_base(arguments.path, arguments.base_hash, version)
        text = _decoded(arguments.path, version.content)
        for number, edit in enumerate(arguments.edits, 1):
            text = _applied(text, edit, number)
        content = _encoded(text)
        _replace(place, content, version)
    return _done(place, content) | {"edits": len(arguments.edits)}


def write_file(workspace: Workspace, arguments: WriteFile, _cancel: Cancel) -> Output:
    """Write a whole file.

    Raises:
        ToolError: it is not the version of `base_hash`, or exists where it must not; nothing was changed.
    """
    content = _encoded(arguments.content)
    if len(content) > MAX_CONTENT:
        raise ToolError(f"{len(content)} bytes; expected at most {MAX_CONTENT} in one call")
    make = arguments.base_hash is None
    with workspace.root.place(arguments.path, make_parents=make) as place, workspace.locks.of(place.path):
        version = _current(place, arguments.path)
        if arguments.base_hash is None:
            if version is not None:
                raise _exists(arguments.path, version.hash)
            _create(place, arguments.path, content)
        else:
            if version is None:
                raise ToolError(f"no such file: {arguments.path!r}; expected base_hash null to make it")
            _check_base(arguments.path, arguments.base_hash, version)
            _replace(place, content, version)
    return _done(place, content) | {"created": make}


def edit_question(arguments: EditFile) -> str:
    """What the person is asked: the file and the changes."""
    lines = [arguments.path]
    for edit in arguments.edits:
        lines += [f"- {line}" for line in edit.search.splitlines()]
        lines += [f"+ {line}" for line in edit.replace.splitlines()]
    return _shortened(lines)


def write_question(arguments: WriteFile) -> str:
    """What the person is asked: the file and its new content."""
    return _shortened([arguments.path, *(f"+ {line}" for line in arguments.content.splitlines())])


def _shortened(lines: list[str]) -> str:
    more = len(lines) - MAX_ASKED_LINES
    return "\n".join(lines[:MAX_ASKED_LINES] + ([f"… and {more} lines more"] if more > 0 else []))


def _done(place: Place, content: bytes) -> Output:
    return {
        "path": place.path,
        "hash": content_hash(content),
        "bytes": len(content),
        "total_lines": count_lines(content),
    }


def _exists(path: str, current: str) -> ToolError:
    return ToolError(f"{path!r} exists with hash {current}; expected it not to exist, as base_hash is null")


def _check_base(path: str, base: str, version: _Version) -> None:
    if base != version.hash:
        raise ToolError(
            f"{path!r} has changed: base_hash is {base!r}, its current hash is {version.hash}; read it again before changing it"
        )


def _decoded(path: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ToolError(f"{path!r} is not UTF-8 text; only text can be edited") from error


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ToolError("the new text holds half of a surrogate pair; expected Unicode text") from error


def _applied(text: str, edit: Edit, number: int) -> str:
    count = text.count(edit.search)
    if count != 1:
        hint = ""
        if count == 0 and "\r\n" in text and "\n" in edit.search:
            hint = " The file's lines end in \\r\\n."
        raise ToolError(
            f"edit {number}: its search text occurs {count} times; expected exactly once.{hint} Nothing was changed."
        )
    return text.replace(edit.search, edit.replace)


def _current(place: Place, shown: str) -> _Version | None:
    """The file as it is; None if there is none."""
    try:
        os.stat(place.name, dir_fd=place.parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ToolError(f"{shown!r}: {error.strerror}; expected a regular file") from error
    with open(open_regular(place.name, place.parent, shown=shown), "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_size > MAX_EDITED:
            raise ToolError(f"{shown!r} has {status.st_size} bytes; expected at most {MAX_EDITED}")
        return _Version(content=file.read(), mode=status.st_mode & 0o7777)


def _replace(place: Place, content: bytes, version: _Version) -> None:
    """Put the new content in the file's place, if it is still the version it was."""
    beside = _write_beside(place, content, version.mode)
    try:
        now = _current(place, place.path)
        if now is None or now.hash != version.hash:
            raise ToolError(
                f"{place.path!r} was changed by someone else meanwhile; read it again. Nothing was changed."
            )
        os.replace(beside, place.name, src_dir_fd=place.parent, dst_dir_fd=place.parent)
    except BaseException:
        os.unlink(beside, dir_fd=place.parent)
        raise
    os.fsync(place.parent)


def _create(place: Place, shown: str, content: bytes) -> None:
    beside = _write_beside(place, content, None)
    try:
        # A link fails where the name is taken; a rename would silently replace.
        os.link(beside, place.name, src_dir_fd=place.parent, dst_dir_fd=place.parent, follow_symlinks=False)
    except FileExistsError as error:
        raise ToolError(f"{shown!r} exists; expected it not to, as base_hash is null") from error
    finally:
        os.unlink(beside, dir_fd=place.parent)
    os.fsync(place.parent)


def _write_beside(place: Place, content: bytes, mode: int | None) -> str:
    name = f".edgeloop-{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(name, flags, 0o666, dir_fd=place.parent), "wb") as file:
            file.write(content)
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ToolError(f"{place.path!r} cannot be written: {error.strerror}") from error
    return name


EDIT = Tool(
    name="edit_file",
    description=(
        "Change a text file by search and replace. Each search text must occur exactly once; all are made or none. base_hash"
        " is the `hash` of read_file; if the file has changed since, nothing is done and the current hash is told."
    ),
    arguments=EditFile,
    effect="mutate",
    run=edit_file,
    touches={"path": "path"},
    question=edit_question,
)
WRITE = Tool(
    name="write_file",
    description="Write a whole text file: a new one (base_hash null) or in place of the version base_hash names.",
    arguments=WriteFile,
    effect="mutate",
    run=write_file,
    touches={"path": "path"},
    question=write_question,
)
