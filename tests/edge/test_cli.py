"""The whole path a person takes: the real command, the real Worker, the embedded model, their own files, in both dialects."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.local_edge import LocalEdge
from tests.edge.conftest import variables
from tests.support.edge import TOKEN
from tests.support.model_server import ModelServerHandle, start_model_server
from tests.support.provider import Dialect

PATHS: dict[Dialect, str] = {"anthropic": "", "openai": "/v1"}
COMMAND = Path(sys.executable).parent / "edgeloop"
SECONDS = 90


@dataclass(frozen=True, kw_only=True)
class Place:
    """A Worker that talks to the embedded model in one dialect."""

    edge: LocalEdge
    model: ModelServerHandle

    def run(self, task: str, directory: Path, *options: str) -> tuple[int, dict[str, Any]]:
        """Run `edgeloop run --json`; the exit code and the object of the last line."""
        done = subprocess.run(
            [COMMAND, "run", task, "--dir", str(directory), "--url", self.edge.url, "--json", *options],
            env={**os.environ, "EDGELOOP_TOKEN": TOKEN, "XDG_STATE_HOME": str(directory.parent / "xdg")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module", params=["anthropic", "openai"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """The provider is switched by variables alone."""
    dialect: Dialect = request.param
    model = start_model_server()
    given = variables(model.url + PATHS[dialect], dialect, EDGELOOP_MODEL="survey", EDGELOOP_API_KEY="k")
    try:
        with LocalEdge(variables=given, private_copy=True) as edge:
            yield Place(edge=edge, model=model)
    finally:
        model.stop()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Five files, 2 + 40 + 3 + 7 lines of text in four of them, the fifth binary."""
    root = tmp_path / "files"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "README.md").write_text("# Quokka counting\n\nCount quokkas.\n")
    (root / "main.py").write_text("".join(f"quokka_{n} = {n}\n" for n in range(40)))
    (root / "deep" / "er" / "café notes.txt").write_text("eins\nzwei\n")
    (root / "deep" / "data.csv").write_text("a,b\n" * 7)
    (root / "logo.bin").write_bytes(bytes(range(256)))
    return root


def test_the_survey_answers_from_the_files(place: Place, directory: Path):
    """`edgeloop run` ends with an answer whose figures are the directory's own, and with its own record."""
    place.model.clear()
    code, out = place.run("Survey this directory.", directory)
    assert code == 0, out
    assert out["outcome"] == "done"
    answer = out["answer"]
    for figure in ("5 files", "52 lines", "main.py"):
        assert figure in answer, answer
    names = [call["name"] for call in out["tool_calls"]]
    assert names[0] == "list_files"
    assert names.count("read_file") >= 2
    assert {call["outcome"] for call in out["tool_calls"]} == {"ok"}
    assert out["usage"]["output"] > 0
    assert out["bytes_up"] > 0
    assert out["bytes_down"] > len(answer.encode())


def test_another_directory_gives_other_figures(place: Place, directory: Path):
    """One more file changes the answer as it should."""
    (directory / "more.py").write_text("x = 1\n" * 8)
    code, out = place.run("Survey this directory.", directory)
    assert code == 0, out
    assert "6 files" in out["answer"]
    assert "60 lines" in out["answer"]


def test_each_request_begins_with_the_one_before(place: Place, directory: Path):
    """The bytes of step n, but for their closing, are a prefix of step n+1's, over two runs of one agent (behaviour 37)."""
    place.model.clear()
    agent = f"prefix-{os.getpid()}"
    for _ in range(2):
        code, out = place.run("Survey this directory.", directory, "--agent", agent)
        assert code == 0, out
    bodies = place.model.bodies()
    assert len(bodies) >= 6
    for earlier, later in itertools.pairwise(bodies):
        assert later.startswith(earlier.removesuffix(b"]}"))
