"""The person's machine's door to the Rust kernels: the edge's own .wasm, run by wasmtime.

Same names and answers as src/edge/hot.py. Decides when an instance is made and given up; knows no kernel by meaning.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import wasmtime

from edgeloop.kernels import KernelRefused, KernelTrapped, pack_batch, unpack_counts, utf8

HOT = Path(__file__).resolve().parents[2] / "src" / "hot"
_REFUSED = 0xFFFFFFFF


class Kernels:
    """One instance of edgeloop.wasm, made on the first call and again after a trap."""

    def __init__(self, folder: Path = HOT) -> None:
        self._folder = folder
        self._engine = wasmtime.Engine()
        self._module = wasmtime.Module(self._engine, (folder / "edgeloop.wasm").read_bytes())
        self._store: wasmtime.Store | None = None
        self._exports: dict[str, Any] = {}

    def call(self, name: str, data: bytes, *numbers: int) -> int:
        """Run the export `name` over `data` and the numbers before its length; returns its number.

        Raises:
            KernelTrapped: the instance died in the call and was dropped.
            KernelRefused: the kernel cannot take these arguments.
        """
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
        """The same for a kernel with a bytes result."""
        length = self.call(name, data, *numbers)
        store = self._store
        address = self._exports["output"](store) & 0xFFFFFFFF
        return bytes(self._exports["memory"].read(store, address, address + length))

    def _start(self) -> wasmtime.Store:
        store = wasmtime.Store(self._engine)
        # Numbers are all that crosses, so what wasm-bindgen imports for JS values is never called with any.
        imports = [wasmtime.Func(store, entry.type, lambda *_: None) for entry in self._module.imports]  # type: ignore[arg-type]
        exports = wasmtime.Instance(store, self._module, imports).exports(store)
        self._exports = {str(entry.name): exports[str(entry.name)] for entry in self._module.exports}
        if start := self._exports.get("__wbindgen_start"):
            start(store)
        self._store = store
        if answer := self.call("count_load", (self._folder / "o200k.bin").read_bytes()):
            raise KernelRefused(f"token table refused with {answer}")
        return store


@cache
def kernels() -> Kernels:
    """The process's kernels."""
    return Kernels()


def count_tokens(text: str | bytes) -> int:
    """Count o200k_base tokens, exactly as tiktoken does; invalid UTF-8 counts as replacement characters."""
    return kernels().call("count_tokens", utf8(text))


def count_batch(texts: Sequence[bytes]) -> list[int]:
    """The same for many texts in one crossing."""
    return unpack_counts(kernels().call_bytes("count_batch", pack_batch(texts), len(texts)))
