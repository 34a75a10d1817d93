"""The sockets of one agent: who is attached, who runs tools, and what each is sent.

A socket is *live* once its `hello` was answered; before, it gets no event. What must survive hibernation is in the socket's
attachment; the set of live sockets (`Live`, in JS, shared with the pump) is rebuilt from there on a wake.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

from pyodide.ffi import JsException

from edge import pump
from edge.clock import now_ms
from edge.convert import to_object
from edgeloop.access import is_over
from edgeloop.frames import encode
from edgeloop.session_end import SessionEnd
from edgeloop.wire import ServerMessage

POLICY = 1008
"""The close code for what is not allowed."""
EXPIRED = "the token has expired"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """What a socket's attachment says: what its token allows and until when (0: for ever), its end of the sync, and, once it is
    live, when and in which order it came."""

    scope: str = ""
    expires: int = 0
    end: SessionEnd = field(default_factory=SessionEnd)
    order: int = 0
    at: int = 0

    @property
    def client(self) -> str:
        """Whose it is; "" before its handshake."""
        return self.end.client

    @property
    def tools(self) -> bool:
        """Whether its client runs tools."""
        return self.end.digest is not None

    @property
    def is_live(self) -> bool:
        """Whether its handshake is over."""
        return self.end.phase == "live"

    def expired(self, now: int) -> bool:
        """Whether its token's time is over."""
        return is_over(self.expires, now)


class Sockets:
    """The attached sockets of one agent."""

    def __init__(self, ctx: Any) -> None:
        self._ctx = ctx
        self.live = pump.new_live()
        self._known: tuple[int, list[tuple[Any, Peer]]] | None = None
        self._first_expiry = math.inf
        for ws in self._ctx.getWebSockets():
            peer = peer_of(ws)
            if peer.is_live:
                self.live.add(ws, peer.client)
                self._note(peer)

    def _peers(self) -> list[tuple[Any, Peer]]:
        """The live sockets. Asked several times a round, so kept until one joins, leaves or is dropped by `Live`."""
        size = self.live.size
        if self._known is None or self._known[0] != size:
            sockets = ((ws, peer_of(ws)) for ws in self._ctx.getWebSockets() if self.live.has(ws))
            self._known = size, [(ws, peer) for ws, peer in sockets if peer.is_live]
        return self._known[1]

    def hosts(self) -> tuple[str, ...]:
        """Clients that run tools, the latest first."""
        peers = sorted((peer for _, peer in self._peers() if peer.tools), key=lambda peer: -peer.order)
        return tuple(dict.fromkeys(peer.client for peer in peers))

    def joined(self) -> int:
        """When the latest client that runs tools came, in ms since the epoch; 0 if none is there."""
        return max((peer.at for _, peer in self._peers() if peer.tools), default=0)

    def succeed(self, ws: Any, client: str) -> None:
        """Close a client's older sockets: it said `hello` over this one, so their connections were lost without our knowing.

        What still comes over them must not count: the client may send it again here, under the numbers of a new epoch.
        """
        for other in self._ctx.getWebSockets():
            if other.js_id != ws.js_id and peer_of(other).client == client:
                self.leave(other)
                attach(other, Peer())
                close(other, 1000, "replaced by a newer connection of this client")

    def join(self, ws: Any, peer: Peer) -> Peer:
        """Make a socket live; what is known of it then."""
        order = 1 + max((known.order for _, known in self._peers()), default=0)
        peer = replace(peer, order=order, at=now_ms())
        attach(ws, peer)
        self.live.add(ws, peer.client)
        self._note(peer)
        self._known = None
        return peer

    def expire(self, now: int) -> None:
        """Close the sockets whose token's time is over. Asked once a round: no timer must keep a session awake for it."""
        if now < self._first_expiry:
            return
        self._first_expiry = math.inf
        for ws, peer in self._peers():
            if peer.expired(now):
                self.leave(ws)
                close(ws, POLICY, EXPIRED)
            else:
                self._note(peer)

    def _note(self, peer: Peer) -> None:
        self._first_expiry = min(self._first_expiry, peer.expires or math.inf)

    def leave(self, ws: Any) -> None:
        """Take a socket out; nothing more is sent to it."""
        self.live.drop(ws)
        self._known = None

    def count(self) -> int:
        """How many sockets are live."""
        return self.live.size


def attach(ws: Any, peer: Peer) -> None:
    """Write down what is known of a socket, so that it survives hibernation."""
    ws.serializeAttachment(to_object(vars(peer) | {"end": to_object(vars(peer.end))}))


def peer_of(ws: Any) -> Peer:
    """Who a socket is; one that nothing was written down of may do nothing."""
    found = ws.deserializeAttachment()
    if not hasattr(found, "scope"):
        return Peer()
    return Peer(
        scope=found.scope,
        expires=int(found.expires),
        end=SessionEnd(
            phase=found.end.phase,
            client=found.end.client,
            digest=found.end.digest or None,
            broken=int(found.end.broken),
        ),
        order=found.order,
        at=int(found.at),
    )


def send(ws: Any, frame: str) -> None:
    """Send to one socket; a socket that is gone is not an error, its client comes back with its cursor."""
    try:
        ws.send(frame)
    except JsException:
        pass


def tell(ws: Any, frame: ServerMessage) -> None:
    """Send a frame to one socket."""
    send(ws, encode(frame))


def close(ws: Any, code: int, reason: str) -> None:
    """Close a socket; one that is closed already stays so."""
    try:
        ws.close(code, reason)
    except JsException:
        pass
