"""The bounds: the pace of frames by table and by property, the queue, the room; and the page that tells them."""

import json
import re
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop import commands, limits
from edgeloop.errors import Refused
from edgeloop.frames import parse_autonomy, parse_client_frame
from edgeloop.limits import (
    BYTES_PER_FRAME,
    FRAMES_BURST,
    FRAMES_DROPPED,
    FRAMES_PER_SECOND,
    MAX_AUTONOMY_BYTES,
    MAX_HELLO_BYTES,
    MAX_QUEUED,
    MAX_RESULT_BYTES,
    Pace,
    check_room,
)
from edgeloop.wire import SendMessage

PAGE = Path(__file__).resolve().parents[2] / "docs" / "design" / "limits.md"
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "": 1}


@dataclass(frozen=True, kw_only=True)
class Rush:
    """Frames of one size, evenly apart, and how many of them are taken."""

    name: str
    frames: int
    every_ms: float
    size: int = 100
    taken: int


RUSHES = (
    Rush(name="a burst", frames=FRAMES_BURST, every_ms=0, taken=FRAMES_BURST),
    Rush(name="one more", frames=FRAMES_BURST + 1, every_ms=0, taken=FRAMES_BURST),
    Rush(name="at the pace", frames=5_000, every_ms=1000 / FRAMES_PER_SECOND, taken=5_000),
    Rush(name="sixteen large results", frames=16, every_ms=0, size=MAX_RESULT_BYTES + 4096, taken=16),
    Rush(name="large frames without end", frames=100, every_ms=0, size=4 << 20, taken=FRAMES_BURST // 65),
    Rush(
        name="just under two", frames=FRAMES_BURST, every_ms=0, size=BYTES_PER_FRAME - 1, taken=FRAMES_BURST
    ),
    Rush(name="two each", frames=FRAMES_BURST, every_ms=0, size=BYTES_PER_FRAME, taken=FRAMES_BURST // 2),
)


@pytest.mark.parametrize("rush", RUSHES, ids=lambda rush: rush.name)
def test_so_many_frames_are_taken(rush: Rush):
    """A burst is taken whole, a pace for ever, and what is more is not."""
    pace = Pace(0)
    found = [pace.take(int(number * rush.every_ms), rush.size) for number in range(rush.frames)]
    assert found.count("take") == rush.taken


def test_who_goes_on_is_closed():
    """The first frame too many is answered, the next are not, and many of them end it; a pause makes all good."""
    pace = Pace(0)
    for _ in range(FRAMES_BURST):
        assert pace.take(0, 0) == "take"
    assert [pace.take(0, 0) for _ in range(3)] == ["refuse", "drop", "drop"]
    half = FRAMES_BURST // 2
    recovered = 1000 * half // FRAMES_PER_SECOND
    assert pace.take(recovered - 10, 0) == "drop"
    assert [pace.take(recovered, 0) for _ in range(half + 1)] == ["take"] * half + ["refuse"]
    for _ in range(FRAMES_DROPPED - 1):
        assert pace.take(recovered + 100, 0) == "drop"
    assert pace.take(recovered + 100, 0) == "close"


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 1 << 22)), max_size=200))
def test_no_rush_gets_more_than_its_pace(frames: list[tuple[int, int]]):
    """Whatever comes when, what is taken is at most a burst and the pace since."""
    pace, now, taken = Pace(0), 0, 0
    for later, size in frames:
        now += later
        if pace.take(now, size) == "take":
            taken += 1 + size // BYTES_PER_FRAME
        assert taken <= FRAMES_BURST + now * FRAMES_PER_SECOND / 1000 + 1e-6


@pytest.mark.parametrize(
    ("queued", "known", "refused"), [(31, None, False), (32, None, True), (32, "hi", False)]
)
def test_the_queue_is_bounded(queued: int, known: str | None, refused: bool):
    """One message more than may wait is refused by its id; one that was recorded before is still known."""
    assert MAX_QUEUED == 32
    command = SendMessage(id="m1", text="hi")
    with pytest.raises(Refused) if refused else nullcontext() as error:
        commands.send_message(command, known=known, client=None, tokens=1, queued=queued)
    if error is not None:
        assert (error.value.code, error.value.ref) == ("queue_full", "m1")


def test_a_full_session_is_told_with_figures():
    """At the limit a message is refused before anything is written."""
    check_room(99, 100, "m1")
    with pytest.raises(Refused, match=r"100 bytes, of at most 100") as error:
        check_room(100, 100, "m1")
    assert (error.value.code, error.value.ref) == ("session_full", "m1")


def hello(size: int) -> str:
    """A `hello` whose tools make it about so long."""
    schema: dict[str, Any] = {"type": "object", "title": "x" * size}
    tool = {"name": "a", "description": "", "parameters": schema, "effect": "read"}
    return json.dumps({"t": "hello", "v": 1, "client": "c", "tools": [tool]})


def test_tools_are_bounded_by_their_bytes():
    """A few tools of great length are refused as many are."""
    assert parse_client_frame(hello(MAX_HELLO_BYTES - 1_000))
    with pytest.raises(Refused, match="hello: ") as error:
        parse_client_frame(hello(MAX_HELLO_BYTES))
    assert error.value.code == "too_large"


def test_rules_are_bounded_by_their_bytes():
    """The same by socket and by HTTP."""
    rule = {"verdict": "deny", "tool": "run_command", "command": "x" * 900}
    body = {"mode": "edit", "rules": [rule] * (MAX_AUTONOMY_BYTES // 900)}
    for parse, data in ((parse_client_frame, {"t": "autonomy", **body}), (parse_autonomy, body)):
        with pytest.raises(Refused) as error:
            parse(json.dumps(data).encode())
        assert error.value.code == "too_large"


def test_the_page_tells_every_limit():
    """docs/design/limits.md has a row for every bound, with the value that the code has."""
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| ([0-9,]+) ?(KiB|MiB|GiB|) \|", PAGE.read_text(encoding="utf-8"), re.M
    )
    told = {name: int(number.replace(",", "")) * UNITS[unit] for name, number, unit in rows}
    found = {
        name: value for name, value in vars(limits).items() if name.isupper() and name not in ("KIB", "MIB")
    }
    assert told == found
