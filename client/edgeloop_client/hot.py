"""The person's machine's door to the Rust kernels: the edge's own .wasm, run by wasmtime.

Same names and answers as src/edge/hot.py; what the kernels do is in edgeloop/kernels.py. This room decides when an
instance is made and given up.
"""

import threading
from functools import partial
from pathlib import Path
from typing import Any, Literal

import wasmtime

from edgeloop.analysis import Analysis
from edgeloop.claims import Claims
from edgeloop.kernels import KernelRefused, Kernels, KernelTrapped

HOT = Path(__file__).resolve().parents[2] / "src" / "hot"
Pattern = Literal["o200k", "cl100k"]
_REFUSED = 0xFFFFFFFF


class WasmDoor:
    """One instance of edgeloop.wasm, made on the first call and again after a trap.

    It counts o200k_base unless given another vocabulary's table (`rust-wasm/data`) and pattern.
    """

    def __init__(self, folder: Path = HOT, *, table: Path | None = None, pattern: Pattern = "o200k") -> None:
        self._folder = folder
        self._table = table or folder / "o200k.bin"
        self._pattern = pattern
        self._engine = wasmtime.Engine()
        self._module: wasmtime.Module | None = None
        self._store: wasmtime.Store | None = None
        self._exports: dict[str, Any] = {}
        # Tools run in threads, and an instance has one buffer for arguments and one for answers.
        self._guard = threading.RLock()

    def call(self, name: str, data: bytes, *numbers: int) -> int:
        """Run the export `name` over `data` and the numbers before its length; answers its number.

        Raises:
            KernelTrapped: the instance died in the call and was dropped.
            KernelRefused: the kernel cannot take these arguments.
        """
        with self._guard:
            try:
                store = self._store or self._start()
                address = self._exports["input"](store, len(data)) & 0xFFFFFFFF
                self._exports["memory"].write(store, data, address)
                answer = self._exports[name](store, *numbers, len(data)) & 0xFFFFFFFF
            except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
                self._store = None
                raise KernelTrapped(f"{name}: {error}") from error
        if answer == _REFUSED:
            raise KernelRefused(f"{name} refused {len(data)} bytes of input")
        return answer

    def call_bytes(self, name: str, data: bytes, *numbers: int) -> bytes:
        """The same for a kernel whose answer is bytes."""
        with self._guard:
            length = self.call(name, data, *numbers)
            address = self._exports["output"](self._store) & 0xFFFFFFFF
            return bytes(self._exports["memory"].read(self._store, address, address + length))

    def _start(self) -> wasmtime.Store:
        if self._module is None:
            self._module = wasmtime.Module(self._engine, (self._folder / "edgeloop.wasm").read_bytes())
        module = self._module
        store = wasmtime.Store(self._engine)
        # Numbers are all that crosses, so what wasm-bindgen imports for JS values is never called with any.
        imports = [wasmtime.Func(store, entry.type, lambda *_: None) for entry in module.imports]  # type: ignore[arg-type]
        exports = wasmtime.Instance(store, module, imports).exports(store)
        self._exports = {str(entry.name): exports[str(entry.name)] for entry in module.exports}
        if start := self._exports.get("__wbindgen_start"):
            start(store)
        self._store = store
        if answer := self.call("count_load", self._table.read_bytes(), int(self._pattern == "cl100k")):
            raise KernelRefused(f"token table refused with {answer}")
        return store


door = WasmDoor()
_kernels = Kernels(door)
count_tokens = _kernels.count_tokens
count_batch = _kernels.count_batch
count_prefix = _kernels.count_prefix
diff_unified = _kernels.diff_unified
diff_edits = _kernels.diff_edits
diff_words = _kernels.diff_words
apply_patch = _kernels.apply_patch
apply_edits = _kernels.apply_edits
merge = _kernels.merge
analysis = partial(Analysis, door)
claims = partial(Claims, door)
