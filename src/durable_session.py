"""The Durable Object: each entry point of the platform, handed to the agent, with every failure owned.

A socket that sends nonsense gets a typed error and costs no one else; a start that fails is told and tried again, never left to
the platform's alarm retries, which end.
"""

import asyncio
import contextlib
import inspect
import json
import re
from collections.abc import Generator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import js
from workers import DurableObject

from edge import copying, hot, pump, sockets
from edge.agent import Agent
from edge.answers import error_frame, json_answer, refusal
from edge.clock import now_ms
from edge.convert import to_object, why
from edge.door import labelled, reaches
from edge.http import body_of
from edge.salvage import lying, opened, wait_ms
from edge.settings import Settings
from edge.sockets import EXPIRED, POLICY, Peer, peer_of
from edge.staging import FILE, Staging
from edge.store import PAGE_EVENTS, Store
from edgeloop.access import check
from edgeloop.admission import Admission
from edgeloop.bodies import EventsPage, Forked, OpenCall, Origin, Posted, Question, StateView
from edgeloop.errors import CorruptLog, Refused, Staged
from edgeloop.frames import parse_autonomy, parse_client_frame, parse_decide, parse_fork, parse_post
from edgeloop.limits import MAX_SOCKETS, Pace, too_frequent
from edgeloop.session_end import (
    Declare,
    Deed,
    Greet,
    Heard,
    Known,
    Page,
    Take,
    Tell,
    answered,
    refused,
    welcome,
)
from edgeloop.wire import (
    Autonomy,
    ClientCommand,
    Decide,
    Duplicate,
    Hello,
    Next,
    SendMessage,
    Stop,
    ToolResult,
    needed_for,
    ref_of,
)

IMPORT_BYTES = 32 << 20
"""A piece of a file may be one line, and a line one event with all that a model said."""
NOTHING_KNOWN = Known(log="", head=0, tools_digest="", last=None)

_admission = Admission()
"""Of all sessions of this isolate."""
_settings: Settings | None = None
"""Of this deployment: an isolate never has another's."""
_SEQ = re.compile(r"[0-9]{1,15}")


def _settings_of(env: Any) -> Settings:
    global _settings
    if _settings is None:
        _settings = Settings.read(env)
    return _settings


class DurableSession(DurableObject):
    """An agent's session."""

    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        # Importing JS suspends, and what is suspended may be overtaken: here no event is delivered until it is done.
        pump.load()
        hot.load()
        self._raw = ctx._ctx
        self._opened: Agent | None = None
        self._paces: dict[int, Pace] = {}
        """Of each socket, by its identity in JS. A session that hibernated was not hurried."""

    def _agent(self) -> Agent:
        """The agent, opened on first touch: a constructor that throws would brick the object."""
        if self._opened is None:
            self._opened = Agent(
                key=self._raw.id.toString(),
                name=str(self._raw.id.name),
                ctx=self._raw,
                settings=_settings_of(self.env),
            )
            opened(self._raw.id.toString())
        return self._opened

    # --- HTTP -------------------------------------------------------------------------------------------------------

    async def fetch(self, request: Any) -> Any:
        """Answer what `worker.py` let through."""
        raw = getattr(request, "js_object", request)
        try:
            return await self._route(raw)
        except Refused as error:
            return refusal(error)
        except Exception as error:
            return refusal(self._fault("request", error))

    def _fault(self, what: str, error: Exception) -> Refused:
        """Tell of a failure of our own, and word it for who asked."""
        js.console.error(f"{self._raw.id.name}: a {what} failed: {why(error)}")
        if isinstance(error, CorruptLog):
            expected = (
                "a log that can be replayed; GET events gives what can be read of it, DELETE forgets it"
            )
            return Refused(code="corrupt_log", message=str(error), expected=expected)
        return Refused(code="internal", message=why(error))

    async def _route(self, request: Any) -> Any:
        # Bodies are read before the agent is asked for: while one comes, a DELETE may put another in its place.
        url = urlsplit(str(request.url))
        match (str(request.method), url.path.split("/")[4] if url.path.count("/") > 3 else ""):
            case ("GET", "ws"):
                await self._admitted()
                return self._accept(request)
            case ("POST", "messages"):
                message = parse_post(await body_of(request))
                seq, known = self._agent().message(message, None)
                return json_answer(Posted(seq=seq, duplicate=known).model_dump_json(), 200 if known else 202)
            case ("GET", "events"):
                return json_answer(self._events(parse_qs(url.query, keep_blank_values=True)))
            case ("POST", "approvals"):
                answer = parse_decide(await body_of(request))
                seq, known = self._agent().decide(answer, "http")
                return json_answer(Posted(seq=seq, duplicate=known).model_dump_json())
            case ("PUT", "autonomy"):
                autonomy = parse_autonomy(await body_of(request))
                seq, known = self._agent().set_autonomy(autonomy, None)
                return json_answer(Posted(seq=seq, duplicate=known).model_dump_json())
            case ("POST", "stop"):
                seq, nothing = self._agent().stop(Stop(), None)
                return json_answer(Posted(seq=seq, duplicate=nothing).model_dump_json())
            case ("GET", "state"):
                return json_answer(self._state())
            case ("GET", "export"):
                return json_answer(self._export(parse_qs(url.query, keep_blank_values=True)))
            case ("POST", "import"):
                return await self._import(request, parse_qs(url.query, keep_blank_values=True))
            case ("POST", "fork"):
                return await self._fork(request)
            case ("POST", "copy"):  # from another session's object: `worker.py` lets nobody else in here
                return await self._copy(request)
            case ("DELETE", ""):
                return await self._delete()
            case (method, what):
                raise Refused(code="not_found", message=f"{method} {what}", expected="see docs/protocol.md")

    async def _admitted(self) -> None:
        """Wait for a turn: a socket's handshake takes the one thread for as long as opening its agent does."""
        wait = _admission.wait_ms(now_ms(), pump.streams())
        if wait > 0:
            await asyncio.sleep(wait / 1000)

    def _accept(self, request: Any) -> Any:
        if str(request.headers.get("upgrade")).lower() != "websocket":
            raise Refused(code="bad_frame", message="not a WebSocket upgrade", expected="Upgrade: websocket")
        if self._raw.getWebSockets().length >= MAX_SOCKETS:
            raise Refused(
                code="too_many_sockets",
                message=f"{MAX_SOCKETS} are attached",
                expected="another attempt later",
            )
        scope, expires = labelled(request.headers)
        client, server = js.WebSocketPair.new().object_values()
        self._raw.acceptWebSocket(server)
        sockets.attach(server, Peer(scope=scope, expires=expires))
        protocol = request.headers.get("sec-websocket-protocol")
        headers = {"sec-websocket-protocol": protocol} if isinstance(protocol, str) else {}
        options = {"status": 101, "webSocket": client, "headers": to_object(headers)}
        return js.Response.new(None, to_object(options))

    def _events(self, query: dict[str, list[str]]) -> str:
        after, (store, log, head) = _number(query, "after", 0), self._log()
        if after > head:
            raise Refused(
                code="conflict", message=f"after = {after} is ahead of the log", expected=f"at most {head}"
            )
        copying.check_kept(store, after)
        events = tuple(store.page(after, PAGE_EVENTS))
        reached = events[-1].seq if events else after
        return EventsPage(log=log, events=events, next=reached, head=head).model_dump_json(exclude_none=True)

    def _log(self) -> tuple[Store, str, int]:
        """The store, the log's name and its head, also of a session that cannot be opened."""
        try:
            agent = self._agent()
            return agent.store, agent.store.log, agent.state.seq
        except Refused:
            raise
        except Exception as error:
            self._fault("session", error)
            store = Store(self._raw.storage)
            return store, *lying(store)

    def _state(self) -> str:
        agent = self._agent()
        state = agent.state
        calls = tuple(OpenCall(call=c.call, name=c.name, runner=c.runner) for c in state.open_calls)
        return StateView(
            agent=agent.name,
            log=agent.store.log,
            head=state.seq,
            phase=state.phase,
            provider=state.provider,
            model=state.model,
            step=state.step,
            turns=state.turns,
            mode=agent.mode,
            calls=calls,
            questions=self._questions(agent),
            queued=state.queued,
            usage=state.usage,
            message_tokens=state.message_tokens,
            spent_usd=state.spend.usd,
            attached=agent.sockets.count(),
            awake_since=agent.since,
            rows_written=agent.rows_written,
            rows_read=agent.store.sql.rowsRead,
            statements=agent.store.sql.statements,
            last_error=state.error,
            origin=Origin.model_validate_json(agent.store.origin) if agent.store.origin else None,
        ).model_dump_json(exclude_none=True)

    async def _delete(self) -> Any:
        agent, self._opened = self._opened, None
        for ws in list(self._raw.getWebSockets()):
            if agent is not None:
                agent.sockets.leave(ws)
            sockets.close(ws, 1000, "the agent was deleted")
        # Without opening it: one that cannot be opened must be able to go, too.
        await (agent.delete() if agent is not None else Store(self._raw.storage).delete())
        return json_answer('{"deleted":true}')

    def _forget(self, why: str) -> None:
        """Let go of the agent that was here: whoever is connected knows another log."""
        self._opened = None
        for ws in list(self._raw.getWebSockets()):
            sockets.close(ws, 1000, why)

    # --- copies -----------------------------------------------------------------------------------------------------

    def _export(self, query: dict[str, list[str]]) -> str:
        agent = self._agent()
        if "after" not in query:
            return copying.header(agent) + "\n"
        after, last = _number(query, "after", 0), _number(query, "through", agent.state.seq)
        base, log = _number(query, "base", agent.store.base), query.get("log", [agent.store.log])[0]
        if (log, base) != (agent.store.log, agent.store.base):
            raise Refused(
                code="conflict", message="the log was deleted or condensed meanwhile", expected="a new export"
            )
        found = copying.lines(agent.store, after, last, query.get("note", [""])[0])
        return "".join(f"{line}\n" for line in found)

    async def _import(self, request: Any, query: dict[str, list[str]]) -> Any:
        line = _number(query, "line", 0)
        body = await body_of(request, IMPORT_BYTES)
        staging = Staging(self._raw.storage)
        try:
            text = body.decode()
            answer = staging.take(line, text.removesuffix("\n").split("\n") if text else [], now_ms())
        except (Refused, UnicodeDecodeError) as error:
            refused = error if isinstance(error, Refused) else Refused(code="bad_log", message="not UTF-8")
            if refused.code == "bad_log" and staging.mark == FILE:
                await staging.remove()
            raise refused from error
        self._shut(staging)
        if answer.done and staging.mark is not None:
            agent = self._begin_anew()
            answer = answer.model_copy(update={"log": agent.store.log, "head": agent.state.seq})
        return json_answer(answer.model_dump_json(exclude_none=True))

    async def _fork(self, request: Any) -> Any:
        command = parse_fork(await body_of(request))
        agent = self._agent()
        if command.to == agent.name:
            raise Refused(code="conflict", message="a fork of itself", expected="another agent's name")
        if not reaches(request.headers, command.to):
            raise Refused(code="forbidden", message=f"this token is not for {command.to!r}")
        target = self.env._env.SESSIONS.getByName(command.to)
        return json_answer(await copying.fork(agent, target, command), 201)

    async def _copy(self, request: Any) -> Any:
        piece = json.loads(await body_of(request, IMPORT_BYTES))
        if "begin" in piece or "abort" in piece:
            await Staging(self._raw.storage).give_way(piece)
        if "abort" not in piece:
            staging = Staging(self._raw.storage)
            staging.copy(piece, now_ms())
            self._shut(staging)
        if "finish" not in piece:
            return json_answer("{}")
        agent = self._begin_anew()
        forked = Forked(agent=agent.name, log=agent.store.log, head=agent.state.seq)
        return json_answer(forked.model_dump_json())

    def _shut(self, staging: Staging) -> None:
        """Let nothing stay open that was here before the copy began: it would answer, and record into the copy's log."""
        if staging.mark is not None and self._opened is not None:
            self._forget("another session is being copied in")

    def _begin_anew(self) -> Agent:
        """Open the session that has just become whole: what it owes a person is done now."""
        self._forget("another session was copied in")
        return self._agent()

    # --- sockets ----------------------------------------------------------------------------------------------------

    async def webSocketMessage(self, ws: Any, message: Any) -> None:
        """Take one frame; whatever goes wrong with it is answered on this socket alone."""
        with self._owned(ws):
            if not self._paced(ws, len(message) if isinstance(message, str) else message.byteLength):
                return
            if not isinstance(message, str):
                raise Refused(code="bad_frame", message="a binary frame", expected="JSON text")
            peer = peer_of(ws)
            if peer.expired(now_ms()):
                self._turn_out(ws, Refused(code="expired", message=EXPIRED, expected="a new token"))
                return
            frame = parse_client_frame(message)
            if isinstance(frame, Hello | Next):
                check(peer.scope, needed_for(frame))
            client = frame.client if isinstance(frame, Hello) else peer.client
            # Before its handshake a socket costs no look at the log.
            known = self._agent().known(client) if client else NOTHING_KNOWN
            end, deeds = peer.end.receive(frame, known)
            broken, peer = peer.end.broken, replace(peer, end=end)
            for deed in deeds:
                peer = self._do(ws, peer, deed)
            if peer.end.broken != broken:
                sockets.attach(ws, peer)

    @contextlib.contextmanager
    def _owned(self, ws: Any) -> Generator[None]:
        try:
            yield
        except Refused as error:
            sockets.tell(ws, error_frame(error))
        except Exception as error:
            sockets.tell(ws, error_frame(self._fault("frame", error)))

    def _paced(self, ws: Any, size: int) -> bool:
        """Whether a frame comes at a pace at which it is taken."""
        now = now_ms()
        match self._paces.setdefault(ws.js_id, Pace(now)).take(now, size):
            case "take":
                return True
            case "refuse":
                sockets.tell(ws, error_frame(too_frequent()))
            case "drop":
                pass
            case "close":
                self._turn_out(ws, too_frequent())
        return False

    def _turn_out(self, ws: Any, error: Refused) -> None:
        """Tell a socket why it may stay no longer, and close it."""
        sockets.tell(ws, error_frame(error))
        self._left(ws)
        sockets.close(ws, POLICY, error.message)

    def _do(self, ws: Any, peer: Peer, deed: Deed) -> Peer:
        """Do what the sync asks for; what is known of the socket after it."""
        agent = self._agent()
        match deed:
            case Declare():
                tools = deed.tools if deed.tools is not None else agent.state.local_tools
                agent.record(agent.declare(peer.client, tools))
            case Heard():
                agent.heard(peer.client, deed.number)
            case Greet():
                agent.sockets.succeed(ws, peer.client)
                sockets.attach(ws, peer)
                sockets.tell(ws, welcome(deed.hello, agent.known(peer.client), agent.name))
            case Page():
                return self._page(ws, peer, deed)
            case Take():
                for further in self._take(ws, deed.command, peer):
                    self._do(ws, peer, further)
            case Tell():
                sockets.tell(ws, deed.frame)
        return peer

    def _page(self, ws: Any, peer: Peer, asked: Page) -> Peer:
        """A page of what was missed; with the last one the socket is live, in one go, so that nothing falls between."""
        agent = self._agent()
        head = agent.state.seq
        if asked.after < agent.store.base:
            sockets.tell(ws, agent.snapshot())
            asked = Page(after=agent.store.base, position=None)
        batches = agent.store.batches(asked.after) if asked.after < head else []
        end, frames = peer.end.page(asked, batches, head, agent.streaming())
        peer = replace(peer, end=end)
        for frame in frames:
            sockets.send(ws, frame)
        if peer.is_live:
            peer = agent.sockets.join(ws, peer)
            agent.record([])
        return peer

    def _take(self, ws: Any, command: ClientCommand, peer: Peer) -> list[Deed]:
        try:
            known = self._apply(ws, command, peer)
        except Refused as error:
            return refused(command, error_frame(error))
        if known is not None and command.producer is None:
            sockets.tell(ws, Duplicate(ref=known))
        return answered(command)

    def _apply(self, ws: Any, command: ClientCommand, peer: Peer) -> str | None:
        """Apply a command; what it is about, where that was recorded before."""
        agent, client = self._agent(), peer.client
        check(peer.scope, needed_for(command), ref=ref_of(command))
        match command:
            case SendMessage():
                return command.id if agent.message(command, client, ws)[1] else None
            case ToolResult():
                return command.call if not agent.result(command, client, ws) else None
            case Decide():
                return command.call if agent.decide(command, client)[1] else None
            case Autonomy():
                agent.set_autonomy(command, client)
            case Stop():
                agent.stop(command, client)
        return None

    def _questions(self, agent: Agent) -> tuple[Question, ...]:
        return tuple(
            Question(
                call=call.call,
                name=call.name,
                arguments=call.arguments,
                by=call.judged_by,
                expires=call.expires,
            )
            for call in agent.state.open_calls
            if call.verdict == "ask"
        )

    async def webSocketClose(self, ws: Any, code: int, reason: str, clean: bool) -> None:  # noqa: ARG002
        """A client went. The turn goes on; what it was running waits for it."""
        # Answering the close is ours to do: without it the client's close times out.
        sockets.close(ws, 1000, "bye")
        self._left(ws)

    async def webSocketError(self, ws: Any, error: Any) -> None:  # noqa: ARG002
        """A connection broke: as a close."""
        self._left(ws)

    def _left(self, ws: Any) -> None:
        with self._owned(ws):
            self._paces.pop(ws.js_id, None)
            if self._opened is not None:
                self._opened.sockets.leave(ws)
                self._opened.record([])

    # --- alarm ------------------------------------------------------------------------------------------------------

    async def alarm(self, info: Any = None) -> None:  # noqa: ARG002
        """The watchdog. It never raises: the platform gives up after six failures, and then nobody would look again."""
        key = self._raw.id.toString()
        try:
            self._agent().tick()
            opened(key)
        except Staged:  # a copy of which nothing came for an hour
            await Staging(self._raw.storage).remove()
        except Exception as error:
            self._fault("watch", error)
            self._raw.storage.setAlarm(now_ms() + wait_ms(key, now_ms()))


def _number(query: dict[str, list[str]], name: str, default: int) -> int:
    text = query.get(name, [str(default)])[0]
    if not _SEQ.fullmatch(text):
        raise Refused(code="bad_frame", message=f"{name}: not a number", expected=f"{name} = 0 or more")
    return int(text)


# The SDK looks at a handler's signature once for each object, which costs a wake half a millisecond; this one is made once.
for _name in ("fetch", "webSocketMessage", "webSocketClose", "webSocketError", "alarm"):
    _handler = getattr(DurableSession, _name)
    _handler.__signature__ = inspect.signature(_handler)
