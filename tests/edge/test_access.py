"""Who gets in, in real workerd: signed tokens by header and subprotocol, scopes of requests and frames, origins, expiry."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from edgeloop.access import SCOPES, Access, Scope, mint
from edgeloop.frames import parse_server_frame as parse
from edgeloop.wire import ErrorCode, Synced
from scripts.local_edge import LocalEdge
from tests.edge.conftest import variables
from tests.support.edge import HEADERS, TOKEN, Door, raw_socket, refusal
from tests.support.provider import Reply, ScriptedProvider

KEY, OLD = "a-signing-key-of-32-characters-00", "the-signing-key-that-was-before-it"
PAGE = "https://app.example"


@pytest.fixture(scope="module")
def edge(provider: ScriptedProvider) -> Iterator[LocalEdge]:
    """A Worker with signing keys, where pages of one origin may connect."""
    given = variables(
        provider.url,
        "anthropic",
        EDGELOOP_SIGNING_KEY=KEY,
        EDGELOOP_SIGNING_KEY_PREVIOUS=OLD,
        EDGELOOP_ORIGINS=f"{PAGE} https://other.example",
    )
    with LocalEdge(variables=given, private_copy=True) as started:
        yield started


@pytest.fixture
def own(edge: LocalEdge, agent: str) -> Door:
    """A new agent at that Worker."""
    return Door(url=edge.url, agent=agent)


def token(agent: str, scope: Scope = "write", *, seconds: float = 3_600, key: str = KEY) -> str:
    return mint(Access(agent=agent, scope=scope, expires=int((time.time() + seconds) * 1000)), key)


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def code_of(answer: httpx.Response) -> str:
    return "" if answer.is_success else answer.json()["error"]["code"]


REQUESTS: dict[str, tuple[str, str, str | None, tuple[int, int, int]]] = {
    "state": ("GET", "/state", None, (200, 200, 200)),
    "events": ("GET", "/events", None, (200, 200, 200)),
    "a message": ("POST", "/messages", '{"id":"m1","text":"hi"}', (403, 202, 202)),
    "an answer": ("POST", "/approvals", '{"call":"1.0","allow":true}', (403, 404, 404)),
    "stop": ("POST", "/stop", None, (403, 200, 200)),
    "autonomy": ("PUT", "/autonomy", '{"mode":"auto"}', (403, 403, 200)),
    "an export": ("GET", "/export", None, (403, 403, 404)),
    "an import": ("POST", "/import", "{}", (403, 403, 422)),
    "a fork": ("POST", "/fork", "{}", (403, 403, 400)),
    "what is not there": ("PATCH", "/state", None, (403, 403, 404)),
    "delete": ("DELETE", "", None, (403, 403, 200)),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_needs_its_scope(own: Door, name: str):
    """Each request is open to its scope and those above it; a refusal names the scope that is needed."""
    method, what, body, statuses = REQUESTS[name]
    for scope, status in zip(SCOPES, statuses, strict=True):
        door = Door(url=own.url, agent=f"{own.agent}-{scope}")
        answer = await door.request(method, what, content=body, headers=bearer(token(door.agent, scope)))
        if status == 404 and name == "an answer":
            assert code_of(answer) == "unknown_call"
        else:
            assert answer.status_code == status, answer.text
        if status == 403:
            assert code_of(answer) == "forbidden"
            assert answer.json()["error"]["expected"].startswith("a token of scope")


def outdated(agent: str) -> str:
    return token(agent, seconds=-1)


async def test_a_token_is_told_what_it_lacks(own: Door):
    """Another agent's, an expired, a foreign and no token each get their own refusal; the keys of a rotation both let in."""
    cases = {
        token(own.agent): (200, ""),
        token(own.agent, key=OLD): (200, ""),
        token(own.agent[:-1] + "*"): (200, ""),
        TOKEN: (200, ""),
        token(f"{own.agent}-not"): (403, "forbidden"),
        token(own.agent[:-1]): (403, "forbidden"),
        outdated(own.agent): (401, "expired"),
        token(own.agent, key="f" * 32): (401, "unauthorized"),
        token(own.agent)[:-4]: (401, "unauthorized"),
        "x": (401, "unauthorized"),
    }
    for text, (status, code) in cases.items():
        answer = await own.request("GET", "/state", headers=bearer(text))
        assert (answer.status_code, code_of(answer)) == (status, code), text


async def test_a_fork_stays_within_what_its_token_is_for(own: Door):
    """Who may do everything to one agent makes no other; who may to all that begin alike makes these."""
    assert (await own.request("POST", "/messages", json={"id": "m", "text": "x", "model": "none"})).is_success
    for name, agent, status in (
        (own.agent, f"{own.agent}-fork", 403),
        (f"{own.agent}*", "another", 403),
        (f"{own.agent}*", f"{own.agent}-fork", 201),
    ):
        headers = bearer(token(name, "admin"))
        answer = await own.request("POST", "/fork", json={"to": agent}, headers=headers)
        assert answer.status_code == status, answer.text


async def test_the_label_cannot_be_brought_along(own: Door):
    """The header that tells a session the scope is the Worker's own, whatever comes under its name."""
    headers = {**bearer(token(own.agent, "read")), "x-edgeloop-access": "admin 0"}
    async with raw_socket(own, headers=headers) as socket:
        await _hello(socket)
        await socket.send('{"t":"message","id":"m1","text":"hi"}')
        assert (await refusal(socket)).code == "forbidden"
    assert (await own.state()).head == 0


HELLO = {"t": "hello", "v": 1, "client": "raw"}
TOOL = {"name": "a", "description": "", "parameters": {"type": "object"}, "effect": "read"}
FRAMES: dict[str, tuple[str, tuple[ErrorCode | None, ErrorCode | None, ErrorCode | None]]] = {
    "stop": ('{"t":"stop"}', ("forbidden", None, None)),
    "a message": ('{"t":"message","id":"m1","text":"hi"}', ("forbidden", None, None)),
    "a result": (
        '{"t":"tool_result","call":"9.9","epoch":1,"outcome":"ok","content":""}',
        ("forbidden", "unknown_call", "unknown_call"),
    ),
    "an answer": ('{"t":"decide","call":"1.0","allow":true}', ("forbidden", "unknown_call", "unknown_call")),
    "autonomy": ('{"t":"autonomy","mode":"auto"}', ("forbidden", "forbidden", None)),
}


async def _hello(socket: ClientConnection, **more: object) -> None:
    await socket.send(json.dumps({**HELLO, **more}))
    while not isinstance(parse(await asyncio.wait_for(socket.recv(), 30)), Synced):
        pass


async def _answered(socket: ClientConnection, data: str) -> ErrorCode | None:
    """The code a frame is refused with; None if it is taken. A second hello is not answered, an unknown frame always is."""
    await socket.send(data)
    await socket.send('{"t":"mark"}')
    while (frame := parse(await asyncio.wait_for(socket.recv(), 30))).t != "error":
        pass
    assert frame.t == "error"
    return None if frame.message.endswith("unknown t") else frame.code


@pytest.mark.parametrize("name", FRAMES)
async def test_a_frame_needs_its_scope(provider: ScriptedProvider, own: Door, name: str):
    """A socket's scope holds for each of its frames, and who may only read changes nothing."""
    data, codes = FRAMES[name]
    for scope, code in zip(SCOPES, codes, strict=True):
        door = Door(url=own.url, agent=f"{own.agent}-{scope}")
        async with raw_socket(door, headers=bearer(token(door.agent, scope))) as socket:
            await _hello(socket)
            assert await _answered(socket, data) == code, scope
        if code == "forbidden":
            assert (await door.state()).head == 0


async def test_who_may_only_read_brings_no_tools(own: Door):
    """Tools are more than watching: such a `hello` is refused, and one without them taken."""
    async with raw_socket(own, headers=bearer(token(own.agent, "read"))) as socket:
        await socket.send(json.dumps({**HELLO, "tools": [TOOL]}))
        assert (await refusal(socket)).code == "forbidden"
        await _hello(socket)
    async with raw_socket(own, headers=bearer(token(own.agent, "write"))) as socket:
        await _hello(socket, tools=[TOOL])


@asynccontextmanager
async def page(door: Door, *protocols: str, origin: str = PAGE) -> AsyncGenerator[ClientConnection]:
    """A web page's socket: an origin, subprotocols, and no header of its own."""
    async with connect(
        door.path.replace("http", "ws", 1) + "/ws",
        subprotocols=[Subprotocol(name) for name in protocols],
        additional_headers={"origin": origin},
        proxy=None,
    ) as socket:
        yield socket


async def test_a_page_brings_its_token_as_a_subprotocol(own: Door):
    """The socket is answered with `edgeloop.v1` alone; scopes hold as for a header."""
    for text in (token(own.agent, "read"), TOKEN):
        async with page(own, "edgeloop.v1", f"edgeloop.token.{text}") as socket:
            assert socket.subprotocol == "edgeloop.v1"
            await _hello(socket)
            expected = None if text == TOKEN else "forbidden"
            assert await _answered(socket, '{"t":"autonomy","mode":"edit"}') == expected


@pytest.mark.parametrize(
    ("text", "origin", "status"),
    [
        ("good", "https://evil.example", 403),
        ("good", "https://app.example.evil.example", 403),
        ("good", "http://app.example", 403),
        ("good", "null", 403),
        ("wrong", PAGE, 401),
        ("", PAGE, 401),
    ],
)
async def test_a_foreign_page_is_refused(own: Door, text: str, origin: str, status: int):
    """Origin and token are both needed, and are compared whole."""
    given = token(own.agent) if text == "good" else text
    with pytest.raises(InvalidStatus) as error:
        async with page(own, "edgeloop.v1", f"edgeloop.token.{given}", origin=origin):
            pass
    assert error.value.response.status_code == status


async def test_without_a_list_no_page_connects(door: Door):
    """The shared Worker names no origin: whoever sends one is refused, with the operator's token too."""
    answer = await door.request("GET", "/state", headers={**HEADERS, "origin": PAGE})
    assert (answer.status_code, code_of(answer)) == (403, "forbidden")


async def test_no_token_is_taken_from_a_url(own: Door):
    """URLs are logged: a token in one opens nothing."""
    for name in ("token", "access_token", "authorization"):
        answer = await own.request("GET", f"/state?{name}={token(own.agent)}", headers={})
        assert code_of(answer) == "unauthorized"


# --- expiry ---------------------------------------------------------------------------------------------------------


async def _closed(socket: ClientConnection) -> int:
    try:
        async with asyncio.timeout(30):
            while True:
                await socket.recv()
    except ConnectionClosed:
        return socket.close_code or 0


async def test_a_socket_ends_with_its_token(provider: ScriptedProvider, own: Door):
    """Who sends after the token's end is told and closed; who only watches is closed before it sees another event."""

    def well(reply: Reply) -> None:
        reply.text("All well.")
        reply.end()

    provider.script(own.agent, well)
    headers = bearer(token(own.agent, seconds=4))
    async with raw_socket(own, headers=headers) as sender, raw_socket(own, headers=headers) as watcher:
        await _hello(sender, client="sender")
        await _hello(watcher, client="watcher")
        assert (await own.state()).attached == 2
        await asyncio.sleep(4.5)
        await sender.send('{"t":"message","id":"m0","text":"late"}')
        assert (await refusal(sender)).code == "expired"
        assert await _closed(sender) == 1008
        assert (await own.post("go")).status_code == 202
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(watcher.recv(), 30)
        assert watcher.close_code == 1008
    state = await own.state()
    assert (state.attached, state.queued) == (0, 0)
    assert "late" not in str(await own.events())


async def test_a_socket_keeps_its_scope_through_hibernation(own: Door):
    """What a socket may do is with the socket: a session that slept knows it still."""
    async with raw_socket(own, headers=bearer(token(own.agent, "read"))) as socket:
        await _hello(socket)
        awake = (await own.state()).awake_since
        await asyncio.sleep(15)
        assert await _answered(socket, '{"t":"message","id":"m1","text":"hi"}') == "forbidden"
        assert (await own.state()).awake_since > awake


async def test_a_deployment_with_a_key_alone_lets_tokens_in(provider: ScriptedProvider, agent: str):
    """The operator's token may be left out; a key that is too short is told, and lets nobody in."""
    given = variables(provider.url, "anthropic", EDGELOOP_TOKEN="", EDGELOOP_SIGNING_KEY=KEY)
    with LocalEdge(variables=given, private_copy=True) as started:
        door = Door(url=started.url, agent=agent)
        assert (await door.request("GET", "/state", headers=bearer(token(agent)))).status_code == 200
        for text in ("x", TOKEN):
            assert code_of(await door.request("GET", "/state", headers=bearer(text))) == "unauthorized"
    given["EDGELOOP_SIGNING_KEY"] = "short"
    with LocalEdge(variables=given, private_copy=True) as started:
        door = Door(url=started.url, agent=agent)
        answer = await door.request("GET", "/state", headers=bearer(token(agent)))
        assert (answer.status_code, code_of(answer)) == (503, "not_configured")
        assert "EDGELOOP_SIGNING_KEY" in answer.text
        assert "short" not in answer.json()["error"]["message"]
