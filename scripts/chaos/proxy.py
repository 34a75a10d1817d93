"""A relay between two ports, whose connections can be cut at any byte. Knows no protocol."""

import asyncio
import random
import socket
import struct

PIECE = 64 << 10
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Relays every connection to a port of this machine; `cut` ends one as a pulled cable or a reset would."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open: dict[asyncio.StreamWriter, asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        self._tasks = set[asyncio.Task[None]]()

    async def start(self) -> int:
        """Listen; return the port."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0, backlog=256)
        return self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End it, with all its connections."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, chance: random.Random) -> bool:
        """Cut one connection; False if there is none."""
        if not self._open:
            return False
        near = chance.choice(list(self._open))
        far = self._open.pop(near)
        for writer in (near, far):
            if chance.random() < 0.5 and not writer.is_closing():
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        return True

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open[writer] = far_writer
        try:
            await asyncio.gather(_pour(reader, far_writer), _pour(far_reader, writer))
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()
            far_writer.transport.abort()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on until the end of one side, and tell the other."""
    try:
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except (OSError, RuntimeError):
        writer.transport.abort()
