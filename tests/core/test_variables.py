"""What the Worker reads, what people's environment may say, and what the README tells are the same names."""

import re
from pathlib import Path

import pytest

from scripts import variables

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"EDGELOOP_[A-Z_]+")


def test_every_variable_of_the_worker_is_passed_on():
    """The demo and `make dev` hand on what the edge reads, and nothing that it does not."""
    read = {name for path in (ROOT / "src" / "edge").glob("*.py") for name in NAME.findall(path.read_text())}
    assert {f"EDGELOOP_{name}" for name in variables.NAMES} == read


def test_every_variable_of_the_worker_is_told():
    """The README's table has a row for each."""
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `EDGELOOP_")]
    told = {name for row in rows for name in NAME.findall(row.split("|")[1])}
    assert {f"EDGELOOP_{name}" for name in variables.NAMES} == told


def test_only_what_is_set_is_given(monkeypatch: pytest.MonkeyPatch):
    """An empty variable is as one that is not there, or the Worker's own default would be lost."""
    for name in variables.NAMES:
        monkeypatch.delenv(f"EDGELOOP_{name}", raising=False)
    monkeypatch.setenv("EDGELOOP_MODE", "edit")
    monkeypatch.setenv("EDGELOOP_RULES", "")
    assert variables.given() == {"EDGELOOP_MODE": "edit"}


@pytest.mark.parametrize(
    ("given", "names"),
    [("MODEL", False), ("API_KEY", False), ("PROVIDER", True), ("BASE_URL", True)],
)
def test_a_provider_or_a_url_names_a_model(given: str, names: bool):
    """A model's name alone is one of the embedded model's."""
    assert variables.name_a_model({f"EDGELOOP_{given}": "x"}) == names
