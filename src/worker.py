"""Routing and auth only: a request that may be made goes to the session that its path names, with what its maker may do."""

import re
from typing import Any

import js
from workers import WorkerEntrypoint

from durable_session import DurableSession
from edge.answers import json_answer, refusal
from edge.budget import KeyLedger
from edge.clock import now_ms
from edge.door import Door, label
from edgeloop.access import check
from edgeloop.errors import Refused
from edgeloop.model import NAME

_AGENT = re.compile(
    rf"^/v1/agents/({NAME})(?:/(ws|messages|approvals|autonomy|events|stop|state|export|import|fork))?$"
)


class Default(WorkerEntrypoint):
    """The Worker's door."""

    async def fetch(self, request: Any) -> Any:
        """Answer `/healthz`; send `/v1/agents/{id}...` to its session; refuse the rest."""
        path = request.js_object.url.split("://", 1)[1].partition("/")[2].partition("?")[0]
        if path == "healthz":
            return json_answer('{"ok":true}')
        try:
            passed, name = self._pass(request.js_object, f"/{path}")
        except Refused as error:
            return refusal(error)
        return await self.env._env.SESSIONS.getByName(name).fetch(passed)

    def _pass(self, request: Any, path: str) -> tuple[Any, str]:
        """The request as the session gets it, and the session's name."""
        found = _AGENT.match(path)
        door, name = _door_of(self.env), found[1] if found else ""
        access = door.admit(request.headers, agent=name, now=now_ms())
        if found is None:
            raise Refused(
                code="not_found",
                message="no such path",
                expected="/v1/agents/{id}[/ws|messages|approvals|autonomy|events|stop|state|export|import|fork]",
            )
        check(access.scope, f"{request.method} {found[2] or ''}".rstrip())
        passed = js.Request.new(request)
        label(passed.headers, access)
        return passed, name


def _door_of(env: Any) -> Door:
    """The deployment's keys, read once: an isolate never outlives its variables."""
    global _door
    if _door is None:
        _door = Door.read(env)
    return _door


_door: Door | None = None

__all__ = ["Default", "DurableSession", "KeyLedger"]
