"""Everything that runs, and the ways to break it: the edge, the model behind it, the clients in front, and the relays between.

Every way to break something puts it back, and counts what it did.
"""

import asyncio
import json
import random
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from scripts.chaos.model import COUNTS, VIOLATIONS
from scripts.chaos.person import Config
from scripts.chaos.processes import Child
from scripts.chaos.proxy import Proxy
from scripts.chaos.story import MODEL, RULES, traces
from scripts.local_edge import LocalEdge

TOKEN = "chaos"
PEOPLE = {"anna": True, "berta": True, "clara": False}
"""The processes of clients, and whether they run tools."""
QUICK = 4.0
"""Seconds in which workerd is up again where the machine has time."""
UP_AGAIN = 180.0
"""Seconds in which workerd must answer again: it takes two where the machine has time, and much more where it has none."""
VARIABLES = {
    "EDGELOOP_TOKEN": TOKEN,
    "EDGELOOP_PROVIDER": "anthropic",
    "EDGELOOP_API_KEY": "chaos",
    "EDGELOOP_MODEL": MODEL,
    "EDGELOOP_MODE": "auto",
    "EDGELOOP_RULES": json.dumps(RULES),
    "EDGELOOP_FIRST_MS": "4000",
    "EDGELOOP_IDLE_MS": "4000",
}

Hear = Callable[[str, dict[str, Any]], None]


class World:
    """See the module's text. `hear(name, line)` is given what the clients say; `{"t": "up"}` is said for them when they start."""

    def __init__(self, folder: Path, seed: int, hear: Hear) -> None:
        self.folder = folder
        self.did = Counter[str]()
        self.stretch = 1.0
        """How much further apart the blows to the edge are to fall."""
        self.chance = random.Random(f"{seed} blows")
        self._seed = seed
        self._hear = hear
        self._models = 0
        self._model_port = 0
        self._model: Child | None = None
        self._people: dict[str, Child] = {}
        self._listening: dict[str, asyncio.Task[None]] = {}
        self._edge: LocalEdge | None = None
        self._edge_lock = asyncio.Lock()
        self._to_edge = self._to_model = Proxy(0)
        self.url = ""
        self.direct = ""

    async def start(self) -> None:
        """Start everything; `url` is the relay's, `direct` the edge's own."""
        (self.folder / "requests").mkdir(parents=True)
        await self._start_model()
        self._to_model = Proxy(self._model_port)
        model = f"http://127.0.0.1:{await self._to_model.start()}"
        self._edge = LocalEdge(
            variables={**VARIABLES, "EDGELOOP_BASE_URL": model},
            private_copy=True,
            persist_to=self.folder / "state",
            log_to=self.folder / "edge.log",
        )
        await asyncio.to_thread(self._edge.start)
        self.direct = self._edge.url
        self._to_edge = Proxy(int(self.direct.rsplit(":", 1)[1]))
        self.url = f"http://127.0.0.1:{await self._to_edge.start()}"
        for name in PEOPLE:
            await self._start_person(name)

    async def stop(self) -> None:
        """End everything."""
        for task in self._listening.values():
            task.cancel()
        await asyncio.gather(*(child.end() for child in self._people.values()))
        if self._model is not None:
            await self._model.end()
        for proxy in (self._to_edge, self._to_model):
            await proxy.stop()
        if self._edge is not None:
            await asyncio.to_thread(self._edge.stop)

    def tell(self, name: str, **what: Any) -> None:
        """Tell a process of clients what to do."""
        self._people[name].tell(json.dumps(what))

    def calm(self) -> None:
        """No more faults at the model."""
        assert self._model is not None
        self._model.tell("calm")

    @property
    def edge_blows(self) -> list[Callable[[], Awaitable[None]]]:
        """The blows after which the edge has to come up again."""
        return [self.kill_workerd, self.restart_edge, self.redeploy]

    # --- blows ------------------------------------------------------------------------------------------------------

    async def cut_client(self) -> None:
        """Cut one connection between clients and edge."""
        self.did["client connections cut"] += self._to_edge.cut(self.chance)

    async def cut_model(self) -> None:
        """Cut one connection between edge and model."""
        self.did["model connections cut"] += self._to_model.cut(self.chance)

    async def kill_workerd(self) -> None:
        """SIGKILL of the process that runs all sessions."""
        async with self._edge_lock:
            assert self._edge is not None
            killed = await asyncio.to_thread(self._edge.kill_workerd)
            self.did["workerd killed"] += 1
            self._took(await asyncio.to_thread(self._edge.await_recovery, killed, UP_AGAIN))

    def _took(self, seconds: float) -> None:
        """A machine that is slow to start the edge would else have it down for most of the time."""
        self.stretch = min(max(1.0, seconds / QUICK), 3.0)

    async def restart_edge(self) -> None:
        """End the edge politely, and start it again."""
        async with self._edge_lock:
            assert self._edge is not None
            self.did["edge restarted"] += 1
            await asyncio.to_thread(self._edge.restart)

    async def redeploy(self) -> None:
        """New code while everything runs."""
        async with self._edge_lock:
            assert self._edge is not None
            self.did["code updated"] += 1
            await asyncio.to_thread(self._edge.redeploy, UP_AGAIN)

    async def kill_person(self) -> None:
        """SIGKILL of a process of clients."""
        name = self.chance.choice(list(PEOPLE))
        if not self._people[name].is_up:
            return
        self.did["client processes killed"] += 1
        await self._people[name].kill()
        await asyncio.sleep(self.chance.choice((0, 0.3, 2)))
        await self._start_person(name)

    async def kill_model(self) -> None:
        """SIGKILL of the model server."""
        assert self._model is not None
        self.did["model servers killed"] += 1
        await self._model.kill()
        await asyncio.sleep(self.chance.choice((0, 0.5, 2)))
        await self._start_model()

    # --- processes --------------------------------------------------------------------------------------------------

    async def _start_model(self) -> None:
        self._models += 1
        port, seed, folder = self._model_port, self._seed + self._models, self.folder / "requests"
        self._model = Child("scripts.chaos.model", str(port), str(seed), str(folder))
        await self._model.start()
        said = await self._model.heard()
        assert said is not None, "the model server did not start"
        self._model_port = said["port"]

    async def _start_person(self, name: str) -> None:
        config = Config(
            name=name,
            url=self.url,
            direct=self.direct,
            token=TOKEN,
            folder=str(self.folder),
            seed=self._seed,
            runs=PEOPLE[name],
        )
        child = Child("scripts.chaos.person", json.dumps(vars(config)))
        await child.start()
        self._people[name] = child
        self._listening[name] = asyncio.create_task(self._listen(name, child))
        self._hear(name, {"t": "up"})

    async def _listen(self, name: str, child: Child) -> None:
        while (line := await child.heard()) is not None:
            self._hear(name, line)

    # --- what it left -----------------------------------------------------------------------------------------------

    def traces(self, agent: str) -> Counter[str]:
        """How often each token of an agent was left, in all directories."""
        return Counter(
            token for name in PEOPLE for token in traces(self.folder / name / agent) if token.strip()
        )

    def prefix_violations(self) -> list[str]:
        """Requests that did not begin with the one before them."""
        file = self.folder / "requests" / VIOLATIONS
        return file.read_text().splitlines() if file.exists() else []

    def requests(self) -> tuple[int, int]:
        """How many requests the model was sent, and their bytes."""
        file = self.folder / "requests" / COUNTS
        lines = file.read_text().splitlines() if file.exists() else []
        return len(lines), sum(int(line.split()[1]) for line in lines)

    def remove(self) -> None:
        """Remove everything it wrote."""
        shutil.rmtree(self.folder, ignore_errors=True)
