"""HTTP/1.1 over asyncio with h11: one connection, its requests one after another, answers whole or as chunks.

Knows no path and no provider. Every chunk a caller gives is an HTTP chunk of its own; those given together go out in one write.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import h11

from edgeloop_client.model.dialect import Headers

MAX_BODY = 32 << 20
HIGH_WATER = 256 * 1024
IDLE_SECONDS = 300.0
_READ = 256 * 1024


class Gone(Exception):
    """The client left; nothing can be sent any more."""


@dataclass(frozen=True, kw_only=True)
class Received:
    """A request. Header names are lower-case; `body` is exactly what was sent, None where it was over the limit."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes | None


class Exchange:
    """A request and the way to answer it."""

    def __init__(
        self,
        received: Received,
        connection: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.received = received
        self.bytes_sent = 0
        self._connection = connection
        self._reader = reader
        self._writer = writer

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer."""
        own = [*headers, ("content-length", str(len(body)))]
        self._send([h11.Response(status_code=status, headers=own), h11.Data(data=body), h11.EndOfMessage()])
        await self._drain()

    def start(self, headers: Headers) -> None:
        """Begin a 200 answer in chunks."""
        own = [*headers, ("transfer-encoding", "chunked")]
        self._send([h11.Response(status_code=200, headers=own)])

    async def write(self, chunks: Iterable[bytes]) -> None:
        """Send chunks.

        Raises:
            Gone: the client left.
        """
        self._send(h11.Data(data=chunk) for chunk in chunks)
        if self._writer.transport.get_write_buffer_size() > HIGH_WATER:
            await self._drain()

    async def end(self) -> None:
        """End the answer well."""
        self._send([h11.EndOfMessage()])
        await self._drain()

    def cut(self) -> None:
        """Close the connection in the middle of the answer, after what was written."""
        self._writer.close()

    async def gone(self) -> None:
        """Wait until the client leaves."""
        while await self._reader.read(_READ):
            pass

    def _send(self, events: Iterable[h11.Event]) -> None:
        if self._writer.is_closing():
            raise Gone
        data = b"".join([self._connection.send(event) or b"" for event in events])
        self.bytes_sent += len(data)
        self._writer.write(data)

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except ConnectionError as error:
            raise Gone from error


Handler = Callable[[Exchange], Awaitable[None]]


async def serve_connection(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler
) -> None:
    """Serve one connection until either side closes it."""
    connection = h11.Connection(h11.SERVER)
    try:
        while (received := await _receive(connection, reader, writer)) is not None:
            await handler(Exchange(received, connection, reader, writer))
            if received.body is None or connection.our_state is not h11.DONE:
                return
            if connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()
    except h11.RemoteProtocolError as error:
        _complain(connection, writer, error)
    except (Gone, ConnectionError, TimeoutError):
        pass
    finally:
        writer.close()


def _complain(
    connection: h11.Connection, writer: asyncio.StreamWriter, error: h11.RemoteProtocolError
) -> None:
    if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE) and not writer.is_closing():
        headers = [("content-length", "0"), ("connection", "close")]
        response = h11.Response(status_code=error.error_status_hint, headers=headers)
        writer.write((connection.send(response) or b"") + (connection.send(h11.EndOfMessage()) or b""))


async def _receive(
    connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Received | None:
    """The next request; None when the client has closed."""
    head: h11.Request | None = None
    parts: list[bytes] = []
    size = 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                writer.write(connection.send(go_on) or b"")
            connection.receive_data(await asyncio.wait_for(reader.read(_READ), IDLE_SECONDS))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            parts.append(bytes(event.data))
            size += len(event.data)
            if size > MAX_BODY:
                return _received(head, None)
        elif isinstance(event, h11.EndOfMessage):
            return _received(head, b"".join(parts))
        else:
            return None


def _received(head: h11.Request | None, body: bytes | None) -> Received:
    assert head is not None
    path, _, query = head.target.decode("ascii", "replace").partition("?")
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
    return Received(method=head.method.decode("ascii"), path=path, query=query, headers=headers, body=body)
