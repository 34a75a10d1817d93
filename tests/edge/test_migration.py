"""A database of an older schema, in mid-stream, opened by the Worker of today (behaviour 10).

`golden/schema-1.sql` was dumped from what the first schema's Worker had left on disk when it ended: fourteen turns, a note, and a
fifteenth whose model was in the middle of a sentence. It is never written anew.
"""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from edgeloop.events import BlockFinished, StepFailed, ToolFinished, TurnFinished
from tests.edge.conftest import StartEdge
from tests.edge.test_copies import written
from tests.support.edge import Door, events_of
from tests.support.provider import Reply, ScriptedProvider

GOLDEN = Path(__file__).parent / "golden" / "schema-1.sql"
MODEL = "golden"
HEAD = 81
TURNS = 14
NOTE = 'kept\n"since" schema 1'


def goes_on(reply: Reply) -> None:
    reply.text(", and the other half.")
    reply.end()


def reads(reply: Reply) -> None:
    reply.call("note_read", {"name": "plan"})
    reply.end()


def put_back(state: Path, log: str) -> None:
    """Put the old database where the log of that name is."""
    for file in state.rglob("*.sqlite"):
        with closing(sqlite3.connect(file)) as rows:
            tables = [row[0] for row in rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            if (
                "meta" not in tables
                or rows.execute("SELECT 1 FROM meta WHERE value = ?", (log,)).fetchone() is None
            ):
                continue
            for table in tables:
                if not table.startswith(("_cf_", "sqlite_")):
                    rows.execute(f"DROP TABLE {table}")
            rows.executescript(GOLDEN.read_text("utf-8"))
            rows.commit()
            return
    raise AssertionError(f"no file holds the log {log}")


async def test_a_stream_in_flight_survives_the_migration(
    provider: ScriptedProvider, own_edge: StartEdge, agent: str, tmp_path: Path
):
    """The old events are all there as they were; the broken sentence is kept and gone on with; ids and notes are known."""
    provider.script(MODEL, goes_on, reads, goes_on)
    edge = own_edge(EDGELOOP_MODE="auto")
    door = Door(url=edge.url, agent=agent)
    log = (await door.state()).log
    edge.port = int(edge.url.rsplit(":", 1)[1])
    edge.stop()
    put_back(tmp_path / "state", log)
    edge.start()
    events = await door.until("turn_finished", times=TURNS + 1)
    assert [r.seq for r in events] == list(range(1, len(events) + 1))
    shown = events_of(events[HEAD:], BlockFinished)
    assert [(block.text, block.partial) for block in shown] == [
        ("Half a sentence", True),
        (", and the other half.", False),
    ]
    assert [failed.error.cls for failed in events_of(events, StepFailed)] == ["interrupted"]
    assert events_of(events, TurnFinished)[-1].reason == "done"
    said = [m for m in provider.asked(MODEL)[-1].json["messages"] if m["role"] == "user"]
    assert [f"message {n}" in json.dumps(said) for n in range(TURNS + 1)] == [True] * (TURNS + 1)
    assert (await door.post("message 3", id="m3", model=MODEL)).status_code == 200
    await door.post("and the note?", id="new", model=MODEL)
    events = await door.until("turn_finished", times=TURNS + 2)
    assert events_of(events, ToolFinished)[-1].content == NOTE
    await written(door, tmp_path / "file.jsonl")
    versions = [json.loads(line).get("v") for line in (tmp_path / "file.jsonl").open(encoding="utf-8")]
    assert versions[1 : HEAD + 1] == [1] * HEAD
    assert set(versions[HEAD + 1 : len(events) + 1]) == {2}
    assert left(tmp_path / "state") != {}
    assert (await door.request("DELETE")).status_code == 200
    edge.stop()
    assert left(tmp_path / "state") == {}


def left(state: Path) -> dict[str, int]:
    """What there is on disk of any session: the rows of every table, its alarm's too."""
    found: dict[str, int] = {}
    for file in state.rglob("*.sqlite"):
        with closing(sqlite3.connect(file)) as rows:
            names = [row[0] for row in rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for name in names:
                if not name.startswith("_cf_METADATA"):
                    found[name] = (
                        found.get(name, 0) + rows.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
                    )
    return {name: count for name, count in found.items() if count or not name.startswith("_cf_")}
