"""Numbers that the store has answered.

Rule: whoever can write to it may have put there anything.  What is no number of the kind that was
asked for is no answer, and the store is as good as away.
"""

from __future__ import annotations

import math

from .connection import StoreUnavailable

MOST_PROCESSES = 100_000
LONGEST_MS = 1e12
"""some thirty years"""
MOST_BYTES = 2**63
ROUNDING = 1e-9
"""a sum of parts has twelve digits"""


def fraction(text: object) -> float:
    """A part of a whole: 0 to 1. Raises StoreUnavailable."""
    return min(1.0, _number(text, 1.0 + ROUNDING))


def milliseconds(text: object) -> float:
    """From 0. Raises StoreUnavailable."""
    return _number(text, LONGEST_MS)


def count(text: object, most: int) -> int:
    """A whole number from 0 to `most`. Raises StoreUnavailable."""
    return int(_number(text, most))


def _number(text: object, most: float) -> float:
    try:
        number = float(text)  # type: ignore[arg-type]  # what is no text raises TypeError
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= most:  # which is false of nan, too
        raise StoreUnavailable(f"it has answered `{str(text)[:40]!a}` where a number was to be")
    return number
