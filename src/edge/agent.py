"""One agent at work: read, feed the core, persist, perform effects, set the alarm. The rules are all in `edgeloop`.

`record` is the only way anything happens. Events are durable before their effects begin, and frames leave only once they are
(the platform's output gate holds every message until the write before it is confirmed).
"""

import asyncio
import json
import random
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import js

from edge.budget import KeyBudget
from edge.clock import now_ms
from edge.convert import why
from edge.hot import count_batch, count_tokens
from edge.model_call import ModelCall
from edge.prompts import KeptPrompt
from edge.residents import Resident, Residents
from edge.settings import Settings
from edge.sockets import Sockets
from edge.store import Store
from edge.tools import EdgeTools
from edgeloop import commands
from edgeloop.autonomy import Mode
from edgeloop.effects import AbortModel, CallModel, CancelTool, Effect, RunTool
from edgeloop.errors import CorruptLog
from edgeloop.events import Event, Recorded, StepError, ToolFinished, TurnFinished
from edgeloop.frames import events_frame
from edgeloop.limiter import Limiters
from edgeloop.limits import check_room, full
from edgeloop.producers import Number, Producer, later, remember
from edgeloop.prompt import build_request
from edgeloop.providers.failures import local
from edgeloop.reader import Op, partial_blocks
from edgeloop.record import Recorder, attributes
from edgeloop.schedule import EDGE, World, deadline, due, interrupted
from edgeloop.session import Session
from edgeloop.session_end import Known
from edgeloop.spend import Charge
from edgeloop.state import State
from edgeloop.wire import Autonomy, Command, Decide, SendMessage, Snapshot, Stop, ToolResult

_residents = Residents()
_limiters = Limiters()
"""What all sessions of this isolate have learnt of the provider's limits."""


class Agent:
    """The shell around one session."""

    def __init__(self, *, key: str, name: str, ctx: Any, settings: Settings) -> None:
        self.name = name
        self._key = key
        self._ctx = ctx
        self._settings = settings
        self.store = Store(ctx.storage)
        self.sockets = Sockets(ctx)
        self._tools = EdgeTools(store=self.store, fetch_hosts=settings.fetch_hosts)
        self._call: ModelCall | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._alarm: int | None = None
        self._alarms_set = 0
        self._heard: dict[str, Number] = {}
        self.since = now_ms()
        self.is_deleted = False
        _residents.drop(key)  # a predecessor's copy may hold what was never committed
        state = self._load().session.state
        self._budget = settings.budget(f"{key[:16]}.{self.store.log}")
        self._settle(state.spend.last, again=True)  # its predecessor may have gone before it could
        self._take_up()

    # --- reading ----------------------------------------------------------------------------------------------------

    @property
    def mode(self) -> Mode:
        """The mode in force: the session's own, else the deployment's."""
        return self.state.mode or self._settings.mode

    @property
    def rows_written(self) -> int:
        """Rows written since, as they are billed."""
        return self.store.sql.rowsWritten + self._alarms_set

    @property
    def cache(self) -> str:
        """What providers route this conversation's prompts by: a copy meets what its original left in their cache."""
        return self.store.cache or self._key

    @property
    def state(self) -> State:
        """The control state, rebuilt from the log if it was not in memory."""
        return self._resident().session.state

    def _resident(self) -> Resident:
        found = _residents.get(self._key)
        return found if found is not None else self._load()

    def _load(self) -> Resident:
        snapshot, events = self.store.open()
        provider, model = (snapshot.provider, snapshot.model) if snapshot is not None else ("", "")
        recorder = Recorder.resume(provider, model, events)
        session = Session.replay(snapshot, events)
        resident = Resident(session=session, recorder=recorder)
        _residents.put(self._key, resident)
        return resident

    def _take_up(self) -> None:
        """Go on: a stream that nobody reads any more (a predecessor's, or one whose end could not be stored) has ended."""
        state = self.state
        if state.phase != "streaming" or (self._call is not None and self._call.is_of(state)):
            self.record([])
            return
        shown = partial_blocks(state.step, self._saved(state), count_batch)
        error = local("interrupted", "the session went away in mid-stream")
        self.record(interrupted(state, shown, error, random.random()))

    def _saved(self, state: State) -> list[Op]:
        """What the pump saved of the attempt; a row that cannot be read costs the text, not the session."""
        saved = self.store.recovery()
        if saved is None or saved[:2] != (state.step, state.attempt):
            return []
        try:
            return json.loads(saved[2])
        except (ValueError, TypeError) as error:
            js.console.error(f"{self.name}: the recovery row cannot be read: {why(error)}")
            return []

    def snapshot(self) -> Snapshot:
        """What a client whose cursor is older than the log goes on from."""
        state = self.store.base_state()
        assert state is not None
        return Snapshot.model_validate(
            {name: getattr(state, name) for name in Snapshot.model_fields if name != "t"}
        )

    # --- feeding ----------------------------------------------------------------------------------------------------

    def record(
        self,
        events: list[Event],
        *,
        streamed: bool = False,
        sender: tuple[Any, str] | None = None,
        producer: Producer | None = None,
    ) -> int:
        """Record events and all that follow from them now; return the log's head.

        `streamed` says that live sockets were sent these blocks as deltas; `sender` is the socket that brought the event about
        `ref`, so neither is sent its own content again. `producer` numbers the command that made the last of the events.
        """
        resident = self._resident()
        batch: list[Recorded] = []
        world = self._world()  # asking the sockets costs 0.1 ms, so once for all that follows
        try:
            effects = self._feed(resident, events, world, batch, producer)
            if batch:
                self.store.append(batch)
                ended = any(isinstance(recorded.event, TurnFinished) for recorded in batch)
                self.store.snapshot(resident.session.state, resident.prompt, ended=ended)
                if ended and self._settings.retain_events is not None:
                    self._condense(resident.session.state.seq - self._settings.retain_events)
        except Exception:
            _residents.drop(self._key)  # half applied, or not stored: the log knows better
            raise
        if batch:
            self._broadcast(batch, streamed, sender)
        self._set_alarm(resident.session.state, world)
        for effect in effects:
            self._perform(effect)
        self._tell(resident, batch)
        if any(recorded.event.kind in ("step_finished", "step_failed") for recorded in batch):
            self._settle(resident.session.state.spend.last)
        if resident.idle:
            _residents.weigh(self._key)  # at the end of a turn, when its prompt has grown
        return resident.session.state.seq

    def _condense(self, last: int) -> None:
        """Condense what is older than the deployment keeps. Two pieces a turn: it catches up where there is much."""
        try:
            for _ in range(2):
                self.store.condense(last)
        except CorruptLog as error:  # it stays as it is: what is damaged is not ours to throw away
            js.console.error(f"{self.name}: the log cannot be condensed: {error}")

    def _feed(
        self,
        resident: Resident,
        events: list[Event],
        world: World,
        batch: list[Recorded],
        producer: Producer | None,
    ) -> list[Effect]:
        session = resident.session
        effects: list[Effect] = []
        pending = list(events)
        while True:
            event = pending.pop(0) if pending else due(session.state, world)
            if event is None:
                return effects
            made = producer if len(batch) == len(events) - 1 else None
            recorded = Recorded(seq=session.state.seq + 1, at=world.now, event=event, producer=made)
            new = session.apply(recorded)
            if resident.prompt is not None:
                resident.prompt.apply([recorded])
            if started := {effect.call for effect in new if isinstance(effect, RunTool)}:
                world = replace(world, running=world.running | started)
            effects += new
            batch.append(recorded)

    def _tell(self, resident: Resident, batch: list[Recorded]) -> None:
        """Write the records that a round completes to the console, in one line: each costs the one thread a millisecond."""
        made = [attributes(record) for recorded in batch for record in resident.recorder.apply(recorded)]
        if made:
            js.console.log(json.dumps({"agent": self.name, "records": made}))

    def _world(self) -> World:
        settings, now = self._settings, now_ms()
        self.sockets.expire(now)
        return World(
            now=now,
            hosts=self.sockets.hosts(),
            joined=self.sockets.joined(),
            running=frozenset(self._tasks),
            rules=settings.rules,
            mode=settings.mode,
            question_ms=settings.question_ms,
        )

    def _broadcast(self, batch: list[Recorded], streamed: bool, sender: tuple[Any, str] | None) -> None:
        live = self.sockets.live
        if live.size == 0:
            return
        frame = events_frame(batch, streamed=streamed)
        if sender is None or not live.has(sender[0]):
            live.send(frame, None)
            return
        live.send(frame, sender[0])
        live.sendTo(sender[0], events_frame(batch, streamed=streamed, own=sender[1]))

    # --- effects ----------------------------------------------------------------------------------------------------

    def _perform(self, effect: Effect) -> None:
        match effect:
            case CallModel():
                self._call_model(effect)
            case AbortModel():
                if self._call is not None:
                    self._call.abort()
            case RunTool():
                self._spawn(effect.call, self._run_tool(effect))
            case CancelTool():
                task = self._tasks.get(effect.call)
                if task is not None:
                    task.cancel()

    def _spawn(self, key: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks[key] = task
        task.add_done_callback(
            lambda done: self._tasks.pop(key, None) if self._tasks.get(key) is done else None
        )

    def _report(self, effect: CallModel, events: list[Event]) -> None:
        """Take a call's events, unless the step has been given up meanwhile (a stale epoch writes nothing)."""
        state = self.state
        if state.phase == "streaming" and (state.step, state.attempt) == (effect.step, effect.attempt):
            if events[-1].kind in ("step_finished", "step_failed"):
                self._call = None
            self.record(events, streamed=True)

    def _settle(self, charge: Charge | None, *, again: bool = False) -> None:
        """Tell the key's ledger what an attempt cost."""
        if self._budget is not None and charge is not None:
            key = f"settle {charge.step}.{charge.attempt}"
            self._spawn(key, self._budget.settle(charge, again=again))

    def _unsettled(self) -> list[Charge]:
        """What the key's ledger may not have been told: the last attempt, and the one under way."""
        resident = _residents.get(self._key)
        if resident is None:
            return []
        state = resident.session.state
        charges = (state.spend.last, state.spend.given_up(state.step, state.attempt))
        return [charge for charge in charges if charge is not None]

    def _call_model(self, effect: CallModel) -> None:
        settings = self._settings
        call = self._call = ModelCall(
            step=effect.step,
            attempt=effect.attempt,
            live=self.sockets.live,
            sql=self.store.sql,
            ai=settings.ai,
            limiter=_limiters.of(settings.target.api_key, self.state.model),
            report=lambda events: self._report(effect, events),
        )
        refused = self._refused()
        if refused is not None:
            call.fail_soon(refused)
        elif self._budget is None:
            self._begin(call)
        else:
            self._spawn(f"step {effect.step}", self._reserve(call, self._budget))

    async def _reserve(self, call: ModelCall, budget: KeyBudget) -> None:
        """Begin a call once its key's ledger has set aside what it may cost: without the ledger's word none is made."""
        state = self.state
        try:
            over = await budget.refusal(state.step, state.attempt, state.spend.call_usd or 0.0)
        except Exception as error:
            call.fail(
                local("connection", f"the ledger of the key's spending cannot be reached: {why(error)}")
            )
            return
        if over is not None:
            call.fail(local("budget", over))
        elif not call.is_over:
            self._begin(call)

    def _begin(self, call: ModelCall) -> None:
        state, settings = self.state, self._settings
        try:
            request = build_request(state, replace(settings.target, session=self.cache))
            request = replace(request, deadlines=settings.deadlines(request.deadlines))
            call.start(request, self._prompt().body(request.body))
        except Exception as error:  # whatever it is, the step must end and the person must hear of it
            js.console.error(f"step {state.step} failed: {why(error)}")
            call.fail_soon(local("unknown", why(error)))

    def _refused(self) -> StepError | None:
        """Why this call must not be made; None if it may."""
        settings, stored = self._settings, self.store.bytes
        problem = settings.problem()
        if problem is not None:
            return local("configuration", problem)
        if stored >= settings.session_bytes:
            return local("budget", full(stored, settings.session_bytes))
        capped = settings.session_usd is not None or self._budget is not None
        over = self.state.spend.refusal(settings.session_usd) if capped else None
        return local("budget", over) if over is not None else None

    def _prompt(self) -> KeptPrompt:
        resident = self._resident()
        provider = resident.session.state.provider
        if resident.prompt is None or not resident.prompt.serves(provider):
            resident.prompt = self.store.prompt(provider)
        return resident.prompt

    async def _run_tool(self, effect: RunTool) -> None:
        begun = time.monotonic()
        try:
            outcome, content = await self._tools.run(effect.name, effect.arguments)
        except Exception as error:  # a fault of the tool is the model's to hear, not the session's end
            outcome, content = "error", f"The tool failed: {why(error)}"
        self._tasks.pop(effect.call, None)
        call = self.state.calls.get(effect.call)
        if call is None or call.outcome is not None or (call.runner, call.epoch) != (EDGE, effect.epoch):
            return  # somebody else's by now: a stale epoch writes nothing
        ms = int((time.monotonic() - begun) * 1000)
        tokens = count_tokens(content)
        self.record([ToolFinished(call=effect.call, outcome=outcome, content=content, tokens=tokens, ms=ms)])

    def _set_alarm(self, state: State, world: World) -> None:
        """Set the alarm if what is due comes before it. A later alarm is left: to fire early costs less than a write."""
        when = deadline(state, world)
        if when is not None and (self._alarm is None or self._alarm <= world.now or when < self._alarm):
            self._alarm = max(when, world.now)
            self._alarms_set += 1
            self._ctx.storage.setAlarm(self._alarm)

    def tick(self) -> None:
        """The alarm: ask what is due, and watch on."""
        self._alarm = None
        self._take_up()

    # --- commands ---------------------------------------------------------------------------------------------------

    def declare(self, client: str | None, local_tools: Any) -> list[Event]:
        """The events that settle the tools offered, given what a client brings (None: what it brought before)."""
        return commands.declare_tools(self.state, edge=self._tools.specs(), client=client, local=local_tools)

    def message(self, command: SendMessage, client: str | None, ws: Any = None) -> tuple[int, bool]:
        """Take a person's message; return the head and whether it was there before.

        Raises:
            Refused: another text under the same id, too many that wait, or no room for it.
        """
        settings = self._settings
        known = self.store.message(command.id)
        if known is None:
            check_room(self.store.bytes, settings.session_bytes, command.id)
        taken = commands.send_message(
            command,
            known=known,
            client=client,
            tokens=count_tokens(command.text),
            queued=self.state.queued,
        )
        if not taken:
            return self.state.seq, True
        setup = commands.configure(
            self.state,
            provider=settings.provider,
            model=settings.model,
            system=settings.system,
            wanted=command.model,
        )
        events = [*setup, *self.declare(None, None), *taken]
        sender = (ws, command.id) if ws is not None else None
        return self.record(events, sender=sender, producer=_producer(command, client)), False

    def result(self, command: ToolResult, client: str, ws: Any) -> bool:
        """Take a client's result; return whether it changed anything.

        Raises:
            Refused: not a call of this client's.
        """
        tokens = count_tokens(command.content)
        events = commands.finish_tool(self.state, command, client=client, tokens=tokens)
        if events:
            self.record(events, sender=(ws, command.call), producer=_producer(command, client))
        return bool(events)

    def decide(self, command: Decide, by: str) -> tuple[int, bool]:
        """Answer a question; return the head and whether it had been answered so before.

        Raises:
            Refused: no such question, or answered otherwise.
        """
        return self._command(
            commands.decide(self.state, command, by=by, now=now_ms()), _producer(command, by)
        )

    def set_autonomy(self, command: Autonomy, client: str | None) -> tuple[int, bool]:
        """Change what may be done without asking; return the head and whether it was so before."""
        events = commands.set_autonomy(self.state, command, client=client, world=self._world())
        return self._command(events, _producer(command, client))

    def stop(self, command: Stop, client: str | None) -> tuple[int, bool]:
        """Stop the turn; return the head and whether there was nothing to stop."""
        return self._command(commands.stop(self.state, client=client), _producer(command, client))

    def _command(self, events: list[Event], producer: Producer | None) -> tuple[int, bool]:
        return (self.record(events, producer=producer) if events else self.state.seq), not events

    def known(self, client: str) -> Known:
        """What a frame of a client is judged by."""
        state = self.state
        last = later(state.producers.get(client), self._heard.get(client))
        return Known(log=self.store.log, head=state.seq, tools_digest=state.tools_digest, last=last)

    def heard(self, client: str, number: Number) -> None:
        """Remember the number of a command that may have recorded nothing: in memory alone (producers.py)."""
        remember(self._heard, client, number)

    def streaming(self) -> tuple[int, int, list[dict[str, Any]]] | None:
        """Step, attempt and the blocks shown but not finished, if a model speaks."""
        call = self._call
        return None if call is None else (call.reader.step, call.reader.attempt, call.partial())

    async def delete(self) -> None:
        """Stop everything and forget it all."""
        self.is_deleted = True
        if self._call is not None:
            self._call.drop()
        self._call = None
        for task in list(self._tasks.values()):
            task.cancel()
        charges = self._unsettled()
        _residents.drop(self._key)
        await self.store.delete()
        for charge in charges:
            if self._budget is not None:
                await self._budget.settle(charge, again=True)


def _producer(command: Command, client: str | None) -> Producer | None:
    """Whose command it is and which one; None for one that is not numbered, as those by HTTP."""
    number = command.producer
    if number is None or client is None:
        return None
    return Producer(client=client, epoch=number.epoch, n=number.n)
