"""A shell without I/O: it drives the core as the Durable Object does, with a scripted model, tools and clients.

`Sim.log`, the clock, the clients and what tools have done survive a crash; the session, the prompt and whatever runs do not. The
model is a script of parts, and it goes on from what the conversation shows that it has said, so a rerun meets the same model.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from edgeloop import commands
from edgeloop.autonomy import Mode, judge
from edgeloop.codec import decode_batch, decode_state, encode_batch, encode_state
from edgeloop.effects import AbortModel, CallModel, CancelTool, Effect, RunTool
from edgeloop.events import (
    BlockFinished,
    Event,
    Outcome,
    Recorded,
    StepError,
    StepFailed,
    StepFinished,
    StepStarted,
    StopReason,
    Timing,
    ToolCallCompleted,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    Usage,
    UserMessageReceived,
)
from edgeloop.model import Frozen
from edgeloop.prompt import Prompt, build_request
from edgeloop.providers import Target
from edgeloop.providers.failures import local
from edgeloop.schedule import MAX_PARALLEL, World, deadline, due, interrupted
from edgeloop.session import Session
from edgeloop.state import State
from edgeloop.tools import Effect as SideEffect
from edgeloop.tools import Place, ToolSpec, Touched
from edgeloop.touched import conflict
from edgeloop.transcript import CONTINUE, CallBlock, ModelEntry, ResultsEntry, Transcript, UserEntry
from edgeloop.wire import Decide, SendMessage, ToolResult

E = TypeVar("E", bound=Frozen)
TIMING = Timing(wall_ms=1, request_bytes=1, response_bytes=1)
TARGET = Target(base_url="http://model.test")


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool of the simulated world; one that hangs never answers."""

    name: str
    effect: SideEffect = "read"
    place: Place = "edge"
    hangs: bool = False
    outcome: Outcome = "ok"
    deadline_ms: int = 60_000
    touches: dict[Touched, str] = field(default_factory=lambda: dict[Touched, str]())

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(
            name=self.name,
            description=f"The tool {self.name}.",
            parameters={"type": "object"},
            effect=self.effect,
            deadline_ms=self.deadline_ms,
            touches=self.touches,
        )


@dataclass(frozen=True)
class Say:
    """A text block."""

    text: str


@dataclass(frozen=True)
class Ask:
    """A tool call; `arguments` makes it distinct."""

    name: str
    arguments: str = "{}"
    invalid: str | None = None


@dataclass(frozen=True)
class Message:
    """What the model says before it stops."""

    parts: tuple[Say | Ask, ...]
    stop: StopReason = "end"


@dataclass(frozen=True)
class Fault:
    """A failure of the model at a part of the script, once `chars` of its text were shown."""

    error: StepError
    chars: int = 0


@dataclass
class Action:
    """What a person or a client does, once, as soon as `when` holds."""

    when: Callable[["Sim"], bool]
    do: Callable[["Sim"], None]
    done: bool = False


@dataclass
class Stream:
    """A model call in flight: the numbers of the parts `left` to say of a message, and what of the next text was said before."""

    step: int
    attempt: int
    message: int
    left: list[int]
    off: int
    block: int = 0
    called: bool = False
    aborting: bool = False


class Crash(Exception):
    """The isolate died right after an event became durable."""


def failure(cls: str = "overloaded", *, retry_after_ms: int | None = None) -> StepError:
    """A model's failure, retryable or not by its class."""
    return local(cls, "from the script").model_copy(update={"retry_after_ms": retry_after_ms})  # type: ignore[arg-type]


def _is(part: Say | Ask, block: CallBlock) -> bool:
    return (
        isinstance(part, Ask)
        and part.name == block.name
        and (part.arguments == block.arguments or bool(part.invalid))
    )


def said(*parts: Say | Ask | str, stop: StopReason | None = None) -> Message:
    """A message of the script; it stops for tools if it holds a call."""
    items = tuple(Say(part) if isinstance(part, str) else part for part in parts)
    calls = any(isinstance(part, Ask) for part in items)
    return Message(items, stop or ("tool_use" if calls else "end"))


def folded(log: list[Recorded]) -> Transcript:
    """The transcript of a log."""
    transcript = Transcript()
    for recorded in log:
        transcript.apply(recorded)
    return transcript


class Kept:
    """A prompt with its bytes, as a shell keeps them."""

    def __init__(self, provider: str) -> None:
        self.prompt = Prompt(provider=provider)
        self.messages = b""

    def apply(self, recorded: Recorded) -> None:
        """Take the next event."""
        more = self.prompt.apply(recorded)
        self.messages = b",".join(filter(None, (self.messages, more)))

    def reopened(self, log: list[Recorded]) -> "Kept":
        """What a wake makes of the stored bytes where they serve, else of the log; they must not differ."""
        anew, again = Kept(self.prompt.provider), Kept(self.prompt.provider)
        if self.prompt.goes_on:
            again.prompt, again.messages = (
                Prompt.resume(self.prompt.provider, self.prompt.upto),
                self.messages,
            )
        for recorded in log:
            anew.apply(recorded)
            if recorded.seq > again.prompt.upto:
                again.apply(recorded)
        assert again.messages == anew.messages
        assert (again.prompt.upto, again.prompt.goes_on) == (anew.prompt.upto, anew.prompt.goes_on)
        return again


@dataclass(kw_only=True)
class Sim:
    """One agent and its world."""

    script: list[Message] = field(default_factory=lambda: list[Message]())
    tools: tuple[Tool, ...] = ()
    faults: dict[int | str, list[Fault]] = field(default_factory=lambda: dict[int | str, list[Fault]]())
    """By the number of a part, or `end N` behind the last part of message N."""
    actions: list[Action] = field(default_factory=lambda: list[Action]())
    hosts: tuple[str, ...] = ("laptop",)
    joined: int = 0
    tools_first: bool = True
    partial_on_abort: int = 0
    mode: Mode = "auto"
    provider: str = "anthropic"
    now: int = 1_000_000
    crash_after: int | None = None
    snapshot_at: int | None = None

    log: list[Recorded] = field(default_factory=lambda: list[Recorded]())
    snapshot: str | None = None
    crashes: int = 0
    side_effects: Counter[tuple[str, str]] = field(default_factory=lambda: Counter[tuple[str, str]]())
    delivered: set[tuple[str, int]] = field(default_factory=lambda: set[tuple[str, int]]())
    performed: list[Effect] = field(default_factory=lambda: list[Effect]())

    session: Session = field(default_factory=Session)
    transcript: Transcript = field(default_factory=Transcript)
    prompts: dict[str, Kept] = field(default_factory=lambda: dict[str, Kept]())
    running: set[str] = field(default_factory=lambda: set[str]())
    stream: Stream | None = None
    _bodies: dict[str, bytes] = field(default_factory=lambda: dict[str, bytes]())
    _entries: list[object] = field(default_factory=lambda: list[object]())

    # --- the shell --------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        return self.session.state

    @property
    def world(self) -> World:
        return World(
            now=self.now,
            hosts=self.hosts,
            joined=self.joined,
            running=frozenset(self.running),
            mode=self.mode,
        )

    def record(self, *events: Event) -> None:
        """Record events and what follows from them, then perform their effects."""
        effects: list[Effect] = []
        pending = list(events)
        running = set(self.running)
        while True:
            world = replace(self.world, running=frozenset(running))
            event = pending.pop(0) if pending else due(self.state, world)
            if event is None:
                break
            new = self._persist(event)
            running |= {effect.call for effect in new if isinstance(effect, RunTool)}
            effects += new
        for effect in effects:
            self._perform(effect)

    def _persist(self, event: Event) -> list[Effect]:
        recorded = Recorded(seq=self.state.seq + 1, at=self.now, event=event)
        effects = self.session.apply(recorded)
        if isinstance(event, ToolStarted):
            self._check_start(event)
        self.transcript.apply(recorded)
        for kept in self._kept().values():
            kept.apply(recorded)
        self.log.append(recorded)
        if self.snapshot_at == recorded.seq:
            self.snapshot = encode_state(self.state)
        if self.crash_after == recorded.seq:
            self.crash_after = None
            raise Crash
        return effects

    def _check_start(self, event: ToolStarted) -> None:
        """What holds whenever a call starts, whatever led to it."""
        state, call = self.state, self.state.calls[event.call]
        placed, others = state.tool(call.name), [o for o in state.open_calls if o.call != call.call]
        assert placed is not None
        running = [(tool.spec, o.texts) for o in others if o.running and (tool := state.tool(o.name))]
        assert len(running) < MAX_PARALLEL
        assert not any(conflict(placed.spec, call.texts, *other) for other in running)
        if placed.spec.effect == "mutate":
            assert event.epoch == 1
            assert state.phase != "streaming"
            assert not [o for o in others if o.verdict in (None, "ask")]
            judged = judge(placed.spec, call.arguments, mode=state.mode or self.mode, rules=state.rules)
            assert judged.verdict != "deny"

    def burst(self) -> None:
        """Let the model in flight say all the rest in one read."""
        gathered, record = list[Event](), self.record
        self.record = lambda *events: gathered.extend(events)
        while self.stream is not None and not self.stream.aborting:
            self.stream_tick()
        self.record = record
        self.record(*gathered)

    def _perform(self, effect: Effect) -> None:
        self.performed.append(effect)
        match effect:
            case CallModel():
                self.stream = self._answer(effect)
            case AbortModel():
                if self.stream is not None:
                    self.stream.aborting = True
            case RunTool():
                self.running.add(effect.call)
                self.side_effects[(effect.name, effect.arguments)] += 1
            case CancelTool():
                self.running.discard(effect.call)

    def wake(self) -> None:
        """Start anew from what is stored, as the object's constructor does."""
        self.crashes += 1
        before = self.state
        stored = [encode_batch([recorded]) for recorded in self.log]
        log = [recorded for text in stored for recorded in decode_batch(text)]
        assert log == self.log
        snapshot = decode_state(self.snapshot) if self.snapshot else None
        tail = log if snapshot is None else log[snapshot.seq :]
        self.session = Session.replay(snapshot, tail)
        assert self.session.state == before
        self.transcript = folded(log)
        self.prompts = {name: kept.reopened(log) for name, kept in self._kept().items()}
        self.running, self.stream = set(), None
        if self.state.phase == "streaming":
            shown = self._recovered()
            self.record(*interrupted(self.state, shown, local("interrupted", "the isolate died"), 0.5))
        else:
            self.record()

    def _recovered(self) -> list[BlockFinished]:
        """What the recovery row holds of the stream that died; this model needs none."""
        return []

    # --- the model --------------------------------------------------------------------------------------------------

    def _answer(self, effect: CallModel) -> Stream:
        transcript = self.transcript
        self._check_prefix(transcript)
        done, off = self._progress(transcript)
        message = next((n for n, parts in enumerate(self._numbers()) if parts - done), len(self.script))
        fresh = off == 0 and not (message < len(self.script) and self._numbers()[message] & done)
        if fresh and message > 0 and transcript.entries[-1] == UserEntry(text=CONTINUE):
            message -= 1  # it had said all of that message before it broke off
        return Stream(
            step=effect.step, attempt=effect.attempt, message=message, left=self._left(message, done), off=off
        )

    def _kept(self) -> dict[str, Kept]:
        """The prompt for this session's provider and for two that may not be."""
        if not self.prompts:
            self.prompts = {name: Kept(name) for name in ("anthropic", "openai", self.provider)}
        return self.prompts

    def _numbers(self) -> list[set[int]]:
        """The numbers of each message's parts, counted over the script."""
        numbers, start = list[set[int]](), 0
        for message in self.script:
            numbers.append(set(range(start, start + len(message.parts))))
            start += len(message.parts)
        return numbers

    def _left(self, message: int, done: set[int]) -> list[int]:
        return sorted(self._numbers()[message] - done) if message < len(self.script) else []

    @property
    def parts(self) -> list[Say | Ask]:
        """The script's parts in order."""
        return [part for message in self.script for part in message.parts]

    def _progress(self, transcript: Transcript) -> tuple[set[int], int]:
        """Which parts the conversation holds, and how much of the next text. Cancelled calls are made again."""
        parts, done, length = self.parts, set[int](), 0
        for at, entry in enumerate(transcript.entries):
            if not isinstance(entry, ModelEntry):
                continue
            after = transcript.entries[at + 1] if at + 1 < len(transcript.entries) else None
            results = iter(after.results if isinstance(after, ResultsEntry) else ())
            for block in entry.blocks:
                if not isinstance(block, CallBlock):
                    length += len(block.text)
                elif next(results).outcome != "cancelled":
                    done.add(next(n for n, part in enumerate(parts) if n not in done and _is(part, block)))
        for number, part in enumerate(parts):
            if isinstance(part, Say) and length >= len(part.text):
                length -= len(part.text)
                done.add(number)
            elif isinstance(part, Say):
                break
        return done, length

    def _check_prefix(self, transcript: Transcript) -> None:
        """Law 4: entries only grow, and so do the bytes of the request, until its head is changed by an event."""
        assert transcript.entries[: len(self._entries)] == self._entries
        self._entries = list(transcript.entries)
        for name, kept in self._kept().items():
            body = build_request(replace(self.state, provider=name), TARGET, kept.messages).body
            assert body.startswith(self._bodies.get(name, b""))
            self._bodies[name] = body.removesuffix(b"]}")

    def stream_tick(self) -> None:
        """Let the model in flight do its next thing."""
        stream = self.stream
        assert stream is not None
        number = stream.left[0] if stream.left else None
        part = self.parts[number] if number is not None else None
        faults = self.faults.get(number if number is not None else f"end {stream.message}", [])
        if stream.aborting:
            self.stream = None
            self._break(stream, part, Fault(local("aborted", "stopped"), self.partial_on_abort))
        elif faults:
            self.stream = None
            failed = len(self.events(StepFailed))
            try:
                self._break(stream, part, faults[0])
            finally:
                if len(self.events(StepFailed)) > failed:  # else it struck between: the failure is met again
                    del faults[0]
        elif part is not None:
            self._speak(stream, part)
        else:
            self._end(stream)

    def _break(self, stream: Stream, part: Say | Ask | None, fault: Fault) -> None:
        text = part.text[stream.off : fault.chars] if isinstance(part, Say) else ""
        shown = BlockFinished(step=stream.step, block=stream.block, type="text", text=text, partial=True)
        self.record(*interrupted(self.state, [shown], fault.error, 0.5))

    def _speak(self, stream: Stream, part: Say | Ask) -> None:
        block = stream.block
        del stream.left[0]
        stream.block += 1
        if isinstance(part, Say):
            text, stream.off = part.text[stream.off :], 0
            self.record(BlockFinished(step=stream.step, block=block, type="text", text=text, tokens=1))
            return
        stream.called = True
        self.record(
            ToolCallCompleted(
                step=stream.step,
                block=block,
                call=commands.call_id(stream.step, block),
                provider_id=f"p{stream.step}_{block}",
                name=part.name,
                arguments=part.arguments,
                invalid=part.invalid,
            )
        )

    def _end(self, stream: Stream) -> None:
        stop = self.script[stream.message].stop if stream.message < len(self.script) else "end"
        if stop == "tool_use" and not stream.called:
            stream.message += 1  # its calls were made before it broke off: it goes on
            stream.left = self._left(stream.message, set())
            return
        self.stream = None
        self.record(StepFinished(step=stream.step, stop=stop, usage=Usage(output=1), timing=TIMING))

    # --- tools, people, time ----------------------------------------------------------------------------------------

    def tool_tick(self) -> bool:
        """Let one running call answer, the last first; whether any could."""
        known = {tool.name: tool for tool in self.tools}
        for call in reversed(self.state.open_calls):
            tool = known.get(call.name)
            if tool is None or tool.hangs or call.runner is None:
                continue
            content = f"{call.name} of {call.arguments}"
            if call.call in self.running:
                self.running.discard(call.call)
                self.record(ToolFinished(call=call.call, outcome=tool.outcome, content=content, tokens=1))
                return True
            if call.runner in self.hosts:
                self._client_answers(call.runner, call.call, call.epoch, tool.outcome, content)
                return True
        return False

    def _client_answers(self, client: str, call: str, epoch: int, outcome: Outcome, content: str) -> None:
        """A client runs what it was assigned once, however often it hears of it."""
        open_call = self.state.calls[call]
        if (call, epoch) not in self.delivered:
            self.delivered.add((call, epoch))
            self.side_effects[(open_call.name, open_call.arguments)] += 1
        result = ToolResult(call=call, epoch=epoch, outcome=outcome, content=content)
        self.record(*commands.finish_tool(self.state, result, client=client, tokens=1))

    def declare(self, client: str | None = "laptop", model: str = "m") -> None:
        """Set up the model and the tools."""
        local_tools = tuple(tool.spec for tool in self.tools if tool.place == "client")
        edge = tuple(tool.spec for tool in self.tools if tool.place == "edge")
        events = [
            *commands.configure(
                self.state, provider=self.provider, model=model, system="Be brief.", wanted=model
            ),
            *commands.declare_tools(self.state, edge=edge, client=client, local=local_tools),
        ]
        if events:
            self._bodies = {}  # both are named reasons for a new prefix
            self.record(*events)

    def say(self, text: str, identifier: str | None = None) -> None:
        """A person's message."""
        command = SendMessage(id=identifier or "m-" + text.replace(" ", "-"), text=text)
        known = next((e.text for e in self.events(UserMessageReceived) if e.id == command.id), None)
        self.record(*commands.send_message(command, known=known, client="laptop", tokens=1))

    def stop(self) -> None:
        """A person's stop."""
        self.record(*commands.stop(self.state, client="laptop"))

    def attach(self, *hosts: str) -> None:
        """From now on just these clients are attached."""
        self.joined = self.now if set(hosts) - set(self.hosts) else self.joined
        self.hosts = hosts
        self.record()

    def answer(self, *, allow: bool, scope: Literal["once", "session"] = "once") -> None:
        """A person answers the oldest question, if there is one."""
        call = next((call for call in self.state.open_calls if call.verdict == "ask"), None)
        if call is not None:
            decision = Decide(call=call.call, allow=allow, scope=scope)
            self.record(*commands.decide(self.state, decision, by="laptop", now=self.now))

    def tick(self) -> bool:
        """Do the next thing that can happen; False when nothing can."""
        action = next((action for action in self.actions if not action.done and action.when(self)), None)
        if action is not None:
            action.done = True
            action.do(self)
            return True
        if self.tools_first and self.tool_tick():
            return True
        if self.stream is not None:
            self.stream_tick()
            return True
        if self.tool_tick():
            return True
        when = deadline(self.state, self.world)
        if when is None:
            return False
        assert when > self.now or due(self.state, self.world) is not None, "an alarm that fires for nothing"
        self.now = max(when, self.now)
        self.record()
        return True

    def run(self, ticks: int = 3_000) -> "Sim":
        """Go on until nothing can happen, waking after every crash."""
        for _ in range(ticks):
            try:
                if not self.tick():
                    return self
            except Crash:
                self.recover()
        raise AssertionError("it never came to rest")

    def recover(self) -> None:
        """Wake, also where waking itself is struck."""
        try:
            self.wake()
        except Crash:
            self.recover()

    def begin(self, text: str = "go") -> "Sim":
        """Declare the tools and say the first thing, each repeated by its client until it is recorded."""
        for act in (self.declare, lambda: self.say(text)):
            try:
                act()
            except Crash:
                self.recover()
                act()
        return self

    # --- what came of it --------------------------------------------------------------------------------------------

    def events(self, kind: type[E]) -> list[E]:
        """The log's events of one kind."""
        return [recorded.event for recorded in self.log if isinstance(recorded.event, kind)]

    @property
    def kinds(self) -> list[str]:
        """The kinds of the log's events, in order."""
        return [recorded.event.kind for recorded in self.log]

    def outcomes(self) -> dict[str, Outcome]:
        """Each finished call's outcome."""
        return {event.call: event.outcome for event in self.events(ToolFinished)}

    def ends(self) -> list[str]:
        """How each turn ended."""
        return [event.reason for event in self.events(TurnFinished)]

    def story(self) -> dict[str, object]:
        """What must not depend on where it crashed: the person's words, the model's, and how each call ended.

        Cancelled calls are left out (the model makes them again), and so are the notes that a message broke off. A call whose
        runner died with it may have come to `lost` in place of its result: it is named here without its outcome.
        """
        transcript = folded(self.log)
        transcript.apply(Recorded(seq=0, at=0, event=StepStarted(step=0, attempt=1)))
        users, text, results = list[str](), "", list[tuple[str, str]]()
        for entry in transcript.entries:
            match entry:
                case UserEntry():
                    users += [] if entry.text == CONTINUE else [entry.text]
                case ResultsEntry():
                    results += [(r.name, r.outcome) for r in entry.results if r.outcome != "cancelled"]
                case ModelEntry():
                    text += "".join(block.text for block in entry.blocks if not isinstance(block, CallBlock))
        mutating = {tool.name for tool in self.tools if tool.effect == "mutate" and tool.place == "edge"}
        calls = sorted((name, "once" if name in mutating else outcome) for name, outcome in results)
        return {"users": users, "text": text, "calls": calls, "ends": self.ends()}
