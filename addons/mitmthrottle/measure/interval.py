"""What can be said of a few numbers whatever their distribution: an interval, a sign test.

Rule: exact, by counting; nothing but the standard library.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """A median and what it lies between with 95 % confidence (from order statistics)."""

    median: float
    low: float
    high: float


def interval(values: Sequence[float]) -> Interval:
    """The median, and the narrowest pair of order statistics that holds it with 95 % confidence.

    Fewer than six values cannot give it: the ends then are infinitely far.

    >>> interval([5.0, 1.0, 3.0, 2.0, 4.0, 6.0])
    Interval(median=3.5, low=1.0, high=6.0)
    """
    ordered = sorted(values)
    count = len(ordered)
    tail, rank = 0.0, -1  # how many may be cut at each end
    while rank + 1 < count / 2:
        tail += math.comb(count, rank + 1) / 2**count
        if 2 * tail > 0.05:
            break
        rank += 1
    middle = statistics.median(ordered)
    if rank < 0:
        return Interval(middle, -math.inf, math.inf)
    return Interval(middle, ordered[rank], ordered[count - 1 - rank])


def sign_p_value(more: int, less: int) -> float:
    """How likely pairs differ so one-sidedly by chance: the two-sided sign test.

    >>> sign_p_value(10, 0) == 2 / 1024
    True
    """
    count = more + less
    tail = sum(math.comb(count, number) for number in range(max(more, less), count + 1))
    return min(1.0, 2.0 * tail / float(2**count))
