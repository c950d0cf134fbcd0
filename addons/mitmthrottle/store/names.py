"""What things are called in the store.

Rule: no name holds a client's address, a host or a rule in clear. Each is a keyed hash (HMAC with
SHA-256) of what it stands for; the key is the policy's seed, so policies of different seeds share
nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Hashable
from functools import lru_cache


class Names:
    """The names under one seed. The part in braces keeps them together in a cluster."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode("utf-8", "surrogatepass")
        self._prefix = f"mt:{{{_hashed(self._seed, 'fleet', '')}}}"

    @property
    def fleet(self) -> str:
        return self._prefix

    def channel(self, process: str) -> str:
        """Where a process listens, so that others see whether it is still there."""
        return f"{self._prefix}:{process}"

    def of(self, kind: str, what: Hashable) -> str:
        """`what` is made of text, numbers, None and tuples of these."""
        return f"{self._prefix}:{_hashed(self._seed, kind, repr(what))}"


@lru_cache(maxsize=16384)
def _hashed(seed: bytes, kind: str, what: str) -> str:
    text = f"{kind}/{what}".encode("utf-8", "surrogatepass")
    digest = hmac.digest(seed, text, hashlib.sha256)[:15]
    return base64.urlsafe_b64encode(digest).decode("ascii")
