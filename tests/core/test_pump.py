"""The pump in plain Node: real streams and real timers, sockets and SQL that only remember (tests/support/pump_driver.mjs)."""

import base64
import json
import subprocess
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest

from edgeloop_client.decode import DIALECTS
from scripts.setup import node_binary
from tests.support.streams import FIXTURES, chat, pieces, sse

ROOT = Path(__file__).resolve().parents[2]
DRIVER = ROOT / "tests" / "support" / "pump_driver.mjs"
STREAM = (FIXTURES / "anthropic.sse").read_bytes()
Found = dict[str, Any]


def scenario(chunks: list[bytes], dialect: str = "anthropic", **options: Any) -> dict[str, Any]:
    return {"dialect": dialect, "chunks": [base64.b64encode(chunk).decode() for chunk in chunks], **options}


def pump(*scenarios: dict[str, Any]) -> list[Found]:
    """Run scenarios one after the other in one Node process."""
    done = subprocess.run(
        [str(node_binary()), str(DRIVER)],
        input=json.dumps(scenarios),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ops(found: Found) -> list[dict[str, Any]]:
    return [op for batch in found["batches"] for op in batch]


def frames(found: Found, socket: int = 0) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in found["sockets"][socket]["frames"]]


def shown(found: Found, socket: int = 0) -> dict[int, str]:
    texts: dict[int, str] = {}
    for frame in frames(found, socket):
        if frame["t"] == "delta":
            texts[frame["block"]] = texts.get(frame["block"], "") + frame["text"]
    return texts


def at_block_ends(stream: bytes) -> list[bytes]:
    """The stream cut after each event."""
    events = [event + b"\n\n" for event in stream.split(b"\n\n") if event]
    return pieces(stream, list(accumulate(map(len, events)))[:-1])


def test_frames_are_exactly_what_the_protocol_says() -> None:
    """One frame per block, text escaped once, offsets in UTF-8 bytes; calls are announced by name."""
    (found,) = pump(scenario(at_block_ends(STREAM), pauseMs=8))
    assert found["sockets"][0]["frames"] == [
        '{"t":"delta","step":3,"attempt":1,"block":0,"kind":"reasoning","off":0,"text":"Two files; "}',
        '{"t":"delta","step":3,"attempt":1,"block":0,"kind":"reasoning","off":11,"text":"both."}',
        '{"t":"delta","step":3,"attempt":1,"block":1,"kind":"text","off":0,"text":"I read “a” "}',
        '{"t":"delta","step":3,"attempt":1,"block":1,"kind":"text","off":15,"text":"and “b” 👀.\\n"}',
        '{"t":"call","step":3,"attempt":1,"block":2,"name":"read_file"}',
        '{"t":"call","step":3,"attempt":1,"block":3,"name":"read_file"}',
    ]


def test_one_wake_per_semantic_moment() -> None:
    """A complete call and the end; what one read completes comes together, texts and starts ride along, pings are nothing."""
    (found,) = pump(scenario(at_block_ends(STREAM)))
    assert [[op["op"] for op in batch] for batch in found["batches"]] == [
        ["start", "block_complete", "block_complete", "call_started", "call_complete"],
        ["call_started", "call_complete"],
        ["usage", "stop"],
    ]
    assert (found["stats"]["wakes"], found["again"]) == (3, None)


def test_wakes_do_not_grow_with_the_answer() -> None:
    """A hundred times the text costs not one wake more."""

    def answer(words: int) -> bytes:
        call = {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}
        return chat(*({"content": f"word{n} "} for n in range(words)), call, finish="tool_calls")

    short, long = pump(*(scenario(at_block_ends(answer(words)), "openai-chat") for words in (50, 5_000)))
    assert short["stats"]["wakes"] == long["stats"]["wakes"] == 2  # the call and the end
    assert long["stats"]["deltas"] == 5_000


@pytest.mark.parametrize("dialect", DIALECTS)
def test_byte_by_byte_equals_the_whole(dialect: str) -> None:
    """For every dialect: the same operations, the same text on the sockets, offsets without gap or overlap."""
    stream = (FIXTURES / f"{dialect}.sse").read_bytes()
    whole, bytewise, slow = pump(
        scenario([stream], dialect),
        scenario(pieces(stream, range(1, len(stream))), dialect),
        scenario(pieces(stream, range(40, len(stream), 40)), dialect, slowNextMs=3),
    )
    for found in (bytewise, slow):
        assert (ops(found), shown(found)) == (ops(whole), shown(whole))
        sent: dict[int, int] = {}
        for frame in frames(found):
            if frame["t"] == "delta":
                assert frame["off"] == sent.get(frame["block"], 0)
                sent[frame["block"]] = frame["off"] + len(frame["text"].encode())


def test_a_stream_that_is_no_byte_stream_is_read_too() -> None:
    """workerd's bodies let us bring the buffer; others bring their own."""
    theirs, ours = pump(scenario(at_block_ends(STREAM), plain=True), scenario(at_block_ends(STREAM)))
    assert (ops(theirs), shown(theirs)) == (ops(ours), shown(ours))


def test_a_slow_python_gets_everything_at_once() -> None:
    """What became due meanwhile is one batch."""
    (found,) = pump(scenario(at_block_ends(STREAM), slowNextMs=200))
    assert [op["op"] for op in found["batches"][0]][-1] == "stop"
    assert len(found["batches"]) == 1


def test_every_socket_gets_every_frame_and_a_bad_one_goes_alone() -> None:
    """One throws, one is too far behind: both are closed to come back later, the others notice nothing."""
    big = at_block_ends(chat(*({"content": "x" * 30_000} for _ in range(20))))
    sockets = [{}, {"throwsAfter": 1}, {"behindAfter": 2}, {}]
    (found,) = pump(scenario(big, "openai-chat", pauseMs=5, sockets=sockets))
    whole, thrown, behind, other = found["sockets"]
    assert whole["frames"] == other["frames"]
    assert len(shown(found)[0]) == 600_000
    assert (thrown["closed"], len(thrown["frames"])) == (1013, 1)
    assert (behind["closed"], len(behind["frames"]) < len(whole["frames"])) == (1013, True)
    assert (whole["closed"], found["attached"]) == (None, 2)


def test_a_socket_may_be_behind_for_a_while() -> None:
    """Two unsent megabytes are a snapshot on its way; the same ones for longer than patience lasts are a dead reader."""
    big = at_block_ends(chat(*({"content": "x" * 70_000} for _ in range(12))))
    sockets = [{"behindAfter": 1, "behind": 2 << 20}, {"behindAfter": 1, "behind": 1 << 19}]
    patient, strict = pump(
        scenario(big, "openai-chat", pauseMs=10, sockets=sockets),
        scenario(big, "openai-chat", pauseMs=10, sockets=sockets, patienceMs=40),
    )
    assert [socket["closed"] for socket in patient["sockets"]] == [None, None]
    assert [socket["closed"] for socket in strict["sockets"]] == [1013, None]


def test_a_fast_stream_shares_frames_and_a_paced_one_does_not() -> None:
    """A delta goes out with its read, unless a frame went out less than 2 ms ago; then within 2 ms."""
    deltas = at_block_ends(chat(*({"content": f"{n} "} for n in range(40))))
    fast, paced = pump(scenario(deltas, "openai-chat"), scenario(deltas, "openai-chat", pauseMs=8))
    assert fast["stats"]["frames"] < 20
    assert paced["stats"]["frames"] > 35
    assert shown(fast) == shown(paced)


def test_no_sockets_no_frames() -> None:
    """The agent goes on alone."""
    (found,) = pump(scenario(at_block_ends(STREAM), sockets=[]))
    assert (found["stats"]["frames"], found["stats"]["deltas"], ops(found)[-1]["op"]) == (0, 4, "stop")


@pytest.mark.parametrize("at", range(2, 19, 2))
def test_who_joins_in_mid_stream_misses_nothing(at: int) -> None:
    """The log (what was handed over), `partial` and the frames after it make every text, without gap or overlap."""
    (found,) = pump(scenario(at_block_ends(STREAM), joinAfter=at, pauseMs=2))
    texts = {op["block"]: op["text"] for op in json.loads(found["logged"]) if op["op"] == "block_complete"}
    for block in json.loads(found["joined"]):
        assert block["block"] not in texts
        assert block["bytes"] == len(block["text"].encode())
        texts[block["block"]] = block["text"]
    for frame in map(json.loads, found["joiner"]):
        if frame["t"] == "delta":
            assert frame["off"] == len(texts.get(frame["block"], "").encode())
            texts[frame["block"]] = texts.get(frame["block"], "") + frame["text"]
    assert texts == shown(found)


def test_what_was_handed_over_is_unknown_until_python_asks_again() -> None:
    """Other handlers run between the promise and the Python that awaits it: a client that joins there misses nothing."""
    (found,) = pump(scenario(at_block_ends(STREAM), pauseMs=2))
    assert [[(b["block"], b["text"]) for b in blocks] for blocks in found["unknown"]] == [
        [*shown(found).items()],
        [],
        [],
    ]
    assert found["partial"] == []


def test_a_finished_text_that_waits_is_not_lost_to_the_recovery_row() -> None:
    """It is in `partial`, and so in the row, until it is handed over."""
    before_the_call = STREAM[: STREAM.index(b"toolu_01")]
    (found,) = pump(scenario([before_the_call], end="hang", limits={"idleMs": 1_300}))
    assert [block["text"] for block in json.loads(found["rows"][0][3])] == [
        "Two files; both.",
        shown(found)[1],
    ]
    assert found["partial"] == []  # handed over with the error


CUT = STREAM[: STREAM.index(b"and ")]  # in mid-text, in mid-event


@pytest.mark.parametrize(
    ("options", "cls", "retryable"),
    [
        ({"end": "close"}, "truncated", True),
        ({"end": "error"}, "connection", True),
        ({"end": "hang", "limits": {"firstMs": 5_000, "idleMs": 60}}, "timeout", True),
        ({"end": "hang", "limits": {"totalMs": 60}}, "timeout", True),
        ({"end": "hang", "abortAfterMs": 30}, "aborted", False),
    ],
)
def test_every_bad_end_is_one_error(options: dict[str, Any], cls: str, retryable: bool) -> None:
    """Cut, reset, silent, too long, stopped: one error as the last operation, what was shown stays known, no timer is left."""
    (found,) = pump(scenario([CUT], **options))
    last = ops(found)[-1]
    assert (last["op"], last["class"], last["retryable"]) == ("error", cls, retryable)
    assert [op["op"] for op in ops(found)].count("error") == 1
    assert [block["text"] for block in found["rest"]] == [shown(found)[1]]
    assert (found["timers"], found["again"]) == (0, None)
    assert found["fetchAborted"] == (cls != "truncated")


def test_a_decoder_that_dies_ends_its_stream_as_our_own_failure() -> None:
    """A trap costs the attempt, not the object: an error that may be tried again, and the fetch is let go."""
    (found,) = pump(scenario(at_block_ends(STREAM), trapAfter=6))
    assert (ops(found)[-1]["op"], ops(found)[-1]["class"], ops(found)[-1]["retryable"]) == (
        "error",
        "interrupted",
        True,
    )
    assert (found["fetchAborted"], found["timers"]) == (True, 0)


def test_the_first_bytes_deadline() -> None:
    """Silence from the start has its own limit; the idle one does not count yet."""
    (found,) = pump(scenario([], end="hang", limits={"firstMs": 60, "idleMs": 10}))
    assert ops(found) == [
        {
            "op": "error",
            "class": "timeout",
            "code": "",
            "message": "no first byte within 60 ms",
            "retryable": True,
        }
    ]
    assert found["stats"]["first_ms"] is None


def test_a_refusal_is_told_with_its_head() -> None:
    """Any status but 200: the headers, then one operation with the status and the body's beginning; the rest is let go."""
    body = [b'{"error": {"message": "', b"slow down " * 10_000, b'"}}']
    refused: dict[str, Any] = {"status": 429, "headers": {"retry-after": "7"}}
    found, endless = pump(
        scenario(body, **refused), scenario(body, **refused, end="hang", limits={"firstMs": 900})
    )
    assert found["head"] == refused
    for one in (found, endless):
        (op,) = ops(one)
        assert (op["op"], op["status"]) == ("refused", 429)
        assert op["body"].startswith('{"error": {"message": "slow down ')
        assert (one["fetchAborted"], one["timers"], one["again"]) == (True, 0, None)
    assert len(ops(endless)[0]["body"]) > 64 << 10


@pytest.mark.parametrize(
    ("options", "cls", "message"),
    [
        ({"unreachable": "Network connection lost."}, "connection", "Network connection lost."),
        ({"bodiless": True}, "truncated", "the answer has no body"),
    ],
)
def test_an_answer_that_never_comes_is_one_error(options: dict[str, Any], cls: str, message: str) -> None:
    """No connection, or a 200 without a body: one error that may be tried again, and nothing is left running."""
    (found,) = pump(scenario([], **options))
    assert [(op["op"], op["class"], op["message"], op["retryable"]) for op in ops(found)] == [
        ("error", cls, message, True)
    ]
    assert (found["timers"], found["again"]) == (0, None)


def test_the_first_content_is_what_counts() -> None:
    """Time to first token runs to the first text, reasoning or call, not to the first bytes: a head says nothing."""
    (found,) = pump(scenario(at_block_ends(STREAM), pauseMs=30))
    heads = STREAM[: STREAM.index(b"Two files")].count(b"\n\n")
    assert found["stats"]["first_ms"] >= 30 * (heads + 1) - 5
    (silent,) = pump(scenario(at_block_ends(STREAM)[:1], end="hang", limits={"idleMs": 60}))
    assert silent["stats"]["first_ms"] is None


def test_a_steady_stream_meets_no_deadline() -> None:
    """Each read moves the idle deadline."""
    (found,) = pump(scenario(at_block_ends(STREAM), pauseMs=15, limits={"firstMs": 2_000, "idleMs": 150}))
    assert ops(found)[-1]["op"] == "stop"
    assert found["stats"]["gap_p50_ms"] > 10


@pytest.mark.parametrize("end", ["hang", "error"])
def test_a_whole_answer_stands_though_the_connection_does_not_close_well(end: str) -> None:
    """After `finish_reason`, with no [DONE]: silence or a reset changes nothing."""
    whole = chat({"content": "a"}, done=False)
    (found,) = pump(scenario([whole], "openai-chat", end=end, limits={"idleMs": 60}))
    assert [op["op"] for op in ops(found)] == ["start", "block_complete", "stop"]
    assert found["partial"] == []


def test_usage_said_before_a_bad_end_is_kept() -> None:
    """What was billed is known though the stream was stopped."""
    (found,) = pump(scenario([CUT], end="hang", abortAfterMs=20))
    assert next(op for op in ops(found) if op["op"] == "usage")["cache_read"] == 2048


def test_what_was_complete_is_handed_over_before_a_bad_end() -> None:
    """A call completed while Python was busy is not lost with the stream."""
    cut = STREAM[: STREAM.index(b"toolu_02")]
    (found,) = pump(scenario([cut], end="error", slowNextMs=50))
    assert [op["op"] for op in ops(found)].count("call_complete") == 1
    assert ops(found)[-1]["class"] == "connection"


def test_the_body_is_read_to_its_end_for_the_connections_sake() -> None:
    """Bytes after the terminal event are taken off the wire, not cancelled; endless ones are."""
    after = [STREAM, b": bye\n\n", b": bye\n\n"]
    ended, endless = pump(scenario(after), scenario(after, end="hang"))
    assert (ended["cancelled"], ended["fetchAborted"]) == (False, False)
    assert ops(endless)[-1]["op"] == "stop"


def test_the_recovery_row_is_written_rarely_and_holds_what_is_open() -> None:
    """Every 8 KB or once a second, one row, only blocks that are not complete; never per delta."""
    text = "".join(f"{n:07d} " for n in range(8_000))
    deltas = [{"content": text[at : at + 16]} for at in range(0, len(text), 16)]
    (found,) = pump(scenario(at_block_ends(chat(*deltas)), "openai-chat"))
    rows = found["rows"]
    assert 3 <= len(rows) <= 10
    assert {tuple(row[:3]) for row in rows} == {
        ("INSERT OR REPLACE INTO recovery (id, step, attempt, blocks) VALUES (1, ?, ?, ?)", 3, 1)
    }
    held = [json.loads(row[3])[0]["text"] for row in rows]
    assert all(text.startswith(later) and later.startswith(earlier) for earlier, later in pairwise(held))
    assert sum(map(len, held)) < 6 * len(text)


def test_the_recovery_row_knows_a_text_that_came_and_finished_in_one_read() -> None:
    """It is written when the read is taken in whole, not between the text and the word that it is finished."""
    events: list[Found] = [
        {"type": "message_start", "message": {"id": "m"}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "x" * 10_000}},
        {"type": "content_block_stop", "index": 0},
    ]
    (found,) = pump(scenario([sse(*events)], end="hang", abortAfterMs=30))
    assert [json.loads(row[3])[0]["text"] for row in found["rows"]] == ["x" * 10_000]


def test_the_recovery_row_of_a_slow_stream() -> None:
    """A second after text came it is kept, though no more comes; a stream shorter than that writes nothing."""
    slow, quick = pump(
        scenario([CUT], end="hang", limits={"idleMs": 1_400}),
        scenario([CUT], end="close"),
    )
    assert [[block["text"] for block in json.loads(row[3])] for row in slow["rows"]] == [
        [*shown(slow).values()]
    ]
    assert quick["rows"] == []


def test_names_are_escaped_in_frames() -> None:
    """A peer's tool name cannot break out of a frame."""
    name = 'x","t":"evil\n'
    start: Found = {"type": "message_start", "message": {"id": "m"}}
    block: Found = {"type": "tool_use", "id": "t", "name": name, "input": {}}
    events: list[Found] = [
        start,
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "message_stop"},
    ]
    (found,) = pump(scenario([sse(*events)]))
    assert [frame["name"] for frame in frames(found)] == [name]
