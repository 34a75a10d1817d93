"""The local tools: what they answer, and what no input makes them do."""

import hashlib
import json
import os
import socket
import stat
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edgeloop_client.errors import ToolError, ToolTimeout
from edgeloop_client.tools import LOCAL_TOOLS, command
from edgeloop_client.tools.base import Cancel
from tests.support.workspace import At, Json


@pytest.fixture
def at(tmp_path: Path) -> At:
    """A root with a text file."""
    at = At.make(tmp_path)
    (at.root / "a.txt").write_text("one\ntwo\nthree")
    return at


def hash_of(at: At, path: str = "a.txt") -> str:
    """The current version of a file."""
    return at.call("read_file", path=path)["hash"]


# --- confinement ----------------------------------------------------------------------------------------------------

ESCAPES = [
    "../outside/secret",
    "a/../../outside/secret",
    "sub/../../outside/secret",
    "/etc/passwd",
    "link",
    "chain",
    "dirlink/secret",
    "dirlink/../outside/secret",
    "absolute",
    "loop",
    "a.txt\0.txt",
    "a" * 5000,
    "\ud800",
    "",
    ".",
    "sub",
    "missing",
    "a.txt/b",
    "fifo",
    "socket",
    "null",
]


@pytest.fixture
def hostile(at: At) -> At:
    """The root with everything that could lead outside, or hang."""
    (at.root / "sub").mkdir()
    (at.root / "link").symlink_to("../outside/secret")
    (at.root / "chain").symlink_to("link")
    (at.root / "dirlink").symlink_to("../outside")
    (at.root / "absolute").symlink_to(at.outside / "secret")
    (at.root / "loop").symlink_to("loop")
    (at.root / "null").symlink_to("/dev/null")
    os.mkfifo(at.root / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(at.root)  # a socket's path has room for 107 bytes only
        server.bind("socket")
        os.chdir(before)
    return at


@pytest.mark.parametrize("path", ESCAPES, ids=lambda path: ascii(path)[:30])
@pytest.mark.parametrize("name", ["read_file", "edit_file", "write_file", "search"])
def test_no_path_leads_outside(hostile: At, name: str, path: str) -> None:
    """No tool reads or writes outside, and none hangs on what is no file: a typed error tells what was wrong."""
    version = hash_of(hostile)
    arguments: dict[str, Json] = {
        "read_file": {},
        "search": {"pattern": "secret"},
        "edit_file": {"base_hash": version, "edits": [{"search": "s", "replace": "x"}]},
        "write_file": {"base_hash": version, "content": "x"},
    }
    if name == "search" and path in (".", "sub", ""):
        assert hostile.call(name, path=path, **arguments[name])["total_matches"] == 0
    else:
        assert hostile.refused(name, path=path, **arguments[name])
    assert (hostile.outside / "secret").read_text() == "the secret\n"


@pytest.mark.parametrize(
    "path", ["../outside/new", "dirlink/new", "/tmp/edgeloop-new", "newdir/../../outside/new"]
)
def test_no_file_is_made_outside(hostile: At, path: str) -> None:
    """Making a file does not follow a directory link outside either."""
    assert "outside" in hostile.refused("write_file", path=path, content="x", base_hash=None)
    assert [entry.name for entry in hostile.outside.iterdir()] == ["secret"]


def test_a_dangling_link_is_not_written_through(hostile: At) -> None:
    """A link to a file that does not exist outside does not make it."""
    (hostile.root / "dangling").symlink_to("../outside/new")
    assert hostile.refused("write_file", path="dangling", content="x", base_hash=None)
    assert not (hostile.outside / "new").exists()


def test_links_inside_are_followed(at: At) -> None:
    """A link that stays inside works, relative or absolute, to files and through directories."""
    (at.root / "sub").mkdir()
    (at.root / "sub" / "b.txt").write_text("b")
    (at.root / "near").symlink_to("sub/b.txt")
    (at.root / "sub" / "up").symlink_to("../a.txt")
    (at.root / "far").symlink_to(at.root / "sub")
    assert at.call("read_file", path="near")["path"] == "sub/b.txt"
    assert at.call("read_file", path="sub/up")["path"] == "a.txt"
    assert at.call("read_file", path="far/b.txt")["path"] == "sub/b.txt"
    assert at.call("read_file", path=str(at.root / "a.txt"))["path"] == "a.txt"


# --- list_files -----------------------------------------------------------------------------------------------------


def test_listing_counts(at: At) -> None:
    """Totals cover every file under the path: lines as a person sees them, binary apart, links and odd files told."""
    (at.root / "empty").write_text("")
    (at.root / "b.TXT").write_text("x\n")
    (at.root / "crlf.txt").write_bytes(b"a\r\nb\r\n")
    (at.root / "nul.bin").write_bytes(b"abc\0def")
    (at.root / "latin.txt").write_bytes(b"caf\xe9\n")
    (at.root / "cut.txt").write_bytes("ä".encode()[:1])
    (at.root / "deep" / "er").mkdir(parents=True)
    (at.root / "deep" / "er" / "new\nline ü.md").write_text("# ü\n")
    (at.root / "link").symlink_to("a.txt")
    os.mkfifo(at.root / "fifo")
    os.close(os.open(os.fsencode(at.root) + b"/\xff", os.O_CREAT))
    listing = at.call("list_files")
    total = listing["total"]
    lines = {entry["path"]: entry["lines"] for entry in listing["entries"]}
    assert lines == {
        "a.txt": 3,
        "b.TXT": 1,
        "crlf.txt": 2,
        "cut.txt": None,
        "deep/er/new\nline ü.md": 1,
        "empty": 0,
        "latin.txt": None,
        "nul.bin": None,
    }
    assert list(lines) == sorted(lines)
    assert (total["files"], total["lines"], total["binary"], total["dirs"], total["links"]) == (8, 7, 3, 2, 1)
    assert total["by_kind"]["txt"] == {"files": 5, "lines": 6, "bytes": 13 + 2 + 6 + 5 + 1}
    assert [entry["path"] for entry in total["largest"]] == [
        "a.txt",
        "nul.bin",
        "crlf.txt",
        "deep/er/new\nline ü.md",
        "latin.txt",
    ]
    assert {entry["path"] for entry in total["unreadable"]} == {"fifo", "\\xff"}
    assert listing["next"] is None


def test_listing_pages(at: At) -> None:
    """Pages follow each other without gap or overlap, each with the same totals."""
    for number in range(25):
        (at.root / f"f{number:02}").write_text("x")
    seen: list[str] = []
    cursor = None
    while True:
        page = at.call("list_files", limit=7, cursor=cursor)
        assert page["total"]["files"] == 26
        seen += [entry["path"] for entry in page["entries"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == sorted(["a.txt", *(f"f{number:02}" for number in range(25))])


def test_listing_sees_a_change(at: At) -> None:
    """Remembered line counts are of the file's version, not of its name."""
    assert at.call("list_files")["total"]["lines"] == 3
    (at.root / "a.txt").write_text("one\n" * 10)
    assert at.call("list_files")["total"]["lines"] == 10


def test_gitignore(at: At) -> None:
    """What .gitignore files name is left out and counted, the nearest file deciding; `.git` always is."""
    files = [
        ".git/x/y",
        ".git/HEAD",
        "build/a",
        "build/b",
        "x.log",
        "keep.log",
        "sub/y.log",
        "sub/z",
        "sub/build/c",
        "sub/tmp",
    ]
    for name in files:
        path = at.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (at.root / ".gitignore").write_text("*.log\n!keep.log\n/build/\n# comment\n")
    (at.root / "sub" / ".gitignore").write_text("!y.log\ntmp\n")
    listing = at.call("list_files")
    paths = [entry["path"] for entry in listing["entries"]]
    assert paths == [".gitignore", "a.txt", "keep.log", "sub/.gitignore", "sub/build/c", "sub/y.log", "sub/z"]
    ignored = {entry["path"]: entry["files"] for entry in listing["total"]["ignored"]}
    assert ignored == {".git": 2, "build": 2, "x.log": 1, "sub/tmp": 1}
    assert [entry["path"] for entry in at.call("list_files", path="build")["entries"]] == [
        "build/a",
        "build/b",
    ]
    assert [entry["path"] for entry in at.call("list_files", path="sub")["entries"]] == paths[3:]
    assert at.call("search", pattern="x")["files_searched"] == 7


def test_listing_opens_each_file_once(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work of a listing is that of its files, however few entries are shown: each is opened once."""
    for number in range(1_000):
        path = at.root / f"d{number % 10}" / f"f{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("line\n" * 10)
    calls = Counter[tuple[str, str]]()

    def counted(name: str) -> None:
        real = getattr(os, name)

        def call(path: Any, *given: Any, **options: Any) -> Any:
            calls[name, str(path)] += 1
            return real(path, *given, **options)

        monkeypatch.setattr(os, name, call)

    counted("open")
    counted("stat")
    assert at.call("list_files", limit=10)["total"]["lines"] == 10_003
    times = {name: {calls[name, f"f{number}.txt"] for number in range(1_000)} for name in ("open", "stat")}
    assert times == {"open": {1}, "stat": {2}}


def test_listing_can_be_cancelled(at: At) -> None:
    """A call nobody waits for ends at its next look."""
    cancel = Cancel()
    cancel.set()
    with pytest.raises(ToolTimeout):
        at.call("list_files", cancel)


# --- read_file ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "count", "text", "end"),
    [
        (1, 400, "one\ntwo\nthree", 3),
        (1, 1, "one\n", 1),
        (2, 1, "two\n", 2),
        (2, 2, "two\nthree", 3),
        (3, 5, "three", 3),
    ],
)
def test_reading_ranges(at: At, start: int, count: int, text: str, end: int) -> None:
    """A range gives its lines with their ends, and totals of the whole file."""
    answer = at.call("read_file", path="a.txt", start_line=start, max_lines=count)
    assert answer == {
        "path": "a.txt",
        "start_line": start,
        "end_line": end,
        "total_lines": 3,
        "bytes": 13,
        "hash": hashlib.sha256(b"one\ntwo\nthree").hexdigest()[:16],
        "text": text,
    }


def test_reading_edges(at: At) -> None:
    """Empty files have no lines; a range past the end and binary files are told."""
    (at.root / "empty").write_text("")
    (at.root / "bin").write_bytes(b"\0")
    answer = at.call("read_file", path="empty")
    assert (answer["end_line"], answer["total_lines"], answer["text"]) == (0, 0, "")
    assert "past the end" in at.refused("read_file", path="a.txt", start_line=4)
    assert "binary" in at.refused("read_file", path="bin")
    assert "no such file" in at.refused("read_file", path="missing")


@pytest.mark.parametrize(
    "content", ["x" * 3_000_000, "ä" * 1_500_000, "short\n" + "y" * 3_000_000 + "\nlast\n"]
)
def test_reading_a_huge_line(at: At, content: str) -> None:
    """A first line longer than an answer may be is cut at a character, a later one left out whole; the answer says so."""
    (at.root / "long").write_text(content)
    answer = at.call("read_file", path="long")
    assert content.startswith(answer["text"])
    assert answer["text"] == "short\n" or 262_140 <= len(answer["text"].encode()) <= 262_144
    assert "cut" in answer


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1 << 20])
def test_reading_in_any_pieces(at: At, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """However the file comes in pieces, the answer is the same."""
    from edgeloop_client.tools import text

    (at.root / "u").write_text("äöü\n\n👩‍👩‍👧 x\r\nlast")
    monkeypatch.setattr(text, "CHUNK", size)
    answer = at.call("read_file", path="u", start_line=2, max_lines=2)
    assert (answer["text"], answer["total_lines"], answer["end_line"]) == ("\n👩‍👩‍👧 x\r\n", 4, 3)


# --- search ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def searched(at: At) -> At:
    """A small tree to search in."""
    (at.root / "src").mkdir()
    (at.root / "src" / "x.py").write_text("def a():\n    pass\n\ndef b():\n    return 'two'\n")
    (at.root / "src" / "y.md").write_text("# two\r\nTwo lines\r\n")
    (at.root / "bin").write_bytes(b"two\0")
    return at


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"pattern": "two"}, ["a.txt:2", "src/x.py:5", "src/y.md:1"]),
        ({"pattern": "(?i)^two"}, ["a.txt:2", "src/y.md:2"]),
        ({"pattern": "two", "glob": "*.py"}, ["src/x.py:5"]),
        ({"pattern": "two", "glob": "src/**"}, ["src/x.py:5", "src/y.md:1"]),
        ({"pattern": "def", "path": "src"}, ["src/x.py:1", "src/x.py:4"]),
        ({"pattern": "two", "path": "src/y.md"}, ["src/y.md:1"]),
        ({"pattern": r"one\ntwo"}, []),
        ({"pattern": r"one\s+two"}, []),
        ({"pattern": "^$", "path": "src/x.py"}, ["src/x.py:3"]),
        ({"pattern": "", "path": "a.txt"}, None),
        ({"pattern": "x*", "path": "a.txt"}, ["a.txt:1", "a.txt:2", "a.txt:3"]),
        ({"pattern": "three$", "path": "a.txt"}, ["a.txt:3"]),
        ({"pattern": "("}, None),
        ({"pattern": "x", "path": "missing"}, None),
    ],
)
def test_searching(searched: At, arguments: Json, found: list[str] | None) -> None:
    """Matches are lines, sorted, of text files alone; a bad pattern or path is told."""
    if found is None:
        assert searched.refused("search", **arguments)
        return
    answer = searched.call("search", **arguments)
    assert [f"{match['path']}:{match['line']}" for match in answer["matches"]] == found
    assert answer["total_matches"] == len(found)
    assert not answer["truncated"]


def test_search_tells_all_there_is(searched: At) -> None:
    """Beyond `max_matches` the rest is counted, and the first by path are told."""
    for number in range(50):
        (searched.root / f"z{number:02}").write_text("needle\n" * 20)
    answer = searched.call("search", pattern="needle", max_matches=5)
    assert (answer["total_matches"], answer["files_matched"], answer["truncated"]) == (1000, 50, True)
    assert [(match["path"], match["line"]) for match in answer["matches"]] == [
        ("z00", line) for line in range(1, 6)
    ]


def test_a_cruel_pattern_ends(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern that would backtrack for ever is ended, and does not hold the other threads meanwhile."""
    from edgeloop_client.tools import searching

    monkeypatch.setattr(searching, "MATCHING_SECONDS", 0.3)
    (at.root / "b").write_text("a" * 60 + "!\n")
    ticks = 0
    stop = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not stop.wait(0.01):
            ticks += 1

    ticker = threading.Thread(target=tick)
    ticker.start()
    assert "expected a simpler one" in at.refused("search", pattern="^(a|aa)+$", path="b")
    stop.set()
    ticker.join()
    assert ticks > 5


# --- edit_file, write_file ------------------------------------------------------------------------------------------


def test_editing(at: At) -> None:
    """Edits apply in order, keep the mode and every other byte, and give the new version."""
    (at.root / "m.sh").write_bytes(b"#!\r\none\r\ntwo\xc3\xa4")
    (at.root / "m.sh").chmod(0o754)
    edits = [{"search": "one", "replace": "1"}, {"search": "1\r\n", "replace": "one!\r\n"}]
    answer = at.call("edit_file", path="m.sh", base_hash=hash_of(at, "m.sh"), edits=edits)
    assert (at.root / "m.sh").read_bytes() == b"#!\r\none!\r\ntwo\xc3\xa4"
    assert stat.S_IMODE((at.root / "m.sh").stat().st_mode) == 0o754
    assert answer["hash"] == hash_of(at, "m.sh")
    assert sorted(entry.name for entry in at.root.iterdir()) == ["a.txt", "m.sh"]


@pytest.mark.parametrize(
    ("edits", "told"),
    [
        ([{"search": "nine", "replace": ""}], "edit 1: its search text occurs 0 times"),
        ([{"search": "t", "replace": ""}], "occurs 2 times"),
        (
            [{"search": "one", "replace": "1"}, {"search": "one", "replace": "2"}],
            "edit 2: its search text occurs 0 times",
        ),
        ([{"search": "one", "replace": "\ud800"}], "bad arguments"),
    ],
)
def test_an_edit_that_does_not_fit(at: At, edits: list[Json], told: str) -> None:
    """All edits are made or none."""
    assert told in at.refused("edit_file", path="a.txt", base_hash=hash_of(at), edits=edits)
    assert (at.root / "a.txt").read_text() == "one\ntwo\nthree"


def test_an_edit_of_another_version(at: At) -> None:
    """A base hash of another version changes nothing, and the current one is told."""
    current = hash_of(at)
    told = at.refused(
        "edit_file", path="a.txt", base_hash="0" * 16, edits=[{"search": "one", "replace": "1"}]
    )
    assert current in told
    assert (at.root / "a.txt").read_text() == "one\ntwo\nthree"


def test_edits_at_once(at: At) -> None:
    """Of two edits of one version at the same time, one wins and the other is told."""
    base = hash_of(at)
    outcomes: list[str] = []

    def edit(replace: str) -> None:
        try:
            at.call("edit_file", path="a.txt", base_hash=base, edits=[{"search": "one", "replace": replace}])
            outcomes.append("ok")
        except ToolError as error:
            outcomes.append(str(error)[:24])

    threads = [threading.Thread(target=edit, args=(f"{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["'a.txt' has changed: bas"] * 7 + ["ok"]


def test_writing(at: At) -> None:
    """A new file needs no base, an old one its version; directories on the way are made."""
    made = at.call("write_file", path="new/dir/f.txt", content="hi\n", base_hash=None)
    assert made["created"]
    assert (made["total_lines"], made["hash"]) == (1, hash_of(at, "new/dir/f.txt"))
    assert made["hash"] in at.refused("write_file", path="new/dir/f.txt", content="x", base_hash=None)
    at.call("write_file", path="new/dir/f.txt", content="ho", base_hash=made["hash"])
    assert (at.root / "new/dir/f.txt").read_text() == "ho"
    assert "has changed" in at.refused("write_file", path="new/dir/f.txt", content="", base_hash=made["hash"])
    assert "no such file" in at.refused("write_file", path="none", content="", base_hash="0" * 16)
    assert "Field required" in at.refused("write_file", path="x", content="")
    assert os.listdir(at.root / "new/dir") == ["f.txt"]


# --- run_command, read_output ---------------------------------------------------------------------------------------


def test_running(at: At) -> None:
    """A command runs in the directory, without input; both streams come back, with the exit code."""
    answer = at.call("run_command", command="cat; pwd; echo err >&2; exit 3")
    assert answer["exit_code"] == 3
    assert answer["output"] == f"{at.root}\nerr\n"
    assert answer["ref"] is None


def test_a_command_does_not_get_our_secrets(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is not in a command's environment; the rest is."""
    monkeypatch.setenv("EDGELOOP_TOKEN", "very secret")
    monkeypatch.setenv("OTHER", "there")
    assert at.call("run_command", command="echo $EDGELOOP_TOKEN$OTHER")["output"] == "there\n"


def test_a_long_output(at: At) -> None:
    """Of a long output the head and the tail are told, and the whole can be read by its ref, in any pieces."""
    answer = at.call("run_command", command="seq 1 30000; printf ä")
    whole = "".join(f"{number}\n" for number in range(1, 30001)) + "ä"
    assert answer["bytes"] == len(whole.encode())
    assert answer["output"].startswith("1\n2\n")
    assert answer["output"].endswith("30000\nä")
    assert len(answer["output"]) < 34_000
    pieces: list[str] = []
    offset: int | None = 0
    while offset is not None:
        piece = at.call("read_output", ref=answer["ref"], offset=offset, limit=50_001)
        pieces.append(piece["text"])
        offset = piece["next"]
    assert "".join(pieces) == whole


def test_an_endless_output_is_bounded(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command says beyond the limit is counted, not kept; its deadline ends it."""
    monkeypatch.setattr(command, "MAX_KEPT", 100_000)
    with pytest.raises(ToolTimeout) as raised:
        at.call("run_command", command="yes", timeout_s=1)
    answer = json.loads(str(raised.value))
    assert answer["ended"] == "deadline"
    assert answer["bytes"] > 100_000
    assert "were not kept" in answer["output"]
    assert (at.workspace.outputs / answer["ref"]).stat().st_size == 100_000


@pytest.mark.parametrize(
    ("line", "ended"),
    [
        ("sleep 60 & echo $! > pid; echo started", None),
        ("sleep 60 & echo $! > pid; wait", "deadline"),
        ("trap '' TERM; sleep 60 & echo $! > pid; while :; do sleep 0.1; done", "deadline"),
        ("exec >&- 2>&-; sleep 60 & echo $! > pid; wait", "deadline"),
    ],
)
def test_nothing_of_a_command_is_left(at: At, line: str, ended: str | None) -> None:
    """Whatever a command starts ends with it, also what ignores a polite signal or holds no pipe."""
    began = time.monotonic()
    if ended is None:
        assert at.call("run_command", command=line, timeout_s=5)["output"] == "started\n"
    else:
        with pytest.raises(ToolTimeout, match=ended):
            at.call("run_command", command=line, timeout_s=1)
    assert time.monotonic() - began < 5
    pid = int((at.root / "pid").read_text())
    assert _gone(pid)


def test_a_cancelled_command_ends(at: At) -> None:
    """A cancel ends a command at once, also one that writes without pause."""
    cancel = Cancel()
    threading.Timer(0.2, cancel.set).start()
    began = time.monotonic()
    with pytest.raises(ToolTimeout, match="cancelled"):
        at.call("run_command", cancel, command="yes", timeout_s=60)
    assert time.monotonic() - began < 4


def _gone(pid: int) -> bool:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("ref", ["../../etc/passwd", "0" * 16, "", "abc"])
def test_reading_no_output(at: At, ref: str) -> None:
    """A ref that names no kept output reads nothing else."""
    assert at.refused("read_output", ref=ref)


# --- declarations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(LOCAL_TOOLS))
def test_declarations(name: str) -> None:
    """Each tool's schema is plain, its touched arguments exist, and what changes something says so."""
    spec = LOCAL_TOOLS[name].spec
    assert spec.parameters["type"] == "object"
    assert "title" not in json.dumps(spec.parameters)
    assert set(spec.touches.values()) <= set(spec.parameters["properties"])
    assert spec.effect == ("mutate" if name in ("edit_file", "write_file", "run_command") else "read")
    assert LOCAL_TOOLS[name].guarded == (name == "run_command")
