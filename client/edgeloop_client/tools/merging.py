"""What becomes of a change whose base is no longer what lies on the disk: merged, or a conflict with both sides.

Decides with the rules of `git merge-file` and says what the model needs in order to go on. Writes nothing.
"""

import re
import secrets
from dataclasses import dataclass

from edgeloop_client import hot
from edgeloop_client.errors import ToolError
from edgeloop_client.parts import hunks
from edgeloop_client.tools.base import Output

MAX_TOLD = 16 * 1024
"""Bytes of a diff or of conflicts in one answer."""
CONTEXT = 3


@dataclass(frozen=True, kw_only=True)
class Sides:
    """A change of the model and the file it meets; `base_hash` is None where the model made the file out of nothing."""

    path: str
    base_hash: str | None
    base: bytes
    ours: bytes
    disk: bytes
    disk_hash: str


def merged(sides: Sides) -> bytes:
    """The merged text.

    Raises:
        ToolError: the changes overlap: both sides of each conflict and the hash of what is there.
    """
    found = hot.merge(sides.base, sides.ours, sides.disk, style="diff3")
    if found.conflicts:
        raise _conflict(sides)
    return found.text


def told(sides: Sides, content: bytes) -> Output:
    """What the model is told of a merge: the versions that met, and what its own version did not have.

    `diff_cut` says that not all of that is there.
    """
    text, cut = _bounded([hunk.text for hunk in hunks(sides.ours, content, context=CONTEXT)])
    answer: Output = {"merged": {"base": sides.base_hash, "disk": sides.disk_hash}, "diff": text}
    return answer | ({"diff_cut": f"only {cut}: read the file"} if cut else {})


def _conflict(sides: Sides) -> ToolError:
    # The texts may hold lines that look like markers, but not with a name made just now.
    name = secrets.token_hex(8)
    labels = (f"base {name}", f"yours {name}", f"disk {name}")
    text = hot.merge(sides.base, sides.ours, sides.disk, style="diff3", labels=labels).text
    whole = re.compile(
        rb"^<{7} yours %b\r?\n.*?^>{7} disk %b\r?$\n?" % ((name.encode(),) * 2), re.MULTILINE | re.DOTALL
    )
    found = [conflict.replace(f" {name}".encode(), b"") for conflict in whole.findall(text)]
    shown, cut = _bounded(found)
    was = "someone made" if sides.base_hash is None else f"was changed since {sides.base_hash}"
    return ToolError(
        f"conflict: {sides.path!r} {was}; its hash is {sides.disk_hash} now. Nothing was written. What you want and what is on"
        f" the disk differ in {len(found)} place{'s' * (len(found) != 1)}"
        f"{f', {cut}' if cut else ''}:\n{shown}"
        f"Decide which is right, and change the file with base_hash {sides.disk_hash}."
    )


def _bounded(pieces: list[bytes]) -> tuple[str, str]:
    """The first pieces in full, of one that is too long its beginning; and what is left out, in words (empty: nothing)."""
    room, shown = MAX_TOLD, list[bytes]()
    for piece in pieces:
        if len(piece) > room:
            break
        shown.append(piece)
        room -= len(piece)
    text = b"".join(shown).decode()
    if len(shown) == len(pieces):
        return text, ""
    if shown:
        return text, f"the first {len(shown)} of {len(pieces)} shown"
    return pieces[0][:MAX_TOLD].decode(
        "utf-8", "ignore"
    ) + "\n[…]\n", f"the beginning of the first of {len(pieces)} shown"
