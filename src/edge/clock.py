"""What time it is, and timers that are gone when they are cleared.

Not asyncio's (`timeout`, `wait_for`, `sleep`): on this runtime a cancelled one leaves its setTimeout behind (pyodide/webloop.py),
and a pending timer keeps the object from hibernating. A 300 s deadline that was met after 1 s cost 299 s of wakefulness.
"""

import asyncio
import time
from collections.abc import Callable

import js
from pyodide.ffi import create_proxy


def now_ms() -> int:
    """Milliseconds since the epoch; on this platform the clock stands still between I/O."""
    return int(time.time() * 1000)


async def breathe() -> None:
    """Let everything else of this isolate go on, in the middle of what takes long.

    A shorter sleep lets nobody in: Pyodide makes it a setImmediate, and workerd reads from the network only when nothing is
    ready to run. With `sleep(0)` between its pieces the fork of a session of 40 MB held up every stream for 1.7 s.
    """
    await asyncio.sleep(0.005)


class Timer:
    """Calls back once after so many ms, unless cleared."""

    def __init__(self, ms: int, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._proxy = create_proxy(self._fire)
        self._timer = js.setTimeout(self._proxy, ms)

    def _fire(self) -> None:
        self._proxy.destroy()
        self._callback()

    def clear(self) -> None:
        """Do not call back. To be called at most once, and not after it has fired."""
        js.clearTimeout(self._timer)
        self._proxy.destroy()
