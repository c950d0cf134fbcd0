"""Bytes that no one can compress or mistake: what `/bytes/N` of the origin serves.

Rule: byte i is the same whoever asks for it and in whichever range, so a client can check
every byte of what arrived without having it sent twice.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

_BLOCK_BYTES = 1 << 16


@lru_cache(maxsize=64)
def _block(number: int) -> bytes:
    return hashlib.shake_128(number.to_bytes(8)).digest(_BLOCK_BYTES)


def noise(start: int, stop: int) -> bytes:
    """Bytes `start` to `stop` (excluded) of the endless file.

    >>> noise(0, 100_000)[70_000:70_010] == noise(70_000, 70_010)
    True
    """
    if stop <= start:
        return b""
    first = start // _BLOCK_BYTES
    blocks = b"".join(_block(n) for n in range(first, (stop - 1) // _BLOCK_BYTES + 1))
    return blocks[start - first * _BLOCK_BYTES : stop - first * _BLOCK_BYTES]
