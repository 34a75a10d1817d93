"""`edit_file` and `write_file`: changes made for a version, all or nothing.

Decides what a change means where the file is no longer that version: it is merged with what happened meanwhile, or reported as a
conflict; what somebody else did is never overwritten. How files are written: disk.py.

So a change may be made again: what it did the first time meets it as the same change by somebody else, and merges to nothing.
"""

from collections.abc import Callable
from functools import partial

from pydantic import BaseModel, Field

from edgeloop_client.contents import content_hash
from edgeloop_client.errors import ToolError
from edgeloop_client.held import Held, Made
from edgeloop_client.parts import Change, count_lines, replaced
from edgeloop_client.tools import merging
from edgeloop_client.tools.base import Arguments, Cancel, Output, Tool, Workspace
from edgeloop_client.tools.disk import Version, create, current, replace
from edgeloop_client.tools.merging import Sides
from edgeloop_client.tools.root import Place

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


def edit_file(workspace: Workspace, arguments: EditFile, cancel: Cancel) -> Output:
    """Replace pieces of a text file.

    Raises:
        ToolError: a search text that does not occur exactly once in the version of `base_hash`, a change meanwhile that cannot be
            merged, or a base nobody knows; nothing was changed.
    """
    make = partial(edited, edits=arguments.edits, path=arguments.path)
    with workspace.root.place(arguments.path, writes=True) as place, workspace.locks.of(place.path):
        version = current(place, arguments.path)
        if version is None:
            raise _gone(arguments.path)
        done = _change(workspace.held, place, version, arguments.base_hash, make, cancel)
    return done | {"edits": len(arguments.edits)}


def write_file(workspace: Workspace, arguments: WriteFile, cancel: Cancel) -> Output:
    """Write a whole file.

    Raises:
        ToolError: what was there and is not of `base_hash` cannot be merged with the content; nothing was changed.
    """
    content = _encoded(arguments.content)
    if len(content) > MAX_CONTENT:
        raise ToolError(f"{len(content)} bytes; expected at most {MAX_CONTENT} in one call")
    make = arguments.base_hash is None
    walk = workspace.root.place(arguments.path, writes=True, make_parents=make)
    with walk as place, workspace.locks.of(place.path):
        version = current(place, arguments.path)
        if version is None and not make:
            raise _gone(arguments.path)
        if version is not None:
            done = _change(
                workspace.held, place, version, arguments.base_hash, lambda _: Change(content=content), cancel
            )
            return done | {"created": False}
        create(place, arguments.path, content, cancel)
        workspace.held.contents.keep(content)
    return _done(place, content) | {"created": True}


def edited(content: bytes, *, edits: tuple[Edit, ...], path: str) -> Change:
    """A text with edits made in order.

    Raises:
        ToolError: an edit that does not fit.
    """
    _check_text(path, content)
    change = Change(content=content)
    for number, edit in enumerate(edits, 1):
        made = _applied(change.content, edit, number)
        change = Change(content=made.content, hunks=(*change.hunks, *made.hunks))
    return change


def edit_shows(arguments: EditFile, content: str) -> Made | None:
    """The version an edit made."""
    make = partial(edited, edits=arguments.edits, path=arguments.path)
    return _made(content, arguments.base_hash, make)


def write_shows(arguments: WriteFile, content: str) -> Made | None:
    """The version a writing made: all of the model's own words."""
    return _made(content, None, lambda _: Change(content=_encoded(arguments.content)))


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


# --- the change -----------------------------------------------------------------------------------------------------


def _change(
    held: Held,
    place: Place,
    version: Version,
    base: str | None,
    make: Callable[[bytes], Change],
    cancel: Cancel,
) -> Output:
    """Put what `make` makes of the base in the file's place, merged with what else became of the base."""
    if base == version.hash:
        content, more = make(version.content).content, Output()
    else:
        sides = _sides(held, place, version, base, make)
        content = merging.merged(sides)
        more = merging.told(sides, content)
    if content != version.content:
        replace(place, content, version, cancel)
    # The version before is kept too: the next edit may still be made for it.
    for kept in (version.content, content):
        held.contents.keep(kept)
    return _done(place, content) | more


def _sides(
    held: Held, place: Place, version: Version, base: str | None, make: Callable[[bytes], Change]
) -> Sides:
    """What is to be merged.

    Raises:
        ToolError: the base is no version of this file that the session was shown, or its content is lost.
    """
    shown = base is None or base in held.versions(place.path)
    before = b"" if base is None else held.contents.get(base)
    if not shown or before is None:
        raise ToolError(
            f"{place.path!r} has changed: base_hash is {base!r}, its current hash is {version.hash};"
            " read it again before changing it"
        )
    _check_text(place.path, version.content)
    return Sides(
        path=place.path,
        base_hash=base,
        base=before,
        ours=make(before).content,
        disk=version.content,
        disk_hash=version.hash,
    )


class _Told(BaseModel):
    """An answer as it stands in the log."""

    path: str
    hash: str
    merged: dict[str, str | None] | None = None
    diff_cut: str | None = None


def _made(content: str, base: str | None, make: Callable[[bytes], Change]) -> Made | None:
    told = _Told.model_validate_json(content)
    if told.diff_cut is not None:
        return None
    return Made(path=told.path, hash=told.hash, base=base, make=make, merged=told.merged is not None)


def _done(place: Place, content: bytes) -> Output:
    return {
        "path": place.path,
        "hash": content_hash(content),
        "bytes": len(content),
        "total_lines": count_lines(content),
    }


def _gone(path: str) -> ToolError:
    return ToolError(f"no such file: {path!r}; expected one, or write_file with base_hash null to make it")


def _check_text(path: str, content: bytes) -> None:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise ToolError(f"{path!r} is not UTF-8 text; only text can be edited") from error


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ToolError("the new text holds half of a surrogate pair; expected Unicode text") from error


def _applied(content: bytes, edit: Edit, number: int) -> Change:
    search, new = _encoded(edit.search), _encoded(edit.replace)
    count = content.count(search)
    if count != 1:
        hint = ""
        if count == 0 and b"\r\n" in content and b"\n" in search:
            hint = " The file's lines end in \\r\\n."
        raise ToolError(
            f"edit {number}: its search text occurs {count} times; expected exactly once.{hint} Nothing was changed."
        )
    at = content.index(search)
    return replaced(content, at, at + len(search), new)


EDIT = Tool(
    name="edit_file",
    description=(
        "Change a text file by search and replace. Each search text must occur exactly once in the version base_hash names (the"
        " `hash` of a read_file or an edit); all are made or none. If the file has changed since, both changes are merged"
        " (`merged`; `diff` is what else changed), or nothing is done and the conflict is told."
    ),
    arguments=EditFile,
    effect="mutate",
    run=edit_file,
    touches={"path": "path"},
    question=edit_question,
    repeatable=True,
    shows=edit_shows,
)
WRITE = Tool(
    name="write_file",
    description=(
        "Write a whole text file: a new one (base_hash null) or in place of the version base_hash names. If the file has changed"
        " since, it is as with edit_file."
    ),
    arguments=WriteFile,
    effect="mutate",
    run=write_file,
    touches={"path": "path"},
    question=write_question,
    repeatable=True,
    shows=write_shows,
)
