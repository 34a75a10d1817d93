"""Storage: what is written is read back, whatever version wrote it; what nobody wrote is refused."""

import json
from pathlib import Path
from typing import Any, cast

import pytest

from edgeloop import codec
from edgeloop.codec import decode_batch, decode_state, encode_batch, encode_state
from edgeloop.errors import CorruptLog
from edgeloop.events import BlockFinished, Recorded, StepFinished, ToolsDeclared, Usage, UserMessageReceived
from edgeloop.session import Session
from edgeloop.state import State
from edgeloop.tools import PlacedTool
from tests.support.core import TIMING, Ask, Fault, Sim, Tool, failure, said

GOLDEN = Path(__file__).parent / "golden"
BATCH = [
    Recorded(seq=1, at=5, event=UserMessageReceived(id="m", text="é\u2028\n\"'", tokens=0)),
    Recorded(seq=2, at=6, event=BlockFinished(step=1, block=0, type="reasoning", text="", echo='{"a": 1}')),
    Recorded(seq=3, at=7, event=StepFinished(step=1, stop="end", usage=Usage(output=0), timing=TIMING)),
    Recorded(
        seq=4,
        at=8,
        event=ToolsDeclared(client=None, tools=(PlacedTool(place="edge", spec=Tool(name="t").spec),)),
    ),
]


def busy() -> Sim:
    """A session in the middle of everything: calls, a failure behind it, a question open."""
    tools = (Tool(name="read", hangs=True), Tool(name="write", effect="mutate", place="client"))
    script = [said("Words. ", Ask("read"), Ask("write"), Ask("nope")), said("Never.")]
    sim = Sim(tools=tools, script=script, faults={0: [Fault(failure(), 3)]}, mode="ask")
    sim.begin()
    while sim.stream is not None or sim.state.phase == "backoff":
        sim.tick()
    return sim


def test_a_batch_comes_back_as_it_was() -> None:
    """Events survive storage, with line separators, nested values and defaults."""
    assert decode_batch(encode_batch(BATCH)) == BATCH


def test_defaults_are_not_stored() -> None:
    """A field with its default value costs no bytes, the kind aside."""
    stored = json.loads(encode_batch(BATCH[:1]))
    assert stored == [
        {
            "v": codec.CURRENT,
            "seq": 1,
            "at": 5,
            "event": {"id": "m", "text": "é\u2028\n\"'", "tokens": 0, "kind": "user_message_received"},
        }
    ]


GOOD: dict[str, Any] = {"v": 1, "seq": 1, "at": 1, "event": {"kind": "step_started", "step": 1, "attempt": 1}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}",
        "null",
        '"text"',
        "[1]",
        "[[]]",
        "[{}]",
        json.dumps([GOOD | {"v": 99}]),
        json.dumps([GOOD | {"v": "1"}]),
        json.dumps([GOOD | {"v": None}]),
        json.dumps([GOOD | {"v": [1]}]),
        json.dumps([GOOD | {"seq": "x"}]),
        json.dumps([GOOD | {"event": {"kind": "no_such_kind"}}]),
        json.dumps([GOOD | {"event": GOOD["event"] | {"extra": 1}}]),
        json.dumps([GOOD | {"event": {"kind": "step_started", "step": 1}}]),
    ],
)
def test_what_nobody_wrote_is_a_corrupt_log(text: str) -> None:
    """A stored batch that no known version wrote is refused with one typed error."""
    with pytest.raises(CorruptLog):
        decode_batch(text)


def test_every_version_says_what_it_is_and_can_be_lifted() -> None:
    """Versions count from 1 without gaps, each with a sentence, and each old one with its upgrade."""
    assert list(codec.VERSIONS) == list(range(1, codec.CURRENT + 1))
    assert all(sentence.endswith(".") for sentence in codec.VERSIONS.values())
    upgrades: dict[int, Any] = codec.__dict__["_UPGRADES"]
    assert list(upgrades) == list(range(1, codec.CURRENT))


def _later(record: dict[str, Any]) -> dict[str, Any]:
    return record | {"at": record["at"] + 10}


def _twice(record: dict[str, Any]) -> dict[str, Any]:
    return record | {"at": record["at"] * 2}


def test_old_records_are_lifted_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of an old version passes every upgrade between it and now."""
    monkeypatch.setattr(codec, "VERSIONS", {1: "One.", 2: "Two.", 3: "Three."})
    monkeypatch.setattr(codec, "CURRENT", 3)
    monkeypatch.setattr(
        codec,
        "_UPGRADES",
        {1: _later, 2: _twice},
    )
    assert decode_batch(json.dumps([GOOD]))[0].at == 22


def _without_early_tools(record: dict[str, Any]) -> dict[str, Any]:
    event = record["event"]
    return record | {"event": {"eager": False} | event} if event["kind"] == "autonomy_changed" else record


def test_a_changed_rule_is_a_field_that_old_records_are_lifted_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if early tools had come with version 3: each record replays on the branch of the version that wrote it."""
    monkeypatch.setattr(codec, "VERSIONS", {1: "One.", 2: "Two.", 3: "Tools start early."})
    monkeypatch.setattr(codec, "CURRENT", 3)
    monkeypatch.setattr(codec, "_UPGRADES", {1: dict, 2: _without_early_tools})
    event = {"kind": "autonomy_changed", "mode": "auto"}
    eager = [
        Session.replay(None, decode_batch(json.dumps([GOOD | {"v": version, "event": event}]))).state.eager
        for version in (1, 2, 3)
    ]
    assert eager == [False, False, True]


def test_a_snapshot_comes_back_as_it_was() -> None:
    """A state in the middle of everything survives storage."""
    state = busy().state
    assert state.open_calls
    assert decode_state(encode_state(state)) == state


def test_sessions_with_the_same_tools_share_them() -> None:
    """Snapshots that offer the same tools are read into one set of tools; others into their own."""
    texts = [encode_state(busy().state), encode_state(busy().state), encode_state(State())]
    first, second, other = [state.tools for text in texts if (state := decode_state(text)) is not None]
    assert first
    assert first is second
    assert other == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        encode_state(State()).partition('"state": ')[0] + '"state": "x"}',
        encode_state(State()).replace('"idle"', '"nowhere"'),
        encode_state(State()).replace(f'"v":{codec.CURRENT}', '"v":99'),
        encode_state(State()).replace('"shape":', '"shape":1'),
        '{"v":1}',
    ],
)
def test_a_snapshot_of_no_use_is_dropped(text: str) -> None:
    """A snapshot that is broken or of another version is None: the log is replayed instead."""
    assert decode_state(text) is None


# --- golden logs ----------------------------------------------------------------------------------------------------

LOGS = sorted(GOLDEN.glob("v*-*.jsonl"))
GOOD_LOGS = [path for path in LOGS if "tampered" not in path.name]


def read(path: Path) -> list[Recorded]:
    """A golden log: a stored batch a line."""
    return [recorded for line in path.read_text("utf-8").splitlines() for recorded in decode_batch(line)]


def test_there_are_golden_logs_of_every_version() -> None:
    """Each version left logs behind when it was current."""
    assert {int(path.name[1:].partition("-")[0]) for path in GOOD_LOGS} == set(codec.VERSIONS)


@pytest.mark.parametrize("path", GOOD_LOGS, ids=lambda path: path.stem)
def test_a_golden_log_replays_to_the_state_beside_it(path: Path) -> None:
    """A log written once by the version in its name replays to the state that version had; these files are never rewritten."""
    then = json.loads(path.with_suffix(".state.json").read_text("utf-8"))["state"]
    now = json.loads(encode_state(Session.replay(None, read(path)).state))["state"]
    assert common(now, then) == then


def common(now: Any, then: Any) -> Any:
    """What of a state had a name then: later versions may know more."""
    if isinstance(then, list):
        return [common(one, other) for one, other in zip(now, cast(list[Any], then), strict=True)]
    if not isinstance(then, dict):
        return now
    return {name: common(now[name], value) for name, value in cast(dict[str, Any], then).items()}


@pytest.mark.parametrize(
    "path", [path for path in LOGS if "tampered" in path.name], ids=lambda path: path.stem
)
def test_a_tampered_log_is_refused(path: Path) -> None:
    """A log in which a finished call starts again was not written by us."""
    with pytest.raises(CorruptLog, match="tool_started"):
        Session.replay(None, read(path))
