"""Scenarios, pacing and the ends of messages, through the real server."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from edgeloop_client.hot import count_tokens
from edgeloop_client.model.counting import pieces
from tests.support.model_client import ANTHROPIC, BODIES, anthropic_body, openai_body, post, said, stream
from tests.support.model_server import ModelServerHandle, start_model_server

LATE = 1000
"""Milliseconds that a busy machine may be late; early is never allowed."""
BOTH = pytest.mark.parametrize("dialect", ["anthropic", "openai"])


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServerHandle]:
    with start_model_server() as handle:
        yield handle


def _arrivals(server: ModelServerHandle, body: dict[str, Any]) -> list[tuple[float, dict[str, Any]]]:
    """Each event of a Messages stream with the milliseconds since the answer began."""
    answer: list[tuple[float, dict[str, Any]]] = []
    with httpx.stream(
        "POST", server.url + "/v1/messages", json={**body, "stream": True}, headers=ANTHROPIC
    ) as response:
        began = time.monotonic()
        for chunk in response.iter_raw():
            at = (time.monotonic() - began) * 1000
            answer += [
                (at, json.loads(line[6:])) for line in chunk.splitlines() if line.startswith(b"data: ")
            ]
    return answer


def _script(*turns: list[dict[str, Any]]) -> str:
    return json.dumps({"turns": turns})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "one",
        "Hello, World! it's 12345 o'clock\n\n  and\tmore ",
        "日本語のテキスト",
        "\U0001f468\u200d\U0001f469 x",
        "a" * 1000,
        "  \n \n",
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_pieces_are_the_whole_text_in_real_tokens(text: str, size: int):
    """Joined, the pieces are the text; their tokens add up to tiktoken's count unless a long run had to be cut."""
    made = list(pieces(text, size))
    assert "".join(piece for piece, _ in made) == text
    assert all(tokens >= size for _, tokens in made[:-1])
    if len(text) < 1000:
        assert sum(tokens for _, tokens in made) == count_tokens(text)


def test_script_keeps_its_times(server: ModelServerHandle):
    """Calls are complete at their times; the text's last byte comes at its own."""
    steps: list[dict[str, Any]] = [
        {"call": "f", "arguments": {"text": "word " * 20}, "until_ms": 150},
        {"call": "f", "arguments": {"n": 2}, "until_ms": 300},
        {"text": "the end of it all", "until_ms": 500},
    ]
    body = anthropic_body("script", _script(steps))
    events = _arrivals(server, body)
    stops = [at for at, event in events if event["type"] == "content_block_stop"]
    assert all(due - 30 <= at <= due + LATE for at, due in zip(stops, (150, 300, 500), strict=True))
    assert events[-2][1]["delta"]["stop_reason"] == "tool_use"


@BOTH
def test_script_fills_at_a_rate_with_the_time_of_writing(server: ModelServerHandle, dialect: str):
    """Deltas of exactly so many bytes, at a rate, each with the time it was written."""
    script = _script([{"deltas": 40, "bytes": 32, "per_s": 200, "stamp": True}])
    before = time.time_ns() // 1000
    text = said(dialect, stream(server.url, dialect, BODIES[dialect]("script", script)))
    parts = [text[at : at + 32] for at in range(0, len(text), 32)]
    stamps = [int(part.split("@")[1]) for part in parts]
    assert len(parts) == 40
    assert stamps == sorted(stamps)
    assert before + 5_000 <= stamps[0]
    assert before + 200_000 <= stamps[-1] <= before + 200_000 + LATE * 1000


@BOTH
def test_script_has_a_message_per_turn(server: ModelServerHandle, dialect: str):
    """The second message is played when the results are there, and after the last the script is over."""
    script = _script([{"text": "first"}, {"call": "f", "arguments": {"n": 1}}], [{"text": "second"}])
    body = BODIES[dialect]("script", script)
    message = post(server.url, dialect, body).json()
    if dialect == "anthropic":
        echoed: list[Any] = [{"role": "assistant", "content": message["content"]}]
        result = {"type": "tool_result", "tool_use_id": message["content"][1]["id"], "content": "1"}
        echoed.append({"role": "user", "content": [result]})
    else:
        own = message["choices"][0]["message"]
        echoed = [
            {**own, "refusal": None},
            {"role": "tool", "tool_call_id": own["tool_calls"][0]["id"], "content": "1"},
        ]
    body["messages"] += echoed
    assert said(dialect, stream(server.url, dialect, body)) == "second"


def test_script_from_the_server_is_played_where_the_message_has_none():
    """`--script` sets it."""
    with start_model_server(script=_script([{"text": "from the file"}])) as server:
        body = anthropic_body("script", "play")
        assert post(server.url, "anthropic", body).json()["content"][0]["text"] == "from the file"


@pytest.mark.parametrize(
    "text", ["play", "{", '{"steps": [{}]}', '{"steps": [{"text": "a", "call": "b"}]}', '{"turns": 5}']
)
def test_bad_script_says_so(server: ModelServerHandle, text: str):
    """No error of the server's: the answer says what was wrong."""
    answer = post(server.url, "anthropic", anthropic_body("script", text)).json()["content"][0]["text"]
    assert "cript" in answer


@pytest.mark.parametrize(
    ("text", "batches"),
    [
        ("call f {}", [["f"]]),
        ("please\ncall f {}\ncall g\nthanks", [["f", "g"]]),
        ("call f {}\nthen\ncall g {}", [["f"], ["g"]]),
    ],
)
def test_tools_calls_what_it_is_told(server: ModelServerHandle, text: str, batches: list[list[str]]):
    """Lines of one batch in parallel, batches one after another, then the results."""
    body = anthropic_body("tools", text)
    for names in batches:
        content = post(server.url, "anthropic", body).json()["content"]
        assert [block["name"] for block in content] == names
        results = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": block["name"] * 2}
            for block in content
        ]
        body["messages"] += [{"role": "assistant", "content": content}, {"role": "user", "content": results}]
    answer = post(server.url, "anthropic", body).json()["content"][0]["text"]
    assert all(f"{name}: {name * 2}" in answer for names in batches for name in names)


@BOTH
def test_pace_of_tokens(server: ModelServerHandle, dialect: str):
    """`ttft_ms` before the first byte, `tps` after it."""
    started = time.monotonic()
    body = BODIES[dialect]("echo:ttft_ms=200,tps=100,chunk_tokens=5", "word " * 50)
    assert said(dialect, stream(server.url, dialect, body)) == "word " * 50
    assert 0.7 <= time.monotonic() - started <= 0.7 + LATE / 1000


@BOTH
def test_message_ends_at_the_token_limit(server: ModelServerHandle, dialect: str):
    """Exactly so many tokens, and the reason says so."""
    body = {**BODIES[dialect]("echo", "word " * 50), "max_tokens": 7}
    answer = post(server.url, dialect, body).json()
    usage = answer["usage"]
    reason = answer["stop_reason"] if dialect == "anthropic" else answer["choices"][0]["finish_reason"]
    assert reason == {"anthropic": "max_tokens", "openai": "length"}[dialect]
    assert usage.get("output_tokens", usage.get("completion_tokens")) == 7
    assert said(dialect, stream(server.url, dialect, body)) == "word word word word word word word"


@BOTH
def test_refusal(server: ModelServerHandle, dialect: str):
    """A message that ends in a refusal says so in the provider's words."""
    script = _script([{"text": "I had rather not."}, {"end": "refusal"}])
    answer = post(server.url, dialect, BODIES[dialect]("script", script)).json()
    reason = answer["stop_reason"] if dialect == "anthropic" else answer["choices"][0]["finish_reason"]
    assert reason == {"anthropic": "refusal", "openai": "content_filter"}[dialect]


GO_ON = "[The connection to the model broke off here. Continue exactly where your message ended.]"


@pytest.mark.parametrize(
    ("said_before", "rest"),
    [("one two", " three four"), ("one two three four", ""), ("else", "one two three four")],
)
def test_model_goes_on_where_it_was_cut_off(server: ModelServerHandle, said_before: str, rest: str):
    """Asked to continue, it says what is left; where it had said something else, it says all."""
    body = anthropic_body("echo", "one two three four")
    body["messages"] += [{"role": "assistant", "content": said_before}, {"role": "user", "content": GO_ON}]
    content = post(server.url, "anthropic", body).json()["content"]
    assert "".join(block["text"] for block in content) == rest


def test_full_speed(server: ModelServerHandle):
    """20,000 deltas cost little: within the processor time of server and client together, whatever else the machine does."""
    body = openai_body("script", _script([{"deltas": 20_000, "bytes": 8}]))
    started = time.process_time()
    answer = stream(server.url, "openai", body)
    spent = time.process_time() - started
    assert len(answer.data) == 20_000 + 3
    assert spent < 3
