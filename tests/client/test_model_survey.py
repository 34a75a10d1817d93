"""`survey` over real directories and real tools, and over results that no well-meaning tool would give."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeloop_client.errors import ToolError
from edgeloop_client.model.conversation import (
    Answered,
    Asked,
    Call,
    Conversation,
    ModelSaid,
    Offer,
    Part,
    Say,
    UserSaid,
)
from edgeloop_client.model.scenarios.findings import Findings, distinctive_words, speaks_of
from edgeloop_client.model.scenarios.survey import MAX_PAGES, MAX_READS, survey
from edgeloop_client.tools import LOCAL_TOOLS
from edgeloop_client.tools.base import Cancel, to_json
from tests.support.workspace import workspace_in

Runner = Callable[[Call], tuple[str, bool]]
NAMES = ("list_files", "read_file", "search")


def _offers(*names: str) -> dict[str, Offer]:
    return {name: Offer(name=name, description="", parameters={}) for name in names}


class Talk:
    """Plays a whole turn: runs the calls, feeds the results back, until there are none."""

    def __init__(self, runner: Runner, tools: tuple[str, ...] = NAMES) -> None:
        self.calls: list[list[Call]] = []
        self._runner = runner
        self._tools = _offers(*tools)
        self._entries: list[Any] = [UserSaid(text="What is here?")]
        self.answer = self._play()

    def _play(self) -> str:
        for step in range(30):
            parts = list(survey(self._conversation()))
            text = "".join(part.text for part in parts if isinstance(part, Say))
            calls = [part for part in parts if isinstance(part, Call)]
            if not calls:
                return text
            self.calls.append(calls)
            asked = [
                Asked(id=f"{step}.{at}", name=c.name, arguments=c.arguments) for at, c in enumerate(calls)
            ]
            self._entries.append(ModelSaid(text=text, calls=tuple(asked)))
            for call, own in zip(calls, asked, strict=True):
                result, failed = self._runner(call)
                self._entries.append(Answered(call=own, text=result, failed=failed))
        raise AssertionError("the survey does not come to an end")

    def _conversation(self) -> Conversation:
        return Conversation(model="survey", system="", tools=self._tools, entries=tuple(self._entries))

    def names(self) -> list[str]:
        return [calls[0].name for calls in self.calls]


def tools_in(directory: Path) -> Runner:
    """The client's own tools, in a directory."""
    workspace = workspace_in(directory, directory.parent)

    def run(call: Call) -> tuple[str, bool]:
        tool = LOCAL_TOOLS[call.name]
        try:
            arguments = tool.parse(json.dumps(call.arguments))
            return to_json(tool.run(workspace, arguments, Cancel())), False
        except ToolError as error:
            return str(error), True

    return run


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "d").mkdir()
    return tmp_path / "d"


def _write(directory: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def test_project_is_told_with_figures_from_the_results(directory: Path):
    """Counts, kinds, the largest, headings, definitions, frequent words, marks, what was ignored: all as they are."""
    _write(
        directory,
        {
            "README.md": "# Whale watch\n\nCounts whales.\n\n## Use\n\nrun it\n",
            "src/whales.py": "class Whale:\n    pass\n\n\ndef count_whales():\n    return 3  # TODO: whales\n",
            "src/ship.rs": "pub struct Ship;\npub fn sail() {}\n",
            "data/log.csv": "day,whales\n" + "1,2\n" * 40,
            "logo.png": b"\x89PNG\0" + b"x" * 5000,
            ".gitignore": "junk/\n",
            "junk/a.txt": "x",
            "junk/b.txt": "x",
        },
    )
    talk = Talk(tools_in(directory))
    answer = talk.answer
    assert talk.names() == ["list_files", "read_file", "search"]
    assert len(talk.calls[1]) > 3
    assert "6 files with 57 lines of text" in answer
    assert "1 of the files is binary" in answer
    assert "| py | 1 | 6 |" in answer
    assert "Largest: logo.png (5.0 KB, binary)" in answer
    assert "- README.md (7 lines): headings Whale watch; Use" in answer
    assert "defines Whale, count_whales" in answer
    assert "defines Ship, sail" in answer
    assert "whales" in answer.split("words of note: ")[1].splitlines()[0]
    assert (
        "Search `\\b(TODO|FIXME|XXX)\\b`: 1 line in 1 of 5 text files, the first at src/whales.py:6."
        in answer
    )
    assert "Left out as ignored: 2 files under junk" in answer
    assert 8 <= len(answer.splitlines()) <= 24


def test_empty_directory(directory: Path):
    """Nothing is read or searched where nothing is."""
    talk = Talk(tools_in(directory))
    assert talk.names() == ["list_files"]
    assert talk.answer == "The directory holds no files."


def test_only_binaries(directory: Path):
    """They are counted and not read."""
    _write(directory, {"a.bin": b"\0" * 10, "b": b"\xff\0"})
    talk = Talk(tools_in(directory))
    assert talk.names() == ["list_files"]
    assert "2 files with 0 lines of text (12 bytes); 2 of the files are binary." in talk.answer


def test_one_file(directory: Path):
    """A single text without a line's end."""
    _write(directory, {"notes.txt": "the whale swims\nthe whale dives"})
    answer = Talk(tools_in(directory)).answer
    assert "1 file with 2 lines of text (31 bytes)." in answer
    assert "- notes.txt (2 lines): begins “the whale swims”" in answer
    assert "Search `\\bwhale\\b`: 2 lines in 1 of 1 text file" in answer


def test_weird_names_and_deep_nesting(directory: Path):
    """Spaces, umlauts, bars and line breaks in names break neither the calls nor the table."""
    deep = "/".join("abcdefghij") + "/deep.py"
    _write(
        directory,
        {
            "new\nline.md": "# One\n",
            "a b.x|y": "text here\n",
            "späß.ü": "worte worte\n",
            deep: "def f(): 1\n",
        },
    )
    talk = Talk(tools_in(directory))
    assert {call.arguments["path"] for call in talk.calls[1]} == {"new\nline.md", "a b.x|y", "späß.ü", deep}
    assert '"new\\nline.md"' in talk.answer
    assert "| x\\|y | 1 | 1 |" in talk.answer
    assert "4 files with 4 lines of text" in talk.answer
    assert "failed" not in talk.answer


def test_every_page_is_asked_for(directory: Path):
    """The listing is read to its end, page by page, and the figures are of all of it."""
    _write(directory, {f"f{number:04}.txt": "one word\n" for number in range(950)})
    talk = Talk(tools_in(directory))
    assert talk.names() == ["list_files"] * 3 + ["read_file", "search"]
    assert "950 files with 950 lines of text" in talk.answer
    assert "goes on after" not in talk.answer


def test_huge_directory_is_sampled(directory: Path):
    """After some pages it picks from what it has, and says so; the totals are still of everything."""
    page = [{"path": f"f{number}.txt", "bytes": 9, "lines": 1, "kind": "txt"} for number in range(400)]
    total = {
        "files": 10**6,
        "lines": 10**6,
        "bytes": 9 * 10**6,
        "binary": 0,
        "by_kind": {"txt": {"files": 10**6}},
    }

    def run(call: Call) -> tuple[str, bool]:
        if call.name == "list_files":
            return json.dumps({"path": ".", "entries": page, "next": "f", "total": total}), False
        return "gone", True

    talk = Talk(run)
    assert talk.names().count("list_files") == MAX_PAGES
    assert "1,000,000 files with 1,000,000 lines" in talk.answer
    assert "the listing goes on after them" in talk.answer


def test_reads_are_bounded_and_spread(directory: Path):
    """A handful, over the kinds there are, with the one that introduces the rest first."""
    files = {
        f"{kind}/{number}.{kind}": "word " * number + "\n"
        for kind in ("py", "rs", "js", "c")
        for number in range(9)
    }
    _write(directory, {**files, "z/README.txt": "read me\n"})
    paths = [call.arguments["path"] for call in Talk(tools_in(directory)).calls[1]]
    assert paths[0] == "z/README.txt"
    assert len(paths) == MAX_READS
    assert {path.rpartition(".")[2] for path in paths} == {"txt", "py", "rs", "js", "c"}


def test_answer_depends_on_the_results_alone(directory: Path):
    """The same directory gives the same answer; one more line gives another."""
    _write(directory, {"a.txt": "whale\n" * 10, "b.py": "x = 1\n"})
    before = Talk(tools_in(directory)).answer
    assert Talk(tools_in(directory)).answer == before
    _write(directory, {"a.txt": "whale\n" * 11})
    assert "12 lines of text" in Talk(tools_in(directory)).answer


# --- when things go wrong ------------------------------------------------------------------------------------------


def test_failed_listing_is_told(directory: Path):
    """No listing, no figures."""
    answer = Talk(lambda _: ("denied: the person said no", True)).answer
    assert answer == "list_files of . failed: denied: the person said no"


def test_failed_reads_and_searches_are_told(directory: Path):
    """What could be found out is told beside what could not; nothing is asked twice."""
    _write(directory, {"a.txt": "whale\n", "b.txt": "whale\n"})
    tools = tools_in(directory)

    def run(call: Call) -> tuple[str, bool]:
        if call.arguments.get("path") == "b.txt" or call.name == "search":
            return f"{call.name} is broken today", True
        return tools(call)

    talk = Talk(run)
    calls = [(call.name, json.dumps(call.arguments)) for step in talk.calls for call in step]
    assert len(calls) == len(set(calls))
    assert "2 files with 2 lines" in talk.answer
    assert "read_file of b.txt failed: read_file is broken today" in talk.answer
    assert "- a.txt (1 line)" in talk.answer
    assert "failed: search is broken today" in talk.answer


HOSTILE: list[Any] = [
    "",
    "null",
    "[]",
    "{",
    "{}",
    '{"entries": 5, "total": 7, "text": 3, "matches": "x"}',
    '{"entries": [1, {"path": 2}, {"path": "a", "lines": "many"}], "next": null, "total": {"files": "all", "by_kind": [1]}}',
    json.dumps(
        {
            "entries": [{"path": "a", "lines": 3}],
            "next": None,
            "total": {
                "files": 1,
                "by_kind": {"x": 1, "y": {"files": "3"}},
                "largest": [1, {}],
                "ignored": {"a": 1},
                "unreadable": [5],
            },
            "text": None,
            "matches": [1, {"path": None}],
            "total_matches": 3,
            "total_lines": "x",
        }
    ),
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("failed", [True, False])
def test_results_of_any_shape_end_in_an_answer(text: str, failed: bool):
    """Whatever a tool returns, the turn ends and says something."""
    assert Talk(lambda _: (text, failed)).answer


@pytest.mark.parametrize(
    ("tools", "says"),
    [
        ((), "none at all"),
        (("run_command",), "run_command"),
        (("list_files",), "Not looked at, for want of a tool: read_file, search."),
        (("read_file",), "Not looked at, for want of a tool: list_files, search."),
        (("search",), "Not looked at, for want of a tool: list_files, read_file."),
        (("list_files", "search"), "for want of a tool: read_file."),
    ],
)
def test_missing_tools_are_told(directory: Path, tools: tuple[str, ...], says: str):
    """It works with what it is offered."""
    _write(directory, {"a.txt": "whale whale\n"})
    talk = Talk(tools_in(directory), tools)
    assert says in talk.answer
    assert {call.name for step in talk.calls for call in step} <= set(tools)


@pytest.mark.parametrize(
    "text",
    [
        "#" * 250_000,
        "# " * 120_000,
        "<h1" * 80_000,
        "<h1>" * 60_000,
        "export\n" * 35_000,
        "export " * 35_000,
        "/*" * 120_000,
        " " * 250_000 + "x",
        "aB" * 120_000,
        "\n" * 250_000,
        '"""' * 80_000,
    ],
    ids=lambda text: repr(text[:6]),
)
@pytest.mark.parametrize("path", ["a.md", "a.html", "a.js", "a.txt"])
def test_no_file_takes_long_to_read(path: str, text: str):
    """Text made to be slow for patterns is read in no time."""
    started = time.process_time()
    speaks_of(path, text)
    distinctive_words(Findings((_read_of(path, text),)), 5)
    assert time.process_time() - started < 1


def _read_of(path: str, text: str) -> Answered:
    call = Asked(id="1", name="read_file", arguments={"path": path})
    return Answered(call=call, text=json.dumps({"path": path, "text": text}))


# --- the turn's course ---------------------------------------------------------------------------------------------


def _parts(*entries: Any) -> Iterator[Part]:
    return survey(Conversation(model="survey", system="", tools=_offers(*NAMES), entries=entries))


LISTED = json.dumps(
    {
        "path": ".",
        "entries": [{"path": f"{name}.txt", "bytes": 5, "lines": 1, "kind": "txt"} for name in "ab"],
        "next": None,
        "total": {
            "files": 2,
            "lines": 2,
            "bytes": 10,
            "binary": 0,
            "by_kind": {"txt": {"files": 2, "lines": 2}},
        },
    }
)


def test_next_task_starts_anew():
    """A second message of the person is surveyed on fresh results, not on those of the first."""
    listing = Asked(id="1", name="list_files", arguments={"path": "."})
    first = [
        UserSaid(text="What is here?"),
        ModelSaid(text="", calls=(listing,)),
        Answered(call=listing, text=LISTED),
    ]
    again = list(_parts(*first, ModelSaid(text="Two files."), UserSaid(text="And now?")))
    assert [part.name for part in again if isinstance(part, Call)] == ["list_files"]


def test_broken_off_batch_is_completed():
    """Where the stream broke after one of two calls, only the other one is asked for when told to go on."""
    listing = Asked(id="1", name="list_files", arguments={"path": "."})
    read = Asked(id="2", name="read_file", arguments={"path": "a.txt"})
    text = json.dumps({"path": "a.txt", "text": "whale", "total_lines": 1, "end_line": 1})
    parts = _parts(
        UserSaid(text="What is here?"),
        ModelSaid(text="", calls=(listing,)),
        Answered(call=listing, text=LISTED),
        ModelSaid(text="There are", calls=(read,)),
        Answered(call=read, text=text),
        UserSaid(
            text="[The connection to the model broke off here. Continue exactly where your message ended.]"
        ),
    )
    calls = [part for part in parts if isinstance(part, Call)]
    assert [call.arguments["path"] for call in calls] == ["b.txt"]


def test_a_second_survey_goes_by_what_it_was_told_before():
    """A reading that says "unchanged" stands for what was read in an earlier turn; of a changed file the diff is looked at."""

    def read(path: str, **told: Any) -> Answered:
        text = json.dumps({"path": path, "hash": "h", **told})
        return Answered(call=Asked(id="1", name="read_file", arguments={"path": path}), text=text)

    earlier = (read("a", text="apple"), read("b", text="bean"))
    same = {"unchanged_since": {"seq": 1, "call": "1.0"}}
    now = (read("a", **same), read("b", diff="+barley", base={}), read("c", **same))
    findings = Findings(now, earlier)
    assert findings.texts == {"a": "apple", "b": "+barley"}
    assert [failure.subject for failure in findings.failures] == ["c"]
