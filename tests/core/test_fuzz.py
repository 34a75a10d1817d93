"""What `make fuzz` does, for a moment: every target keeps its promise, and what once broke one does so no more."""

import random
from pathlib import Path

import pytest

from scripts import fuzz_core
from scripts.fuzz_core import CRASHERS, TARGETS

ROUNDS = 60
SAVED = sorted(CRASHERS.glob("*"))


@pytest.mark.parametrize("name", TARGETS)
def test_a_moment_of_fuzzing(name: str, tmp_path: Path) -> None:
    """The examples themselves, and some mutations of them, break nothing."""
    target, examples = TARGETS[name]
    for example in examples:
        target(example.encode())
    rng = random.Random(20_261_121)
    assert [fuzz_core.one(name, rng, tmp_path) for _ in range(ROUNDS)] == [None] * ROUNDS


@pytest.mark.parametrize("crasher", SAVED, ids=[path.name for path in SAVED])
def test_what_broke_something_once(crasher: Path) -> None:
    """Saved inputs go to the target they are named after."""
    TARGETS[crasher.name.partition("-")[0]][0](crasher.read_bytes())


def test_what_breaks_a_target_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that breaks its promise is caught, with the input that did it."""

    def breaks(data: bytes) -> None:
        raise KeyError(data[:1])

    monkeypatch.setitem(TARGETS, "frames", (breaks, ("{}",)))
    path = fuzz_core.one("frames", random.Random(1), tmp_path)
    assert path is not None
    assert path.name.startswith("frames-KeyError-")
    with pytest.raises(KeyError):
        breaks(path.read_bytes())
