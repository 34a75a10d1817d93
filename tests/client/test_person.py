"""What a person sees and is told: visible text, identities, refusals, figures."""

import io
from pathlib import Path

import pytest
from websockets.frames import Frame, Opcode

from edgeloop.events import (
    ConfigChanged,
    Event,
    Recorded,
    RetryScheduled,
    StepError,
    StepFailed,
    StepFinished,
    StepStarted,
    StopRequested,
    Timing,
    TurnFinished,
    Usage,
    UserMessageReceived,
)
from edgeloop.wire import ErrorFrame
from edgeloop_client import identity
from edgeloop_client.connection import backoff, frame_bytes
from edgeloop_client.endpoint import Endpoint
from edgeloop_client.errors import CannotConnect, ClientError, NotFound, Unauthorized, VersionMismatch
from edgeloop_client.identity import claim
from edgeloop_client.terminal import Screen, one_line, summary, visible
from edgeloop_client.turn import Turn, cached_share, input_tokens, report
from edgeloop_client.view import Fresh, Restarted, View


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 👩‍👩‍👧\n\tx", "plain ä 👩‍👩‍👧\n\tx"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\rb\r\n", "ab\n"),
        ("\x07\x00\x7f\x9b", "\\x07\\x00\\x7f\\x9b"),
        ("ls \u202egnp.", "ls \\u202egnp."),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_are_made_visible(text: str, shown: str) -> None:
    """Nothing that a model or a file says can move the cursor or hide a part of a command."""
    assert visible(text) == shown


def test_one_line() -> None:
    """Arguments are shown in one short line."""
    assert one_line('{\n "a":  1}') == '{ "a": 1}'
    assert one_line("x" * 500, 10) == "x" * 9 + "…"


def test_markup_is_text() -> None:
    """What looks like the terminal library's markup is shown as it is."""
    out = io.StringIO()
    screen = Screen(out)
    screen.text("[red]x[/red] :smile:")
    screen.notice("[bold]y[/bold]")
    screen.table([("[dim]", "[b]1[/b]")])
    assert out.getvalue() == "[red]x[/red] :smile:\n[bold]y[/bold]\n\n[dim]  [b]1[/b]\n"


# --- identity -------------------------------------------------------------------------------------------------------


def test_identity(tmp_path: Path) -> None:
    """A directory has one client at a time; a second is another, and the next one is the first again."""
    first = claim(tmp_path, home=tmp_path)
    second = claim(tmp_path, home=tmp_path)
    elsewhere = claim(tmp_path / "other", home=tmp_path)
    watcher = claim(None, home=tmp_path)
    assert len({first.client, second.client, elsewhere.client, watcher.client}) == 4
    first.release()
    again = claim(tmp_path, home=tmp_path)
    assert again.client == first.client
    again.release()


def test_a_damaged_identity_is_replaced(tmp_path: Path) -> None:
    """A file that holds no id gets a new one, whole."""
    first = claim(None, home=tmp_path)
    first.release()
    (file,) = (tmp_path / "clients").iterdir()
    file.write_text("../../edge and much longer than any id ever was")
    second = claim(None, home=tmp_path)
    second.release()
    assert file.read_text() == f"{second.client} {second.epoch}"
    assert second.client != first.client


def test_a_later_life_has_a_higher_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each life numbers in an epoch above all before it, even where the clock went back; one without the lock has the clock's."""
    first = claim(None, home=tmp_path)
    first.keep_epoch(first.epoch + 5)
    first.release()
    monkeypatch.setattr(identity, "_now_ms", lambda: 7)
    second = claim(None, home=tmp_path)
    other = claim(None, home=tmp_path)
    assert second.client == first.client != other.client
    assert second.epoch == first.epoch + 6
    assert other.epoch == 7
    second.release()


# --- refusals -------------------------------------------------------------------------------------------------------


def refused(code: str) -> str:
    """The body of an HTTP refusal."""
    frame = ErrorFrame.model_validate({"code": code, "message": "m"})
    return f'{{"error":{frame.model_dump_json(exclude_none=True)}}}'


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, refused("unauthorized"), Unauthorized),
        (503, refused("not_configured"), Unauthorized),
        (404, refused("not_found"), NotFound),
        (400, refused("version"), VersionMismatch),
        (500, refused("internal"), None),
        (409, refused("conflict"), ClientError),
        (500, refused("corrupt_log"), ClientError),
        (401, "<html>", Unauthorized),
        (404, "<html>", CannotConnect),
        (502, "", None),
        (429, "slow down", None),
    ],
)
def test_refusals(status: int, body: str, error: type[ClientError] | None) -> None:
    """What trying again cannot mend ends it with a typed error and a next step; the rest may pass."""
    refusal = Endpoint(url="https://x", agent="a", token="t").refused(status, body.encode())
    assert (type(refusal) if refusal is not None else None) == error
    assert refusal is None or refusal.next_step or status == 409


@pytest.mark.parametrize(
    ("url", "socket", "exposed"),
    [
        ("http://127.0.0.1:8787", "ws://127.0.0.1:8787/v1/agents/a%2Fb/ws", False),
        ("https://e.example/", "wss://e.example/v1/agents/a%2Fb/ws", False),
        ("http://e.example/under", "ws://e.example/under/v1/agents/a%2Fb/ws", True),
    ],
)
def test_endpoints(url: str, socket: str, exposed: bool) -> None:
    """The socket's address follows the URL; a token in the clear is known as such."""
    endpoint = Endpoint(url=url, agent="a/b", token="t")
    assert (endpoint.socket, endpoint.is_exposed) == (socket, exposed)


@pytest.mark.parametrize("url", ["", "example.com", "ftp://x", "http://"])
def test_no_endpoint(url: str) -> None:
    """What is no http URL is told before anything is sent."""
    with pytest.raises(CannotConnect):
        Endpoint(url=url, agent="a", token="t")


# --- figures --------------------------------------------------------------------------------------------------------


def test_backoff() -> None:
    """Waits double from a quarter of a second to ten, and the jitter takes up to half of it."""
    assert [backoff(n, 1.0) for n in (0, 1, 2, 5, 6, 1000)] == [0.25, 0.5, 1.0, 8.0, 10.0, 10.0]
    assert backoff(3, 0.0) == 1.0


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 100_000])
@pytest.mark.parametrize("masked", [True, False])
def test_frame_bytes(size: int, masked: bool) -> None:
    """Bytes are counted as the protocol library makes them."""
    frame = Frame(Opcode.TEXT, b"x" * size).serialize(mask=masked)
    assert frame_bytes(size, masked=masked) == len(frame)


def at(seq: int, event: Event) -> Recorded:
    return Recorded(seq=seq, at=0, event=event)


START = StepStarted(step=1, attempt=1)
END = StepFinished(
    step=1,
    stop="end",
    usage=Usage(input_uncached=10, cache_read=30, output=20),
    timing=Timing(first_ms=100, wall_ms=600, request_bytes=1, response_bytes=1),
)
MINE = UserMessageReceived(id="mine", text="go", tokens=1)
OTHER = UserMessageReceived(id="other", text="go", tokens=1)
DONE = TurnFinished(reason="done")
FAILED = TurnFinished(reason="failed")
STOPPED = TurnFinished(reason="stopped")
STOP = StopRequested()


@pytest.mark.parametrize(
    ("events", "ended"),
    [
        ([MINE, START, END, DONE], DONE),
        ([OTHER, START, END, DONE], None),
        ([OTHER, START, MINE, FAILED], None),
        ([OTHER, START, MINE, FAILED, START, DONE], DONE),
        ([OTHER, START, MINE, STOP, STOPPED], STOPPED),
        ([OTHER, START, STOP, MINE, STOPPED, START, DONE], DONE),
        ([OTHER, START, MINE, START, DONE], DONE),
    ],
)
def test_whose_turn_it_is(events: list[Event], ended: TurnFinished | None) -> None:
    """Our turn ends with the first end after the step that delivered our message, or with the stop that skipped it."""
    turn = Turn(message="mine", began=0)
    for seq, event in enumerate(events):
        turn.take(at(seq, event), 0)
    assert turn.ended == ended


def test_a_turns_figures() -> None:
    """Times are the client's, tokens per second count the time in which they came, failed attempts cost too."""
    turn = Turn(message="mine", began=1000)
    error = StepError(cls="server", retryable=True)
    failed = StepFailed(step=1, attempt=1, error=error, jitter=0, usage=Usage(input_uncached=40))
    fresh = Fresh(step=1, attempt=2, block=0, kind="text", text="x")
    for now, change in [
        (1010, at(1, MINE)),
        (1020, at(2, START)),
        (1050, at(3, failed)),
        (1100, at(4, StepStarted(step=1, attempt=2))),
        (1234, fresh),
        (1300, fresh),
        (1400, at(5, END)),
        (1500, at(6, DONE)),
    ]:
        turn.take(change, now)
    assert (turn.ttft_ms, turn.wall_ms, turn.output_tokens_per_s) == (234, 500, 40.0)
    assert (input_tokens(turn.usage), cached_share(turn.usage)) == (80, 0.375)
    assert [(cost.step, cost.attempt) for cost in turn.costs] == [(1, 1), (1, 2)]
    assert not turn.lost
    turn.take(Restarted(), 1600)
    assert turn.lost


def test_unknown_usage_stays_unknown() -> None:
    """What nobody reported is not zero."""
    assert input_tokens(Usage()) is None
    assert cached_share(Usage(cache_read=0)) is None


@pytest.mark.parametrize(
    ("model", "usage", "told"),
    [
        ("claude-opus-4-6", Usage(input_uncached=100_000, output=10_000), 0.75),
        ("unheard-of", Usage(input_uncached=100_000, output=10_000), None),
        ("unheard-of", Usage(input_uncached=1, output=1, cost_reported=0.25), 0.25),
        ("claude-opus-4-6", Usage(), None),
    ],
)
def test_what_a_turn_cost(model: str, usage: Usage, told: float | None) -> None:
    """The cost of all answers, in the report and, if known, in the table; a failed call that told nothing is left out."""
    view, turn = View(log="l"), Turn(message="mine", began=0)
    failed = StepFailed(step=1, attempt=1, error=StepError(cls="server", retryable=True), jitter=0)
    timing = Timing(wall_ms=1, request_bytes=1, response_bytes=1)
    events: list[Event] = [
        ConfigChanged(provider="anthropic", model=model, system=""),
        MINE,
        START,
        failed,
        RetryScheduled(due=1),
        StepStarted(step=1, attempt=2),
        StepFinished(step=1, stop="end", usage=usage, timing=timing),
        DONE,
    ]
    for seq, event in enumerate(events, 1):
        recorded = Recorded(seq=seq, at=1_780_000_000_000, event=event)
        view.fold(recorded)
        turn.take(recorded, 0)
    found = report(turn, view, agent="a", bytes_up=0, bytes_down=0)
    assert found["usage"]["cost_usd"] == told
    assert dict(summary(found)).get("cost") == (f"${told:.4f}" if told is not None else None)
