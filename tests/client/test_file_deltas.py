"""What the session holds of files: read_file answers with less where it does, and edits meet what happened meanwhile."""

import asyncio
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgeloop.kernels import KernelTrapped
from edgeloop_client.contents import content_hash
from edgeloop_client.errors import ToolError, ToolTimeout
from edgeloop_client.hot import count_tokens
from edgeloop_client.tools import LOCAL_TOOLS, disk, reading
from edgeloop_client.tools.base import Cancel, Tool, to_json
from tests.client.conftest import Connect, Doings
from tests.support.memory_session import Ask, MemorySession, Part, Say
from tests.support.workspace import workspace_in

Json = dict[str, Any]
LONG = [f"line {number} of the file, with words enough to be worth a diff\n" for number in range(1, 61)]


@dataclass(kw_only=True)
class Session:
    """A session's log of tool results, and the workspace that derives from it what is held."""

    root: Path
    home: Path
    log: list[tuple[int, str, str, str]] = field(default_factory=lambda: list[tuple[int, str, str, str]]())
    seq: int = 10

    def __post_init__(self) -> None:
        self.root.mkdir(exist_ok=True)
        self.restart()

    def restart(self) -> None:
        """A client that starts anew knows what the log says."""
        self.workspace = workspace_in(self.root, self.home)
        for seq, name, arguments, content in self.log:
            self._see(seq, name, arguments, content)

    def _see(self, seq: int, name: str, arguments: str, content: str) -> None:
        sight = LOCAL_TOOLS[name].sight(arguments, content)
        if sight is not None:
            self.workspace.held.see(seq, f"call-{seq}", sight)

    def call(self, name: str, *, recorded: bool = True, **arguments: Any) -> Json:
        """Call a tool; its result comes into the log unless it is lost on the way."""
        tool, given = LOCAL_TOOLS[name], json.dumps(arguments)
        content = to_json(tool.run(self.workspace, tool.parse(given), Cancel()))
        if recorded:
            self.seq += 1
            self.log.append((self.seq, name, given, content))
            self._see(*self.log[-1])
        return json.loads(content)

    def read(self, path: str = "f", **arguments: Any) -> Json:
        return self.call("read_file", path=path, **arguments)

    def write(self, lines: list[str], path: str = "f") -> str:
        """Change the file behind the session's back."""
        content = "".join(lines).encode()
        (self.root / path).write_bytes(content)
        return content_hash(content)

    def edit(self, base: str, search: str, replace: str, path: str = "f") -> Json:
        edits = [{"search": search, "replace": replace}]
        return self.call("edit_file", path=path, base_hash=base, edits=edits)

    def refused(self, name: str, **arguments: Any) -> str:
        with pytest.raises(ToolError) as raised:
            self.call(name, **arguments)
        return str(raised.value)

    def text(self, path: str = "f") -> str:
        return (self.root / path).read_bytes().decode()


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A session at a directory with a file of 60 lines."""
    session = Session(root=tmp_path / "root", home=tmp_path / "home")
    session.write(LONG)
    return session


def changed(at: int, *lines: str, count: int = 1) -> list[str]:
    """The long file with `count` lines from line `at` on replaced."""
    return [*LONG[: at - 1], *lines, *LONG[at - 1 + count :]]


# --- read_file ------------------------------------------------------------------------------------------------------


def test_a_version_held_is_not_sent_again(session: Session) -> None:
    """The second reading says which result showed the lines and of which version they are; `full` gives the text again."""
    first = session.read()
    assert session.read() == {
        "path": "f",
        "start_line": 1,
        "end_line": 60,
        "hash": first["hash"],
        "unchanged_since": {"seq": 11, "call": "call-11"},
    }
    assert session.read(full=True) == first


def test_only_what_is_in_the_log_is_held(session: Session) -> None:
    """A result that was sent but never recorded showed the model nothing."""
    session.call("read_file", path="f", recorded=False)
    assert "text" in session.read()
    assert "unchanged_since" in session.read()


def test_the_log_alone_decides(session: Session) -> None:
    """A client that starts anew answers as the one before; in another log nothing is held."""
    session.read()
    session.restart()
    assert "unchanged_since" in session.read()
    session.workspace.held.clear()
    assert "text" in session.read()


@pytest.mark.parametrize(
    ("shown", "asked", "held"),
    [
        ([(1, 20)], (1, 20), 11),
        ([(1, 20)], (5, 10), 11),
        ([(1, 20)], (5, 20), None),
        ([(1, 20)], (21, 5), None),
        ([(1, 20), (21, 20)], (10, 25), 12),
        ([(1, 20), (22, 20)], (10, 25), None),
        ([(1, 20), (1, 400)], (1, 20), 11),
        ([(30, 400), (1, 29)], (1, 400), 12),
    ],
)
def test_lines_not_shown_are_not_claimed(
    session: Session, shown: list[tuple[int, int]], asked: tuple[int, int], held: int | None
) -> None:
    """A reading of some lines holds those lines, several together hold all of theirs; `(first line, lines)` each."""
    for start, lines in shown:
        session.read(start_line=start, max_lines=lines, full=True)
    answer = session.read(start_line=asked[0], max_lines=asked[1])
    if held is None:
        assert "text" in answer
    else:
        assert answer["unchanged_since"]["seq"] == held


def test_a_change_is_told_as_a_diff(session: Session) -> None:
    """Of a changed file come the hunks, with the version they are against and where that was shown."""
    base = session.read()["hash"]
    now = session.write(changed(30, "another line\n"))
    assert session.read() == {
        "path": "f",
        "start_line": 1,
        "end_line": 60,
        "total_lines": 60,
        "bytes": len("".join(changed(30, "another line\n"))),
        "hash": now,
        "base": {"hash": base, "seq": 11, "call": "call-11"},
        "diff": "@@ -27,7 +27,7 @@\n"
        + "".join(f" {line}" for line in LONG[26:29])
        + f"-{LONG[29]}+another line\n"
        + "".join(f" {line}" for line in LONG[30:33]),
    }
    assert session.read()["unchanged_since"] == {"seq": 12, "call": "call-12"}


@pytest.mark.parametrize(
    ("lines", "asked", "diff", "first"),
    [
        (changed(30, "x\n"), (1, 10), "", None),
        (changed(5, "x\n", "y\n", "z\n"), (40, 10), "", 38),
        (changed(5, count=2), (40, 10), "", 42),
        (changed(42, "x\n"), (30, 25), "@@ -39,7 +39,7 @@", None),
        (changed(1, count=1), (1, 20), "@@ -1,4 +1,3 @@", None),
        (changed(60, count=1), (50, 20), "@@ -57,4 +57,3 @@", None),
    ],
)
def test_a_range_of_a_changed_file(
    session: Session, lines: list[str], asked: tuple[int, int], diff: str, first: int | None
) -> None:
    """Of a range only its hunks come; where it begins in the version held is said if it has moved."""
    session.read()
    session.write(lines)
    answer = session.read(start_line=asked[0], max_lines=asked[1])
    assert answer["diff"].split("\n")[0] == diff
    assert answer["base"].get("start_line") == first


def test_what_was_not_shown_is_not_diffed(session: Session) -> None:
    """A diff is given only to whoever holds every line outside its hunks."""
    session.read(max_lines=20)
    session.write(changed(5, "x\n"))
    assert "diff" in session.read(max_lines=20)
    assert "text" in session.read(start_line=11, max_lines=20)


def test_the_shortest_answer_wins(session: Session) -> None:
    """By the exact count of tokens: of short texts, and of those that changed all over, the text comes."""
    session.write(["short\n"], "s")
    session.read("s")
    assert "text" in session.read("s")
    session.read()
    session.write([f"{number}\n" for number in range(60)])
    assert "text" in session.read()
    session.write([*(f"{number}\n" for number in range(59)), "x\n"])
    told, whole = session.read(), session.read(full=True)
    assert "diff" in told
    assert count_tokens(to_json(told)) < count_tokens(to_json(whole))


def test_lost_contents_cost_a_text(session: Session) -> None:
    """Without the content of the version held there is no diff; with a spoilt one neither."""
    base = session.read()["hash"]
    session.write(changed(3, "x\n"))
    (session.home / "versions" / base).write_bytes(b"spoilt")
    assert "text" in session.read()
    assert not (session.home / "versions" / base).exists()


def test_an_older_version_will_do(session: Session) -> None:
    """Where the version seen last was shown in part, the one before may hold the lines."""
    base = session.read()["hash"]
    session.write(changed(3, "x\n"))
    session.read(max_lines=10)
    answer = session.read(start_line=11)
    assert (answer["base"]["hash"], answer["diff"]) == (base, "")


def test_going_back_is_unchanged(session: Session) -> None:
    """A file that is as it was once shown is unchanged, whatever it was in between."""
    session.read()
    session.write(changed(3, "x\n"))
    session.read()
    session.write(LONG)
    assert session.read()["unchanged_since"]["seq"] == 11


def test_a_link_is_the_file_it_leads_to(session: Session) -> None:
    """What was read by one name is held by all that lead to the same place."""
    (session.root / "link").symlink_to("f")
    session.read("link")
    assert "unchanged_since" in session.read("f")


def test_what_was_cut_is_not_held(session: Session) -> None:
    """Of an answer that was cut only its whole lines count."""
    lines = [f"{number:05} {'x' * 93}\n" for number in range(4_000)]
    session.write(lines)
    first = session.read(max_lines=10_000)
    assert (first["end_line"], first["cut"] != "") == (2_621, True)
    assert session.read(max_lines=2_621)["unchanged_since"]["seq"] == 11
    assert "text" in session.read(start_line=2_621, max_lines=2)
    session.write(["x" * 300_000])
    session.read()
    assert "text" in session.read()


def test_what_the_session_no_longer_holds(session: Session) -> None:
    """Once a result is forgotten, what it showed is unknown, and so is what was known with its help."""
    base = session.read()["hash"]
    session.write(changed(3, "x\n"))
    session.read()
    session.workspace.held.forget(11)
    assert "text" in session.read()
    session.write(LONG)
    answer = session.read()
    assert (answer["hash"], answer["base"]["seq"]) == (base, 13)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"path":"f","hash":"h"}',
        '{"path":1,"hash":"h","start_line":1,"end_line":9}',
        "\ud800",
    ],
)
@pytest.mark.parametrize("name", ["read_file", "edit_file", "write_file"])
def test_strange_results_show_nothing(session: Session, name: str, content: str) -> None:
    """A result that is not as ours are (another client's, an older one's) is passed over."""
    arguments = {
        "read_file": {"path": "f"},
        "edit_file": {"path": "f", "base_hash": "h", "edits": [{"search": "a", "replace": "b"}]},
        "write_file": {"path": "f", "content": "", "base_hash": None},
    }
    sight = LOCAL_TOOLS[name].sight(json.dumps(arguments[name]), content)
    assert sight is None or session.workspace.held.see(1, "c", sight) is None
    assert not any(session.workspace.held.versions("f").values())


def test_without_kernels_there_is_the_text(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that dies costs a full text, never an answer."""

    def trapped(*_given: Any, **_options: Any) -> None:
        raise KernelTrapped("gone")

    session.read()
    monkeypatch.setattr(reading, "count_batch", trapped)
    assert "text" in session.read(full=False)
    session.write(changed(3, "x\n"))
    monkeypatch.setattr(reading, "hunks", trapped)
    assert "text" in session.read()


# --- edit_file, write_file ------------------------------------------------------------------------------------------


def test_an_edit_leads_to_a_version_held(session: Session) -> None:
    """After an edit the session holds what it made: the next reading says unchanged since the edit."""
    base = session.read()["hash"]
    made = session.edit(base, LONG[29], "one\ntwo\n")
    assert session.read()["unchanged_since"] == {"seq": 12, "call": "call-12"}
    session.restart()
    assert session.read()["unchanged_since"]["seq"] == 12
    again = session.edit(made["hash"], "one\n", "")
    assert session.read()["unchanged_since"]["seq"] == session.seq - 1
    assert again["total_lines"] == 60
    session.write(changed(30, "three\n"))
    assert session.read()["base"]["hash"] == again["hash"]


def test_a_writing_is_held_whole(session: Session) -> None:
    """What the model wrote itself it need not be shown, though it was never read."""
    session.call("write_file", path="new", content="".join(LONG), base_hash=None)
    assert session.read("new")["unchanged_since"]["seq"] == 11


@pytest.mark.parametrize(
    ("search", "replace", "held"),
    [
        (LONG[4], "a\nb\n", [(1, 21)]),
        (LONG[4], "", [(1, 19)]),
        ("line 5 of", "LINE 5 of", [(1, 20)]),
        (LONG[19], LONG[19] + "new\n", [(1, 21)]),
        ("line 40 of", "LINE 40 of", [(1, 20)]),
        (LONG[19] + "line 21", LONG[19] + "LINE 21", [(1, 19)]),
        (LONG[19][5:], "the end\n", [(1, 20)]),
        (LONG[19][5:], "the end ", [(1, 19)]),
        ("line 1 of", "0\nline 1 of", [(1, 21)]),
    ],
)
def test_an_edit_shows_nothing_of_its_lines_surroundings(
    session: Session, search: str, replace: str, held: list[tuple[int, int]]
) -> None:
    """Of a file whose lines 1 to 20 were read, an edit leaves held what was, moved; an edited line was to be held before."""
    base = session.read(max_lines=20)["hash"]
    made = session.edit(base, search, replace)
    parts = session.workspace.held.versions("f")[made["hash"]]
    assert [(part.start, part.end) for part in parts] == held


def test_a_change_meanwhile_is_merged(session: Session) -> None:
    """An edit of a version that somebody has changed elsewhere keeps both, says so, and shows what else changed."""
    base = session.read()["hash"]
    disk = session.write(changed(50, "theirs\n"))
    (session.root / "f").chmod(0o640)
    answer = session.edit(base, LONG[9], "ours\n")
    assert session.text() == "".join([*LONG[:9], "ours\n", *LONG[10:49], "theirs\n", *LONG[50:]])
    assert answer["hash"] == content_hash(session.text().encode())
    assert answer["merged"] == {"base": base, "disk": disk}
    assert answer["diff"].startswith("@@ -47,7 +47,7 @@\n")
    assert f"-{LONG[49]}+theirs\n" in answer["diff"]
    assert "ours" not in answer["diff"]
    assert (session.root / "f").stat().st_mode & 0o777 == 0o640
    assert session.read()["unchanged_since"]["seq"] == 12


def test_edits_of_one_version_meet(session: Session) -> None:
    """Two edits of the same version, as one message of the model may hold them, are both made."""
    base = session.read()["hash"]
    session.edit(base, LONG[9], "first\n")
    assert "merged" in session.edit(base, LONG[39], "second\n")
    assert session.text() == "".join([*LONG[:9], "first\n", *LONG[10:39], "second\n", *LONG[40:]])
    assert session.read()["unchanged_since"]["seq"] == 13


def test_the_same_change_twice_is_no_conflict(session: Session) -> None:
    """Where the file is already what the edit would make of it, nothing is written and all is well."""
    base = session.read()["hash"]
    session.write(changed(10, "same\n"))
    before = (session.root / "f").stat()
    answer = session.edit(base, LONG[9], "same\n")
    assert (answer["merged"]["disk"], answer["diff"]) == (answer["hash"], "")
    assert (session.root / "f").stat() == before


def test_a_conflict_changes_nothing(session: Session) -> None:
    """Overlapping changes are told with both sides and the base, and with the hash to decide on."""
    base = session.read()["hash"]
    disk = session.write(changed(10, "theirs\n"))
    edits = [{"search": LONG[9], "replace": "ours\n"}, {"search": LONG[39], "replace": "clean\n"}]
    told = session.refused("edit_file", path="f", base_hash=base, edits=edits)
    assert session.text() == "".join(changed(10, "theirs\n"))
    assert "differ in 1 place:" in told
    assert f"<<<<<<< yours\nours\n||||||| base\n{LONG[9]}=======\ntheirs\n>>>>>>> disk\n" in told
    assert f"base_hash {disk}" in told
    assert "clean" not in told
    assert session.edit(disk, "theirs\n", "both\n")["hash"] == content_hash(session.text().encode())


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """A base, what is on the disk now, an edit of the base, and the text it comes to; None: a conflict."""

    base: str | None
    disk: str | None
    content: str
    merged: str | None
    told: str = ""


MEETINGS = {
    "crlf": Meeting(
        base="a\r\nb\r\nc\r\n", disk="a\r\nb\r\nC\r\n", content="A\r\nb\r\nc\r\n", merged="A\r\nb\r\nC\r\n"
    ),
    "line ends changed": Meeting(
        base="a\r\nb\r\n", disk="a\nb\n", content="A\r\nb\r\n", merged=None, told="1 place"
    ),
    "crlf conflict": Meeting(
        base="a\r\nb\r\n", disk="x\r\nb\r\n", content="y\r\nb\r\n", merged=None, told=">>>>>>> disk\r\n"
    ),
    "no final newline": Meeting(base="a\nb\nc", disk="a\nb\nc\n", content="A\nb\nc", merged="A\nb\nc\n"),
    "final newline in conflict": Meeting(
        base="a\nb", disk="a\nB", content="a\nx", merged=None, told=">>>>>>> disk\n"
    ),
    "bom": Meeting(
        base="\ufeffa\nb\nc\n", disk="\ufeffa\nb\nC\n", content="\ufeffA\nb\nc\n", merged="\ufeffA\nb\nC\n"
    ),
    "bom put there": Meeting(
        base="a\nb\nc\n", disk="\ufeffa\nb\nc\n", content="a\nb\nC\n", merged="\ufeffa\nb\nC\n"
    ),
    "emptied": Meeting(base="a\nb\n", disk="", content="a\nB\n", merged=None, told="1 place"),
    "deleted": Meeting(base="a\nb\n", disk=None, content="a\nB\n", merged=None, told="no such file"),
    "made by both": Meeting(
        base=None, disk="a\nx\nc\n", content="a\ny\nc\n", merged=None, told="someone made"
    ),
    "made by both alike": Meeting(base=None, disk="a\n", content="a\n", merged="a\n"),
    "made empty": Meeting(base=None, disk="", content="a\n", merged="a\n"),
    "markers in the text": Meeting(
        base="<<<<<<< yours\na\n>>>>>>> disk\nb\n",
        disk="<<<<<<< yours\na\n>>>>>>> disk\nx\n",
        content="<<<<<<< yours\na\n>>>>>>> disk\ny\n",
        merged=None,
        told="place:\n<<<<<<< yours\ny\n",
    ),
    "not text": Meeting(base="a\nb\n", disk="\udc80\n", content="a\nB\n", merged=None, told="not UTF-8"),
}


@pytest.mark.parametrize("meeting", MEETINGS.values(), ids=MEETINGS.keys())
def test_meetings(session: Session, meeting: Meeting) -> None:
    """A new content made for a version meets another one: merged, or told and nothing written."""
    file, base = session.root / "m", None
    if meeting.base is not None:
        file.write_text(meeting.base, newline="")
        base = session.read("m")["hash"]
        file.unlink()
    if meeting.disk is not None:
        file.write_bytes(meeting.disk.encode(errors="surrogateescape"))
    before = file.read_bytes() if file.exists() else None
    if meeting.merged is None:
        told = session.refused("write_file", path="m", content=meeting.content, base_hash=base)
        assert meeting.told in told
        assert (file.read_bytes() if file.exists() else None) == before
    else:
        answer = session.call("write_file", path="m", content=meeting.content, base_hash=base)
        assert file.read_bytes() == meeting.merged.encode()
        assert answer["hash"] == content_hash(file.read_bytes())
    assert sorted(entry.name for entry in session.root.iterdir() if entry.name.startswith(".")) == []


def test_a_base_that_is_unknown(session: Session) -> None:
    """Nothing is merged with a base that was not shown of this very file, or whose content is lost."""
    other = session.write([*LONG[:10], "x\n"], "other")
    session.read("other")
    base = session.read()["hash"]
    disk = session.write(changed(50, "theirs\n"))
    for unknown in ("0" * 16, other, "../../etc/passwd", ""):
        told = session.refused("write_file", path="f", base_hash=unknown, content="x")
        assert f"its current hash is {disk}" in told
    (session.home / "versions" / base).unlink()
    assert "its current hash" in session.refused("write_file", path="f", base_hash=base, content="x")
    assert session.text() == "".join(changed(50, "theirs\n"))


def test_long_reports_are_bounded(session: Session) -> None:
    """Of a change too long to tell the first hunks come, the answer says so, and only a reading shows the rest."""
    many = [f"line {number} {'x' * 50}\n" for number in range(4_000)]
    base = session.write(many)
    session.read(max_lines=10_000)
    session.write([f"{'y' * 50}\n" if number % 10 == 5 else line for number, line in enumerate(many)])
    answer = session.edit(base, many[0], "ours\n")
    assert len(answer["diff"]) <= 16 * 1024
    assert "shown" in answer["diff_cut"]
    assert "unchanged_since" not in session.read(max_lines=10_000)
    told = session.refused("write_file", path="f", base_hash=base, content="".join("z\n" for _ in many))
    assert len(told) < 20_000


def test_a_change_between_the_look_and_the_write(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes the file after it was read for the edit finds their change untouched, wherever in between it falls."""
    base = session.read()["hash"]
    for function in ("_write_beside", "current", "_check_still"):
        real = getattr(disk, function)

        def late(*given: Any, real: Any = real, **options: Any) -> Any:
            session.write(changed(1, f"theirs before {real.__name__}\n"))
            return real(*given, **options)

        session.write(LONG)
        monkeypatch.setattr(disk, function, late)
        assert "was changed by someone else" in session.refused(
            "edit_file", path="f", base_hash=base, edits=[{"search": LONG[9], "replace": "ours\n"}]
        )
        monkeypatch.setattr(disk, function, real)
        assert session.text().startswith("theirs before ")
        assert [entry.name for entry in session.root.iterdir()] == ["f"]


def test_an_edit_nobody_waits_for(session: Session) -> None:
    """A call that was given up before its file was written writes nothing."""
    base, cancel = session.read()["hash"], Cancel()
    cancel.set()
    for name, more in (("f", base), ("new", None)):
        arguments = json.dumps({"path": name, "content": "x", "base_hash": more})
        tool = LOCAL_TOOLS["write_file"]
        with pytest.raises(ToolTimeout):
            tool.run(session.workspace, tool.parse(arguments), cancel)
    assert session.text() == "".join(LONG)
    assert [entry.name for entry in session.root.iterdir()] == ["f"]


# --- a whole client -------------------------------------------------------------------------------------------------


class Local(Doings):
    """The client's own tools."""

    def tools(self) -> dict[str, Tool]:
        return dict(LOCAL_TOOLS)


async def test_a_client_that_starts_anew_holds_the_same(connect: Connect, tmp_path: Path) -> None:
    """What the session was shown is known to the client's next life too, whatever it keeps of the log; to no other client."""
    reading: list[Part] = [Ask("read_file", {"path": "f"})]
    contents: list[Json] = []
    async with MemorySession([reading, [Say("one")]] * 3) as session:
        for home in ("home", "home", "other"):
            async with connect(session, home=home, doings=Local()) as at:
                (tmp_path / "work" / "f").write_text("".join(LONG))
                at.client.ask("go")
                await asyncio.wait_for(at.client.over(), 20)
                contents.append(json.loads(list(at.client.connection.view.calls.values())[-1].content))
    assert ["unchanged_since" in content for content in contents] == [False, True, False]


# --- a model that remembers -----------------------------------------------------------------------------------------


class Reader:
    """What a model can know: lines by version, from the answers and its own edits alone."""

    def __init__(self) -> None:
        self.known: dict[str, dict[int, str]] = {}

    def read(self, answer: Json) -> str:
        """The text that an answer to read_file stands for."""
        lines = range(answer["start_line"], answer["end_line"] + 1)
        version = self.known.setdefault(answer["hash"], {})
        if "text" in answer:
            found = dict(zip(lines, answer["text"].splitlines(keepends=True), strict=True))
        elif "diff" in answer:
            base = answer["base"]
            moved = base.get("start_line", answer["start_line"]) - answer["start_line"]
            found = patched(self.known[base["hash"]], answer["diff"], lines, moved)
        else:
            found = version
        version |= {number: found[number] for number in lines}
        return "".join(version[number] for number in lines)

    def edited(self, base: str, at: int, pieces: list[str], answer: Json) -> None:
        """Learn of an own edit within line `at`, which became `pieces`, and of what it was merged with."""
        old, more = self.known.get(base, {}), len(pieces) - 1
        own = {number + more * (number > at): line for number, line in old.items() if number != at}
        own |= {at + offset: piece for offset, piece in enumerate(pieces)} if at in old else {}
        if "merged" in answer:
            own = patched(own, answer["diff"], range(1, answer["total_lines"] + 1), 0)
        self.known.setdefault(answer["hash"], {}).update(own)


def patched(old: dict[int, str], diff: str, lines: range, moved: int) -> dict[int, str]:
    """Those of the lines that whoever knows lines of the old text knows by a unified diff; `moved` is the first line's shift."""
    shown, shifts = dict[int, str](), [(lines.start, moved)]
    for hunk in diff.split("@@ -")[1:]:
        head, _, body = hunk.partition("\n")
        old_start, new_start = (first_line(side) for side in head.removesuffix(" @@").split(" +"))
        rows = body.removesuffix("\n").split("\n")
        new = [row[1:] + "\n" for row in rows if row[:1] in " +"]
        shown |= {new_start + offset: line for offset, line in enumerate(new)}
        old_end = old_start + sum(row[:1] in " -" for row in rows)
        shifts.append((new_start + len(new), old_end - new_start - len(new)))
    was = {number: number + [shift for first, shift in shifts if first <= number][-1] for number in lines}
    return {
        number: shown.get(number, old.get(was[number], ""))
        for number in lines
        if number in shown or was[number] in old
    }


def first_line(side: str) -> int:
    """Where a side of a hunk begins."""
    start, _, count = side.partition(",")
    return int(start) + (count == "0")


@dataclass(kw_only=True)
class Life:
    """Random readings, edits of the last and of older versions, and changes by others."""

    session: Session
    chance: random.Random
    reader: Reader = field(default_factory=Reader)
    texts: dict[str, list[str]] = field(default_factory=lambda: dict[str, list[str]]())
    seen: set[str] = field(default_factory=lambda: set[str]())

    def lines(self) -> list[str]:
        lines = self.session.text().splitlines(keepends=True)
        self.texts[content_hash("".join(lines).encode())] = lines
        return lines

    def change(self) -> None:
        """Somebody replaces up to two lines by up to two."""
        lines, chance = list(self.lines()), self.chance
        at = chance.randrange(len(lines))
        lines[at : at + chance.randrange(3)] = [f"new {chance.random()}\n"] * chance.randrange(3)
        self.session.write(lines)

    def edit(self) -> None:
        """The model edits within a line of a version it knows of."""
        self.lines()
        known = [version for version in self.texts if version in self.reader.known]
        base = self.chance.choice(known[-4:] or list(self.texts))
        lines = self.texts[base]
        at = self.chance.randrange(len(lines))
        search = self.chance.choice([lines[at], lines[at][: self.chance.randrange(1, len(lines[at]))]])
        new = self.chance.choice(["", "edited ", "a\nb\n"]) + search
        try:
            answer = self.session.edit(base, search, new)
        except ToolError as error:
            self.seen.add(str(error).partition(" ")[0])
            return
        self.seen |= answer.keys() & {"merged"}
        self.reader.edited(base, at + 1, lines[at].replace(search, new).splitlines(keepends=True), answer)

    def read(self) -> None:
        """The model reads a range, and knows what is there."""
        lines = self.lines()
        start, count = self.chance.randrange(1, len(lines) + 1), self.chance.choice([5, 12, 80])
        answer = self.session.read(start_line=start, max_lines=count)
        self.seen |= answer.keys() & {"text", "diff", "unchanged_since"}
        assert self.reader.read(answer) == "".join(lines[start - 1 : start - 1 + count])

    def check(self) -> None:
        """All the model thinks to know of the file as it is, is so."""
        lines = self.lines()
        known = self.reader.known.get(content_hash("".join(lines).encode()), {})
        assert all(lines[number - 1] == line for number, line in known.items())


def test_whoever_remembers_the_answers_knows_the_text(session: Session) -> None:
    """Over random lives, each answer stands for exactly the lines on the disk to whoever kept the answers before."""
    seen = set[str]()
    for seed in range(10):
        chance = random.Random(seed)
        session.write([f"{chance.randrange(60)} {'words ' * 6}\n" for _ in range(30)])
        session.log.clear()
        session.restart()
        life = Life(session=session, chance=chance)
        for _ in range(50):
            chance.choice([life.change, life.edit, life.edit, life.read, life.read, life.read])()
            life.check()
        seen |= life.seen
    assert {"text", "diff", "unchanged_since", "merged", "conflict:"} <= seen
