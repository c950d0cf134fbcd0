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
# Square roots are badly approximated by fractions, so their multiples never bunch up.
_STEPS = tuple(number**0.5 % 1.0 for number in (2, 3, 5, 7, 13, 14, 21, 22))


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


def place_of_client(seed: str, identity: str) -> float:
    """A client's number in [0, 1): it is in a share of f if that is below f.

    A plain hash leaves a handful of clients to luck: of ten desktops with `share: 50%`, two or
    eight would be nothing unusual.  So the hash places each IPv4 network of 65,536 addresses, and
    within it the third and the fourth number step on by irrational amounts that the seed has
    chosen, which spreads any run of neighbours evenly (an additive recurrence, as in quasi-Monte
    Carlo methods).  What is not an IPv4 address is hashed.
    """
    numbers = identity.split(".")
    if len(numbers) == 4 and all(number.isdecimal() for number in numbers):
        start = unit_interval(seed, numbers[0], numbers[1])
        outer, inner = _steps(seed)
        return (start + int(numbers[2]) * outer + int(numbers[3]) * inner) % 1.0
    return unit_interval(seed, identity)


@lru_cache(maxsize=64)
def _steps(seed: str) -> tuple[float, float]:
    """Two different steps."""
    outer = int(unit_interval(seed, "outer step") * len(_STEPS))
    inner = int(unit_interval(seed, "inner step") * (len(_STEPS) - 1))
    return _STEPS[outer], _STEPS[inner if inner < outer else inner + 1]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
