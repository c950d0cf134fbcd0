"""What a body's arrivals tell of its rate.

Rule: times are in seconds of one monotonic clock, sizes in bytes, and the clock starts with the
first byte of the body.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from statistics import linear_regression

Arrivals = Sequence[tuple[float, int]]
WINDOW_S = 0.25


def bytes_between(arrivals: Arrivals, start_s: float, stop_s: float) -> int:
    """Bytes that came from `start_s` to `stop_s` (excluded), counted from the first byte."""
    first = arrivals[0][0]
    return sum(size for at, size in arrivals if start_s <= at - first < stop_s)


def mean_bytes_per_s(arrivals: Arrivals, over_s: float, start_s: float = 0.0) -> float:
    """Everything that came in that time, over that time: a burst counts."""
    return bytes_between(arrivals, start_s, start_s + over_s) / over_s


def peak_bytes_per_s(arrivals: Arrivals, over_s: float) -> float:
    """The fullest of the windows of 250 ms, side by side from the first byte on."""
    count = round(over_s / WINDOW_S)
    windows = [bytes_between(arrivals, n * WINDOW_S, (n + 1) * WINDOW_S) for n in range(count)]
    return max(windows) / WINDOW_S


def steady_bytes_per_s(arrivals: Arrivals) -> float:
    """From the first arrival to the last, the first not counted: right for a short body too."""
    first, last = arrivals[0][0], arrivals[-1][0]
    return sum(size for _, size in arrivals[1:]) / (last - first)


def slope_bytes_per_s(arrivals: Arrivals) -> float:
    """The straight line through all arrivals, however much came at once at first.

    What a busy machine delays is made up for with the next piece; of a rate between first and last
    arrival a single one of these delays makes another, of this one hardly.
    """
    sums = accumulate(size for _, size in arrivals)
    return linear_regression([at for at, _ in arrivals], list(sums)).slope
