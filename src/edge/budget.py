"""The ledger of a provider key as an object of its own, and a session's way to it. The rules are `edgeloop.ledger`'s.

One call before a model call and one after it, and only where a cap is set.
"""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import js
from workers import DurableObject

from edge.clock import now_ms
from edge.convert import why
from edgeloop.ledger import SCHEMA, Ledger
from edgeloop.spend import Charge


class KeyLedger(DurableObject):
    """What the sessions of one key spend. Its methods take and give JSON text: it is reached without the SDK's conversions."""

    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        self._sql: Any = ctx._ctx.storage.sql
        self._sql.exec(SCHEMA)
        self._ledger = Ledger(self._execute)

    def _execute(self, statement: str, *binds: Any) -> list[list[Any]]:
        return self._sql.exec(statement, *binds).raw().toArray().to_py()

    async def reserve(self, asked: str) -> str:
        """`{call, usd, cap}` in, `{granted, spent}` out."""
        answer = self._ledger.reserve(**json.loads(asked), now=now_ms())
        return json.dumps({"granted": answer.granted, "spent": answer.spent})

    async def settle(self, told: str) -> None:
        """`{call, usd, at, again}` in."""
        self._ledger.settle(**json.loads(told), now=now_ms())


@dataclass(kw_only=True)
class KeyBudget:
    """One session's dealings with its key's ledger. `session` names it, its log included: a deleted agent is another one."""

    ledger: Any
    cap: float
    session: str
    _unsettled: dict[str, tuple[Charge, bool]] = field(
        default_factory=lambda: dict[str, tuple[Charge, bool]]()
    )

    async def refusal(self, step: int, attempt: int, usd: float) -> str | None:
        """Reserve what a call may cost; None, or why it must not be made.

        Raises:
            JsException: the ledger cannot be reached, so the call must not be made now.
        """
        asked = {"call": self._call(step, attempt), "usd": usd, "cap": self.cap}
        answer = json.loads(await self.ledger.reserve(json.dumps(asked)))
        if answer["granted"]:
            return None
        return (
            f"the sessions of this key have spent or reserved ${answer['spent']:.4f} of the ${self.cap:g} they may today (UTC),"
            f" and the next call may cost up to ${usd:.4f}"
        )

    async def settle(self, charge: Charge, *, again: bool = False) -> None:
        """Tell what an attempt cost, perhaps `again`. What cannot be told now is told with the next one."""
        self._unsettled[self._call(charge.step, charge.attempt)] = charge, again
        for call, (one, repeated) in list(self._unsettled.items()):
            try:
                told = {"call": call, "usd": one.usd, "at": one.at, "again": repeated}
                await self.ledger.settle(json.dumps(told))
            except Exception as error:
                js.console.error(f"settling {call} failed: {why(error)}")
                return
            self._unsettled.pop(call, None)

    def _call(self, step: int, attempt: int) -> str:
        return f"{self.session}.{step}.{attempt}"


def key_name(api_key: str, base_url: str) -> str:
    """The name of a key's ledger: never the key. Without a key the provider's address stands for it."""
    return hashlib.sha256(f"edgeloop ledger\0{api_key or base_url}".encode()).hexdigest()
