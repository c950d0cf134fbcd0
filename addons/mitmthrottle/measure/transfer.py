"""One transfer, as a client saw it: when how many bytes came, and what the kernel knew of it.

Rule: facts and arithmetic only. Times are seconds since the request was sent, rates bytes per
second, bytes those of the body before any decoding.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal

Ended = Literal["complete", "bytes", "seconds", "truncated", "stopped"]
"""`bytes` or `seconds`: the bound that was reached; `truncated`: the body ended early; `stopped`:
by the user"""

BRIEFEST_S = 0.001
"""Shorter than this no transfer is taken to be: below it the client's own work is measured."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What TCP_INFO said at one moment of a connection, counted since it was made."""

    at_s: float
    segments: int
    """segments with data that came in, whatever their order"""
    out_of_order: int
    """of these, how many did not follow the one before: something was lost on the way"""
    round_trip_s: float
    """as the receiver estimates it; a queue on the way shows in it"""


@dataclass(frozen=True, slots=True)
class Transfer:
    """One request and what came back."""

    url: str
    status: int
    http_version: str
    address: str
    """the peer of the connection: the server, or the proxy"""
    lookup_s: float
    connect_s: float
    tls_s: float | None
    """handshake with the server; None without TLS"""
    headers_s: float
    """from sending the request to the end of the response's headers"""
    arrivals: tuple[tuple[float, float], ...]
    """(time, bytes) of each arrival of the body; of an upload: when bytes were acknowledged"""
    declared: int | None
    ended: Ended
    samples: tuple[Sample, ...] = ()

    @property
    def size(self) -> float:
        return sum(size for _, size in self.arrivals)

    @property
    def first_byte_s(self) -> float:
        """From sending the request to the first byte of the body."""
        return self.arrivals[0][0] if self.arrivals else self.headers_s

    @property
    def duration_s(self) -> float:
        """From the body's first byte to its last."""
        return self.arrivals[-1][0] - self.arrivals[0][0] if self.arrivals else 0.0

    @property
    def rate_bytes_per_s(self) -> float:
        """All of the body over all of its time."""
        return self.size / max(self.duration_s, BRIEFEST_S)

    def first(self, span_bytes: float) -> Transfer:
        """The same transfer as if it had ended after so many bytes."""
        kept: list[tuple[float, float]] = []
        left = span_bytes
        for at, size in self.arrivals:
            if left <= 0:
                break
            kept.append((at, min(size, left)))
            left -= size
        last = kept[-1][0] if kept else 0.0
        samples = tuple(sample for sample in self.samples if sample.at_s <= last)
        return replace(self, arrivals=tuple(kept), samples=samples)


def windows(
    arrivals: Sequence[tuple[float, float]], begin_s: float, end_s: float, count: int
) -> list[float]:
    """Throughput in each of `count` equal parts of a time, in bytes per second.

    >>> windows([(0.0, 10.0), (0.4, 10.0), (1.0, 20.0)], 0.0, 1.0, 2)
    [40.0, 40.0]
    """
    part = max(end_s - begin_s, BRIEFEST_S) / count
    sums = [0.0] * count
    for at, size in arrivals:
        number = int((at - begin_s) / part)
        if at >= begin_s and at <= end_s:
            sums[min(number, count - 1)] += size
    return [each / part for each in sums]


def bytes_until(arrivals: Sequence[tuple[float, float]], at_s: float) -> float:
    """How many bytes had come at a time."""
    number = bisect_right([at for at, _ in arrivals], at_s)
    return sum(size for _, size in arrivals[:number])


def cumulated(arrivals: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """(time, bytes that have come until then)."""
    sums = accumulate(size for _, size in arrivals)
    return [(at, total) for (at, _), total in zip(arrivals, sums, strict=True)]
