"""A session as a file: taken in whole in pieces of any size, and refused for whatever our own log could not hold."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgeloop.archive import End, Header, Intake, Note, Taken, chained
from edgeloop.codec import decode_batch, encode_batch, encode_state
from edgeloop.copies import records
from edgeloop.errors import Refused
from edgeloop.events import Recorded, UserMessageReceived
from edgeloop.retention import KEPT
from edgeloop.session import Session

GOLDEN = Path(__file__).parent / "golden"
LOGS = [path for path in sorted(GOLDEN.glob("v*-*.jsonl")) if "tampered" not in path.name]
NOTES = (Note(note="plan", text="one\n\0two 🙂"), Note(note="z", text=""))


def stored(path: Path) -> list[str]:
    """A log's records as their version wrote them."""
    return [record for line in path.read_text("utf-8").splitlines() for _, record in records(line)]


def ended(lines: list[str], head: int) -> list[str]:
    """The lines with the last one that fits them."""
    chain = ""
    for line in lines:
        chain = chained(chain, line)
    return [*lines, End(end=head, sha256=chain).model_dump_json()]


def file_of(found: list[str], **header: Any) -> list[str]:
    """A whole file around these records."""
    first = Header(agent="a", log="one", head=len(found)).model_dump() | header
    return ended([json.dumps(first), *found, *(note.model_dump_json() for note in NOTES)], len(found))


def whole(lines: list[str], size: int = 1_000) -> tuple[Intake, Taken]:
    """Take a file in pieces of so many lines; the intake is stored and read again between them."""
    intake, all_taken = Intake.begin(lines[0]), Taken()
    for at in range(1, len(lines), size):
        intake = Intake.load(intake.dump())
        taken = intake.take(lines[at : at + size])
        all_taken.records += taken.records
        all_taken.ids += taken.ids
        all_taken.notes += taken.notes
    return intake, all_taken


@pytest.mark.parametrize("size", [1, 2, 7, 1_000])
@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_a_file_is_taken_in_pieces_of_any_size(path: Path, size: int) -> None:
    """Records keep the text that their version wrote; the state is the log's, ids and notes are all there."""
    found = stored(path)
    intake, taken = whole(file_of(found), size)
    log = decode_batch(f"[{','.join(found)}]")
    assert intake.done
    assert taken.records == list(enumerate(found, start=1))
    assert intake.state == Session.replay(None, log).state
    assert taken.ids == [(r.event.id, r.seq) for r in log if isinstance(r.event, UserMessageReceived)]
    assert taken.notes == list(NOTES)


GOOD = stored(GOLDEN / "v1-parallel.jsonl")
HEAD = len(GOOD)


def changed(seq: int, /, **fields: Any) -> list[str]:
    """The records with other fields in one of them."""
    record = json.loads(GOOD[seq - 1])
    return [*GOOD[: seq - 1], json.dumps(record | fields), *GOOD[seq:]]


def event(seq: int, /, **fields: Any) -> list[str]:
    """The records with other fields in the event of one of them."""
    return changed(seq, event=json.loads(GOOD[seq - 1])["event"] | fields)


SAID = next(n for n, record in enumerate(GOOD, start=1) if "user_message_received" in record)
WHOLE = file_of(GOOD)
OVER = {"kind": "turn_finished", "reason": "done"}
LONG = json.dumps({"note": "n", "text": "x" * 65_537})
BAD: dict[str, tuple[list[str], str]] = {
    "a gap": (file_of([*GOOD[:3], *GOOD[4:]]), "line 5: seq 4: seq 5: it follows 3"),
    "twice": (file_of([*GOOD[:3], GOOD[2], *GOOD[3:]]), "line 5: seq 4: seq 3: it follows 3"),
    "out of order": (file_of([GOOD[1], GOOD[0], *GOOD[2:]]), "line 2: seq 1: seq 2: it follows 0"),
    "not allowed there": (file_of(changed(2, event=OVER)), "line 3: seq 2: event 'turn_finished' is not allowed"),
    "a version nobody knows": (file_of(changed(3, v=99)), "line 4: seq 3: schema version 99"),
    "a version that is no number": (file_of(changed(3, v="1")), "line 4: seq 3: v, seq and at are"),
    "a seq that is text": (file_of(changed(3, seq="3")), "line 4: seq 3: v, seq and at are"),
    "a seq that is true": (file_of(changed(1, seq=True)), "line 2: seq 1: v, seq and at are"),
    "a foreign field": (file_of(changed(3, secret="x")), "line 4: seq 3: a field that is not part of a record"),
    "a foreign field of the event": (file_of(event(SAID, secret="x")), f"seq {SAID}: a field that is not part of"),
    "a kind nobody knows": (file_of(event(3, kind="bribed")), "line 4: seq 3: "),
    "a time that is none": (file_of(changed(3, at=-1)), "seq 3: at: not a time"),
    "a time beyond JavaScript": (file_of(changed(3, at=2**53)), "seq 3: at: not a time"),
    "an id no client could send": (file_of(event(SAID, id='a"b')), f"seq {SAID}: id: not the id"),
    "half a character": (file_of(event(SAID, text="\ud800")), f"line {SAID + 1}: not a JSON object"),
    "no number of JSON's": (file_of(changed(3, at=float("nan"))), "line 4: not a JSON object"),
    "no object": (file_of([*GOOD[:2], "[]", *GOOD[3:]]), "line 4: not a JSON object"),
    "no JSON": (file_of([*GOOD[:2], "{", *GOOD[3:]]), "line 4: not a JSON object"),
    "deep": (file_of([*GOOD[:2], '{"v":' + "[" * 100_000, *GOOD[3:]]), "line 4: not a JSON object"),
    "an empty line": (file_of([*GOOD[:2], "", *GOOD[3:]]), "line 4: not a JSON object"),
    "cut before its end": (ended([*WHOLE[: HEAD - 2]], HEAD), f"ends at seq {HEAD - 3}, its header says {HEAD}"),
    "more than it says": (file_of(GOOD, head=HEAD - 1), f"seq {HEAD}: the header says that {HEAD - 1} is the last"),
    "less than it says": (file_of(GOOD, head=HEAD + 1), f"line {HEAD + 2}: seq {HEAD + 1}: v, seq and at are"),
    "a changed byte": ([*WHOLE[:-2], WHOLE[-2].replace("z", "y"), WHOLE[-1]], "the checksum is another"),
    "a lost note": ([*WHOLE[:-2], WHOLE[-1]], "the checksum is another"),
    "a line behind the end": ([*WHOLE, GOOD[0]], "a line behind the end"),
    "a foreign field at the end": ([*WHOLE[:-1], WHOLE[-1].replace("}", ',"x":1}')], "not a line that is expected"),
    "a huge note": (ended([*WHOLE[:-3], LONG], HEAD), "text: String should have at most"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_no_log_of_ours_could_hold_is_refused(name: str) -> None:
    """The refusal is typed and names the line, and the `seq` where there is one."""
    lines, told = BAD[name]
    with pytest.raises(Refused) as refused:
        whole(lines)
    assert refused.value.code == "bad_log"
    assert told in refused.value.message


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{}", "bad_log"),
        ("", "bad_log"),
        ("null", "bad_log"),
        (GOOD[0], "bad_log"),
        (Header(agent="a", log="l", head=1).model_dump_json().replace("edgeloop-log", "other"), "bad_log"),
        (
            Header(agent="a", log="l", head=1).model_dump_json().replace('"version":1', '"version":2'),
            "version",
        ),
        (Header(agent="a", log="l", head=1).model_dump_json().replace('"head":1', '"head":0'), "bad_log"),
        (Header(agent="a", log="l", head=1, cache="c").model_dump_json().replace('"c"', '"\\n"'), "bad_log"),
    ],
)
def test_a_first_line_that_is_no_header_is_refused(line: str, code: str) -> None:
    """Another format, another version of it, or nonsense."""
    with pytest.raises(Refused) as refused:
        Intake.begin(line)
    assert refused.value.code == code


def test_an_intake_of_another_version_of_the_edge_is_given_up() -> None:
    """A deploy in between changed what a state is: the file is sent anew, nothing is guessed."""
    intake = Intake.begin(file_of(GOOD)[0])
    with pytest.raises(Refused, match="another version of the edge"):
        Intake.load(re.sub(r'(shape\\":) ?\d+', r"\1 1", intake.dump()))


CUT = next(n for n, record in enumerate(GOOD, start=1) if "turn_finished" in record)
BASE = encode_state(Session.replay(None, decode_batch(f"[{','.join(GOOD[:CUT])}]")).state)
MORE = [
    json.dumps({"v": 2, "seq": CUT + 1, "at": 9, "event": {"kind": "user_message_received", "id": "x", "text": "x", "tokens": 1}})
]  # fmt: skip
PAST = [record for record in GOOD[:CUT] if json.loads(record)["event"]["kind"] in KEPT]


def based(**fields: Any) -> str:
    """The base with other fields in its state."""
    stored = json.loads(BASE)
    return json.dumps(stored | {"state": stored["state"] | fields})


def condensed(past: list[str], base: str = BASE, more: list[str] = MORE) -> list[str]:
    """A file of a log that is condensed up to its first turn's end."""
    first = Header(agent="a", log="one", head=CUT + len(more), base=base).model_dump()
    return ended([json.dumps(first), *past, *more, NOTES[0].model_dump_json()], CUT + len(more))


@pytest.mark.parametrize("more", [MORE, []])
@pytest.mark.parametrize("size", [1, 3, 1_000])
def test_a_condensed_log_is_taken_in_with_the_state_that_it_begins_with(size: int, more: list[str]) -> None:
    """Of the past only the conversation is there, with gaps; what follows is replayed on the state of the header."""
    intake, taken = whole(condensed(PAST, more=more), size)
    assert intake.done
    assert [record for _, record in taken.records] == [*PAST, *more]
    assert intake.state.seq == CUT + len(more)
    assert intake.base == CUT
    assert len(taken.notes) == 1


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (condensed(GOOD[:CUT]), "it is no part of a condensed history"),
        (condensed([PAST[1], PAST[0]]), "it is no part of a condensed history"),
        (condensed([PAST[0], PAST[0]]), "it is no part of a condensed history"),
        (condensed([], more=[*MORE, PAST[0]]), "it follows"),
        (condensed([], base="{}"), "line 1: base: "),
        (condensed([], base=based(phase="streaming")), "line 1: base: not the state of a session at rest"),
        (condensed([], base=based(seq=CUT + 9)), "line 1: base: not the state"),
    ],
)  # fmt: skip
def test_a_condensed_past_that_is_none_is_refused(lines: list[str], told: str) -> None:
    """What a conversation is not made of, out of order, behind its end, or on a state that is none."""
    with pytest.raises(Refused) as refused:
        whole(lines)
    assert refused.value.code == "bad_log"
    assert told in refused.value.message


def test_the_largest_texts_come_through_whole() -> None:
    """A message of a megabyte that JSON writes as six times that comes out as it went in."""
    text = '\0\x1f\u2028🙂\\"' * 170_000
    said = Recorded(seq=1, at=1, event=UserMessageReceived(id="m", text=text, tokens=1))
    _, taken = whole(file_of([encode_batch([said])[1:-1]]))
    assert decode_batch(f"[{taken.records[0][1]}]") == [said]
