"""A file as it is on the disk, and the only ways it is changed: whole, by a new file that takes its name.

Decides what counts as "changed meanwhile". Knows neither edits nor merges.
"""

import contextlib
import os
import secrets
from dataclasses import dataclass

from edgeloop_client.contents import content_hash
from edgeloop_client.errors import ToolError
from edgeloop_client.tools.base import Cancel
from edgeloop_client.tools.root import Place, open_regular

MAX_EDITED = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Version:
    """A file as it was read; `mode` are its permission bits, `owner` its user and group; `identity` changes with every write and
    rename."""

    content: bytes
    mode: int
    owner: tuple[int, int]
    identity: tuple[int, ...]

    @property
    def hash(self) -> str:
        return content_hash(self.content)


def current(place: Place, shown: str) -> Version | None:
    """The file as it is; None if there is none.

    Raises:
        ToolError: no regular file, or too large a one.
    """
    try:
        os.stat(place.name, dir_fd=place.parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ToolError(f"{shown!r}: {error.strerror}; expected a regular file") from error
    with open(open_regular(place.name, place.parent, shown=shown), "rb") as file:
        content = file.read(MAX_EDITED + 1)
        status = os.fstat(file.fileno())
    if len(content) > MAX_EDITED:
        raise ToolError(f"{shown!r} has {status.st_size} bytes; expected at most {MAX_EDITED}")
    return Version(
        content=content,
        mode=status.st_mode & 0o7777,
        owner=(status.st_uid, status.st_gid),
        identity=_identity(status),
    )


def replace(place: Place, content: bytes, version: Version, cancel: Cancel) -> None:
    """Put the new content in the file's place, if it is still the version it was.

    Raises:
        ToolError: it is not, or it cannot be written; nothing was changed.
        ToolTimeout: nobody waits for it any more; nothing was changed.
    """
    beside = _write_beside(place, content, version)
    try:
        now = current(place, place.path)
        if now is None or (now.hash, now.mode) != (version.hash, version.mode):
            raise _changed(place)
        cancel.check()
        # No call of the system compares and renames at once. What remains: a write between these two lines, and one by somebody
        # who has the old file open and writes to it later, as nobody could tell.
        _check_still(place, now)
        os.replace(beside, place.name, src_dir_fd=place.parent, dst_dir_fd=place.parent)
    except OSError as error:
        raise _unwritable(place, error) from error
    finally:
        _remove(beside, place.parent)
    _sync(place.parent)


def create(place: Place, shown: str, content: bytes, cancel: Cancel) -> None:
    """Make a file that must not exist.

    Raises:
        ToolError: it exists, or it cannot be written.
        ToolTimeout: nobody waits for it any more; nothing was made.
    """
    beside = _write_beside(place, content, None)
    try:
        cancel.check()
        # A link fails where the name is taken; a rename would silently replace.
        os.link(beside, place.name, src_dir_fd=place.parent, dst_dir_fd=place.parent, follow_symlinks=False)
    except FileExistsError as error:
        raise ToolError(f"{shown!r} exists; expected it not to, as base_hash is null") from error
    except OSError as error:
        raise _unwritable(place, error) from error
    finally:
        _remove(beside, place.parent)
    _sync(place.parent)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _check_still(place: Place, version: Version) -> None:
    status = os.stat(place.name, dir_fd=place.parent, follow_symlinks=False)
    if _identity(status) != version.identity:
        raise _changed(place)


def _changed(place: Place) -> ToolError:
    return ToolError(
        f"{place.path!r} was changed by someone else meanwhile; read it again. Nothing was changed."
    )


def _unwritable(place: Place, error: OSError) -> ToolError:
    return ToolError(f"{place.path!r} cannot be written: {error.strerror}")


def _remove(name: str, parent: int) -> None:
    """Remove the new file, if it is still beside."""
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=parent)


def _sync(parent: int) -> None:
    # The change is made: a file system that cannot sync a directory does not undo it.
    with contextlib.suppress(OSError):
        os.fsync(parent)


def _write_beside(place: Place, content: bytes, like: Version | None) -> str:
    name = f".edgeloop-{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(name, flags, 0o666, dir_fd=place.parent), "wb") as file:
            try:
                file.write(content)
                if like is not None:
                    with contextlib.suppress(
                        OSError
                    ):  # only root may give files away, and that a file is ours harms nobody
                        os.fchown(file.fileno(), *like.owner)
                    os.fchmod(file.fileno(), like.mode)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                _remove(name, place.parent)
                raise
    except OSError as error:
        raise _unwritable(place, error) from error
    return name
