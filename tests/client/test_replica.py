"""The copy of the log on this machine: what it saves, what it never costs."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeloop.events import Recorded, Usage, UserMessageReceived
from edgeloop.wire import Autonomy, Decide, SendMessage, Snapshot, Stop
from edgeloop_client import replica
from edgeloop_client.replica import KEEP_SECONDS, UNSENT_SECONDS, Replica, prune
from tests.client.conftest import Connect
from tests.support.memory_session import MemorySession, Say


def said(seq: int) -> Recorded:
    return Recorded(seq=seq, at=1, event=UserMessageReceived(id=f"m{seq}", text="é\n", tokens=1))


EVENTS = [said(seq) for seq in range(1, 6)]


def opened(folder: Path, *, agent: str = "a", owner: str = "c-1") -> Replica:
    return Replica(folder, edge="http://edge", agent=agent, owner=owner)


def test_events_outlive_the_process(tmp_path: Path) -> None:
    """What was kept is there again, also what two clients kept at once; another agent's copy is another file."""
    one, two = opened(tmp_path), opened(tmp_path)
    one.add("log-1", EVENTS[:3])
    two.add("log-1", EVENTS)
    one.close()
    two.close()
    assert opened(tmp_path).events() == ("log-1", EVENTS)
    assert opened(tmp_path, agent="b").events() == (None, [])
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.glob("*.sqlite"))


def test_another_log_takes_the_place_of_the_first(tmp_path: Path) -> None:
    """An agent that was deleted and made again leaves nothing of its first life."""
    held = opened(tmp_path)
    held.add("log-1", EVENTS)
    held.add("log-2", EVENTS[:1])
    assert held.events() == ("log-2", EVENTS[:1])


def test_what_the_session_keeps_no_longer_is_not_kept_here(tmp_path: Path) -> None:
    """A snapshot takes the place of what came before it, also alone; another log takes the place of both."""
    base = Snapshot(
        seq=3, phase="idle", provider="p", model="m", step=1, turns=1, usage=Usage(), message_tokens=1
    )
    held = opened(tmp_path)
    held.add("log-1", EVENTS[:1])
    held.skip("log-1", base)
    assert (opened(tmp_path).events(), opened(tmp_path).base()) == (("log-1", []), base)
    held.add("log-1", EVENTS[3:])
    assert (opened(tmp_path).events(), opened(tmp_path).base()) == (("log-1", EVENTS[3:]), base)
    held.add("log-2", EVENTS[:2])
    assert (opened(tmp_path).events(), opened(tmp_path).base()) == (("log-2", EVENTS[:2]), None)


def _garbage(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


def _cut(path: Path) -> None:
    os.truncate(path, 5000)


def _statement(text: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        rows = sqlite3.connect(path)
        rows.execute(text)
        rows.commit()
        rows.close()

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        _garbage,
        _cut,
        _statement("DELETE FROM events WHERE seq = 2"),
        _statement("UPDATE events SET body = '[{' WHERE seq = 2"),
        _statement("DROP TABLE events"),
        _statement("PRAGMA user_version = 99"),
    ],
    ids=["garbage", "cut", "a gap", "a bad event", "no table", "another format"],
)
def test_a_damaged_copy_is_dropped(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """What cannot be read costs a fetch and nothing else; the copy begins anew."""
    held = opened(tmp_path)
    held.add("log-1", EVENTS)
    held.close()
    (path,) = tmp_path.glob("*.sqlite")
    for more in ("-wal", "-shm"):
        path.with_name(path.name + more).unlink(missing_ok=True)
    spoil(path)
    again = opened(tmp_path)
    assert again.events() == (None, [])
    again.add("log-1", EVENTS)
    again.close()
    assert opened(tmp_path).events() == ("log-1", EVENTS)


def test_where_nothing_can_be_written_the_client_goes_on(tmp_path: Path) -> None:
    """A copy that cannot be kept is done without."""
    held = opened(tmp_path)
    (path,) = tmp_path.glob("*.sqlite")
    _statement("DROP TABLE events")(path)
    held.add("log-1", EVENTS)
    held.keep([SendMessage(id="m", text="x")])
    assert held.events() == (None, [])


ASKED = SendMessage(id="m1", text="do it")
ALLOWED = Autonomy(mode="plan")


def test_what_was_asked_and_not_answered_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages and their autonomy, in order; not what a stop covered, nor answers, nor another client's, nor a day later."""
    held = opened(tmp_path)
    held.keep([SendMessage(id="m0", text="stopped"), Stop(), ALLOWED, ASKED, Decide(call="1.0", allow=True)])
    held.close()
    assert opened(tmp_path).unsent() == [ALLOWED, ASKED]
    assert opened(tmp_path, owner="c-2").unsent() == []
    now = replica.time.time()
    monkeypatch.setattr(replica.time, "time", lambda: now + UNSENT_SECONDS + 1)
    assert opened(tmp_path).unsent() == []
    monkeypatch.undo()
    held = opened(tmp_path)
    held.keep([ASKED])
    held.keep([])
    assert opened(tmp_path).unsent() == []


def test_old_copies_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By age, and the ones used least recently while all are too large."""
    for age, name in enumerate(("new", "newer", "old")):
        (tmp_path / f"{name}.sqlite").write_bytes(bytes(100))
        os.utime(tmp_path / f"{name}.sqlite", (1000 - age, 1000 - age))
    prune(tmp_path, 1000 + KEEP_SECONDS - 1)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["new", "newer"]
    monkeypatch.setattr(replica, "KEEP_BYTES", 150)
    prune(tmp_path, 1000)
    assert [path.stem for path in tmp_path.iterdir()] == ["new"]


async def test_a_client_that_comes_back_fetches_what_is_new(connect: Connect) -> None:
    """A later client of this machine begins with what an earlier one saw, and asks for the rest alone."""
    async with MemorySession([[Say("one")], [Say("two")]]) as session:
        async with connect(session) as at:
            at.client.ask("go")
            await at.client.over()
        seen = session.session.state.seq
        async with connect(session, home="other") as at:
            at.client.ask("again")
            await at.client.over()
        async with connect(session, watch=True) as at:
            await at.client.over()
            assert session.hellos[-1].after == seen
            view = at.client.connection.view
            assert view == type(view).from_events(session.log_id, session.log)
            assert at.client.report["answer"] == "two"


async def test_a_message_that_was_not_taken_is_sent_by_the_next_life(connect: Connect) -> None:
    """A client that died before its message was taken leaves it to the next one, which sends it once and follows its turn."""
    async with MemorySession([[Say("done")]]) as session:
        async with connect(session) as at:
            await at.client.caught_up()
            session.deaf = True
            at.client.ask("go")
            await asyncio.sleep(0.05)
        assert not session.log or session.session.state.turns == 0
        session.deaf = False
        async with connect(session) as at:
            await asyncio.wait_for(at.client.over(), 10)
            assert at.client.report["answer"] == "done"
            assert "sending what was asked before" in at.output.getvalue()
        assert [event.event.kind for event in session.log].count("user_message_received") == 1
        async with connect(session) as at:
            await at.client.over()
            assert "sending what was asked before" not in at.output.getvalue()
