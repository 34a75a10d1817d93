"""Signatures of reasoning: good for the very text they were made for, so that an echo that changed a byte is refused."""

import base64
from hashlib import blake2b


def sign(thinking: str) -> str:
    """The signature of a thinking block's text."""
    digest = blake2b(thinking.encode("utf-8", "replace"), key=b"edgeloop", digest_size=48).digest()
    return base64.b64encode(digest).decode()
