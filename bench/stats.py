"""What a list of arrivals says about a rate.

Rule: every figure that the bench prints is computed here, the same way for everybody.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

from .record import Record

WINDOW_S = 0.25


@dataclass(frozen=True, slots=True)
class Accuracy:
    """One response against the rate that was asked for.

    All from its first body byte on: `error` of the mean over the whole time (-0.01: one percent
    too slow); bytes in the first second as a multiple of the rate; the fullest 250 ms, wherever
    they begin, as a multiple of the mean.
    """

    error: float
    first_second: float
    peak: float


def accuracy(record: Record, rate_bytes_per_s: float, seconds: float) -> Accuracy:
    if not record.arrivals:
        return Accuracy(-1.0, 0.0, 0.0)
    times = [when for when, _ in record.arrivals]
    so_far = cumulative(record)
    first = times[0]

    def between(start: float, end: float) -> float:
        """Bytes that came from `start` to before `end`."""
        return so_far[bisect.bisect_left(times, end)] - so_far[bisect.bisect_left(times, start)]

    mean = between(first, first + seconds) / seconds
    inside = [when for when in times if when < first + seconds]
    fullest = max(between(when, when + WINDOW_S) for when in inside)
    return Accuracy(
        error=mean / rate_bytes_per_s - 1.0,
        first_second=between(first, first + 1.0) / rate_bytes_per_s,
        peak=fullest / WINDOW_S / mean,
    )


def cumulative(record: Record) -> list[float]:
    """Bytes that had come before the nth arrival; one entry more than arrivals."""
    so_far = [0.0]
    for _, size in record.arrivals:
        so_far.append(so_far[-1] + size)
    return so_far


def rate_between(record: Record, begin: float, end: float) -> float:
    """Bytes/s from the first arrival in a time to its last one.

    Pieces are discrete: counting whole ones in a time that is not a multiple of theirs errs by a
    piece.  From arrival to arrival does not.
    """
    inside = [(when, size) for when, size in record.arrivals if begin <= when < end]
    if len(inside) < 2:
        return 0.0
    return sum(size for _, size in inside[1:]) / (inside[-1][0] - inside[0][0])


def sum_between(records: Sequence[Record], begin: float, end: float) -> float:
    """Bytes/s of all together, the same way."""
    inside = sorted(
        (when, size) for record in records for when, size in record.arrivals if begin <= when < end
    )
    if len(inside) < 2:
        return 0.0
    return sum(size for _, size in inside[1:]) / (inside[-1][0] - inside[0][0])


def jain(values: Sequence[float]) -> float:
    """Jain's index of fairness: 1 when all are equal, 1/n when one has all."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least that share of the values does not exceed."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Sequence[float]) -> float:
    return percentile(values, 0.5)
