"""One client at work: a connection, the runner of local tools, the turn that is followed, and what a person sees of it.

Decides what belongs together in time: calls are taken at the handshake and live, history is not shown again, Ctrl-C first stops
the turn and then leaves.
"""

import asyncio
import secrets
import time
from collections.abc import Mapping
from pathlib import Path

from edgeloop.autonomy import judge
from edgeloop.events import (
    ApprovalDecided,
    CallJudged,
    Recorded,
    ToolFinished,
    ToolStarted,
    UserMessageReceived,
)
from edgeloop.wire import Autonomy, ErrorFrame, SendMessage, Welcome
from edgeloop_client.connection import Connection
from edgeloop_client.contents import Contents
from edgeloop_client.endpoint import Endpoint
from edgeloop_client.errors import ClientError, MessageRefused
from edgeloop_client.held import Held
from edgeloop_client.identity import claim
from edgeloop_client.journal import Journal
from edgeloop_client.questions import Questions
from edgeloop_client.replica import Replica
from edgeloop_client.runner import Asker, Assignment, Runner
from edgeloop_client.terminal import Screen, visible
from edgeloop_client.tools import LOCAL_TOOLS, Tool
from edgeloop_client.tools.base import Workspace
from edgeloop_client.tools.root import Root
from edgeloop_client.turn import Json, Turn, report
from edgeloop_client.view import CallSeen, Change, Restarted, Skipped

QUESTIONED = (CallJudged, ApprovalDecided, ToolFinished)


class Client:
    """A client of one agent; as an async context it is connected.

    `directory` None: it runs no tools. `history`: what was said last is shown once it is known.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        directory: Path | None,
        home: Path,
        screen: Screen,
        asker: Asker,
        tools: Mapping[str, Tool] = LOCAL_TOOLS,
        history: bool = False,
    ) -> None:
        self.endpoint = endpoint
        self.screen = screen
        self.turn = Turn(message=None, began=_now())
        root = Root(directory) if directory is not None else None
        self._identity = claim(root.directory if root is not None else None, home=home)
        self._replica = Replica(
            home / "replicas", edge=endpoint.base, agent=endpoint.agent, owner=self._identity.client
        )
        self.connection = Connection(
            endpoint,
            client=self._identity.client,
            epoch=self._identity.epoch,
            keep_epoch=self._identity.keep_epoch,
            replica=self._replica,
            listener=self,
            tools=tuple(tool.spec for tool in tools.values()) if root is not None else None,
        )
        self._journal = Journal(home / "runs.sqlite")
        self._questions = Questions(
            asker=asker, tools=tools, decide=self.connection.send, must_answer=root is not None
        )
        self._runner: Runner | None = None
        if root is not None:
            self._runner = Runner(
                workspace=Workspace(
                    root=root, outputs=home / "outputs", held=Held(Contents(home / "versions"))
                ),
                tools=tools,
                asker=asker,
                journal=self._journal,
                deliver=self.connection.send,
            )
        self._tools = tools
        self._word: Autonomy | None = None
        self._history = history
        self._live = False
        self._skipped = False
        self._caught_up = asyncio.Event()
        self._over = asyncio.Event()
        self._failure: ClientError | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Client":
        for command in self.connection.restore():
            if isinstance(command, SendMessage):
                text = f"sending what was asked before and not taken: {visible(command.text)}"
                self.screen.notice(text, "yellow")
        self._task = asyncio.create_task(self.connection.run())
        self._task.add_done_callback(self._ended)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._questions.close()
        if self._runner is not None:
            await self._runner.close()
        self._journal.close()
        self._replica.close()
        self._identity.release()

    # --- what a person does -----------------------------------------------------------------------------------------

    def ask(self, text: str, *, model: str | None = None, autonomy: Autonomy | None = None) -> None:
        """Send a message and follow its turn. `autonomy` is set before it, and what it allows needs no other word here."""
        message = SendMessage(id=f"m-{secrets.token_hex(8)}", text=text, model=model)
        self.turn = Turn(message=message.id, began=_now())
        self._over.clear()
        if autonomy is not None:
            self._word = autonomy
            self.connection.send(autonomy)
        self.connection.send(message)

    def stop(self) -> None:
        """Stop the turn."""
        self.connection.stop()

    async def caught_up(self) -> None:
        """Wait until everything missed is folded.

        Raises:
            ClientError: the connection ended for good.
        """
        await self._wait(self._caught_up)

    async def over(self) -> None:
        """Wait for the end of the turn that is followed; without one of ours, until nothing is under way.

        Raises:
            ClientError: the connection ended for good, the message was refused, or the agent was deleted.
        """
        await self._wait(self._over)

    @property
    def report(self) -> Json:
        """The turn in figures."""
        up, down = self.connection.bytes_up, self.connection.bytes_down
        return report(
            self.turn, self.connection.view, agent=self.endpoint.agent, bytes_up=up, bytes_down=down
        )

    async def _wait(self, event: asyncio.Event) -> None:
        await event.wait()
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: ClientError) -> None:
        self._failure = error
        self._caught_up.set()
        self._over.set()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._fail(
                error if isinstance(error, ClientError) else ClientError(f"{type(error).__name__}: {error}")
            )

    # --- what the connection tells ----------------------------------------------------------------------------------

    def changed(self, change: Change) -> None:
        """Take one change of the view."""
        self.turn.take(change, _now())
        if self._caught_up.is_set() and not self._is_own(change):
            self.screen.show(change, self.connection.view)
        if isinstance(change, Restarted) and self._runner is not None:
            self._runner.restarted()
        match change:
            case Recorded():
                self._tool(change)
                if self._live and isinstance(change.event, QUESTIONED):
                    self._questions.update(self.connection.view)
            case Restarted() if self.turn.lost:
                self._fail(ClientError(f"agent {self.endpoint.agent!r} was deleted, and the turn with it"))
            case Skipped():
                self._skipped = True
                self._miss(self.turn.lost)
            case _:
                pass
        if self.turn.ended is not None and (self.turn.message is not None or self._caught_up.is_set()):
            self._over.set()

    def _miss(self, missed: bool) -> None:
        if missed:
            text = "the turn went on while this client was away, and the session no longer keeps how"
            self._fail(ClientError(text, next_step="see `edgeloop state`, or ask again"))

    def welcomed(self, welcome: Welcome) -> None:
        """Tell the runner whose calls they are."""
        if self._runner is not None:
            self._runner.belongs_to(welcome.log)

    def synced(self) -> None:
        """Take up the calls that were assigned before; from here on everything is live."""
        self._live = True
        # Shown here, not by who waits for it: the next frames may be taken before anybody wakes up.
        if self._history and not self._caught_up.is_set():
            self.screen.history(self.connection.view, runs_tools=self._runner is not None)
        self._caught_up.set()
        for call in self.connection.view.assigned(self._identity.client):
            self._assign(call.call, call.epoch)
        self._questions.update(self.connection.view)
        # Taken, and not among the events that are kept: what became of it is not kept either.
        self._miss(
            self._skipped
            and self.turn.message is not None
            and not self.turn.seen
            and self.connection.is_settled
        )
        self._end_where_idle()

    def refused(self, error: ErrorFrame) -> None:
        """Take a refusal: of a message it ends the wait, of a result it is told."""
        text = f"{error.message}" + (f" (expected {error.expected})" if error.expected else "")
        if error.ref == self.turn.message:
            self._fail(MessageRefused(f"the message was refused: {text}"))
        elif error.ref is not None and self._questions.refused(error.ref):
            self.screen.notice(f"allowed once: {text}", "yellow")
        else:
            self.screen.notice(f"what was sent about {error.ref} was refused: {text}", "yellow")
            self._end_where_idle()

    def _end_where_idle(self) -> None:
        """Who follows no message of theirs waits for nothing where nothing is under way or about to be."""
        is_idle = self.connection.view.phase == "idle" and self.connection.is_settled
        if self.turn.message is None and is_idle:
            self._over.set()

    def held(self, error: ErrorFrame) -> None:
        """Tell that a message waits here."""
        self.screen.notice(
            f"{error.message}; yours is kept here and sent again when it may be taken", "yellow"
        )

    def lost(self, why: str, seconds: float) -> None:
        """Tell that the connection went."""
        self._live = False
        self.screen.notice(f"connection lost ({why}); trying again in {seconds:.1f} s", "yellow")

    def _tool(self, recorded: Recorded) -> None:
        if self._runner is None:
            return
        match recorded.event:
            case ToolStarted() as event if self._live and event.runner == self._identity.client:
                self._assign(event.call, event.epoch)
            case ToolFinished() as event:
                call = self.connection.view.calls[event.call]
                self._runner.recorded(recorded.seq, call, own=call.runner == self._identity.client)
            case _:
                pass

    def _assign(self, number: str, epoch: int) -> None:
        call = self.connection.view.calls.get(number)
        if self._runner is None or call is None:
            return
        self._runner.assign(
            Assignment(
                call=call.call,
                epoch=epoch,
                name=call.name,
                arguments=call.arguments,
                consent=call.has_consent or self._is_allowed(call),
            )
        )

    def _is_allowed(self, call: CallSeen) -> bool:
        """Whether what the person set here allows it: read from their own words, not from what the edge says of them."""
        tool, word = self._tools.get(call.name), self._word
        if tool is None or word is None:
            return False
        return judge(tool.spec, call.arguments, mode=word.mode, rules=word.rules).verdict == "allow"

    def _is_own(self, change: Change) -> bool:
        """Whether the person typed it here."""
        return (
            isinstance(change, Recorded)
            and isinstance(change.event, UserMessageReceived)
            and change.event.id == self.turn.message
        )


def _now() -> float:
    return time.monotonic() * 1000
