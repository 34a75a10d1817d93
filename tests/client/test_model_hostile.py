"""The model server against requests that no client should send: every one is answered or refused, none breaks it."""

import copy
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeloop_client.model.cache import PrefixCache
from edgeloop_client.model.counting import TokenCounter
from edgeloop_client.model.dialect import Incoming
from edgeloop_client.model.errors import Refused
from edgeloop_client.model.options import Options
from edgeloop_client.model.play import Player, parts
from edgeloop_client.model.routes import find_dialect
from edgeloop_client.model.scenarios.survey import survey
from edgeloop_client.model.shapes import is_array, is_object

HEADERS = {"x-api-key": "k", "authorization": "Bearer k", "anthropic-version": "1", "x-goog-api-key": "k"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
FUNCTION = {"name": "read_file", "description": "d", "parameters": SCHEMA}
CHAT: dict[str, Any] = {
    "model": "survey",
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 9,
    "tools": [{"type": "function", "function": FUNCTION}],
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "call f {}"}]},
        {
            "role": "assistant",
            "content": "t",
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "list_files", "arguments": "{}"}}
            ],
        },
        {
            "role": "tool",
            "tool_call_id": "c",
            "content": '{"entries":[{"path":"a","lines":1}],"total":{"files":1}}',
        },
    ],
}
GOOD: dict[str, dict[str, Any]] = {
    "/v1/messages": {
        "model": "survey",
        "max_tokens": 9,
        "cache_control": {"type": "ephemeral", "ttl": "5m"},
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "adaptive"},
        "tools": [{"name": "read_file", "description": "d", "input_schema": SCHEMA}],
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "a", "name": "search", "input": {"a": 1}}],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "a",
                        "content": [{"type": "text", "text": "r"}],
                        "is_error": True,
                    },
                    {"type": "text", "text": "{}"},
                ],
            },
        ],
    },
    "/v1/chat/completions": CHAT,
    "/v1/responses": {
        "model": "script",
        "instructions": "s",
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"summary": "auto"},
        "max_output_tokens": 20,
        "tools": [{"type": "function", **FUNCTION, "strict": False}],
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": '{"steps":[{"text":"a"}]}'}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "r"}]},
        ],
    },
    "/v1beta/models/tools:streamGenerateContent": {
        "system_instruction": {"parts": [{"text": "s"}]},
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": SCHEMA}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "generationConfig": {"maxOutputTokens": 9, "thinkingConfig": {"includeThoughts": True}},
        "contents": [
            {"role": "user", "parts": [{"text": "call f {}"}]},
            {
                "role": "model",
                "parts": [
                    {
                        "functionCall": {"name": "f", "args": {"a": 1}, "id": "1"},
                        "thoughtSignature": "skip_thought_signature_validator",
                    }
                ],
            },
            {
                "role": "user",
                "parts": [{"functionResponse": {"name": "f", "response": {"output": "r"}, "id": "1"}}],
            },
        ],
    },
    "/client/v4/accounts/a/ai/run/survey": {name: CHAT[name] for name in ("messages", "tools", "stream")},
}
_GONE = object()
ANYTHING: list[Any] = [None, True, 0, -1, 2**70, 1.5, "", "x", "\ud800", [], {}, [None], [{}], {"x": None}]


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to the whole and to every part of it."""
    inner = value.items() if is_object(value) else enumerate(value) if is_array(value) else ()
    return [path, *(place for key, part in inner for place in _places(part, (*path, key)))]


def _changed(body: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    changed = copy.deepcopy(body)
    at = changed
    for key in place[:-1]:
        at = at[key]
    if value is _GONE:
        del at[place[-1]]
    else:
        at[place[-1]] = value
    return changed


def _answer(path: str, body: bytes) -> None:
    """Parse and answer as the server does, without a socket."""
    dialect = find_dialect(path)
    assert dialect is not None
    try:
        prompt = dialect.parse(Incoming(path=path, query="alt=sse", headers=HEADERS, body=body))
    except Refused:
        return
    use = dialect.charge(prompt, 1, PrefixCache(lambda: 0.0), TokenCounter())
    options = Options(shape="native")
    beats = list(Player(options, 50).beats(parts(prompt.conversation, survey)))
    encoder = dialect.encoder(prompt, use, options)
    stream = b"".join([*encoder.start(), *(event for beat in beats for event in encoder.events(beat.op))])
    assert stream.decode().replace("\r", "").endswith("\n\n")
    assert json.dumps(dialect.encoder(prompt, use, options).whole([beat.op for beat in beats]))


@pytest.mark.parametrize("path", sorted(GOOD))
def test_any_change_to_a_good_request_is_answered_or_refused(path: str):
    """Each part of a good request is taken away, and replaced by anything at all."""
    for place in _places(GOOD[path]):
        for value in ANYTHING:
            _answer(path, json.dumps(_changed(GOOD[path], place, value)).encode())
        if place:
            _answer(path, json.dumps(_changed(GOOD[path], place, _GONE)).encode())


def test_good_requests_are_good():
    """What the test above starts from is not refused as it is."""
    for path, body in GOOD.items():
        dialect = find_dialect(path)
        assert dialect is not None
        dialect.parse(Incoming(path=path, query="alt=sse", headers=HEADERS, body=json.dumps(body).encode()))


# --- the command ---------------------------------------------------------------------------------------------------


def _serve(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from edgeloop_client.model.cli import app; app()", "serve", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_command_serves_logs_and_ends_on_a_signal(tmp_path: Path):
    """It prints where it listens, answers, writes a line per answer, and a signal ends it well in mid-stream."""
    script = tmp_path / "script.json"
    script.write_text('{"steps": [{"text": "from the file"}, {"wait_ms": 60000}]}', encoding="utf-8")
    log = tmp_path / "log"
    server = _serve(
        "--port", "0", "--script", str(script), "--scenario", "echo", "--option", "tps=0", "--log", str(log)
    )
    assert server.stdout is not None
    found = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
    assert found is not None
    body = {"max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}
    with httpx.Client(base_url=found[0], headers=HEADERS) as client:
        answer = client.post("/v1/messages", json={**body, "model": "claude-opus-5"}).json()
        assert answer["content"][0]["text"] == "hi"
        with client.stream(
            "POST", "/v1/messages", json={**body, "model": "script", "stream": True}
        ) as response:
            assert "message_start" in next(response.iter_text())
            server.send_signal(signal.SIGTERM)
            rest, _ = server.communicate(timeout=20)
    assert (server.returncode, rest) == (0, "")
    first = json.loads(log.read_text(encoding="utf-8").splitlines()[0])
    assert (first["status"], first["model"], first["input"]["read"]) == (200, "claude-opus-5", 0)


def test_command_says_what_is_wrong():
    """A bad option, a bad scenario and a taken port are usage errors, told by name."""
    for arguments, says in (
        (("--option", "speed=1"), "unknown option"),
        (("--scenario", "nobody"), "nobody"),
        (("--host", "256.0.0.1"), "cannot listen"),
    ):
        server = _serve("--port", "0", *arguments)
        output, _ = server.communicate(timeout=20)
        assert server.returncode == 2
        assert says in " ".join(output.split())
