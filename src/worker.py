"""Routing and auth only: a request with the right token goes to the session that its path names."""

import hmac
import re
from typing import Any

from workers import WorkerEntrypoint

from durable_session import DurableSession
from edge.answers import json_answer, refusal
from edge.settings import configured_token
from edgeloop.errors import Refused

_AGENT = re.compile(
    r"^/v1/agents/([A-Za-z0-9._:-]{1,128})/(ws|messages|approvals|autonomy|events|stop|state)$|^/v1/agents/([A-Za-z0-9._:-]{1,128})$"
)


class Default(WorkerEntrypoint):
    """The Worker's door."""

    async def fetch(self, request: Any) -> Any:
        """Answer `/healthz`; send `/v1/agents/{id}...` to its session; refuse the rest."""
        path = request.js_object.url.split("://", 1)[1].partition("/")[2].partition("?")[0]
        if path == "healthz":
            return json_answer('{"ok":true}')
        try:
            self._authorize(request.js_object.headers.get("authorization"))
            agent = _AGENT.match(f"/{path}")
            if agent is None:
                raise Refused(
                    code="not_found",
                    message="no such path",
                    expected="/v1/agents/{id}[/ws|messages|approvals|autonomy|events|stop|state]",
                )
        except Refused as error:
            return refusal(error)
        stub = self.env._env.SESSIONS.getByName(agent[1] or agent[3])
        return await stub.fetch(request.js_object)

    def _authorize(self, header: Any) -> None:
        token = configured_token(self.env)
        if not token:
            raise Refused(
                code="not_configured",
                message="no token is configured",
                expected="`wrangler secret put EDGELOOP_TOKEN`",
            )
        given = header if isinstance(header, str) else ""
        if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise Refused(
                code="unauthorized", message="no or wrong token", expected="Authorization: Bearer <token>"
            )


__all__ = ["Default", "DurableSession"]
