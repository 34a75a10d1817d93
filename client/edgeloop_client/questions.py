"""Answers the session's questions about calls with the person's word.

Decides which questions are put to the person here and when one is withdrawn; the first answer wins, wherever it was given. Knows
neither socket nor terminal.
"""

import asyncio
from collections.abc import Callable, Mapping

from edgeloop.wire import Decide
from edgeloop_client.errors import ToolDenied, ToolError
from edgeloop_client.runner import Asker
from edgeloop_client.tools import Tool
from edgeloop_client.view import View


class Questions:
    """Open questions, each asked once. `decide` sends an answer; `must_answer`: with nobody to ask, the answer is no."""

    def __init__(
        self, *, asker: Asker, tools: Mapping[str, Tool], decide: Callable[[Decide], None], must_answer: bool
    ) -> None:
        self._asker = asker
        self._tools = tools
        self._decide = decide
        self._must_answer = must_answer
        self._open: dict[str, asyncio.Task[None]] = {}
        self._granted: set[str] = set()

    def update(self, view: View) -> None:
        """Ask what is newly asked of us, and withdraw what is answered."""
        asked = {call.call: call for call in view.current_calls if call.is_asked}
        for call in [call for call in self._open if call not in asked]:
            self._open.pop(call).cancel()
            self._granted.discard(call)
        for call in asked.values():
            if call.call not in self._open:
                self._open[call.call] = asyncio.create_task(self._ask(call.call, call.name, call.arguments))

    def refused(self, call: str) -> bool:
        """Take the refusal of an answer: a call that cannot be allowed for the session is allowed once. False: not ours."""
        if call not in self._granted:
            return False
        self._granted.discard(call)
        self._decide(Decide(call=call, allow=True))
        return True

    async def close(self) -> None:
        """Withdraw everything."""
        tasks = list(self._open.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, call: str, name: str, arguments: str) -> None:
        try:
            answer = await self._asker.answer(name, self._worded(name, arguments))
        except ToolDenied as denied:
            if self._must_answer:
                self._decide(Decide(call=call, allow=False, reason=str(denied)))
            return
        scope = "session" if answer == "session" else "once"
        if answer == "session":
            self._granted.add(call)
        self._decide(Decide(call=call, allow=answer != "no", scope=scope))

    def _worded(self, name: str, arguments: str) -> str:
        tool = self._tools.get(name)
        if tool is None:
            return arguments
        try:
            return tool.question(tool.parse(arguments))
        except ToolError:
            return arguments
