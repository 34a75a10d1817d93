"""The model server's process: faults drawn from a seed, and a look at every request: is the one before it its prefix?

`python -m scripts.chaos.model PORT SEED FOLDER` says its port on standard output and ends with its standard input; the line
`calm` there ends the faults. It is killed outright, so what it must know of the request before lies in FOLDER.
"""

import asyncio
import json
import random
import sys
from pathlib import Path

from edgeloop_client.model.conversation import Conversation
from edgeloop_client.model.http import Received
from edgeloop_client.model.options import Fault, Options
from edgeloop_client.model.server import ModelServer, Settings, warm_up
from scripts.chaos.processes import lines_of_stdin

RATE = 0.15
FAULTS: dict[Fault, float] = {
    "cut": 4,
    "malformed": 2,
    "error": 2,
    "silence": 1,
    "429": 1,
    "500": 2,
    "503": 1,
    "529": 2,
}
PACE = {"tps": "400", "chunk_tokens": "2", "retry_after": "1"}
CLOSING = b"]}"
VIOLATIONS = "prefix-violations"
COUNTS = "requests"


class Weather:
    """Says what goes wrong with a request, whoever makes it."""

    def __init__(self, chance: random.Random) -> None:
        self.rate = RATE
        self._chance = chance

    def next(self, conversation: Conversation, options: Options) -> Fault:  # noqa: ARG002 - as FaultCounter's
        """The fault of this request."""
        if self._chance.random() >= self.rate:
            return "none"
        return self._chance.choices(list(FAULTS), list(FAULTS.values()))[0]


class Prefixes:
    """Holds each session's requests against one another."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def look(self, received: Received) -> None:
        """Compare a request with the session's last one, and keep it."""
        if received.method != "POST" or received.body is None:
            return
        agent = agent_of(received.body)
        last = self._folder / f"{agent}.last"
        before = last.read_bytes() if last.exists() else b""
        if not received.body.startswith(before.removesuffix(CLOSING)):
            self._tell(agent, before, received.body)
        fresh = last.with_suffix(".new")
        fresh.write_bytes(received.body)
        fresh.replace(last)
        with (self._folder / COUNTS).open("a") as counts:
            counts.write(f"{agent} {len(received.body)}\n")

    def _tell(self, agent: str, before: bytes, body: bytes) -> None:
        (self._folder / f"{agent}.was").write_bytes(before)
        (self._folder / f"{agent}.is").write_bytes(body)
        with (self._folder / VIOLATIONS).open("a") as found:
            found.write(f"{agent}: {len(before)} bytes are no prefix of {len(body)}\n")


def agent_of(body: bytes) -> str:
    """Whose request it is: the first message begins with the agent's name."""
    content = json.loads(body)["messages"][0]["content"]
    text = content if isinstance(content, str) else content[0]["text"]
    return text.split()[0]


async def serve(port: int, seed: int, folder: Path) -> None:
    """Serve until standard input ends."""
    warm_up()
    weather = Weather(random.Random(seed))
    model = ModelServer(Settings(options=PACE), faults=weather, on_request=Prefixes(folder).look)
    server = await asyncio.start_server(model.connected, "127.0.0.1", port, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    async for line in lines_of_stdin():
        if line == "calm":
            weather.rate = 0


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
