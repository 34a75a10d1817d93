"""Merges of real versions of real files, through the committed .wasm; `git merge-file` is the judge.

This repository's own history up to a commit that stays the same, a share of it unless `EDGELOOP_FULL=1`; then also the releases
of the npm packages that `bench/peers/histories` pins.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench._contestants import install
from edgeloop_client import hot
from tests.core.test_merge import OPTIONS, git_merge
from tests.support.histories import ROOT, Triple, own_versions, triples

FULL = os.environ.get("EDGELOOP_FULL") == "1"
LAST = "02bd2aa8c1edcbae16f225812a351d7c46fd6dd0"
EVERY = 1 if FULL else 11
REACH = 100
RELEASES = ROOT / "bench" / "peers" / "histories"
LONGEST = 300_000


def check(cases: list[Triple], folder: Path) -> int:
    """At least 99 verdicts in 100 are git's, none is clean where git conflicts, clean texts are git's; how many were clean."""
    clean = other_verdict = 0
    for number, (base, ours, theirs) in enumerate(cases):
        style = tuple(OPTIONS)[number % len(OPTIONS)]
        merged = hot.merge(base, ours, theirs, style=style, algorithm="myers")
        expected = git_merge(folder, base, ours, theirs, style)
        if merged.conflicts == expected.conflicts == 0:
            assert merged.text == expected.text, number
            clean += 1
        assert merged.conflicts or not expected.conflicts, number
        other_verdict += bool(merged.conflicts) != bool(expected.conflicts)
    assert other_verdict <= len(cases) // 100
    return clean


def test_this_repositorys_history_merges_as_git_does(tmp_path: Path) -> None:
    """Reverts and cherry-picks of every file's every change; the styles take turns."""
    versions = own_versions(LAST, ".")
    if versions is None:
        pytest.skip(f"no clone with the history of {LAST[:7]}")
    cases = [case for file in versions for case in triples(file, REACH)][::EVERY]
    clean = check(cases, tmp_path)
    assert len(cases) == 1634 // EVERY + (EVERY > 1)
    assert len(cases) // 10 < clean < len(cases) * 9 // 10


def releases() -> Iterator[list[bytes]]:
    """The versions of each text file of each package, oldest first."""
    install(RELEASES)
    packages: dict[str, list[Path]] = defaultdict(list)
    for folder in (RELEASES / "node_modules").glob("*-v*"):
        packages[folder.name.rpartition("-v")[0]].append(folder)
    for _, folders in sorted(packages.items()):
        folders.sort(key=lambda folder: int(folder.name.rpartition("-v")[2]))
        paths = {
            path.relative_to(folder) for folder in folders for path in folder.rglob("*.*") if path.is_file()
        }
        for path in sorted(paths):
            found = [(folder / path).read_bytes() for folder in folders if (folder / path).is_file()]
            changed = [text for at, text in enumerate(found) if at == 0 or text != found[at - 1]]
            if all(b"\0" not in text and len(text) <= LONGEST for text in changed):
                yield changed


@pytest.mark.timeout(1800)
@pytest.mark.skipif(not FULL, reason="EDGELOOP_FULL=1: fetches 30 MB and takes minutes")
def test_packages_releases_merge_as_git_does(tmp_path: Path) -> None:
    """The same over releases, whose differences are larger."""
    cases = [case for file in releases() for case in triples(file, REACH)]
    clean = check(cases, tmp_path)
    assert len(cases) == 4594
    assert len(cases) // 10 < clean < len(cases) * 9 // 10
