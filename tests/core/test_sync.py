"""Both ends of the sync, against each other: over losses, repeats, disorder and restarts they end with the same.

The model is a session in miniature that does what `SessionEnd` asks for, with the real core, frames and store format, and clients
with the real fold. Its network may lose, repeat or reorder frames, lose sockets, and bring late what was sent over a lost one.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from edgeloop import commands
from edgeloop.autonomy import Rule
from edgeloop.client_end import ClientEnd, Cursor
from edgeloop.codec import decode_batch, encode_batch
from edgeloop.errors import Refused
from edgeloop.events import (
    BlockFinished,
    Event,
    Recorded,
    StepFinished,
    StepStarted,
    StopRequested,
    Timing,
    TurnFinished,
    Usage,
    UserMessageReceived,
)
from edgeloop.frames import encode, events_frame, parse_client_frame, parse_server_frame
from edgeloop.producers import Number, Producer, later, remember
from edgeloop.schedule import World
from edgeloop.session import Session
from edgeloop.session_end import (
    Declare,
    Deed,
    Greet,
    Heard,
    Known,
    Page,
    SessionEnd,
    Take,
    Tell,
    answered,
    refused,
    welcome,
)
from edgeloop.tools import ToolSpec, digest
from edgeloop.wire import (
    Ack,
    Autonomy,
    ClientCommand,
    ClientMessage,
    Decide,
    Delta,
    ErrorFrame,
    Hello,
    Next,
    SendMessage,
    Stop,
    Synced,
    ToolResult,
    Welcome,
)
from edgeloop_client.errors import Gap
from edgeloop_client.view import View

PAGE = 3
TIMING = Timing(wall_ms=1, request_bytes=1, response_bytes=1)
SPEC = ToolSpec(name="look", description="d", parameters={"type": "object"}, effect="read")


# --- the session ----------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Socket:
    """A connection as the network sees it: what is on its way, and the session's end of it."""

    up: list[str] = field(default_factory=lambda: list[str]())
    down: list[str] = field(default_factory=lambda: list[str]())
    end: SessionEnd = field(default_factory=SessionEnd)
    succeeded: bool = False


class Edge:
    """A session in miniature: the core, its log, and the sockets that are live."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str]] = []
        self.log: list[Recorded] = []
        self.said: dict[str, str] = {}
        self.live: list[Socket] = []
        self.greeted: list[Socket] = []
        self.shown = ""
        self.wake()

    def wake(self) -> None:
        """Everything in memory is gone; the log is there."""
        self.log = [recorded for _, row in self.rows for recorded in decode_batch(row)]
        self.session = Session.replay(None, self.log)
        self.heard: dict[str, Number] = {}

    def crash(self) -> None:
        """The sockets are gone as well, and the stream."""
        self.wake()
        self.live, self.greeted, self.shown = [], [], ""
        if self.session.state.phase == "streaming":
            self.finish()

    def record(
        self,
        *events: Event,
        streamed: bool = False,
        sender: tuple[Socket, str] | None = None,
        producer: Producer | None = None,
    ) -> None:
        batch: list[Recorded] = []
        for event in events:
            made = producer if event is events[-1] else None
            recorded = Recorded(seq=self.session.state.seq + 1, at=0, event=event, producer=made)
            self.session.apply(recorded)
            batch.append(recorded)
        self.rows.append((batch[-1].seq, encode_batch(batch)))
        self.log += batch
        self.said |= {event.id: event.text for event in events if isinstance(event, UserMessageReceived)}
        for socket in self.live:
            own = sender[1] if sender is not None and sender[0] is socket else None
            socket.down.append(events_frame(batch, streamed=streamed, own=own))

    # --- the model ----------------------------------------------------------------------------------------------

    def speak(self, text: str) -> None:
        state = self.session.state
        if state.phase == "idle":
            self.record(StepStarted(step=state.step + 1, attempt=1))
        state, off = self.session.state, len(self.shown.encode())
        self.shown += text
        frame = Delta(step=state.step, attempt=1, block=0, kind="text", off=off, text=text)
        for socket in self.live:
            socket.down.append(encode(frame))

    def finish(self) -> None:
        step, text, self.shown = self.session.state.step, self.shown, ""
        self.record(BlockFinished(step=step, block=0, type="text", text=text), streamed=True)
        self.record(
            StepFinished(step=step, stop="end", usage=Usage(), timing=TIMING), TurnFinished(reason="done")
        )

    # --- the sync -----------------------------------------------------------------------------------------------

    def take(self, socket: Socket, data: str) -> None:
        if socket.succeeded:
            return
        frame = parse_client_frame(data)
        client = frame.client if isinstance(frame, Hello) else socket.end.client
        try:
            end, deeds = socket.end.receive(frame, self.known(client))
            for deed in deeds:
                end = self._do(socket, end, deed)
            socket.end = end
        except Refused as error:
            socket.down.append(encode(_error(error)))

    def known(self, client: str) -> Known:
        state = self.session.state
        last = later(state.producers.get(client), self.heard.get(client))
        return Known(log="log", head=state.seq, tools_digest=state.tools_digest, last=last)

    def _do(self, socket: Socket, end: SessionEnd, deed: Deed) -> SessionEnd:
        match deed:
            case Declare():
                state = self.session.state
                tools = deed.tools if deed.tools is not None else state.local_tools
                for event in commands.declare_tools(state, edge=(), client=end.client, local=tools):
                    self.record(event)
            case Heard():
                remember(self.heard, end.client, deed.number)
            case Greet():
                self._succeed(socket, end.client)
                socket.down.append(encode(welcome(deed.hello, self.known(end.client), "agent")))
            case Page():
                return self._page(socket, end, deed)
            case Take():
                for further in self._command(socket, deed.command, end.client):
                    self._do(socket, end, further)
            case Tell():
                socket.down.append(encode(deed.frame))
        return end

    def _page(self, socket: Socket, end: SessionEnd, asked: Page) -> SessionEnd:
        batches = [(seq, row) for seq, row in self.rows if seq > asked.after][:PAGE]
        state = self.session.state
        blocks = [{"block": 0, "kind": "text", "text": self.shown}]
        streaming = (state.step, 1, blocks) if state.phase == "streaming" else None
        end, frames = end.page(asked, batches, state.seq, streaming)
        socket.down += frames
        if end.phase == "live":
            self.live.append(socket)
        return end

    def _succeed(self, socket: Socket, client: str) -> None:
        for other in self.greeted:
            other.succeeded = other.succeeded or other.end.client == client
        self.live = [other for other in self.live if not other.succeeded]
        self.greeted = [other for other in self.greeted if not other.succeeded] + [socket]

    def _command(self, socket: Socket, command: ClientCommand, client: str) -> list[Deed]:
        number, state = command.producer, self.session.state
        assert number is not None
        try:
            match command:
                case SendMessage():
                    known = self.said.get(command.id)
                    events = commands.send_message(command, known=known, client=client, tokens=1, queued=0)
                    sender = (socket, command.id)
                case Autonomy():
                    world = World(now=0)
                    events = commands.set_autonomy(state, command, client=client, world=world)
                    sender = None
                case Stop():
                    events, sender = commands.stop(state, client=client), None
                case Decide():
                    events, sender = commands.decide(state, command, by=client, now=0), None
                case ToolResult():
                    raise AssertionError(command)
        except Refused as error:
            return refused(command, _error(error))
        if events:
            producer = Producer(client=client, epoch=number.epoch, n=number.n)
            self.record(*events, sender=sender, producer=producer)
        return answered(command)


def _error(error: Refused) -> ErrorFrame:
    return ErrorFrame.model_validate({"code": error.code, "message": error.message, "ref": error.ref})


# --- the client -----------------------------------------------------------------------------------------------------


class Person:
    """A client: the real fold and the real end, over one socket at a time."""

    def __init__(self, name: str, tools: tuple[ToolSpec, ...] | None) -> None:
        self.name, self.tools = name, tools
        self.asked: list[str] = []
        """The ids of all that must be in the log at last, in order."""
        self.socket: Socket | None = None
        self.begin(epoch=1)

    def begin(self, *, epoch: int, copy: list[Recorded] | None = None) -> None:
        """A life, with the copy of the log that an earlier one kept."""
        self.socket = None
        self.view = View.from_events("log", copy) if copy is not None else View()
        self.view.local_tools = self.tools or ()
        self.end = ClientEnd(client=self.name, epoch=epoch, tools=self.tools)

    def send(self, command: ClientCommand) -> None:
        if isinstance(command, SendMessage):
            self.view.sent(command)
        self.end = self.end.send(command)
        self.write()

    def write(self) -> None:
        self.end, frames = self.end.generate(self.view.cursor)
        if frames:
            assert self.socket is not None
            self.socket.up += [encode(frame) for frame in frames]
        assert self.end.generate(self.view.cursor) == (self.end, [])

    def connect(self) -> None:
        self.socket = Socket()
        self.end = self.end.lost().opened()
        self.write()

    def lose(self) -> None:
        self.socket, self.end = None, self.end.lost()

    def read(self, data: str) -> None:
        frame = parse_server_frame(data)
        if isinstance(frame, ErrorFrame) and frame.producer is None and frame.code != "unknown_tools":
            self.lose()  # not what it should have sent by the session's lights: start anew
            return
        try:
            changes = self.view.apply(frame)
        except Gap as gap:
            changes, frame = list(gap.changes), None
            self.view.forget_live()
        for change in changes:
            if isinstance(change, Recorded) and isinstance(change.event, StopRequested | TurnFinished):
                self.end = self.end.turn_over()
        if frame is None:
            self.lose()
            return
        self.end = self.end.receive(frame)
        self.write()


# --- the machine ----------------------------------------------------------------------------------------------------

NAMES = ("alice", "bob")
people = st.sampled_from(NAMES)
spots = st.integers(min_value=0, max_value=50)


class Sync(RuleBasedStateMachine):
    """Anything may happen to the frames and to either side, and at the end the network heals."""

    @initialize()
    def begin(self) -> None:
        self.edge = Edge()
        self.people = {name: Person(name, (SPEC,) if name == "alice" else None) for name in NAMES}
        self.sockets: list[Socket] = []
        self.count = 0
        self.again: set[str] = set()
        """What a client's next life asked again: an autonomy may so be set twice."""

        for person in self.people.values():
            self._connect(person)

    def _connect(self, person: Person) -> None:
        person.connect()
        assert person.socket is not None
        self.sockets.append(person.socket)

    @rule(
        name=people, kinds=st.lists(st.sampled_from(["message", "autonomy", "stop", "refused"]), min_size=1)
    )
    def asks(self, name: str, kinds: list[str]) -> None:
        for kind in kinds:
            self._ask(self.people[name], kind)

    def _ask(self, person: Person, kind: str) -> None:
        self.count += 1
        match kind:
            case "message":
                person.asked.append(f"m{self.count}")
                person.send(SendMessage(id=f"m{self.count}", text="text"))
            case "autonomy":
                person.asked.append(f"r{self.count}")
                person.send(Autonomy(mode="ask", rules=(Rule(verdict="deny", tool=f"r{self.count}"),)))
            case "stop":
                person.send(Stop())
            case _:
                person.send(Decide(call="9.9", allow=True))

    @rule(text=st.sampled_from(["a", "ß", "🙂"]))
    def speaks(self, text: str) -> None:
        self.edge.speak(text)

    @precondition(lambda self: self.edge.session.state.phase == "streaming")
    @rule()
    def falls_silent(self) -> None:
        self.edge.finish()

    # --- the network ------------------------------------------------------------------------------------------------

    @rule(spot=spots, frames=st.integers(min_value=1, max_value=20))
    def delivers(self, spot: int, frames: int) -> None:
        carrying = [socket for socket in self.sockets if socket.up or socket.down]
        for _ in range(frames if carrying else 0):
            self._deliver(carrying[spot % len(carrying)])

    def _deliver(self, socket: Socket) -> bool:
        moved = False
        if socket.up:
            moved = True
            self.edge.take(socket, socket.up.pop(0))
        reader = next((person for person in self.people.values() if person.socket is socket), None)
        if socket.down and reader is not None:
            moved = True
            reader.read(socket.down.pop(0))
        return moved

    @rule()
    def delivers_everything(self) -> None:
        while any([self._deliver(socket) for socket in self.sockets]):  # noqa: C419 - each of them
            pass

    @rule(what=st.sampled_from(["lost", "repeated", "reordered"]), spot=spots, at=spots)
    def a_frame_is(self, what: str, spot: int, at: int) -> None:
        queues = [queue for socket in self.sockets for queue in (socket.up, socket.down) if queue]
        if not queues:
            return
        queue = queues[spot % len(queues)]
        at %= len(queue)
        frame = queue[at] if what == "repeated" else queue.pop(at)
        if what != "lost":
            queue.insert(0, frame)

    # --- restarts ---------------------------------------------------------------------------------------------------

    @rule(
        what=st.sampled_from(["connects", "loses", "hibernates", "crashes", "from its copy", "from nothing"]),
        name=people,
    )
    def disturbs(self, what: str, name: str) -> None:
        person = self.people[name]
        match what:
            case "connects":
                self._connect(person)
            case "loses":
                person.lose()
            case "hibernates" if self.edge.session.state.phase != "streaming":
                self.edge.wake()
            case "crashes":
                self._crash()
            case "from its copy":
                self._restart(person, self.edge.log[: person.view.seq])
            case "from nothing":
                self._restart(person, None)
            case _:
                pass

    def _crash(self) -> None:
        self.edge.crash()
        self.sockets = []
        for person in self.people.values():
            person.lose()

    def _restart(self, person: Person, copy: list[Recorded] | None) -> None:
        """With its copy of the log a client also keeps what it asked for and was not answered."""
        kept = [c for c in person.end.unanswered if isinstance(c, SendMessage | Autonomy)]
        person.begin(epoch=person.end.epoch + 1, copy=copy)
        if copy is None:
            lost = {_name_of(command) for command in kept}
            person.asked = [asked for asked in person.asked if asked not in lost]
            return
        for command in kept:
            self.again.add(_name_of(command))
            person.send(command)

    # --- what must hold ---------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "edge"):
            return
        self.sockets = []
        for person in self.people.values():
            self._heal(person)
        if self.edge.session.state.phase == "streaming":
            self.edge.finish()
        for person in self.people.values():
            self._settle(person)
            assert person.view == View.from_events("log", self.edge.log)
            self._check_order(person)
        recorded = [_name_in(r.event) for r in self.edge.log]
        once = [name for name in recorded if name.startswith("m") or (name and name not in self.again)]
        assert len(once) == len(set(once))

    def _heal(self, person: Person) -> None:
        self._connect(person)
        self._settle(person)

    def _settle(self, person: Person) -> None:
        for _ in range(10_000):
            if person.socket is None:
                self._connect(person)
            assert person.socket is not None
            if not self._deliver(person.socket):
                break
        assert person.end.phase == "live"
        assert not person.end.unanswered

    def _check_order(self, person: Person) -> None:
        """What was asked and not lost with its client is in the log, once, in the order in which it was asked."""
        names = [_name_in(r.event) for r in self.edge.log]
        first: list[str] = []
        for name in names:
            if name in person.asked and name not in first:
                first.append(name)
        assert first == person.asked


def _name_of(command: ClientCommand) -> str:
    match command:
        case SendMessage():
            return command.id
        case Autonomy():
            return command.rules[0].tool
        case _:
            return ""


def _name_in(event: Event) -> str:
    match event.kind:
        case "user_message_received":
            return event.id
        case "autonomy_changed":
            return event.rules[0].tool
        case _:
            return ""


# --- what the machine meets too rarely ------------------------------------------------------------------------------

GREETED = Welcome(v=1, agent="a", log="log", head=0, acked=0)
NOWHERE = Cursor(log=None, seq=0)


def live(**fields: Any) -> ClientEnd:
    """A client's end that is live."""
    end, _ = ClientEnd(client="c", epoch=7, **fields).opened().generate(NOWHERE)
    return end.receive(GREETED).receive(Synced(seq=0))


def test_what_an_older_connection_still_brings_does_not_count() -> None:
    """A client that begins a new epoch on a newer one sends again what is still on its way over the older one."""
    machine = Sync()
    machine.begin()
    machine.delivers_everything()
    machine.speaks("a")
    machine.asks("bob", ["message", "stop", "autonomy", "autonomy"])
    machine.falls_silent()
    machine.asks("alice", ["message"])
    machine.disturbs("connects", "bob")
    machine.delivers_everything()
    machine.teardown()


def test_tools_travel_once_and_again_when_they_are_unknown() -> None:
    """The first hello brings them, later ones their digest, and the one after `unknown_tools` all of them again."""
    end = live(tools=(SPEC,))
    end, [hello] = end.lost().opened().generate(NOWHERE)
    assert isinstance(hello, Hello)
    assert (hello.tools, hello.tools_digest) == (None, digest([SPEC]))
    end, [again] = end.receive(ErrorFrame(code="unknown_tools", message="")).generate(NOWHERE)
    assert isinstance(again, Hello)
    assert (again.tools, again.tools_digest) == ((SPEC,), None)


def numbers(frames: list[ClientMessage]) -> list[int]:
    return [f.producer.n for f in frames if not isinstance(f, Hello | Next) and f.producer is not None]


def test_a_message_that_found_no_place_waits_for_one() -> None:
    """It keeps no number, does not hold up what follows, and is sent again when it is offered, or after a loss."""
    full, more = SendMessage(id="m1", text="x"), SendMessage(id="m2", text="y")
    end, frames = live().send(full).send(more).generate(NOWHERE)
    assert numbers(frames) == [1, 2]
    end = end.receive(ErrorFrame(code="queue_full", message="", ref="m1", producer=Number(epoch=7, n=1)))
    end = end.receive(Ack(epoch=7, n=2))
    assert end.unanswered == (full,)
    assert end.generate(NOWHERE)[1] == []
    end, frames = end.offered().generate(NOWHERE)
    assert numbers(frames) == [3]


def test_a_stop_that_comes_too_late_is_dropped() -> None:
    """One that was not written when the turn ends goes; one that was is answered; one behind a message stays."""
    assert live().send(Stop()).turn_over().unanswered == ()
    written, _ = live().send(Stop()).generate(NOWHERE)
    assert written.turn_over().unanswered == (Stop(),)
    behind = live().send(SendMessage(id="m", text="x")).send(Stop())
    assert behind.turn_over() == behind
    again = written.lost().opened().turn_over()
    assert (again.unanswered, again.epoch) == ((), 8)


def test_another_log_forgets_calls_and_not_messages() -> None:
    """After `reset` a result and an answer have nothing to be about; what a person said is said to the new log."""
    said, allowed = SendMessage(id="m", text="x"), Autonomy(mode="plan")
    end = live().send(said).send(Decide(call="1.0", allow=True)).send(Stop()).send(allowed)
    end = end.generate(NOWHERE)[0].lost().opened().generate(NOWHERE)[0]
    end = end.receive(GREETED.model_copy(update={"reset": True})).receive(Synced(seq=0))
    assert end.unanswered == (said, allowed)


def test_a_later_result_takes_the_place_of_one_that_waits() -> None:
    """A result for a call that was given out anew is sent once, under the number of the first."""
    first = ToolResult(call="1.0", epoch=1, outcome="ok", content="a")
    later_ = first.model_copy(update={"epoch": 2})
    end = live().send(first).generate(NOWHERE)[0].lost().opened().send(later_)
    assert end.unanswered == (later_,)
    end = end.generate(NOWHERE)[0].receive(GREETED).receive(Synced(seq=0))
    assert numbers(end.generate(NOWHERE)[1]) == [1]


def test_an_older_life_is_fenced_by_its_hello() -> None:
    """Once a later epoch was heard of, an older one is not even greeted."""
    known = Known(log="log", head=0, tools_digest="", last=Number(epoch=8, n=0))
    with pytest.raises(Refused, match="fenced"):
        SessionEnd().receive(Hello(v=1, client="c", epoch=7), known)


TestSync = Sync.TestCase
TestSync.settings = settings(max_examples=100, stateful_step_count=80)
