"""A set-up step runs when what goes into it has changed, and only then."""

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import setup
from scripts.local_edge import LocalEdgeError, _write_variables  # pyright: ignore[reportPrivateUsage]
from scripts.setup import SetupError, Step, set_up


class Recipe:
    """A step whose key can be turned and whose runs are counted."""

    def __init__(self, name: str, folder: Path):
        self.key = "1"
        self.runs = 0
        self.product = folder / name
        self.step = Step(name=name, label=name, key=lambda: self.key, product=self.product, make=self.make)

    def make(self):
        self.runs += 1
        self.product.write_text("made")


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """The environment, its packages, and a step that depends on neither."""
    found = [Recipe(name, tmp_path) for name in ("venv", "host", "worker")]
    monkeypatch.setattr(setup, "STATE", tmp_path / "state")
    monkeypatch.setattr(setup, "STEPS", tuple(recipe.step for recipe in found))
    set_up()
    return found


def _nothing(recipes: list[Recipe]):
    pass


def _new_lock(recipes: list[Recipe]):
    recipes[2].key = "2"


def _new_python(recipes: list[Recipe]):
    recipes[0].key = "2"


def _product_deleted(recipes: list[Recipe]):
    recipes[1].product.unlink()


@pytest.mark.parametrize(
    ("change", "runs"),
    [(_nothing, [1, 1, 1]), (_new_lock, [1, 1, 2]), (_product_deleted, [1, 2, 1]), (_new_python, [2, 2, 1])],
)
def test_only_what_changed_runs_again(
    recipes: list[Recipe], change: Callable[[list[Recipe]], None], runs: list[int]
):
    """The second time runs nothing but what a change calls for; a new environment calls for its packages."""
    change(recipes)
    set_up()
    assert [recipe.runs for recipe in recipes] == runs


def test_failed_step_is_tried_again(recipes: list[Recipe], monkeypatch: pytest.MonkeyPatch):
    """A step that fails stops the set-up and is not taken for done, even where an old product lies."""
    failing = recipes[1]
    failing.key = "2"

    def fail():
        raise SetupError("no network")

    broken = Step(name="host", label="host", key=lambda: failing.key, product=failing.product, make=fail)
    monkeypatch.setattr(setup, "STEPS", (recipes[0].step, broken, recipes[2].step))
    with pytest.raises(SetupError, match="no network"):
        set_up()
    monkeypatch.setattr(setup, "STEPS", tuple(recipe.step for recipe in recipes))
    set_up()
    assert failing.runs == 2


def test_variables_are_private(tmp_path: Path):
    """The Worker's secrets go through a file that only this person can read."""
    path = _write_variables(tmp_path / "env", {"EDGELOOP_TOKEN": "a$b #c"})
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == "EDGELOOP_TOKEN='a\\$b #c'\n"


@pytest.mark.parametrize("variables", [{"lower": "x"}, {"TOKEN": "two\nlines"}, {"TOKEN": "it's"}])
def test_variables_that_cannot_be_carried_are_refused(tmp_path: Path, variables: dict[str, str]):
    """What an env file would change in silence is refused with the variable's name."""
    with pytest.raises(LocalEdgeError, match=next(iter(variables))):
        _write_variables(tmp_path / "env", variables)
