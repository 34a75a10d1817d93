"""What is said to the sessions and done in them: seeded scripts for the embedded model, and tools that leave a trace.

Every changing call of a script carries a token that no other has, and doing it writes that token to a file: so it can be counted
how often each was done, whatever became of the session, the client or the machine in between.
"""

import json
import os
import random
import time
from pathlib import Path
from typing import Any

from pydantic import Field

from edgeloop_client.tools import LOCAL_TOOLS
from edgeloop_client.tools.base import Arguments, Cancel, Output, Tool, Workspace

TRACES = "traces"
"""The file of a directory that holds the tokens of what was done there."""
MODEL = "script"
RULES = [{"verdict": "ask", "path": "ask/**"}, {"verdict": "ask", "tool": "run_command"}]
"""The deployment's: what is asked first. Everything else is allowed."""

Json = dict[str, Any]


class Leave(Arguments):
    path: str
    token: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    ms: int = Field(default=0, ge=0, le=10_000)


def _leave(workspace: Workspace, arguments: Leave, cancel: Cancel) -> Output:
    """Write the token, with time before and after it for something to go wrong."""
    time.sleep(arguments.ms / 2000)
    cancel.check()
    leave_trace(workspace.root.directory, arguments.token)
    time.sleep(arguments.ms / 2000)
    return {"left": arguments.token}


def leave_trace(directory: Path, token: str) -> None:
    """One write of one line: a process that is killed leaves all of it or nothing."""
    file = os.open(directory / TRACES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{token}\n".encode())
    finally:
        os.close(file)


def traces(directory: Path) -> list[str]:
    """The tokens left in a directory."""
    file = directory / TRACES
    return file.read_text().splitlines() if file.exists() else []


LEAVE = Tool(
    name="leave",
    description="Leaves a trace.",
    arguments=Leave,
    effect="mutate",
    run=_leave,
    touches={"path": "path"},
)
TOOLS: dict[str, Tool] = {
    "leave": LEAVE,
    **{name: LOCAL_TOOLS[name] for name in ("list_files", "read_file", "run_command")},
}


class Author:
    """Writes the messages of one session; `written` holds the tokens of all changing calls."""

    def __init__(self, agent: str, chance: random.Random) -> None:
        self.agent = agent
        self.written: list[str] = []
        self._chance = chance
        self._messages = 0

    def message(self) -> tuple[str, str]:
        """The next message's id and text: a script that the model plays."""
        self._messages += 1
        turns = [self._turn() for _ in range(self._chance.choice((1, 1, 2, 2, 3)))]
        turns.append([{"text": f"Done with message {self._messages}."}])
        return f"{self.agent}-m{self._messages}", f"{self.agent} {json.dumps({'turns': turns})}"

    def _turn(self) -> list[Json]:
        steps: list[Json] = []
        if self._chance.random() < 0.7:
            words = " ".join(
                f"word{self._chance.randrange(1000)}" for _ in range(self._chance.randrange(5, 60))
            )
            steps.append({"text": words + ". ", "per_s": self._chance.choice((40, 150, 1000))})
        steps += [self._call() for _ in range(self._chance.choice((0, 1, 1, 2, 3, 5)))]
        if self._chance.random() < 0.1:
            steps.append({"wait_ms": self._chance.choice((500, 2_000, 6_000))})
        if self._chance.random() < 0.4 or not steps:
            steps.append({"deltas": self._chance.randrange(5, 80), "bytes": 17, "per_s": 120})
        return steps

    def _call(self) -> Json:
        match self._chance.choices(("leave", "ask", "command", "read", "list", "note"), (8, 2, 2, 4, 2, 2))[
            0
        ]:
            case "leave":
                return self._leave(f"free/{self._chance.randrange(4)}")
            case "ask":
                return self._leave(f"ask/{self._chance.randrange(4)}")
            case "command":
                return {"call": "run_command", "arguments": {"command": f"echo {self._token()} >> {TRACES}"}}
            case "read":
                return {"call": "read_file", "arguments": {"path": "garden.txt"}}
            case "list":
                return {"call": "list_files", "arguments": {"path": "."}}
            case _:
                note = {"name": f"n{self._chance.randrange(3)}", "text": f"note of {self.agent}"}
                return {"call": "note_write", "arguments": note}

    def _leave(self, path: str) -> Json:
        ms = self._chance.choice((0, 50, 300, 1_500))
        return {"call": "leave", "arguments": {"path": path, "token": self._token(), "ms": ms}}

    def _token(self) -> str:
        self.written.append(f"{self.agent}.{len(self.written)}")
        return self.written[-1]


def token_of(name: str, arguments: str) -> str | None:
    """The token of a changing call; None for one that changes nothing here, or whose arguments were cut off."""
    try:
        given = json.loads(arguments)
    except ValueError:
        return None
    match name:
        case "leave":
            return given["token"]
        case "run_command":
            return given["command"].split()[1]
        case _:
            return None
