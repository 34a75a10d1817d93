"""What a client sees: the fold of the session's frames, equal to the fold of its log at every point.

Theory
======
`fold(recorded)` is the only place where events change the view. Live frames are first made whole: `block_streamed` and `accepted`
stand for events whose content the client already holds, so `expand` gives the event back, or raises `Gap` if it cannot. What is
not in the log yet (`live`: blocks being streamed, `opened`: calls being written) lies beside the fold and is dropped when its
block or step ends. So a view made of live frames and one made by `from_events` differ in `live` and `opened` alone.

After a `Gap` the connection starts again from the cursor, without a position: the log then brings the block whole.
Knows no socket and no terminal.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from edgeloop.autonomy import Verdict
from edgeloop.client_end import Cursor
from edgeloop.events import (
    ApprovalDecided,
    BlockFinished,
    BlockType,
    CallJudged,
    ConfigChanged,
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
    ToolsDeclared,
    ToolStarted,
    TurnFinished,
    Usage,
    UserMessageReceived,
)
from edgeloop.session import add_usage
from edgeloop.state import TRANSITIONS, Phase
from edgeloop.tools import PlacedTool, ToolSpec, digest
from edgeloop.wire import (
    Accepted,
    BlockStreamed,
    CallOpened,
    Delta,
    Events,
    More,
    SendMessage,
    ServerMessage,
    Snapshot,
    StreamPosition,
    Synced,
    ToolResult,
    ToolsTaken,
    Welcome,
    WireEvent,
)
from edgeloop_client.errors import Gap

Frame = ServerMessage
CallEvent = ToolCallCompleted | CallJudged | ApprovalDecided | ToolStarted | ToolFinished
Where = tuple[int, int, int]
"""Step, attempt and block."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A finished block of a model's message."""

    type: BlockType
    text: str
    partial: bool


@dataclass(kw_only=True)
class CallSeen:
    """A tool call; `state` is "waiting" until somebody runs it, and its outcome when it has one."""

    call: str
    step: int
    block: int
    name: str
    arguments: str
    invalid: str | None = None
    state: Literal["waiting", "running"] | Outcome = "waiting"
    runner: str | None = None
    epoch: int = 0
    verdict: Verdict | None = None
    judged_by: str = ""
    approved: bool | None = None
    content: str = ""
    ms: int = 0

    @property
    def has_consent(self) -> bool:
        """Whether a person allowed it: this call, or its like for the session."""
        return self.approved is True or (self.verdict == "allow" and self.judged_by.startswith("grant "))

    @property
    def is_asked(self) -> bool:
        """Whether the session waits for a person's answer about it."""
        return self.state == "waiting" and self.verdict == "ask" and self.approved is None


@dataclass(kw_only=True)
class StepSeen:
    """A model call, with what it said."""

    step: int
    attempt: int
    model: str = ""
    blocks: dict[int, Block] = field(default_factory=lambda: dict[int, Block]())
    stop: StopReason | None = None
    error: StepError | None = None
    usage: Usage = Usage()
    timing: Timing | None = None

    @property
    def text(self) -> str:
        """What it said, without its reasoning."""
        parts = [self.blocks[number] for number in sorted(self.blocks)]
        return "\n\n".join(block.text for block in parts if block.type == "text" and block.text)


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """Text not seen before, of a block being streamed or just finished."""

    step: int
    attempt: int
    block: int
    kind: Literal["text", "reasoning"]
    text: str


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The model began to write a call."""

    step: int
    block: int
    name: str


@dataclass(frozen=True, kw_only=True)
class Restarted:
    """What was held belongs to another log and was dropped."""


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """What was held and what was missed up to `base` is no longer kept by the session: what is seen begins behind it."""

    base: Snapshot


Change = Recorded | Fresh | Opened | Restarted | Skipped


@dataclass(kw_only=True)
class _Live:
    kind: Literal["text", "reasoning"]
    text: bytearray = field(default_factory=bytearray)


@dataclass(kw_only=True)
class View:
    """See the module's text. `seq` is the cursor: the last event folded."""

    log: str | None = None
    seq: int = 0
    phase: Phase = "idle"
    provider: str = ""
    model: str = ""
    messages: dict[str, str] = field(default_factory=lambda: dict[str, str]())
    steps: dict[int, StepSeen] = field(default_factory=lambda: dict[int, StepSeen]())
    calls: dict[str, CallSeen] = field(default_factory=lambda: dict[str, CallSeen]())
    usage: Usage = Usage()
    turns: int = 0
    ended: TurnFinished | None = None
    _current: dict[str, CallSeen] = field(default_factory=lambda: dict[str, CallSeen]())
    live: dict[Where, _Live] = field(default_factory=lambda: dict[Where, _Live](), compare=False)
    opened: dict[Where, str] = field(default_factory=lambda: dict[Where, str](), compare=False)
    _streamed: Where | None = field(default=None, compare=False)
    _sent: dict[str, SendMessage | ToolResult] = field(
        default_factory=lambda: dict[str, SendMessage | ToolResult](), compare=False
    )
    local_tools: tuple[ToolSpec, ...] = field(default=(), compare=False)
    """What this client runs: their declaration may come back as `tools_taken` alone."""

    @classmethod
    def from_events(cls, log: str, events: Iterable[Recorded]) -> "View":
        """The view of a log read over HTTP.

        Raises:
            Gap: `seq` is not consecutive from 1.
        """
        view = cls(log=log)
        for recorded in events:
            view.fold(recorded)
        return view

    @property
    def answer(self) -> str:
        """What the model said last."""
        return self.steps[max(self.steps)].text if self.steps else ""

    @property
    def current_calls(self) -> list[CallSeen]:
        """The calls of the step under way, in no order; those of earlier steps all have their outcome."""
        return list(self._current.values())

    @property
    def position(self) -> StreamPosition | None:
        """How much is held of the block being streamed, for the next `hello`."""
        if self._streamed is None or self._streamed not in self.live:
            return None
        step, attempt, block = self._streamed
        return StreamPosition(
            step=step, attempt=attempt, block=block, off=len(self.live[self._streamed].text)
        )

    @property
    def cursor(self) -> Cursor:
        """What is held, as the sync needs it."""
        return Cursor(log=self.log, seq=self.seq, position=self.position)

    def assigned(self, client: str) -> list[CallSeen]:
        """The calls of the step under way that a client was given and has not answered."""
        return [call for call in self._current.values() if (call.state, call.runner) == ("running", client)]

    def sent(self, frame: SendMessage | ToolResult) -> None:
        """Note what this client sends: its event may come back as `accepted` alone."""
        self._sent[frame.id if isinstance(frame, SendMessage) else frame.call] = frame

    def forget_live(self) -> None:
        """Drop what is not in the log: after a gap the log brings it whole."""
        self.live.clear()
        self.opened.clear()

    def apply(self, frame: Frame) -> list[Change]:
        """Take one frame of the session; what changed, in order.

        Raises:
            Gap: it does not continue what is held; connect again from the cursor, after `forget_live`.
        """
        match frame:
            case Welcome():
                return self._welcome(frame)
            case Snapshot():
                return self._snapshot(frame)
            case Events():
                return self._events(frame)
            case Delta():
                return self._delta(frame)
            case CallOpened():
                return self._call(frame)
            case Synced() | More() if frame.seq != self.seq:
                raise Gap(f"{frame.t} at {frame.seq}, folded up to {self.seq}")
            case _:
                return []

    def fold(self, recorded: Recorded) -> None:
        """Take the next event of the log.

        Raises:
            Gap: not the next one, or one that the phase does not allow.
        """
        if recorded.seq != self.seq + 1:
            raise Gap(f"event {recorded.seq} follows {self.seq}")
        phase = TRANSITIONS[self.phase].get(recorded.event.kind)
        if phase is None:
            raise Gap(f"event {recorded.event.kind!r} in phase {self.phase!r}")
        self._fold(recorded.event)
        self.seq, self.phase = recorded.seq, phase

    # --- frames -----------------------------------------------------------------------------------------------------

    def _welcome(self, frame: Welcome) -> list[Change]:
        if not frame.reset and self.seq and frame.log != self.log:
            raise Gap(f"log {frame.log!r} welcomed a cursor of {self.log!r}")
        if not frame.reset:
            self.log = frame.log
            return []
        vars(self).update(vars(View(log=frame.log, _sent=self._sent, local_tools=self.local_tools)))
        return [Restarted()]

    def _snapshot(self, frame: Snapshot) -> list[Change]:
        if frame.seq <= self.seq:
            raise Gap(f"a snapshot at {frame.seq}, folded up to {self.seq}")
        known = {
            name: getattr(frame, name) for name in ("seq", "phase", "provider", "model", "usage", "turns")
        }
        vars(self).update(vars(View(log=self.log, _sent=self._sent, local_tools=self.local_tools, **known)))
        return [Skipped(base=frame)]

    def _events(self, frame: Events) -> list[Change]:
        changes: list[Change] = []
        for event in frame.events:
            try:
                changes += self._event(event)
            except Gap as gap:
                gap.changes = tuple(changes)
                raise
        return changes

    def _event(self, event: WireEvent) -> list[Change]:
        if event.seq <= self.seq:
            return []
        recorded = self._expand(event)
        fresh = self._fresh_of(recorded.event)
        self.fold(recorded)
        return [*fresh, recorded]

    def _expand(self, event: WireEvent) -> Recorded:
        match event.event:
            case BlockStreamed() as streamed:
                whole: Event = self._own_block(streamed)
            case Accepted() as accepted:
                whole = self._own_sent(accepted)
            case ToolsTaken() as taken:
                whole = self._own_tools(taken)
            case _ as full:
                whole = full
        return Recorded(seq=event.seq, at=event.at, event=whole)

    def _own_block(self, event: BlockStreamed) -> BlockFinished:
        held = self.live.get(self._where(event.step, event.block))
        text = bytes(held.text) if held is not None else b""
        if len(text) != event.bytes:
            raise Gap(f"block {event.step}.{event.block} has {event.bytes} bytes, {len(text)} are held")
        return BlockFinished(
            step=event.step,
            block=event.block,
            type=event.type,
            text=text.decode(),
            tokens=event.tokens,
            partial=event.partial,
        )

    def _own_sent(self, event: Accepted) -> UserMessageReceived | ToolFinished:
        match self._sent.get(event.ref):
            case SendMessage() as sent if event.of == "user_message_received":
                return UserMessageReceived(id=sent.id, text=sent.text, tokens=event.tokens)
            case ToolResult() as sent if event.of == "tool_finished":
                return ToolFinished(
                    call=sent.call,
                    outcome=sent.outcome,
                    content=sent.content,
                    tokens=event.tokens,
                    ms=sent.ms,
                )
            case _:
                raise Gap(f"{event.of} of {event.ref!r} was accepted, but was not sent from here")

    def _own_tools(self, event: ToolsTaken) -> ToolsDeclared:
        if digest(self.local_tools) != event.digest:
            raise Gap("tools were taken that are not run here")
        placed = [PlacedTool(place="client", spec=spec) for spec in self.local_tools]
        placed += [PlacedTool(place="edge", spec=spec) for spec in event.edge]
        return ToolsDeclared(
            client=event.client, tools=tuple(sorted(placed, key=lambda tool: tool.spec.name))
        )

    def _fresh_of(self, event: Event) -> list[Change]:
        """Of a block that came whole, what was not shown as deltas before."""
        if not isinstance(event, BlockFinished) or event.type == "opaque":
            return []
        step, attempt, block = where = self._where(event.step, event.block)
        held = self.live.get(where)
        shown = bytes(held.text) if held is not None else b""
        text = event.text.encode()
        rest = text[len(shown) :] if text.startswith(shown) else b""
        if not rest:
            return []
        return [Fresh(step=step, attempt=attempt, block=block, kind=event.type, text=rest.decode())]

    def _delta(self, frame: Delta) -> list[Change]:
        where = (frame.step, frame.attempt, frame.block)
        if self._is_over(where):
            return []
        held = self.live.setdefault(where, _Live(kind=frame.kind))
        data = frame.text.encode()
        known = len(held.text) - frame.off
        if known < 0:
            raise Gap(f"delta of {where} at {frame.off}, {len(held.text)} bytes are held")
        if bytes(held.text[frame.off : frame.off + len(data)]) != data[:known]:
            raise Gap(f"delta of {where} at {frame.off} says otherwise than before")
        held.text += data[known:]
        self._streamed = where
        if known >= len(data):
            return []
        text = data[known:].decode("utf-8", "replace")
        step, attempt, block = where
        return [Fresh(step=step, attempt=attempt, block=block, kind=frame.kind, text=text)]

    def _call(self, frame: CallOpened) -> list[Change]:
        where = (frame.step, frame.attempt, frame.block)
        if self._is_over(where) or where in self.opened:
            return []
        self.opened[where] = frame.name
        return [Opened(step=frame.step, block=frame.block, name=frame.name)]

    def _is_over(self, where: Where) -> bool:
        """Whether the log is past what a live frame tells of."""
        step, attempt, block = where
        seen = self.steps.get(step)
        if seen is None:
            return bool(self.steps) and step < max(self.steps)
        return (
            attempt < seen.attempt
            or (attempt == seen.attempt and self.phase != "streaming")
            or block in seen.blocks
            or f"{step}.{block}" in self.calls
        )

    def _where(self, step: int, block: int) -> Where:
        seen = self.steps.get(step)
        return (step, seen.attempt if seen is not None else 1, block)

    # --- events -----------------------------------------------------------------------------------------------------

    def _fold(self, event: Event) -> None:
        match event:
            case ConfigChanged():
                self.provider, self.model = event.provider, event.model
            case UserMessageReceived():
                self.messages[event.id] = event.text
                self._sent.pop(event.id, None)
            case StepStarted():
                self.steps[event.step] = StepSeen(step=event.step, attempt=event.attempt, model=self.model)
                self._current.clear()
                self._drop_live(event.step, event.attempt)
            case BlockFinished():
                self._step(event.step).blocks[event.block] = Block(
                    type=event.type, text=event.text, partial=event.partial
                )
                self.live.pop(self._where(event.step, event.block), None)
            case StepFinished() | StepFailed():
                self._fold_end(event)
            case ToolCallCompleted() | CallJudged() | ApprovalDecided() | ToolStarted() | ToolFinished():
                self._fold_call(event)
            case TurnFinished():
                self.turns += 1
                self.ended = event
            case _:
                pass

    def _fold_end(self, event: StepFinished | StepFailed) -> None:
        step = self._step(event.step)
        step.usage, step.timing = event.usage, event.timing
        if isinstance(event, StepFinished):
            step.stop = event.stop
        else:
            step.error = event.error
        self.usage = add_usage(self.usage, event.usage)
        self.forget_live()

    def _fold_call(self, event: CallEvent) -> None:
        if isinstance(event, ToolCallCompleted):
            self.calls[event.call] = self._current[event.call] = CallSeen(
                call=event.call,
                step=event.step,
                block=event.block,
                name=event.name,
                arguments=event.arguments,
                invalid=event.invalid,
            )
            self.opened.pop(self._where(event.step, event.block), None)
            return
        call = self.calls.get(event.call)
        if call is None:
            raise Gap(f"{event.kind} of {event.call!r}, which nobody made")
        match event:
            case CallJudged():
                call.verdict, call.judged_by = event.verdict, event.by
            case ApprovalDecided():
                call.approved = event.allowed
            case ToolStarted():
                call.state, call.runner, call.epoch = "running", event.runner, event.epoch
            case ToolFinished():
                call.state, call.content, call.ms = event.outcome, event.content, event.ms
                self._sent.pop(event.call, None)

    def _step(self, number: int) -> StepSeen:
        step = self.steps.get(number)
        if step is None:
            raise Gap(f"step {number} ended or spoke before it began")
        return step

    def _drop_live(self, step: int, attempt: int) -> None:
        """Drop what earlier attempts showed; of the new one something may be held already."""
        for held in (self.live, self.opened):
            for where in [where for where in held if where[:2] < (step, attempt)]:
                del held[where]
