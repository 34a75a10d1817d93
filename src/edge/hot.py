"""The edge's one door to the Rust kernels: Python to JS to wasm.

Texts cross as bytes, many at a time where there are many: a crossing costs microseconds, a str ten times what bytes
cost. Knows nothing of tokens, diffs or sessions; edgeloop/kernels.py has the frames.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from pyodide.ffi import JsException, to_js

from edgeloop.kernels import KernelRefused, KernelTrapped, pack_batch, unpack_counts, utf8

_ERRORS = {"KernelTrapped": KernelTrapped, "KernelRefused": KernelRefused}


@cache
def _door() -> Any:
    # Refused at import time: it awaits, and a snapshot holds no JS.
    from workers import import_from_javascript

    return import_from_javascript("hot/hot.mjs")


def load() -> None:
    """Import the JS module. It suspends, so it is done before an object takes its first event."""
    _door()


def count_tokens(text: str | bytes) -> int:
    """Count o200k_base tokens, exactly as tiktoken does; invalid UTF-8 counts as replacement characters.

    Raises:
        KernelTrapped: the instance ran out of memory or broke; call again.
    """
    return _call("countTokens", to_js(utf8(text)))


def count_batch(texts: Sequence[bytes]) -> list[int]:
    """The same for many texts in one crossing.

    Raises:
        KernelTrapped: as `count_tokens`.
    """
    return unpack_counts(_call("countBatch", len(texts), to_js(pack_batch(texts))).to_bytes())


def _call(name: str, *arguments: Any) -> Any:
    try:
        return getattr(_door(), name)(*arguments)
    except JsException as error:
        raise _ERRORS.get(error.name, KernelTrapped)(error.message) from error
