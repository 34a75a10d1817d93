"""A door to the kernels whose instance can be made to die."""

import pytest
import wasmtime

from edgeloop.kernels import KernelTrapped
from edgeloop_client import hot
from edgeloop_client.hot import WasmDoor

_MEMORY = 16 << 20


def door_of_little_memory(monkeypatch: pytest.MonkeyPatch) -> WasmDoor:
    """A fresh door; its instances have 16 MB."""

    def small_store(engine: wasmtime.Engine) -> wasmtime.Store:
        store = real_store(engine)
        store.set_limits(memory_size=_MEMORY)
        return store

    real_store = wasmtime.Store
    monkeypatch.setattr(hot.wasmtime, "Store", small_store)
    return WasmDoor()


def trap(door: WasmDoor) -> None:
    """Ask for more memory than there is: the instance dies in the call."""
    with pytest.raises(KernelTrapped):
        door.call("count_tokens", bytes(2 * _MEMORY))
