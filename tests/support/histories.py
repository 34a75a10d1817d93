"""Merges as they happened or could have: real versions of real files, brought together as reverts and cherry-picks do.

Of a file's versions, oldest first, taking version j back in a later version k is the merge of k and j-1 from base j; bringing
version j into an earlier version i is the merge of i and j from base j-1. Hunks that stand near each other then cross.
"""

import subprocess
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

Triple = tuple[bytes, bytes, bytes]
"""Base, ours, theirs."""

ROOT = Path(__file__).resolve().parents[2]


def triples(versions: Sequence[bytes], reach: int) -> Iterator[Triple]:
    """All reverts and cherry-picks over at most `reach` versions in between."""
    for at, (before, after) in enumerate(pairwise(versions), start=1):
        for later in versions[at + 1 : at + 2 + reach]:
            yield after, later, before
        for earlier in versions[max(0, at - 2 - reach) : at - 1]:
            yield before, earlier, after


def own_versions(last: str, folder: str) -> list[list[bytes]] | None:
    """The versions of each file that was in a folder at commit `last`; None where this is no clone that has that history."""
    commits = _git("rev-list", "--reverse", "--first-parent", last)
    if commits is None or _git("rev-parse", "--is-shallow-repository") != b"false\n":
        return None
    changes = _git(
        "log",
        "--reverse",
        "--first-parent",
        "--no-renames",
        "--raw",
        "--abbrev=40",
        "--format=",
        last,
        "--",
        folder,
    )
    blobs: dict[bytes, list[bytes]] = {}
    for line in (changes or b"").splitlines():
        head, _, path = line.partition(b"\t")
        blobs.setdefault(path, []).append(head.split()[3])
    wanted = {blob for versions in blobs.values() for blob in versions if blob.strip(b"0")}
    texts = _texts(sorted(wanted))
    return [[texts[blob] for blob in versions if blob in texts] for _, versions in sorted(blobs.items())]


def _texts(blobs: list[bytes]) -> dict[bytes, bytes]:
    answer = _git("cat-file", "--batch", given=b"\n".join(blobs) + b"\n") or b""
    texts: dict[bytes, bytes] = {}
    at = 0
    for blob in blobs:
        end = answer.index(b"\n", at)
        size = int(answer[at:end].rsplit(b" ", 1)[1])
        texts[blob] = answer[end + 1 : end + 1 + size]
        at = end + 2 + size
    return {blob: text for blob, text in texts.items() if b"\0" not in text}


def _git(*arguments: str, given: bytes | None = None) -> bytes | None:
    done = subprocess.run(["git", *arguments], cwd=ROOT, input=given, capture_output=True)
    return done.stdout if done.returncode == 0 else None
