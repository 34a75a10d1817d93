"""What no client should send: each is answered with a type, costs only who sent it, and changes nothing."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from edgeloop.frames import parse_server_frame as parse
from edgeloop.limits import MAX_FRAME_BYTES, MAX_MESSAGE_BYTES
from edgeloop.wire import Duplicate, ErrorCode, ErrorFrame, Synced
from tests.edge.conftest import StartEdge
from tests.support.edge import HEADERS, Client, Door, Tool, kinds, raw_socket, refusal
from tests.support.provider import Reply, ScriptedProvider

HELLO = {"t": "hello", "v": 1, "client": "raw"}
TEXT = "x" * (MAX_MESSAGE_BYTES + 1)

BEFORE_HELLO: dict[str, tuple[str | bytes, ErrorCode]] = {
    "binary": (b"\x00\x01", "bad_frame"),
    "binary json": (json.dumps(HELLO).encode(), "bad_frame"),
    "empty": ("", "bad_frame"),
    "no json": ("{", "bad_frame"),
    "null": ("null", "bad_frame"),
    "list": ("[]", "bad_frame"),
    "no type": ("{}", "bad_frame"),
    "unknown type": ('{"t":"welcome"}', "bad_frame"),
    "deep": ("[" * 100_000, "bad_frame"),
    "huge": ('"' + "x" * MAX_FRAME_BYTES + '"', "too_large"),
    "another version": (json.dumps({**HELLO, "v": 2}), "version"),
    "no version": ('{"t":"hello","client":"raw"}', "bad_frame"),
    "client named edge": (json.dumps({**HELLO, "client": "edge"}), "bad_frame"),
    "client with a slash": (json.dumps({**HELLO, "client": "a/b"}), "bad_frame"),
    "negative cursor": (json.dumps({**HELLO, "after": -1}), "bad_frame"),
    "extra field": (json.dumps({**HELLO, "admin": True}), "bad_frame"),
    "two tools of one name": (
        json.dumps(
            {
                **HELLO,
                "tools": [
                    {"name": "a", "description": "", "parameters": {"type": "object"}, "effect": "read"}
                ]
                * 2,
            }
        ),
        "conflict",
    ),
    "a tool of the edge's": (
        json.dumps(
            {
                **HELLO,
                "tools": [
                    {
                        "name": "note_read",
                        "description": "",
                        "parameters": {"type": "object"},
                        "effect": "read",
                    }
                ],
            }
        ),
        "conflict",
    ),
    "message first": ('{"t":"message","id":"m1","text":"hi"}', "hello_expected"),
    "stop first": ('{"t":"stop"}', "hello_expected"),
}

AFTER_HELLO: dict[str, tuple[str, ErrorCode]] = {
    "blank message": ('{"t":"message","id":"m1","text":"  "}', "bad_frame"),
    "message without id": ('{"t":"message","text":"hi"}', "bad_frame"),
    "message with a wild id": ('{"t":"message","id":"a b","text":"hi"}', "bad_frame"),
    "lone surrogate": ('{"t":"message","id":"m1","text":"\\ud800"}', "bad_frame"),
    "large message": (json.dumps({"t": "message", "id": "m1", "text": TEXT}), "too_large"),
    "large result": (
        json.dumps({"t": "tool_result", "call": "1.0", "epoch": 1, "outcome": "ok", "content": TEXT}),
        "too_large",
    ),
    "result of no call": (
        '{"t":"tool_result","call":"9.9","epoch":1,"outcome":"ok","content":""}',
        "unknown_call",
    ),
    "unknown outcome": (
        '{"t":"tool_result","call":"1.0","epoch":1,"outcome":"fine","content":""}',
        "bad_frame",
    ),
    "answer to no question": ('{"t":"decide","call":"1.0","allow":true}', "unknown_call"),
    "unknown mode": ('{"t":"autonomy","mode":"yolo"}', "bad_frame"),
}


def well(reply: Reply) -> None:
    reply.text("All well.")
    reply.end()


async def _hello(socket: ClientConnection) -> None:
    await socket.send(json.dumps(HELLO))
    while not isinstance(parse(await asyncio.wait_for(socket.recv(), 30)), Synced):
        pass


@pytest.mark.parametrize("name", BEFORE_HELLO)
async def test_a_bad_first_frame_is_refused_and_the_socket_stays(door: Door, name: str):
    """A frame that is none, or comes before `hello`, gets a typed error; then `hello` still works (behaviours 2, 39)."""
    data, code = BEFORE_HELLO[name]
    async with raw_socket(door) as socket:
        await socket.send(data)
        error = await refusal(socket)
        assert error.code == code
        assert len(error.message) < 500
        await _hello(socket)
    assert (await door.state()).head == 0


@pytest.mark.parametrize("name", AFTER_HELLO)
async def test_a_bad_command_is_refused_and_changes_nothing(door: Door, name: str):
    """A command that cannot be is answered with a type on its own socket, and the log does not move (behaviour 39)."""
    data, code = AFTER_HELLO[name]
    async with Client(door=door, name="other") as other, raw_socket(door) as socket:
        await _hello(socket)
        await socket.send(data)
        assert (await refusal(socket)).code == code
        await socket.send(data)
        assert (await refusal(socket)).code == code
        assert not other.got(ErrorFrame)
    assert (await door.state()).head == 0


async def test_a_second_hello_is_a_no_op(provider: ScriptedProvider, door: Door):
    """A handshake on a socket that had one changes nothing and is not answered (behaviour 2)."""
    provider.script(door.agent, well)
    async with Client(door=door) as client:
        await client.send_raw(json.dumps({**HELLO, "client": "somebody-else"}))
        await client.say("go")
        await client.until_idle()
        assert [frame.t for frame in client.frames].count("welcome") == 1
        assert [frame.t for frame in client.frames].count("synced") == 1
    assert client.view == await door.view()


async def test_a_result_of_anothers_call_is_refused(provider: ScriptedProvider, door: Door):
    """Only the runner of a call, with the epoch it was given, may answer it; and only once (behaviours 18, 23)."""

    def call(reply: Reply) -> None:
        reply.call("look", {})
        reply.end()

    provider.script(door.agent, call, well)
    look = Tool(name="look", run=lambda _: "seen")
    owner, other = Client(door=door, tools=(look,), answering=False), Client(door=door, name="other")
    result: dict[str, Any] = {
        "t": "tool_result",
        "call": "1.0",
        "epoch": 1,
        "outcome": "ok",
        "content": "seen",
    }
    async with owner, other:
        await owner.say("go")
        await owner.until_event("tool_started")
        await other.send_raw(json.dumps(result))
        await other.until(lambda: other.got(ErrorFrame))
        assert other.got(ErrorFrame)[0].code == "not_yours"
        await owner.send_raw(json.dumps({**result, "epoch": 2}))
        await owner.until(lambda: owner.got(ErrorFrame))
        assert owner.got(ErrorFrame)[0].code == "not_yours"
        await owner.answer(owner.assigned[0], "seen")
        await owner.until_idle()
        await owner.send_raw(json.dumps({**result, "content": "seen otherwise"}))
        await owner.until(lambda: owner.got(Duplicate))
    assert kinds(await door.events()).count("tool_finished") == 1


# --- HTTP -----------------------------------------------------------------------------------------------------------

BODIES: dict[str, tuple[bytes, int, ErrorCode]] = {
    "empty": (b"", 400, "bad_frame"),
    "no json": (b"{", 400, "bad_frame"),
    "no utf-8": (b'{"id":"m1","text":"\xff"}', 400, "bad_frame"),
    "list": (b"[]", 400, "bad_frame"),
    "no text": (b'{"id":"m1"}', 400, "bad_frame"),
    "blank": (b'{"id":"m1","text":" "}', 400, "bad_frame"),
    "wild id": (b'{"id":"../m","text":"hi"}', 400, "bad_frame"),
    "large text": (json.dumps({"id": "m1", "text": TEXT}).encode(), 413, "too_large"),
    "large body": (b" " * (MAX_FRAME_BYTES + 1), 413, "too_large"),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_bad_body_is_refused(door: Door, name: str):
    """A posted body that is no message is answered with its status and a typed error."""
    body, status, code = BODIES[name]
    answer = await door.request("POST", "/messages", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert (await door.state()).head == 0


async def test_a_body_without_length_is_bounded_too(door: Door):
    """A body whose length is not told is read no further than the limit."""

    async def pour():
        for _ in range(3 * MAX_FRAME_BYTES >> 16):
            yield b" " * (1 << 16)

    answer = await door.request("POST", "/messages", content=pour())
    assert answer.status_code == 413


CURSORS = {"-1": 400, "abc": 400, "1.5": 400, "%C2%B2": 400, "9" * 400: 400, "7": 409, "": 400}


@pytest.mark.parametrize("after", CURSORS)
async def test_a_bad_cursor_is_refused(door: Door, after: str):
    """`after` is a number that the log has reached (behaviour 8)."""
    answer = await door.request("GET", f"/events?after={after}")
    assert answer.status_code == CURSORS[after], answer.text
    assert answer.json()["error"]["expected"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1/agents"),
        ("GET", "/v1/agents/"),
        ("GET", "/v1/agents/a%2Fb/state"),
        ("GET", "/v1/agents/a b/state"),
        ("GET", "/v1/agents/%2e%2e/state"),
        ("GET", "/v1/agents/" + "a" * 129 + "/state"),
        ("GET", "/v1/agents/a/secrets"),
        ("GET", "/v1/agents/a/state/more"),
        ("GET", "/v1/agents/a"),
        ("POST", "/v1/agents/a/state"),
        ("PUT", "/v1/agents/a/messages"),
        ("DELETE", "/v1/agents/a/messages"),
        ("POST", "/v1/agents/a/ws"),
        ("GET", "/v2/agents/a/state"),
    ],
)
async def test_an_unknown_path_is_not_found(door: Door, method: str, path: str):
    """What is not there is a typed 404, whatever the method."""
    async with httpx.AsyncClient(base_url=door.url, headers=HEADERS) as http:
        answer = await http.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_a_socket_path_without_an_upgrade_is_refused(door: Door):
    """Plain GET of the socket's path says what was expected."""
    answer = await door.request("GET", "/ws")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_frame")


TOKENS: dict[str, dict[str, str]] = {
    "none": {},
    "wrong": {"authorization": "Bearer nope"},
    "empty": {"authorization": "Bearer"},
    "another scheme": {"authorization": HEADERS["authorization"].replace("Bearer", "Basic")},
    "with more": {"authorization": HEADERS["authorization"] + "x"},
    "with less": {"authorization": HEADERS["authorization"][:-1]},
}


@pytest.mark.parametrize("name", TOKENS)
async def test_without_the_token_nothing_is_told(door: Door, name: str):
    """No path of an agent answers without the token, known or not, socket or not."""
    async with httpx.AsyncClient(base_url=door.url, headers=TOKENS[name]) as http:
        for method, what in (
            ("GET", "state"),
            ("POST", "messages"),
            ("POST", "stop"),
            ("GET", "events"),
            ("GET", "nothing"),
            ("PUT", "autonomy"),
        ):
            answer = await http.request(method, f"/v1/agents/{door.agent}/{what}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
        assert (await http.delete(f"/v1/agents/{door.agent}")).status_code == 401
    with pytest.raises(InvalidStatus) as refused:
        async with raw_socket(door, headers=TOKENS[name]):
            pass
    assert refused.value.response.status_code == 401


async def test_delete_forgets_one_agent_and_no_other(provider: ScriptedProvider, door: Door):
    """After DELETE an agent is new, its sockets are closed, and another agent has lost nothing."""
    other = Door(url=door.url, agent=f"{door.agent}-other")
    provider.script(door.agent, well)
    provider.script(other.agent, well)
    for one in (door, other):
        await one.post("go")
        await one.until("turn_finished")
    log, events = await other.log()
    old = await door.state()
    async with Client(door=door) as client:
        assert (await door.request("DELETE")).status_code == 200
        await client.until(lambda: client.closed)
        assert client.closed is not None
        assert client.closed[0] == 1000
    new = await door.state()
    assert (new.head, new.turns, new.usage.output) == (0, 0, None)
    assert new.log != old.log
    assert await other.log() == (log, events)
    assert (await door.post("go")).status_code == 202
    assert len(await door.until("turn_finished")) < len(events) + 2


async def test_delete_in_mid_stream_ends_the_call(provider: ScriptedProvider, door: Door):
    """DELETE ends what is under way, and nothing of it comes after."""

    def pour(reply: Reply) -> None:
        with reply.block() as piece:
            piece("a")
            reply.silence()

    provider.script(door.agent, pour)
    async with Client(door=door) as client:
        await client.say("go")
        await client.until(lambda: client.shown() == "a")
        await door.request("DELETE")
    assert await asyncio.to_thread(provider.asked(door.agent)[0].hung_up.wait, 10)
    assert (await door.state()).head == 0


async def test_with_no_token_configured_everything_is_refused(own_edge: StartEdge, agent: str):
    """A deployment without a token lets nobody in, whatever they present."""
    edge = own_edge(EDGELOOP_TOKEN="")
    for headers in (*TOKENS.values(), HEADERS):
        answer = httpx.get(f"{edge.url}/v1/agents/{agent}/state", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_configured")
    assert httpx.get(f"{edge.url}/healthz").status_code == 200


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"EDGELOOP_MODE": "yolo"}, "EDGELOOP_MODE: mode 'yolo'"),
        ({"EDGELOOP_RULES": '[{"verdict":"deny","host":"a.b:80"}]'}, "EDGELOOP_RULES: 0.host: 'a.b:80'"),
    ],
)
async def test_settings_that_make_no_sense_are_told_and_brick_nothing(
    own_edge: StartEdge, agent: str, variables: dict[str, str], told: str
):
    """With a setting that cannot be, every request is told what was expected; none runs by fewer rules (behaviour 30)."""
    edge = own_edge(**{"EDGELOOP_RULES": '[{"verdict":"deny","tool":"run_command"}]', **variables})
    door = Door(url=edge.url, agent=agent)
    for _ in range(2):
        answer = await door.request("GET", "/state")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_configured")
        assert answer.json()["error"]["message"] == told
    async with raw_socket(door) as socket:
        await socket.send(json.dumps(HELLO))
        assert (await refusal(socket)).message == told
    assert httpx.get(f"{edge.url}/healthz").status_code == 200
