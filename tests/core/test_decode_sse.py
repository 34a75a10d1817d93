"""SSE framing: which bytes are one event, whatever the line ends, the cuts and the rubbish between."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from edgeloop_client.decode import Decoder
from tests.support.streams import chat, decoded, feed, fold

TEXT = '{"choices":[{"index":0,"delta":{"content":"%s"}}]}'
END = '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'

BREAKS = "a\u2028b\u2029c\u0085d\x7fe"


@dataclass(frozen=True)
class Case:
    """`stream` must decode to `text` and end well."""

    name: str
    stream: str | bytes
    text: str


CASES = [
    Case("lf", f"data: {TEXT % 'a'}\n\ndata: {END}\n\ndata: [DONE]\n\n", "a"),
    Case("crlf", f"data: {TEXT % 'a'}\r\n\r\ndata: {END}\r\n\r\ndata: [DONE]\r\n\r\n", "a"),
    Case("cr", f"data: {TEXT % 'a'}\r\rdata: {END}\r\rdata: [DONE]\r\r", "a"),
    Case("no space after the colon", f"data:{TEXT % 'a'}\n\ndata:{END}\n\ndata:[DONE]\n\n", "a"),
    Case("byte order mark", f"\ufeffdata: {TEXT % 'a'}\n\ndata: {END}\n\n", "a"),
    Case(
        "data lines are joined",
        'data: {"choices":[{"delta":\ndata: {"content":"a"}}]}\n\ndata: ' + END + "\n\n",
        "a",
    ),
    Case("comments", f": hi\n\n:\ndata: {TEXT % 'a'}\n: mid\n\ndata: {END}\n\n", "a"),
    Case(
        "event name after the data", f"data: {TEXT % 'a'}\nevent: x\nid: 7\nretry: 3\n\ndata: {END}\n\n", "a"
    ),
    Case("spaces after the json", f"data: {TEXT % 'a'}     \n\ndata: {END}  \n\n", "a"),
    Case("no blank line at the end", f"data: {TEXT % 'a'}\n\ndata: {END}", "a"),
    # str.splitlines would break these lines; they are legal raw inside a JSON string.
    Case("unicode line breaks", f"data: {TEXT % BREAKS}\n\ndata: {END}\n\n", BREAKS),
    Case("multi-byte text", f"data: {TEXT % 'naïve 👋🏽 日本'}\n\ndata: {END}\n\n", "naïve 👋🏽 日本"),
    Case(
        "invalid utf-8",
        b"data: " + (TEXT % "a|b").encode().replace(b"|", b"\xff") + f"\n\ndata: {END}\n\n".encode(),
        "a\ufffdb",
    ),
    Case("bare json lines", f"{TEXT % 'a'}\n{TEXT % 'b'}\n{END}\n", "ab"),
    Case("bare json over lines", json.dumps(json.loads(TEXT % "a"), indent=2) + f"\ndata: {END}\n\n", "a"),
    Case("a bare line cut off", '{"choices":[{"delta":{"content":"lost"\n' + f"{TEXT % 'a'}\n{END}\n", "a"),
    Case(
        "no blank lines between events",
        f"data: {TEXT % 'a'}\ndata: {TEXT % 'b'}\ndata: {END}\ndata: [DONE]\n\n",
        "ab",
    ),
    Case("html", f"<html>\n<p>hi: there</p>\n\ndata: {TEXT % 'a'}\n\ndata: {END}\n\n", "a"),
    Case(
        "unknown fields and empty data",
        f"foo: bar\ndata\n\ndata:\n\ndata: {TEXT % 'a'}\n\ndata: {END}\n\n",
        "a",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_framing(case: Case) -> None:
    """Every framing decodes to the same text, however the bytes are cut."""
    stream = case.stream if isinstance(case.stream, bytes) else case.stream.encode()
    found = decoded("openai-chat", stream)
    assert ("".join(found.texts.values()), found.ended()) == (case.text, "stop end")


@pytest.mark.parametrize(
    "raw",
    [r"\ud83d\ude00", r"\ud83d", r"\ude00", r"\ud83dx", r"\ud83d\ud83d\ude00", r"\n\"\\\/\b\f\r\t\u0041"],
)
def test_escapes_are_unescaped_and_lone_surrogates_replaced(raw: str) -> None:
    """Text never holds what UTF-8 cannot carry."""
    expected = json.loads(f'"{raw}"').encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    stream = f"data: {TEXT % raw}\n\ndata: {END}\n\n".encode()
    assert decoded("openai-chat", stream).texts == {0: expected}


def test_a_surrogate_pair_split_over_two_deltas_is_joined() -> None:
    """Servers that cut text by UTF-16 units lose nothing."""
    stream = "".join(f"data: {line}\n\n" for line in (TEXT % r"a\ud83d", TEXT % r"\ude00b", END)).encode()
    assert decoded("openai-chat", stream).texts == {0: "a😀b"}


def test_a_malformed_event_is_reported_and_the_rest_goes_on() -> None:
    """What was lost is said; the stream still ends as the peer says."""
    found = decoded(
        "workers-ai",
        b'data: {"response":"Hello"}\n\ndata: NOT{{{\n\ndata: {"response":" you"}\n\ndata: [DONE]\n\n',
    )
    assert found.texts == {0: "Hello you"}
    assert [op for op in found.others if op["op"] == "malformed"] == [{"op": "malformed", "bytes": 6}]
    assert found.ended() == "stop end"


def test_a_stream_cut_within_an_event_is_truncated_not_malformed() -> None:
    """Half an event at the end of the bytes is no content."""
    found = decoded("openai-chat", chat({"content": "a"})[:-80])
    assert found.ended() == "error truncated"
    assert [op["op"] for op in found.others] == ["start"]


def test_a_stream_without_blank_lines_that_is_cut_keeps_its_whole_lines() -> None:
    """Only the line that was cut is lost."""
    found = decoded("openai-chat", f"data: {TEXT % 'a'}\ndata: {TEXT % 'b'}\ndata: {TEXT[:20]}".encode())
    assert (found.texts, found.ended()) == ({0: "ab"}, "error truncated")


@pytest.mark.parametrize("before", ["", f"data: {TEXT % 'a'}\n\n"])
def test_an_error_in_the_place_of_data(before: str) -> None:
    """llama.cpp until 2025-09 named the field after the event, and sent `[DONE]` after it: that is no success."""
    error = '{"code":400,"message":"the request exceeds the available context size","type":"invalid_request_error"}'
    found = decoded("openai-chat", f"{before}error: {error}\n\ndata: [DONE]\n\n".encode())
    assert (found.ended(), found.end["code"]) == ("error invalid_request", "400")


def test_an_endless_event_is_refused_with_bounded_memory() -> None:
    """One event over the limit ends the response; nothing after it is read."""
    with Decoder("anthropic") as decoder:
        ops = decoder.feed(b"data: ")
        for _ in range(9):
            ops += decoder.feed(b"x" * (1 << 20))
        ops += decoder.feed(b"\n\ndata: {}\n\n") + decoder.finish()
    assert [(op["op"], op["class"]) for op in ops] == [("error", "too_large")]


def test_an_endless_response_is_refused() -> None:
    """The text one response may hold is bounded too."""
    chunk = f"data: {TEXT % ('x' * 100_000)}\n\n".encode()
    ops = feed("openai-chat", [chunk] * 200)
    assert (ops[-1]["op"], ops[-1]["class"]) == ("error", "too_large")
    assert sum(len(op["text"]) for op in ops if op["op"] == "text") <= (16 << 20) + 100_000


def test_endlessly_many_blocks_are_refused() -> None:
    """So is their number: every new block costs a look at the open ones."""
    starts = [
        b'data: {"type":"content_block_start","index":%d,"content_block":{"type":"text","text":""}}\n\n' % i
        for i in range(5000)
    ]
    ops = feed("anthropic", [b"".join(starts)])
    assert (ops[-1]["op"], ops[-1]["class"]) == ("error", "too_large")


def test_nesting_is_bounded() -> None:
    """Deep nesting is no JSON to us, and does not overflow any stack."""
    deep = b"data: " + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"\n\n"
    assert fold(feed("gemini", [deep]))[0]["op"] == "malformed"


def _members(count: int) -> str:
    return ",".join(f'"k{n}":1' for n in range(count))


def _a_delta_of_many_members(count: int) -> tuple[str, bytes]:
    block = '{"type":"content_block_start","index":0,"content_block":{"type":"compaction"}}'
    delta = (
        f'{{"type":"content_block_delta","index":0,"delta":{{"type":"compaction_delta",{_members(count)}}}}}'
    )
    return "anthropic", f"data: {block}\n\ndata: {delta}\n\n".encode()


def _a_detail_of_many_members(count: int) -> tuple[str, bytes]:
    detail = '{"type":"reasoning.text","text":"a"}'
    delta = f'{{"reasoning_details":[{detail},{{"type":"reasoning.text",{_members(count)}}}]}}'
    return "openai-chat", f'data: {{"choices":[{{"delta":{delta}}}]}}\n\n'.encode()


def _arguments_of_many_members(count: int) -> tuple[str, bytes]:
    pieces = ",".join(f'{{"jsonPath":"$.k{n}","numberValue":1}}' for n in range(count))
    call = f'{{"name":"f","partialArgs":[{pieces}],"willContinue":true}}'
    return (
        "gemini",
        f'data: {{"candidates":[{{"content":{{"parts":[{{"functionCall":{call}}}]}}}}]}}\n\n'.encode(),
    )


def _a_chunk_of_many_calls(count: int) -> tuple[str, bytes]:
    calls = ",".join(f'{{"id":"c{n}","function":{{"name":"f","arguments":"{{}}"}}}}' for n in range(count))
    return "openai-chat", f'data: {{"choices":[{{"delta":{{"tool_calls":[{calls}]}}}}]}}\n\n'.encode()


def _a_list_of_many_items(count: int) -> tuple[str, bytes]:
    items = ",".join(f'{{"type":"function_call","call_id":"c{n}","name":"f"}}' for n in range(count))
    last = f'{{"type":"response.completed","response":{{"output":[{items}]}}}}'
    return "openai-responses", f"data: {last}\n\n".encode()


@pytest.mark.parametrize(
    "make",
    [
        _a_delta_of_many_members,
        _a_detail_of_many_members,
        _arguments_of_many_members,
        _a_chunk_of_many_calls,
        _a_list_of_many_items,
    ],
)
def test_members_are_read_in_linear_time(make: Callable[[int], tuple[str, bytes]]) -> None:
    """A peer that sends objects of endless members costs what its bytes cost: 4 MB of them would take minutes."""

    def seconds(count: int) -> float:
        dialect, stream = make(count)
        begun = time.process_time()
        feed(dialect, [stream])
        return time.process_time() - begun

    short, long = min(seconds(5_000) for _ in range(3)), seconds(80_000)
    assert long < 16 * 5 * short + 0.05


def _seconds_for_small_feeds(before: bytes) -> float:
    with Decoder("openai-chat") as decoder:
        decoder.feed(before)
        begun = time.process_time()
        for _ in range(1_000):
            decoder.feed(b"x")
        return time.process_time() - begun


def test_what_waits_is_not_scanned_again() -> None:
    """A byte costs the same whether it follows 1 byte or 4 MB of an unfinished line."""
    short = min(_seconds_for_small_feeds(b"data: x") for _ in range(3))
    long = min(_seconds_for_small_feeds(b"data: " + b"x" * (4 << 20)) for _ in range(3))
    assert long < 5 * short + 0.02  # looked at again, the 4 MB would cost seconds


def test_an_unknown_dialect_is_refused() -> None:
    """The names are a closed set."""
    with pytest.raises(ValueError, match="nonsense"):
        Decoder("nonsense")
