"""The sockets of one agent: who is attached, who runs tools, and what each is sent.

A socket is *live* once its `hello` was answered; before, it gets no event. What must survive hibernation is in the socket's
attachment; the set of live sockets (`Live`, in JS, shared with the pump) is rebuilt from there on a wake.
"""

from dataclasses import dataclass
from typing import Any

from pyodide.ffi import JsException

from edge import pump
from edge.clock import now_ms
from edge.convert import to_object
from edgeloop.wire import ErrorFrame


@dataclass(frozen=True, kw_only=True)
class Peer:
    """What a live socket's attachment says: the client, whether it runs tools, and when and in which order it came."""

    client: str
    tools: bool
    order: int
    at: int


class Sockets:
    """The attached sockets of one agent."""

    def __init__(self, ctx: Any) -> None:
        self._ctx = ctx
        self.live = pump.new_live()
        self._known: tuple[int, list[tuple[Any, Peer]]] | None = None
        for ws in self._ctx.getWebSockets():
            peer = peer_of(ws)
            if peer is not None:
                self.live.add(ws, peer.client)

    def _peers(self) -> list[tuple[Any, Peer]]:
        """The live sockets. Asked several times a round, so kept until one joins, leaves or is dropped by `Live`."""
        size = self.live.size
        if self._known is None or self._known[0] != size:
            sockets = ((ws, peer_of(ws)) for ws in self._ctx.getWebSockets() if self.live.has(ws))
            self._known = size, [(ws, peer) for ws, peer in sockets if peer is not None]
        return self._known[1]

    def hosts(self) -> tuple[str, ...]:
        """Clients that run tools, the latest first."""
        peers = sorted((peer for _, peer in self._peers() if peer.tools), key=lambda peer: -peer.order)
        return tuple(dict.fromkeys(peer.client for peer in peers))

    def joined(self) -> int:
        """When the latest client that runs tools came, in ms since the epoch; 0 if none is there."""
        return max((peer.at for _, peer in self._peers() if peer.tools), default=0)

    def join(self, ws: Any, client: str, tools: bool) -> None:
        """Make a socket live. An older socket of the same client is closed: its connection was lost without our knowing."""
        peers = self._peers()
        for other, peer in peers:
            if peer.client == client:
                self.leave(other)
                close(other, 1000, "replaced by a newer connection of this client")
        order = 1 + max((peer.order for _, peer in peers), default=0)
        at = now_ms()
        ws.serializeAttachment(to_object({"client": client, "tools": tools, "order": order, "at": at}))
        self.live.add(ws, client)
        self._known = None

    def leave(self, ws: Any) -> None:
        """Take a socket out; nothing more is sent to it."""
        self.live.drop(ws)
        self._known = None

    def count(self) -> int:
        """How many sockets are live."""
        return self.live.size


def peer_of(ws: Any) -> Peer | None:
    """Who a socket is; None before its handshake."""
    attachment = ws.deserializeAttachment()
    if not hasattr(attachment, "client"):
        return None
    return Peer(
        client=attachment.client, tools=attachment.tools, order=attachment.order, at=int(attachment.at)
    )


def send(ws: Any, frame: str) -> None:
    """Send to one socket; a socket that is gone is not an error, its client comes back with its cursor."""
    try:
        ws.send(frame)
    except JsException:
        pass


def refuse(ws: Any, frame: ErrorFrame) -> None:
    """Send a typed error."""
    send(ws, frame.model_dump_json(exclude_none=True))


def close(ws: Any, code: int, reason: str) -> None:
    """Close a socket; one that is closed already stays so."""
    try:
        ws.close(code, reason)
    except JsException:
        pass
