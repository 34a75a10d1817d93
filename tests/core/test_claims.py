"""Conflicts between writers without merging, through the committed .wasm."""

import random

import pytest

from edgeloop.claims import Change, Changed, Claims, ClaimsLost, Clash, ClashKind, Created, Deleted, Renamed
from edgeloop_client import hot
from tests.support.texts import edited, random_text
from tests.support.traps import door_of_little_memory, trap

EDIT = Changed(start=3, end=5, content=b"x\n")
WRITERS = 5


def clash(change: int, other: int, kind: ClashKind, start: int = 0, end: int = 0) -> Clash:
    """A clash in short."""
    return Clash(change=change, other=other, kind=kind, start=start, end=end)


@pytest.mark.parametrize(
    ("changes", "clashes"),
    [
        ([(1, EDIT), (2, Changed(start=6, end=7, content=b""))], []),
        ([(1, EDIT), (2, Changed(start=5, end=9, content=b""))], [clash(1, 1, "lines", 5, 5)]),
        ([(1, EDIT), (2, Changed(start=4, end=4, content=b"y"))], [clash(1, 1, "lines", 4, 4)]),
        ([(1, EDIT), (2, EDIT)], []),
        ([(1, EDIT), (1, Changed(start=3, end=5, content=b"z"))], []),
        ([(1, Changed(start=0, end=1 << 20, content=b"")), (2, EDIT)], [clash(1, 1, "lines", 3, 5)]),
        ([(1, EDIT), (2, EDIT), (3, Changed(start=0, end=4, content=b""))],
         [clash(2, 1, "lines", 3, 4), clash(2, 2, "lines", 3, 4)]),
        ([(1, EDIT), (2, Deleted())], [clash(1, 1, "deleted")]),
        ([(1, Deleted()), (2, EDIT)], [clash(1, 1, "deleted")]),
        ([(1, Deleted()), (2, Deleted())], []),
        ([(1, Renamed(path="b")), (2, Deleted())], [clash(1, 1, "deleted")]),
        ([(1, Created(content=b"a")), (2, Created(content=b"b"))], [clash(1, 1, "created")]),
        ([(1, Created(content=b"a")), (2, Created(content=b"a"))], []),
        ([(1, Renamed(path="b")), (2, Renamed(path="c"))], [clash(1, 1, "renamed")]),
        ([(1, Renamed(path="b")), (2, Renamed(path="b"))], []),
        ([(1, Renamed(path="b")), (2, EDIT)], [clash(1, 1, "moved")]),
        ([(1, EDIT), (1, EDIT), (2, Renamed(path="b"))], [clash(2, 1, "moved")]),
        ([(1, EDIT), (1, Renamed(path="b"))], []),
    ],
)  # fmt: skip
def test_what_goes_together_and_what_does_not(
    changes: list[tuple[int, Change]], clashes: list[Clash]
) -> None:
    """Changes that overlap or touch, and whole files; whether they come in one crossing or in many."""
    whole, one_by_one = hot.claims(), hot.claims()
    assert sorted(whole.add(changes), key=repr) == clashes
    single = [(found, at) for at, change in enumerate(changes) for found in one_by_one.add([change])]
    assert [clash(at, found.other, found.kind, found.start, found.end) for found, at in single] == clashes
    whole.close()
    one_by_one.close()


def test_who_leaves_is_forgotten() -> None:
    """A writer's changes clash with nothing after his removal."""
    claims = hot.claims()
    claims.add([(1, EDIT), (1, Renamed(path="b")), (2, Changed(start=90, end=99, content=b""))])
    claims.remove(1)
    assert claims.add([(3, Deleted())]) == [clash(0, 2, "deleted")]
    claims.close()


def hunks(base: bytes, side: bytes) -> list[Changed]:
    """What a side changed, in lines of the base."""
    lines = base.splitlines(keepends=True)
    found: list[Changed] = []
    for edit in hot.diff_unified(base, side, context=0, algorithm="myers").split(b"@@ -")[1:]:
        start, _, count = edit.split(b" ", 1)[0].partition(b",")
        length = int(count or b"1")
        first = int(start) - (length > 0)
        added = edit.split(b"@@\n", 1)[1]
        found.append(Changed(start=first, end=first + length, content=added))
        assert first + length <= len(lines)
    return found


def test_no_clash_means_a_clean_merge() -> None:
    """Of any two of several writers' texts: where their claims do not clash, they merge without a conflict."""
    rng = random.Random(20_261_121)
    clean = clashing = 0
    for _ in range(60):
        base = random_text(rng)
        sides = [edited(rng, base) for _ in range(WRITERS)]
        claims = hot.claims()
        claimed = [(writer, hunk) for writer, side in enumerate(sides) for hunk in hunks(base, side)]
        pairs = {(found.other, claimed[found.change][0]) for found in claims.add(claimed)}
        claims.close()
        for writer in range(WRITERS):
            for other in range(writer):
                merged = hot.merge(base, sides[other], sides[writer], algorithm="myers")
                assert (other, writer) in pairs or merged.conflicts == 0
                clean += (other, writer) not in pairs
                clashing += (other, writer) in pairs
    assert clean > 50
    assert clashing > 50


def test_claims_do_not_outlive_a_trap_and_are_told_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a trap the claims are lost, and say so; they never are another file's."""
    door = door_of_little_memory(monkeypatch)
    claims = Claims(door)
    claims.add([(1, EDIT)])
    trap(door)
    other = Claims(door)
    for call in (lambda: claims.add([(2, EDIT)]), lambda: claims.remove(1)):
        with pytest.raises(ClaimsLost):
            call()
    assert other.add([(2, Changed(start=4, end=4, content=b""))]) == []


def test_lines_that_are_none_are_refused() -> None:
    """Before anything is recorded."""
    claims = hot.claims()
    with pytest.raises(ValueError, match="lines 5 to 3"):
        claims.add([(1, EDIT), (1, Changed(start=5, end=3, content=b""))])
    assert claims.add([(2, EDIT)]) == []
    claims.close()
