"""What both doors to the kernels share: errors, text to bytes, the frames of a batch.

The doors are src/edge/hot.py (through JS) and client's hot.py (through wasmtime); they offer the same names over the
same .wasm. This room knows how bytes are laid out for a kernel, not how they get there.
"""

import struct
from collections.abc import Sequence

from edgeloop.errors import EdgeloopError


class KernelTrapped(EdgeloopError):
    """The wasm instance died in this call; it has been dropped, and the next call runs on a fresh one."""


class KernelRefused(EdgeloopError):
    """The kernel cannot take these arguments: our bug. The instance is unharmed."""


def utf8(text: str | bytes) -> bytes:
    """UTF-8 of a text as a tokenizer would see it: a lone surrogate becomes U+FFFD, as in tiktoken."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def pack_batch(texts: Sequence[bytes]) -> bytes:
    """One blob for one crossing: the lengths (u32, little-endian), then the bytes."""
    return struct.pack(f"<{len(texts)}I", *map(len, texts)) + b"".join(texts)


def unpack_counts(counts: bytes) -> list[int]:
    """The u32 counts that a batch answers."""
    return list(struct.unpack(f"<{len(counts) // 4}I", counts))
