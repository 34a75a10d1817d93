"""A process of clients, one per agent it is told to join: the real client, with its runner, its journal and its state on disk.

`python -m scripts.chaos.person CONFIG` (JSON) is told on standard input what people do, and says on standard output what it saw:
`message` (in the log), `turn` (ended), `wrong` (what must never be), `lost` (a connection), `checked` (the view against the log).
"""

import asyncio
import copy
import json
import os
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from edgeloop.bodies import EventsPage
from edgeloop.events import Recorded, TurnFinished, UserMessageReceived
from edgeloop.wire import ErrorFrame, SendMessage
from edgeloop_client.client import Client
from edgeloop_client.endpoint import Endpoint
from edgeloop_client.errors import ClientError, ToolDenied
from edgeloop_client.runner import Answer
from edgeloop_client.terminal import Screen
from edgeloop_client.view import Change, Restarted, View
from scripts.chaos.processes import lines_of_stdin
from scripts.chaos.story import MODEL, TOOLS

EXPECTED_REFUSALS = {"conflict", "not_yours", "unknown_call", "internal"}
"""What a client may be told in a storm: its answer was not the first, its call has moved on."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """`url` is where the edge is reached (and cut off), `direct` where it can be asked for the log; `runs`: they have tools."""

    name: str
    url: str
    direct: str
    token: str
    folder: str
    seed: int
    runs: bool

    def directory(self, agent: str) -> Path:
        """What an agent's tools work on here."""
        return Path(self.folder) / self.name / agent


def say(**what: Any) -> None:
    """Tell the parent."""
    print(json.dumps(what), flush=True)


@dataclass
class Mind:
    """A person: takes a while, says yes mostly, and without tools to answer for often says nothing."""

    chance: random.Random
    talkative: bool

    async def answer(self, name: str, question: str) -> Answer:  # noqa: ARG002 - as Asker's
        await asyncio.sleep(self.chance.choice((0, 0.1, 0.5, 2)))
        if not self.talkative and self.chance.random() < 0.5:
            raise ToolDenied("nobody looked")
        return self.chance.choices(("once", "no", "session"), (16, 3, 1))[0]


class Watched(Client):
    """A client that says what it sees; `at` is the last event it was told of."""

    def __init__(self, config: Config, agent: str, mind: Mind) -> None:
        directory = config.directory(agent)
        if config.runs:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "garden.txt").write_text("beans\npeas\n")
        super().__init__(
            Endpoint(url=config.url, agent=agent, token=config.token),
            directory=directory if config.runs else None,
            home=Path(config.folder) / config.name / "home" / agent,
            screen=Screen(open(os.devnull, "w")),  # noqa: SIM115 - held
            asker=mind,
            tools=TOOLS,
        )
        self.agent = agent
        self.at = 0

    def changed(self, change: Change) -> None:
        """Every event must come once and in order, over all connections."""
        match change:
            case Restarted():
                self.at = 0
            case Recorded() if change.seq != self.at + 1:
                say(t="wrong", agent=self.agent, what=f"event {change.seq} came after {self.at}")
                self.at = change.seq
            case Recorded():
                self.at = change.seq
                self._tell(change)
            case _:
                pass
        super().changed(change)

    def _tell(self, recorded: Recorded) -> None:
        match recorded.event:
            case UserMessageReceived() as event:
                say(t="message", agent=self.agent, id=event.id)
            case TurnFinished() as event:
                say(t="turn", agent=self.agent, reason=event.reason)
            case _:
                pass

    def refused(self, error: ErrorFrame) -> None:
        """Most refusals tell of a fault of ours."""
        if error.code not in EXPECTED_REFUSALS:
            say(t="wrong", agent=self.agent, what=f"refused: {error.code} {error.message}")
        super().refused(error)

    def lost(self, why: str, seconds: float) -> None:
        """Connections go; but none may bring what does not follow."""
        say(t="lost", agent=self.agent, why=why)
        super().lost(why, seconds)


@dataclass
class People:
    """All clients of this process."""

    config: Config
    clients: dict[str, Watched] = field(default_factory=lambda: dict[str, Watched]())
    _tasks: set[asyncio.Task[None]] = field(default_factory=lambda: set[asyncio.Task[None]]())

    def take(self, told: dict[str, Any]) -> None:
        """Do what one is told; joining, leaving and checking take their time."""
        agent = str(told["agent"])
        client = self.clients.get(agent)
        match told["do"]:
            case "join":
                self._begin(self._join(agent))
            case "say" if client is not None:
                client.connection.send(SendMessage(id=told["id"], text=told["text"], model=MODEL))
            case "stop" if client is not None:
                client.stop()
            case "check" if client is not None:
                self._begin(self._check(agent, client))
            case "leave" if client is not None:
                del self.clients[agent]
                self._begin(_leave(client))
            case _:
                pass

    def _begin(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, agent: str) -> None:
        mind = Mind(random.Random(f"{self.config.seed} {agent}"), talkative=self.config.runs)
        while True:
            client = Watched(self.config, agent, mind)
            await client.__aenter__()
            self.clients[agent] = client
            try:
                await client.caught_up()
            except ClientError as error:  # nobody there at the first attempt: a person would try again
                say(t="lost", agent=agent, why=str(error))
                await client.__aexit__()
                await asyncio.sleep(0.5)
                continue
            say(t="joined", agent=agent)
            return

    async def _check(self, agent: str, client: Watched) -> None:
        """The view as it is now against the fold of the log up to the same event."""
        seen: View = copy.deepcopy(client.connection.view)
        try:
            logged = await self._logged(agent, seen.seq)
        except (httpx.HTTPError, ValueError) as error:
            say(t="checked", agent=agent, seq=seen.seq, ok=None, why=str(error))
            return
        same = seen.log is None or seen == logged
        say(t="checked", agent=agent, seq=seen.seq, ok=same, why="" if same else difference(seen, logged))

    async def _logged(self, agent: str, upto: int) -> View:
        headers = {"authorization": f"Bearer {self.config.token}"}
        view: View | None = None
        async with httpx.AsyncClient(timeout=30, headers=headers) as http:
            while view is None or view.seq < upto:
                after = view.seq if view is not None else 0
                answer = await http.get(f"{self.config.direct}/v1/agents/{agent}/events?after={after}")
                answer.raise_for_status()
                page = EventsPage.model_validate_json(answer.content)
                view = view if view is not None else View(log=page.log)
                for recorded in page.events:
                    if recorded.seq <= upto:
                        view.fold(recorded)
                if page.head < upto:
                    raise ValueError(f"the log ends at {page.head}, {upto} was seen")
        return view


async def _leave(client: Watched) -> None:
    await client.__aexit__()


def difference(seen: View, logged: View) -> str:
    """Which fields differ, and how."""
    names = [name for name in vars(seen) if getattr(seen, name) != getattr(logged, name)]
    return "; ".join(
        f"{name}: {getattr(seen, name)!r} is logged as {getattr(logged, name)!r}" for name in names
    )[:4_000]


async def live(config: Config) -> None:
    """Do what one is told until standard input ends."""
    people = People(config)
    async for line in lines_of_stdin():
        people.take(json.loads(line))


if __name__ == "__main__":
    asyncio.run(live(Config(**json.loads(sys.argv[1]))))
