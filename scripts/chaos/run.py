"""A run: sessions that live while blows fall, then calm, then the reckoning.

Decides when what happens (from the seed) and keeps the book of what was sent; what must hold of it is in `checks.py`.
"""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from edgeloop.bodies import EventsPage, StateView
from edgeloop.events import Recorded
from scripts.chaos.checks import Evidence, wrong_runs, wrongs
from scripts.chaos.story import MODEL, Author
from scripts.chaos.world import PEOPLE, TOKEN, World

SESSIONS = 10
"""That live at a time; one that is over is followed by another."""
MESSAGES = (5, 14)
PATIENCE = 240.0
"""Seconds of calm after which every turn must have ended: a backoff is up to 60 s, a lost runner's call waits 60."""
HEADERS = {"authorization": f"Bearer {TOKEN}"}


@dataclass
class Life:
    """One session: who attends it, what was sent, what of it was seen in the log."""

    agent: str
    author: Author
    people: tuple[str, ...]
    sent: dict[str, str] = field(default_factory=lambda: dict[str, str]())
    seen: set[str] = field(default_factory=lambda: set[str]())
    through: dict[str, str] = field(default_factory=lambda: dict[str, str]())
    """Which process of clients each message was said through."""
    joined: set[str] = field(default_factory=lambda: set[str]())
    turns: int = 0
    stage: str = "joining"
    checked: dict[str, tuple[int, bool | None, str]] = field(
        default_factory=lambda: dict[str, tuple[int, bool | None, str]]()
    )


class Run:
    """See the module's text."""

    def __init__(self, *, seconds: float, seed: int, folder: Path) -> None:
        self.seed = seed
        self.wrong: list[str] = []
        self.count = Counter[str]()
        self.why_lost = Counter[str]()
        self.world = World(folder, seed, self._hear)
        self._seconds = seconds
        self._chance = random.Random(seed)
        self._lives: dict[str, Life] = {}
        self._over: list[Life] = []
        self._storm = True
        self._began = time.monotonic()
        self._http = httpx.AsyncClient(timeout=60, headers=HEADERS)

    async def run(self) -> None:
        """All of it; afterwards `wrong` says what was."""
        await self.world.start()
        self._began = time.monotonic()
        print(f"chaos: the edge is up; {self._seconds:.0f} s of it now", flush=True)
        blows = [asyncio.create_task(self._strike(*blow)) for blow in self._blows()]
        lives = [asyncio.create_task(self._live_on()) for _ in range(SESSIONS)]
        teller = asyncio.create_task(self._tell())
        try:
            await asyncio.wait(lives, timeout=self._seconds, return_when=asyncio.FIRST_EXCEPTION)
            self._storm = False
            await asyncio.gather(*blows)
            self.world.calm()
            print(f"chaos: calm after {self._elapsed:.0f} s; every turn must end now", flush=True)
            await asyncio.gather(*lives)
            await self._reckon()
        finally:
            for task in (teller, *blows, *lives):
                task.cancel()
            await asyncio.gather(teller, *blows, *lives, return_exceptions=True)
            await self._http.aclose()
            await self.world.stop()

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _fault(self, what: str) -> None:
        self.wrong.append(f"{self._elapsed:.0f} s: {what}")
        print(f"chaos: WRONG {self.wrong[-1]}", flush=True)

    # --- blows ------------------------------------------------------------------------------------------------------

    def _blows(self) -> list[tuple[Callable[[], Awaitable[None]], float]]:
        """What is done, and every how many seconds."""
        world = self.world
        return [
            (world.cut_client, 0.7),
            (world.cut_model, 2.5),
            (world.kill_person, 12),
            (world.kill_workerd, 25),
            (world.kill_model, 30),
            (world.redeploy, 90),
            (world.restart_edge, 120),
        ]

    async def _strike(self, blow: Callable[[], Awaitable[None]], every: float) -> None:
        # Short runs see each blow too, so the first one comes early.
        wait = min(every, self._seconds / 3) * self.world.chance.random()
        while self._elapsed + wait < self._seconds and self._storm:
            await asyncio.sleep(wait)
            try:
                await blow()
            except Exception as error:
                self._fault(f"{blow.__name__}: {type(error).__name__}: {error}")
            stretch = self.world.stretch if blow in self.world.edge_blows else 1
            wait = self.world.chance.expovariate(1 / (every * stretch))

    # --- lives ------------------------------------------------------------------------------------------------------

    async def _live_on(self) -> None:
        while self._storm:
            life = self._born()
            await self._live(life)
            await self._end(life)

    def _born(self) -> Life:
        self.count["sessions"] += 1
        agent = f"c{self.seed}-{self.count['sessions']}"
        hosts = self._chance.choice((("anna",), ("berta",), ("anna", "berta"), ("anna",), ("berta",)))
        life = Life(
            agent=agent,
            author=Author(agent, random.Random(f"{self.seed} {agent}")),
            people=(*hosts, *(name for name, runs in PEOPLE.items() if not runs)),
        )
        self._lives[agent] = life
        for name in life.people:
            self.world.tell(name, do="join", agent=agent)
        return life

    async def _live(self, life: Life) -> None:
        # Tools that are declared later would rightly move the prompt's prefix.
        while self._storm and not life.joined >= set(life.people):
            await asyncio.sleep(0.1)
        for number in range(self._chance.randint(*MESSAGES)):
            life.stage = f"talking {number}"
            if not self._storm:
                return
            turns = life.turns
            self._say(life)
            if self._chance.random() < 0.2:  # more, before there can be an answer: to be queued, or to steer
                await asyncio.sleep(self._chance.random() * 2)
                self._say(life)
            if self._chance.random() < 0.12:
                await asyncio.sleep(self._chance.random() * 3)
                self.count["stops"] += 1
                self.world.tell(self._chance.choice(life.people), do="stop", agent=life.agent)
            self.world.tell(self._chance.choice(life.people), do="check", agent=life.agent)
            await self._until(lambda turns=turns: life.turns > turns, self._chance.uniform(2, 20))
            if self._chance.random() < 0.1:
                await asyncio.sleep(13)  # long enough for the object to be evicted
            for token in wrong_runs(self.world.traces(life.agent)):
                self._fault(token)

    def _say(self, life: Life) -> None:
        identifier, text = life.author.message()
        life.sent[identifier] = text
        self.count["messages"] += 1
        way = self._chance.choice((*life.people, "http"))
        if way == "http":
            asyncio.get_running_loop().create_task(self._post(life, identifier, text))
        else:
            life.through[identifier] = way
            self.world.tell(way, do="say", agent=life.agent, id=identifier, text=text)

    async def _post(self, life: Life, identifier: str, text: str) -> None:
        """Post it again until it is known to be taken: an answer may be lost, too."""
        body = {"id": identifier, "text": text, "model": MODEL}
        while True:
            try:
                answer = await self._http.post(f"{self.world.url}/v1/agents/{life.agent}/messages", json=body)
                if answer.status_code in (200, 202):
                    return
                if answer.status_code < 500:
                    self._fault(f"{life.agent}: a message was refused: {answer.text[:300]}")
                    return
            except httpx.HTTPError:
                self.count["requests repeated"] += 1
            await asyncio.sleep(0.3)

    async def _end(self, life: Life) -> None:
        """Wait for its rest, look at it, and let its clients go."""
        life.stage = "coming to rest"
        state = await self._rest(life)
        life.stage = "looked at"
        if state is None:
            found = await self._evidence(life)
            self._fault(
                f"{life.agent} does not come to rest: {found.state.model_dump_json(exclude_none=True)[:1500]}"
            )
            self._keep(life, found)
        await self._look(life, over=state is not None)
        await self._views(life)
        for name in life.people:
            self.world.tell(name, do="leave", agent=life.agent)
        self._over.append(life)
        del self._lives[life.agent]

    async def _rest(self, life: Life) -> StateView | None:
        """Its state once it is idle and all that was sent is in the log; None if that does not come."""
        until: float | None = None
        while until is None or time.monotonic() < until:
            if until is None and not self._storm:
                until = time.monotonic() + PATIENCE
            await asyncio.sleep(1)
            if life.seen >= life.sent.keys():
                state = StateView.model_validate_json(await self._get(life.agent, "state"))
                if state.phase == "idle" and not state.queued:
                    return state
        return None

    async def _look(self, life: Life, *, over: bool) -> None:
        found = await self._evidence(life)
        said = list(wrongs(found, over=over))
        for what in said:
            self._fault(f"{life.agent}: {what}")
        if said:
            self._keep(life, found)
        self.count["sessions checked"] += 1
        self.count["events checked"] += len(found.events)
        kinds = Counter(recorded.event.kind for recorded in found.events)
        self.count["turns"] += kinds["turn_finished"]
        self.count["calls"] += kinds["tool_call_completed"]
        self.count["failed model calls"] += kinds["step_failed"]
        self.count["questions answered"] += kinds["approval_decided"]
        self.count["side effects"] += found.traces.total()

    async def _views(self, life: Life) -> None:
        """Every client's view must reach what is the end of the log now, and equal it."""
        life.checked.clear()
        head = StateView.model_validate_json(await self._get(life.agent, "state")).head
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            missing = [name for name in life.people if not _has_seen(life.checked.get(name), head)]
            life.stage = f"seen by all but {missing}"
            if not missing:
                return
            for name in missing:
                self.world.tell(name, do="check", agent=life.agent)
            await asyncio.sleep(1)
        self._fault(f"{life.agent}: of {head} events the clients see {life.checked}")

    async def _reckon(self) -> None:
        """Look at every session once more: what was over must be as it was."""
        for life in self._over:
            found = await self._evidence(life)
            for what in wrongs(found, over=True):
                self._fault(f"{life.agent}, long over: {what}")
        for what in self.world.prefix_violations():
            self._fault(f"prefix: {what}")

    # --- what is seen -----------------------------------------------------------------------------------------------

    def _hear(self, name: str, line: dict[str, Any]) -> None:
        life = self._lives.get(line.get("agent", ""))
        match line["t"]:
            case "up":
                self._again(name)
            case "joined" if life is not None:
                life.joined.add(name)
                for identifier in life.sent.keys() - life.seen:
                    if life.through.get(identifier) == name:
                        text = life.sent[identifier]
                        self.world.tell(name, do="say", agent=life.agent, id=identifier, text=text)
            case "message" if life is not None:
                life.seen.add(line["id"])
            case "turn" if life is not None:
                life.turns += 1
            case "lost":
                self.count["connections lost"] += 1
                self.why_lost[re.sub(r"[0-9]+", "N", line["why"])[:100]] += 1
                if "follows" in line["why"] or "are held" in line["why"] or "not a frame" in line["why"]:
                    self._fault(f"{line['agent']}: {name} was sent what does not fit: {line['why']}")
            case "wrong":
                self._fault(f"{line['agent']}: {name}: {line['what']}")
            case "checked" if life is not None:
                life.checked[name] = (line["seq"], line["ok"], line["why"])
                self.count["views checked"] += line["ok"] is not None
                if line["ok"] is False:
                    self._fault(f"{life.agent}: {name} sees another session: {line['why']}")
            case _:
                pass

    def _again(self, name: str) -> None:
        """A process of clients was started again: its people come back."""
        for life in self._lives.values():
            if name in life.people:
                self.world.tell(name, do="join", agent=life.agent)

    async def _evidence(self, life: Life) -> Evidence:
        # The state first: whoever joins between the two readings may declare tools, so the log may be ahead of it.
        state = StateView.model_validate_json(await self._get(life.agent, "state"))
        log, events = await self._events(life.agent)
        events = events[: state.head]
        return Evidence(
            log=log, events=events, state=state, sent=life.sent, traces=self.world.traces(life.agent)
        )

    async def _events(self, agent: str) -> tuple[str, list[Recorded]]:
        events: list[Recorded] = []
        while True:
            page = EventsPage.model_validate_json(
                await self._get(agent, f"events?after={events[-1].seq if events else 0}")
            )
            events += page.events
            if page.next == page.head:
                return page.log, events

    async def _get(self, agent: str, what: str) -> bytes:
        """Ask until there is an answer: the edge may be down for a while, not for long."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                answer = await self._http.get(f"{self.world.direct}/v1/agents/{agent}/{what}")
                if answer.status_code == 200:
                    return answer.content
                why = f"{answer.status_code} {answer.text[:500]}"
            except httpx.HTTPError as error:
                why = f"{type(error).__name__}: {error}"
            if time.monotonic() > until:
                raise TimeoutError(f"{agent}: no {what} for {PATIENCE:.0f} s: {why}")
            await asyncio.sleep(0.5)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._storm and not condition() and time.monotonic() < until:
            await asyncio.sleep(0.1)

    def _keep(self, life: Life, found: Evidence) -> None:
        """Keep a session's log for who looks into it."""
        folder = self.world.folder / "evidence"
        folder.mkdir(exist_ok=True)
        lines = "\n".join(recorded.model_dump_json(exclude_defaults=True) for recorded in found.events)
        (folder / f"{life.agent}.jsonl").write_text(f"{lines}\n")

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(10)
            waiting = ", ".join(f"{life.agent} {life.stage}" for life in self._lives.values())
            print(f"chaos: {self._elapsed:5.0f} s  {self.summary()}\n  now: {waiting}", flush=True)

    def summary(self) -> str:
        """The counts in one line."""
        counts = self.count + self.world.did
        return ", ".join(f"{counts[what]} {what}" for what in sorted(counts))


def _has_seen(checked: tuple[int, bool | None, str] | None, head: int) -> bool:
    return checked is not None and checked[0] >= head and checked[1] is True
