"""The runner of local tools: once per call, whatever is repeated, cancelled or restarted."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from edgeloop.limits import MAX_RESULT_BYTES
from edgeloop.wire import ToolResult
from edgeloop_client.journal import Entry, Journal
from edgeloop_client.runner import Assignment, Runner
from edgeloop_client.tools import LOCAL_TOOLS
from edgeloop_client.tools.base import Arguments, Cancel, Output, Tool, Workspace, to_json
from edgeloop_client.view import CallSeen
from tests.client.conftest import Doings, Person
from tests.support.workspace import workspace_in


@dataclass
class Bench:
    """A runner with what it delivered."""

    doings: Doings
    person: Person
    runner: Runner
    journal: Journal
    delivered: list[ToolResult] = field(default_factory=lambda: list[ToolResult]())

    async def until(self, count: int) -> None:
        """Wait for so many results."""
        async with asyncio.timeout(5):
            while len(self.delivered) < count:
                await asyncio.sleep(0.002)


def big(_workspace: Workspace, _arguments: Arguments, _cancel: Cancel) -> Output:
    return {"text": "x" * MAX_RESULT_BYTES}


def broken(_workspace: Workspace, _arguments: Arguments, _cancel: Cancel) -> Output:
    raise RuntimeError("a bug")


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncGenerator[Bench]:
    """A runner of the test's tools, at the log `log`."""
    doings, person, delivered = Doings(), Person(), list[ToolResult]()
    journal = Journal(tmp_path / "state" / "runs.sqlite")
    more = {
        "big": Tool(name="big", description="", arguments=Arguments, effect="read", run=big),
        "broken": Tool(name="broken", description="", arguments=Arguments, effect="mutate", run=broken),
    }
    runner = Runner(
        workspace=workspace_in(tmp_path, tmp_path),
        tools=doings.tools() | more,
        asker=person,
        journal=journal,
        deliver=delivered.append,
    )
    runner.belongs_to("log")
    yield Bench(doings=doings, person=person, runner=runner, journal=journal, delivered=delivered)
    await runner.close()
    journal.close()


def call(
    name: str, word: str = "w", *, number: str = "1.0", epoch: int = 1, consent: bool = False
) -> Assignment:
    """An assignment of a call."""
    arguments = f'{{"word": "{word}"}}' if name not in ("big", "broken") else "{}"
    return Assignment(call=number, epoch=epoch, name=name, arguments=arguments, consent=consent)


@pytest.mark.parametrize("name", ["look", "mark"])
async def test_repeats(bench: Bench, name: str) -> None:
    """A call assigned again while it runs, or when it is finished, runs once; its result carries the latest epoch."""
    bench.runner.assign(call(name))
    bench.runner.assign(call(name, epoch=2))
    await bench.until(1)
    bench.runner.assign(call(name, epoch=3))
    await bench.until(2)
    assert bench.doings.ran == {"w": 1}
    assert [result.epoch for result in bench.delivered] == [2, 3]
    assert {result.outcome for result in bench.delivered} == {"ok"}


async def test_calls_run_side_by_side(bench: Bench) -> None:
    """Several calls run at once, and none waits for one that hangs."""
    bench.runner.assign(call("wait", "hang", number="1.0"))
    for number in range(1, 6):
        bench.runner.assign(call("look", f"w{number}", number=f"1.{number}"))
    await bench.until(5)
    assert {result.call for result in bench.delivered} == {f"1.{number}" for number in range(1, 6)}


@pytest.mark.parametrize(
    ("name", "outcome", "told"),
    [
        ("slow", "timeout", "slow took over"),
        ("big", "error", "ask for less"),
        ("broken", "error", "broken failed: RuntimeError: a bug"),
        ("fail", "error", "cannot w"),
        ("none", "error", "there is no tool 'none' here"),
    ],
)
async def test_every_failure_is_an_answer(bench: Bench, name: str, outcome: str, told: str) -> None:
    """Whatever goes wrong, a result says so: without one the turn would hang."""
    bench.runner.assign(call(name))
    await bench.until(1)
    assert bench.delivered[0].outcome == outcome
    assert told in bench.delivered[0].content


async def test_what_is_dropped_says_nothing(bench: Bench) -> None:
    """A call that the session has ended is cancelled, and no result of it follows."""
    bench.runner.assign(call("wait"))
    while not bench.doings.ran:
        await asyncio.sleep(0.002)
    bench.runner.drop("1.0")
    await asyncio.sleep(0.05)
    assert bench.delivered == []


async def test_another_log_is_another_world(bench: Bench) -> None:
    """The same call id in another log is another call."""
    bench.runner.assign(call("mark"))
    await bench.until(1)
    bench.runner.belongs_to("other")
    bench.runner.assign(call("mark"))
    await bench.until(2)
    assert bench.doings.ran == {"w": 2}


@pytest.mark.parametrize(("ended", "outcome"), [(("ok", "done before"), "ok"), (None, "lost")])
async def test_the_journal_answers_for_an_earlier_life(
    bench: Bench, ended: tuple[str, str] | None, outcome: str
) -> None:
    """A changing call begun by an earlier process is not run: it is answered as it ended, or as not known."""
    bench.journal.begin("log/1.0")
    if ended is not None:
        bench.journal.end("log/1.0", "ok", ended[1])
    bench.runner.assign(call("mark"))
    await bench.until(1)
    assert bench.delivered[0].outcome == outcome
    assert not bench.doings.ran


@pytest.mark.parametrize(
    ("consent", "says", "asked", "ran"), [(True, "no", 0, 1), (False, "no", 1, 0), (False, "once", 1, 1)]
)
async def test_guarded_tools(bench: Bench, consent: bool, says: str, asked: int, ran: int) -> None:
    """A guarded tool asks unless a person has allowed the call already."""
    bench.person.says = says  # type: ignore[assignment]
    bench.runner.assign(call("ask", consent=consent))
    await bench.until(1)
    assert (len(bench.person.asked), bench.doings.ran["w"]) == (asked, ran)


async def test_a_denied_call_may_be_asked_again(bench: Bench) -> None:
    """Only what was begun is in the journal: a refusal is not."""
    bench.person.says = "no"
    bench.runner.assign(call("ask"))
    await bench.until(1)
    assert bench.journal.find("log/1.0") is None


def test_the_journal_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries go after a week; the file is the person's alone."""
    path = tmp_path / "runs.sqlite"
    journal = Journal(path)
    journal.begin("old")
    journal.close()
    assert path.stat().st_mode & 0o777 == 0o600
    rows = sqlite3.connect(path)
    rows.execute("UPDATE runs SET at = at - 700000")
    rows.commit()
    rows.close()
    journal = Journal(path)
    assert journal.find("old") is None
    journal.close()


@pytest.mark.parametrize(
    ("own", "state", "name", "held"),
    [
        (True, "ok", "read_file", True),
        (False, "ok", "read_file", False),
        (True, "error", "read_file", False),
        (True, "lost", "read_file", False),
        (True, "ok", "look", False),
        (True, "ok", "none", False),
    ],
)
async def test_what_a_recorded_result_shows(
    tmp_path: Path, own: bool, state: str, name: str, held: bool
) -> None:
    """The session holds what good results of this client's file tools showed; when the log starts anew it holds nothing."""
    workspace = workspace_in(tmp_path, tmp_path)
    runner = Runner(
        workspace=workspace,
        tools=Doings().tools() | LOCAL_TOOLS,
        asker=Person(),
        journal=Journal(tmp_path / "runs.sqlite"),
        deliver=lambda _: None,
    )
    content = '{"path":"f","hash":"0123456789abcdef","start_line":1,"end_line":2,"text":"a\\nb\\n"}'
    seen = CallSeen(call="1.0", step=1, block=0, name=name, arguments='{"path":"f"}', content=content)
    seen.state = state  # type: ignore[assignment]
    runner.recorded(7, seen, own=own)
    assert bool(workspace.held.versions("f")) == held
    runner.restarted()
    assert not workspace.held.versions("f")
    await runner.close()


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("name", ["edit_file", "write_file"])
async def test_an_edit_that_may_have_been_made(tmp_path: Path, name: str, made: bool) -> None:
    """An edit that was begun before a restart is made, or found made: never twice, and never not known."""
    workspace, delivered = workspace_in(tmp_path, tmp_path), list[ToolResult]()
    journal = Journal(tmp_path / "runs.sqlite")
    (tmp_path / "f").write_text("one\n")
    reading = LOCAL_TOOLS["read_file"].run(
        workspace, LOCAL_TOOLS["read_file"].parse('{"path":"f"}'), Cancel()
    )
    sight = LOCAL_TOOLS["read_file"].sight('{"path":"f"}', to_json(reading))
    assert sight is not None
    workspace.held.see(1, "1.0", sight)
    more = (
        {"content": "one\none\n"}
        if name == "write_file"
        else {"edits": [{"search": "one\n", "replace": "one\none\n"}]}
    )
    arguments = to_json({"path": "f", "base_hash": reading["hash"], **more})
    journal.begin("log/2.0")
    if made:
        (tmp_path / "f").write_text("one\none\n")
    runner = Runner(
        workspace=workspace, tools=LOCAL_TOOLS, asker=Person(), journal=journal, deliver=delivered.append
    )
    runner.belongs_to("log")
    runner.assign(Assignment(call="2.0", epoch=1, name=name, arguments=arguments))
    async with asyncio.timeout(5):
        while not delivered:
            await asyncio.sleep(0.002)
    assert delivered[0].outcome == "ok"
    assert ("merged" in delivered[0].content) == made
    assert (tmp_path / "f").read_text() == "one\none\n"
    assert journal.find("log/2.0") == Entry(ended=("ok", delivered[0].content))
    await runner.close()
