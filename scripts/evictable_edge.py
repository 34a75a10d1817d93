"""The real Worker behind a door that can evict its sessions at will, and a look into the isolate that runs them.

An object hibernates after ten idle seconds; `workerd:unsafe` does the same at once, as it does for Cloudflare's own tests. The
door adds that to a copy of the sources and passes everything else on, so what is measured is what ships. The figures of memory
come from workerd's inspector, by which a debugger would ask.
"""

import http.client
import json
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from scripts.local_edge import LocalEdge, LocalEdgeError, listening_ports
from scripts.pyodide_bundle import Bundle

EVICT_PATH = "/evict"
EVICT = """
import unsafe from "workerd:unsafe";

export const evictAll = () => unsafe.evictAllDurableObjects({ webSockets: "hibernate" });
"""
DOOR = f"""
from workers import import_from_javascript

from durable_session import DurableSession
from edge.answers import json_answer
from worker import Default as Worker


class Default(Worker):
    async def fetch(self, request):
        if not request.js_object.url.endswith("{EVICT_PATH}"):
            return await super().fetch(request)
        await import_from_javascript("evict.mjs").evictAll()
        return json_answer("{{}}")
"""
MIB = 1 << 20


class EvictableEdge(LocalEdge):
    """Our Worker with the door: a request to `EVICT_PATH` evicts every session; it fails if one is not idle in time."""

    def _arguments(self, folder: Path, bundle: Bundle) -> list[str]:
        arguments = super()._arguments(folder, bundle)
        project = folder / "project"
        (project / "src" / "door.py").write_text(DOOR, encoding="utf-8")
        (project / "src" / "evict.mjs").write_text(EVICT, encoding="utf-8")
        settings = project / "wrangler.toml"
        given = settings.read_text(encoding="utf-8")
        settings.write_text(given.replace('"src/worker.py"', '"src/door.py"'), encoding="utf-8")
        at = arguments.index("--compatibility-flags") + 1
        more = [flag for flag in ("unsafe_module", "experimental") if flag not in arguments]
        return [*arguments[:at], *more, *arguments[at:]]

    def _private_places(self, folder: Path, bundle: Bundle) -> dict[str, str]:
        # An isolate talks to one debugger: so wrangler leaves it to another.
        return {**super()._private_places(folder, bundle), "VSCODE_INSPECTOR_OPTIONS": ":::"}


@dataclass(frozen=True, kw_only=True)
class Heap:
    """What an isolate holds, in MiB: after a collection, and the `garbage` that this one took away.

    `wasm` is a peak: wasm memory never shrinks, and what it held for evicted objects until V8 collected them is in it.
    """

    wasm: float
    v8: float
    backing: float
    garbage: float

    @property
    def total(self) -> float:
        return self.wasm + self.v8 + self.backing


def heap_of(pid: int) -> Heap:
    """What the isolate of the process's Worker holds.

    Raises:
        LocalEdgeError: none of the process's ports is an inspector's, or it refused what was asked.
    """
    with connect(_debugger_url(pid), max_size=None, proxy=None) as socket:
        inspector = _Inspector(socket)
        before = inspector.script_bytes()
        wasm = inspector.wasm_bytes()  # looking for them, V8 collects
        v8, backing = inspector.script_bytes()
    garbage = sum(before) - v8 - backing
    return Heap(wasm=wasm / MIB, v8=v8 / MIB, backing=backing / MIB, garbage=garbage / MIB)


class _Inspector:
    """What a debugger may ask of an isolate."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._asked = 0
        self._context = 0
        self.ask("Runtime.enable")

    def script_bytes(self) -> tuple[int, int]:
        """Bytes of V8's heap and of the buffers beside it."""
        usage = self.ask("Runtime.getHeapUsage")
        return usage["usedSize"] + usage["embedderHeapUsedSize"], usage["backingStorageSize"]

    def wasm_bytes(self) -> int:
        """Bytes of all wasm memories of the isolate."""
        memory = self.ask(
            "Runtime.evaluate", expression="WebAssembly.Memory.prototype", contextId=self._context
        )
        found = self.ask("Runtime.queryObjects", prototypeObjectId=memory["result"]["objectId"])
        summed = self.ask(
            "Runtime.callFunctionOn",
            objectId=found["objects"]["objectId"],
            functionDeclaration="function() { return this.reduce((sum, memory) => sum + memory.buffer.byteLength, 0); }",
            returnByValue=True,
        )
        return int(summed["result"]["value"])

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._asked += 1
        self._socket.send(json.dumps({"id": self._asked, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv(timeout=60))).get("id") != self._asked:
            if answer["method"] == "Runtime.executionContextCreated":
                self._context = answer["params"]["context"]["id"]
        if "error" in answer:
            raise LocalEdgeError(f"{method}: {answer['error']}")
        return answer["result"]


def _debugger_url(pid: int) -> str:
    for port in listening_ports(pid):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=5) as answer:
                return str(json.load(answer)[0]["webSocketDebuggerUrl"])
        except (OSError, ValueError, http.client.HTTPException):
            continue  # another of its doors
    raise LocalEdgeError(f"process {pid}: no port answers as an inspector")
