"""Who is in a share: a keyed hash instead of a coin.

The one rule: the same seed and the same parts give the same number, on every machine and in
every process, so a client is in or out for good and 10 % of the clients are among the 50 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Literal

_SPAN = 2.0**-53


@dataclass(frozen=True, slots=True)
class Share:
    """A fraction (0..1) of the clients, or of the responses."""

    fraction: float
    of: Literal["clients", "responses"] = "clients"


@lru_cache(maxsize=16384)
def unit_interval(seed: str, *parts: str) -> float:
    """A number in [0, 1) that depends on the seed and the parts only, spread evenly.

    blake2b keyed with the seed's own hash (a key holds 64 bytes at most, a seed may be longer);
    each part goes in with its length, so that ("a", "bc") and ("ab", "c") differ. The upper
    53 bits of the digest are the number.
    """
    digest = blake2b(key=blake2b(_bytes(seed), digest_size=32).digest(), digest_size=8)
    for part in parts:
        raw = _bytes(part)
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return (int.from_bytes(digest.digest(), "big") >> 11) * _SPAN


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
