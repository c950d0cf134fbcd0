"""What the arrivals of a body tell of its shape: its silences, its rate in a part of its time, how
full its windows are.

Rule: arrivals are (seconds of one monotonic clock, bytes); places are bytes from the body's start;
times count from a moment that the caller names, since stages count from elsewhere than a body's
first byte.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

Arrivals = Sequence[tuple[float, int]]


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing came for `length_s` after `after_bytes` had come."""

    after_bytes: int
    length_s: float


def silences(arrivals: Arrivals, longer_than_s: float) -> list[Silence]:
    found = []
    so_far = 0
    for (at, size), (then, _) in itertools.pairwise(arrivals):
        so_far += size
        if then - at > longer_than_s:
            found.append(Silence(so_far, then - at))
    return found


def bytes_by(arrivals: Arrivals, moment: float) -> int:
    """What had come by then."""
    return sum(size for at, size in arrivals if at < moment)


def rate_between(arrivals: Arrivals, start: float, stop: float) -> float:
    """Bytes per second from the first arrival in that time to the last, the first not counted:
    pieces are whole, and a time that is no multiple of theirs would err by one."""
    inside = [(at, size) for at, size in arrivals if start <= at < stop]
    if len(inside) < 2:
        return 0.0
    return sum(size for _, size in inside[1:]) / (inside[-1][0] - inside[0][0])


def windows(arrivals: Arrivals, window_s: float, start: float, stop: float) -> list[int]:
    """Bytes in each of the windows that lie side by side from `start` to `stop`."""
    counts = [0] * math.floor((stop - start) / window_s + 1e-9)
    for at, size in arrivals:
        number = math.floor((at - start) / window_s)
        if 0 <= number < len(counts):
            counts[number] += size
    return counts


def share_of_empty(counts: Sequence[int]) -> float:
    return sum(1 for count in counts if count == 0) / len(counts)


def variation(counts: Sequence[int]) -> float:
    """The coefficient of variation: standard deviation over mean."""
    mean = sum(counts) / len(counts)
    return math.sqrt(sum((count - mean) ** 2 for count in counts) / len(counts)) / mean


def ks_distance(one: Sequence[float], other: Sequence[float]) -> float:
    """The two-sample Kolmogorov-Smirnov statistic: the largest distance of the two empirical
    distribution functions."""
    points = sorted({*one, *other})
    first, second = sorted(one), sorted(other)
    most, at_first, at_second = 0.0, 0, 0
    for point in points:
        while at_first < len(first) and first[at_first] <= point:
            at_first += 1
        while at_second < len(second) and second[at_second] <= point:
            at_second += 1
        most = max(most, abs(at_first / len(first) - at_second / len(second)))
    return most


def ks_p_value(one: Sequence[float], other: Sequence[float]) -> float:
    """How likely a distance of at least that is if both come from one distribution, exactly.

    Counts the lattice paths from (0, 0) to (n, m) that stay closer to the diagonal than the
    distance seen (Hodges, 1958): each order in which n and m values may lie is one path, and all
    are equally likely. With ties the true value is smaller still.
    """
    n, m = len(one), len(other)
    distance = round(ks_distance(one, other) * n * m)  # a whole number of 1 / (n m)
    if distance == 0:
        return 1.0
    paths = [0] * (m + 1)  # to (row, column), without ever being `distance` away
    for row in range(n + 1):
        for column in range(m + 1):
            if abs(row * m - column * n) >= distance:
                paths[column] = 0
            elif row == column == 0:
                paths[column] = 1
            elif column:
                paths[column] += paths[column - 1]
    return 1.0 - paths[m] / math.comb(n + m, n)
