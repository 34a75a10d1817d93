"""Streams and refusals that real providers sent, beside the repository (`../shared/recordings`) where they are there at all."""

import csv
from collections.abc import Container
from pathlib import Path

import pytest

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "recordings"
Row = dict[str, str]

needs_recordings = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not here")


def rows_of(apis: Container[str]) -> list[Row]:
    """What the index tells of the recordings of these APIs; nothing where they are not."""
    if not RECORDINGS.is_dir():
        return []
    with (RECORDINGS / "INDEX.tsv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file, delimiter="\t") if row["api"] in apis]
