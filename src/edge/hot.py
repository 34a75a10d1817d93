"""The edge's one door to the Rust kernels: Python to JS to wasm.

Texts cross as bytes, many at a time where there are many: a crossing costs microseconds, a str ten times what bytes
cost. What the kernels do and how their bytes are laid out is in edgeloop/kernels.py; this room only crosses.
"""

from functools import cache, partial
from typing import Any

from pyodide.ffi import JsException, create_proxy, to_js

from edgeloop.analysis import Analysis
from edgeloop.claims import Claims
from edgeloop.kernels import KernelRefused, Kernels, KernelTrapped

_ERRORS = {"KernelTrapped": KernelTrapped, "KernelRefused": KernelRefused}


@cache
def _module() -> Any:
    # Refused at import time: it awaits, and a snapshot holds no JS.
    from workers import import_from_javascript

    return import_from_javascript("hot/hot.mjs")


def load() -> None:
    """Import the JS module. It suspends, so it is done before an object takes its first event."""
    _module()


_SHARED_BYTES = 32_768
_shared = bytearray(_SHARED_BYTES)


@cache
def _shared_call(name: str) -> Any:
    _share()
    return _module().sharedCall(name)


@cache
def _share() -> None:
    _module().share(create_proxy(_shared))


class _Door:
    """Short inputs are copied into one bytearray that JS reads in place: an object per call would cost ten times more."""

    def call(self, name: str, data: bytes, *numbers: int) -> int:
        length = len(data)
        try:
            if length > _SHARED_BYTES:
                return _module().call(name, to_js(data), *numbers)
            function = _shared_call(name)
            _shared[:length] = data
            return function(length, *numbers)
        except JsException as error:
            raise _ERRORS.get(error.name, KernelTrapped)(error.message) from error

    def call_bytes(self, name: str, data: bytes, *numbers: int) -> bytes:
        try:
            return _module().callBytes(name, to_js(data), *numbers).to_bytes()
        except JsException as error:
            raise _ERRORS.get(error.name, KernelTrapped)(error.message) from error


_kernels = Kernels(_Door())
count_tokens = _kernels.count_tokens
count_batch = _kernels.count_batch
count_prefix = _kernels.count_prefix
diff_unified = _kernels.diff_unified
diff_edits = _kernels.diff_edits
diff_words = _kernels.diff_words
apply_patch = _kernels.apply_patch
apply_edits = _kernels.apply_edits
merge = _kernels.merge
analysis = partial(Analysis, _Door())
claims = partial(Claims, _Door())
