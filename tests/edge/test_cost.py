"""Spending caps in real workerd: a call that would pass one is not made; sessions share a key's day; a kill loses no cent."""

import asyncio
import random
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from edgeloop.events import StepFailed, TurnFinished
from scripts.local_edge import LocalEdge
from tests.edge.conftest import StartEdge
from tests.support.edge import Door, events_of, kinds
from tests.support.provider import Reply, Script, ScriptedProvider

OUTPUT = 25 / 1e6
"""What a token of `claude-opus-5`'s output costs; a first call is estimated at $0.10 and something for its prompt."""
CALL_USD = 10 * 5 / 1e6 + 5 * OUTPUT
"""What a scripted answer costs that says nothing of its usage."""


@pytest.fixture
def model() -> str:
    """A model with a list price and scripts of its own: a dated snapshot has its model's price."""
    return f"claude-opus-5-{random.randrange(10**8):08}"


def well(reply: Reply) -> None:
    reply.text("All well.")
    reply.end()


def gated(gate: threading.Event) -> Script:
    """An answer that waits."""

    def script(reply: Reply) -> None:
        reply.text("Wait.")
        reply.wait(gate)
        reply.end()

    return script


def a_door(edge: LocalEdge) -> Door:
    return Door(url=edge.url, agent=f"t-{uuid4().hex[:12]}")


def ends(events: list[TurnFinished]) -> list[str]:
    return [event.reason for event in events]


def ledger(state: Path) -> dict[str, float]:
    """What the one ledger of a state folder holds, read beside the running Worker: dollars spent today, and reserved."""
    [path] = [path for path in state.glob("**/*KeyLedger*/*.sqlite") if "metadata" not in path.name]
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        spent = database.execute("SELECT coalesce(sum(spent), 0) FROM days").fetchone()[0]
        reserved = database.execute("SELECT coalesce(sum(amount), 0) FROM reserved").fetchone()[0]
        settled = database.execute("SELECT count(*) FROM settled").fetchone()[0]
    return {"spent": spent / 1e6, "reserved": reserved / 1e6, "settled": settled}


async def until(condition: Callable[[], bool], patience: float = 45.0) -> None:
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.1)


async def test_a_session_stops_before_the_call_that_would_pass_its_cap(
    provider: ScriptedProvider, own_edge: StartEdge, model: str
):
    """The second call might cost more than is left: it is not made, the turn ends with the figures, the first is on the bill."""
    door = a_door(own_edge(EDGELOOP_SESSION_USD="0.25"))

    def long(reply: Reply) -> None:
        reply.text("A long answer.")
        reply.end(output=4_000)

    provider.script(model, long)
    await door.post("go", model=model)
    await door.until("turn_finished")
    state = await door.state()
    assert state.spent_usd == pytest.approx(10 * 5 / 1e6 + 4_000 * OUTPUT)
    await door.post("and again", id="m2", model=model)
    events = await door.until("turn_finished", times=2)
    first, second = events_of(events, TurnFinished)
    assert ends([first, second]) == ["done", "budget"]
    assert "$0.1001 of the $0.25" in second.detail
    [failed] = events_of(events, StepFailed)
    assert (failed.error.cls, failed.error.retryable) == ("budget", False)
    assert len(provider.asked(model)) == 1
    assert (await door.state()).spent_usd == state.spent_usd
    # A model without a price cannot be kept within a cap.
    other = Door(url=door.url, agent=f"{door.agent}-2")
    await other.post("go", model="nobody-knows-me")
    [end] = events_of(await other.until("turn_finished"), TurnFinished)
    assert end.reason == "budget"
    assert "nobody-knows-me" in end.detail
    assert not provider.asked("nobody-knows-me")


async def test_sessions_share_a_keys_day(
    provider: ScriptedProvider, own_edge: StartEdge, model: str, tmp_path: Path
):
    """Of sessions that race for the last cents one gets them; what it did not need is there for the next."""
    edge = own_edge(EDGELOOP_KEY_USD="0.19", EDGELOOP_API_KEY="the-key")
    gate = threading.Event()
    provider.script(model, gated(gate), well)
    doors = [a_door(edge) for _ in range(4)]
    await asyncio.gather(*(door.post("go", model=model) for door in doors))
    await until(lambda: len(provider.asked(model)) == 1)

    async def refused() -> list[Door]:
        logs = await asyncio.gather(*(door.events() for door in doors))
        return [door for door, log in zip(doors, logs, strict=True) if "turn_finished" in kinds(log)]

    async with asyncio.timeout(30):
        while len(await refused()) < 3:
            await asyncio.sleep(0.1)
    others = await refused()
    for door in others:
        [end] = events_of(await door.events(), TurnFinished)
        assert end.reason == "budget"
        assert "the sessions of this key have spent or reserved $0.1" in end.detail
    assert len(provider.asked(model)) == 1
    gate.set()
    [winner] = [door for door in doors if door not in others]
    await winner.until("turn_finished")
    await until(lambda: ledger(tmp_path / "state")["reserved"] == 0)
    await others[0].post("again", id="m2", model=model)
    events = await others[0].until("turn_finished", times=2)
    assert ends(events_of(events, TurnFinished)) == ["budget", "done"]
    await until(lambda: ledger(tmp_path / "state")["reserved"] == 0)
    assert ledger(tmp_path / "state") == {"spent": pytest.approx(2 * CALL_USD), "reserved": 0, "settled": 5}
    assert "the-key" not in edge.log_text()


async def test_a_kill_between_reserving_and_settling_loses_no_cent(
    provider: ScriptedProvider, own_edge: StartEdge, model: str, tmp_path: Path
):
    """The call that died counts as estimated, once, however often the session wakes; the turn goes on within the cap."""
    edge = own_edge(EDGELOOP_KEY_USD="0.5")
    door, gate = a_door(edge), threading.Event()
    provider.script(model, gated(gate), well)
    await door.post("go", model=model)
    await door.until("step_started")
    await until(lambda: len(provider.asked(model)) == 1)
    reserved = ledger(tmp_path / "state")["reserved"]
    assert 0.1 < reserved < 0.15
    edge.await_recovery(edge.kill_workerd())
    gate.set()
    events = await door.until("turn_finished", patience=60)
    assert [failed.error.cls for failed in events_of(events, StepFailed)] == ["interrupted"]
    expected = pytest.approx(reserved + CALL_USD, abs=2e-6)
    assert (await door.state()).spent_usd == expected
    await until(lambda: ledger(tmp_path / "state")["reserved"] == 0)
    assert ledger(tmp_path / "state") == {"spent": expected, "reserved": 0, "settled": 2}
    edge.await_recovery(edge.kill_workerd())
    await door.state()
    await asyncio.sleep(1)
    assert ledger(tmp_path / "state") == {"spent": expected, "reserved": 0, "settled": 2}


async def test_without_the_ledgers_word_no_call_is_made(
    provider: ScriptedProvider, own_edge: StartEdge, model: str, tmp_path: Path
):
    """A ledger that fails stops calls like any failure that may pass: they are tried again, and made when it answers."""
    edge = own_edge(EDGELOOP_KEY_USD="0.5")
    door, state = a_door(edge), tmp_path / "state"
    provider.script(model, well)
    await door.post("go", model=model)
    await door.until("turn_finished")
    await until(lambda: ledger(state)["reserved"] == 0)
    edge.port = int(edge.url.rsplit(":", 1)[1])
    edge.stop()
    _alter(state, "CREATE TRIGGER broken BEFORE INSERT ON reserved BEGIN SELECT RAISE(ABORT, 'broken'); END")
    edge.start()
    await door.post("again", id="m2", model=model)
    events = await door.until("step_failed", times=2)
    failures = events_of(events, StepFailed)
    assert {failed.error.cls for failed in failures} == {"connection"}
    assert "ledger" in failures[0].error.message
    assert len(provider.asked(model)) == 1
    edge.stop()
    _alter(state, "DROP TRIGGER broken")
    edge.start()
    events = await door.until("turn_finished", times=2, patience=60)
    assert ends(events_of(events, TurnFinished)) == ["done", "done"]
    assert len(provider.asked(model)) == 2


def _alter(state: Path, statement: str) -> None:
    """Change the one ledger's database while no Worker has it open."""
    [path] = [path for path in state.glob("**/*KeyLedger*/*.sqlite") if "metadata" not in path.name]
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(statement)
    database.close()


async def test_a_deleted_agent_leaves_its_bill(
    provider: ScriptedProvider, own_edge: StartEdge, model: str, tmp_path: Path
):
    """To delete an agent in mid-call gives nothing back: the call counts as estimated."""
    door = a_door(own_edge(EDGELOOP_KEY_USD="0.5"))
    provider.script(model, lambda reply: reply.silence())
    await door.post("go", model=model)
    await until(lambda: len(provider.asked(model)) == 1)
    reserved = ledger(tmp_path / "state")["reserved"]
    assert (await door.request("DELETE")).status_code == 200
    assert ledger(tmp_path / "state") == {
        "spent": pytest.approx(reserved, abs=2e-6),
        "reserved": 0,
        "settled": 1,
    }
