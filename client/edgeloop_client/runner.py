"""Runs the local tools that the session assigns to this client, each call once.

Decides what to do with an assignment: run it, answer it again from memory, or say that it is not known whether it took effect.
A call that changes something is written to a journal before it runs, so that not even a restart of the client runs it twice
(law 5). Knows no socket: it is given calls and gives results.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from edgeloop.events import Outcome
from edgeloop.limits import MAX_RESULT_BYTES
from edgeloop.wire import ToolResult
from edgeloop_client.errors import ToolDenied, ToolError, ToolTimeout
from edgeloop_client.journal import Journal
from edgeloop_client.tools.base import Cancel, Tool, Workspace, to_json
from edgeloop_client.view import CallSeen

Ended = tuple[Outcome, str]
"""How a call ended, and what the model is told."""
MAX_PARALLEL = 8
DENIED = (
    "The person said no, so this was not run. Do not try it again without asking them what to do instead."
)
UNKNOWN = "The client was restarted while this ran. Whether it took effect is not known: check before doing it again."


Answer = Literal["no", "once", "session"]


class Asker(Protocol):
    """Asks the person whether a call may run."""

    async def answer(self, name: str, question: str) -> Answer:
        """Give the person's answer; `session` also means its like from now on.

        Raises:
            ToolDenied: nobody is there to answer.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A call this client is to run; with `consent` a person has allowed it already."""

    call: str
    epoch: int
    name: str
    arguments: str
    consent: bool = False


@dataclass(kw_only=True)
class _Running:
    epoch: int
    cancel: Cancel = field(default_factory=Cancel)
    began: float = 0.0
    task: "asyncio.Task[None] | None" = None


class Runner:
    """See the module's text. `deliver` is given each result; what is finished is kept until `drop`."""

    def __init__(
        self,
        *,
        workspace: Workspace,
        tools: Mapping[str, Tool],
        asker: Asker,
        journal: Journal,
        deliver: Callable[[ToolResult], None],
    ) -> None:
        self._workspace = workspace
        self._tools = tools
        self._asker = asker
        self._journal = journal
        self._deliver = deliver
        self._log = ""
        self._running: dict[str, _Running] = {}
        self._finished: dict[str, ToolResult] = {}
        self._threads = ThreadPoolExecutor(MAX_PARALLEL, thread_name_prefix="tool")

    def belongs_to(self, log: str) -> None:
        """Say which log the calls are of; another one than before ends everything that runs."""
        if log != self._log:
            for call in [*self._running, *self._finished]:
                self.drop(call)
        self._log = log

    def assign(self, given: Assignment) -> None:
        """Run a call; one that runs already goes on, one that is finished is answered again."""
        running = self._running.get(given.call)
        finished = self._finished.get(given.call)
        if running is not None:
            running.epoch = given.epoch
        elif finished is not None:
            self._deliver(finished.model_copy(update={"epoch": given.epoch}))
        else:
            running = self._running[given.call] = _Running(epoch=given.epoch)
            running.task = asyncio.create_task(self._work(given, running))

    def recorded(self, seq: int, call: CallSeen, *, own: bool) -> None:
        """The log has the end of a call at `seq`: drop it, and note what a result of ours (`own`) showed of a file."""
        self.drop(call.call)
        tool = self._tools.get(call.name)
        if own and tool is not None and call.state == "ok":
            sight = tool.sight(call.arguments, call.content)
            if sight is not None:
                self._workspace.held.see(seq, call.call, sight)

    def restarted(self) -> None:
        """What was folded so far is of another log: its events come again, or others."""
        self._workspace.held.clear()

    def drop(self, call: str) -> None:
        """The session has an end for this call: stop working on it, forget its result."""
        self._finished.pop(call, None)
        running = self._running.pop(call, None)
        if running is not None and running.task is not None:
            running.cancel.set()
            running.task.cancel()

    async def close(self) -> None:
        """End everything that runs, and wait for it: a command does not outlive its client."""
        tasks = [running.task for running in self._running.values() if running.task is not None]
        for call in list(self._running):
            self.drop(call)
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    # --- one call ---------------------------------------------------------------------------------------------------

    async def _work(self, given: Assignment, running: _Running) -> None:
        running.began = time.monotonic()
        outcome, content = await self._end(self._start(given, running), given.name)
        ms = int((time.monotonic() - running.began) * 1000)
        result = ToolResult(call=given.call, epoch=running.epoch, outcome=outcome, content=content, ms=ms)
        self._running.pop(given.call, None)
        self._finished[given.call] = result
        self._deliver(result)

    async def _end(self, work: Coroutine[Any, Any, Ended], name: str) -> Ended:
        """How work ended: every failure is an answer for the model, for without one the turn would hang."""
        try:
            return await work
        except ToolDenied as error:
            return "denied", str(error)
        except ToolTimeout as error:
            return "timeout", str(error)
        except ToolError as error:
            return "error", str(error)
        except Exception as error:
            return "error", f"{name} failed: {type(error).__name__}: {error}"

    async def _start(self, given: Assignment, running: _Running) -> Ended:
        tool = self._tools.get(given.name)
        if tool is None:
            raise ToolError(
                f"there is no tool {given.name!r} here; expected one of: {', '.join(sorted(self._tools))}"
            )
        arguments = tool.parse(given.arguments)
        if tool.effect == "mutate":
            return await self._start_once(tool, arguments, given, running)
        return "ok", await self._run(tool, arguments, running)

    async def _start_once(self, tool: Tool, arguments: Any, given: Assignment, running: _Running) -> Ended:
        """Run what changes something, unless it was begun before, maybe by this client's earlier life."""
        key = f"{self._log}/{given.call}"
        before = self._journal.find(key)
        if before is not None and (before.ended is not None or not tool.repeatable):
            return before.ended or ("lost", UNKNOWN)
        asked = tool.guarded and not given.consent
        if asked and await self._asker.answer(tool.name, tool.question(arguments)) == "no":
            raise ToolDenied(DENIED)
        if before is None:
            self._journal.begin(key)
        ended = await self._end(self._run_ok(tool, arguments, running), tool.name)
        self._journal.end(key, *ended)
        return ended

    async def _run_ok(self, tool: Tool, arguments: Any, running: _Running) -> Ended:
        return "ok", await self._run(tool, arguments, running)

    async def _run(self, tool: Tool, arguments: Any, running: _Running) -> str:
        """Run a tool in a thread, within its deadline.

        Raises:
            ToolError: what it raises itself, or a result too large to be sent.
            ToolTimeout: past its deadline; the thread ends at its next look at `cancel`.
        """
        running.began = time.monotonic()  # what a person took to answer is not the tool's time
        work = functools.partial(tool.run, self._workspace, arguments, running.cancel)
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        # Where nobody waits for it any more, how it ends is nobody's concern.
        future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        done, _ = await asyncio.wait({future}, timeout=tool.deadline_ms / 1000 or None)
        if not done:
            running.cancel.set()
            raise ToolTimeout(
                f"{tool.name} took over {tool.deadline_ms / 1000:.0f} s; expected a smaller task"
            )
        text = to_json(future.result())
        size = len(text.encode())
        if size > MAX_RESULT_BYTES:
            raise ToolError(
                f"the result has {size} bytes of at most {MAX_RESULT_BYTES}: ask for less at once"
            )
        return text
