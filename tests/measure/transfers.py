"""Transfers as they would be seen, made by arithmetic."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate

from mitmthrottle.measure.transfer import Sample, Transfer

Arrivals = list[tuple[float, float]]
PACKET_BYTES = 1448


def transfer(
    arrivals: Arrivals,
    *,
    first_byte_s: float = 0.02,
    connect_s: float = 0.01,
    samples: Sequence[Sample] = (),
) -> Transfer:
    """One whose body begins `first_byte_s` after the request."""
    return Transfer(
        url="http://a.example/", status=200, http_version="HTTP/1.1", address="198.18.0.1",
        lookup_s=0.0, connect_s=connect_s, tls_s=None, headers_s=first_byte_s,
        arrivals=tuple((at + first_byte_s, size) for at, size in arrivals),
        declared=None, ended="complete",
        samples=tuple(samples),
    )  # fmt: skip


def flat(rate_bytes_per_s: float, seconds: float = 2.0, piece_s: float = 0.05) -> Arrivals:
    """As a shaper lets it through."""
    count = int(seconds / piece_s)
    return [(number * piece_s, rate_bytes_per_s * piece_s) for number in range(count)]


def saw_tooth(rate_bytes_per_s: float, period_s: float, seconds: float = 5.0) -> Arrivals:
    """A bucket emptied at once, and silence until it is full again."""
    return [
        (number * period_s + part * 0.001, rate_bytes_per_s * period_s / 10)
        for number in range(int(seconds / period_s))
        for part in range(10)
    ]


def noisy(draw: random.Random, rate_bytes_per_s: float, sigma: float) -> Arrivals:
    """A network's: each transfer has a rate of its own, and within it windows differ."""
    rate = rate_bytes_per_s * draw.lognormvariate(0.0, sigma)
    return [(n * 0.05, rate * 0.05 * draw.lognormvariate(0.0, sigma / 2)) for n in range(30)]


def received(
    trains: Sequence[tuple[int, int, int]], every_s: float, *, tick_s: float = 0.02
) -> Transfer:
    """As a receiver's kernel counts it: one train of packets after the other at line speed, each
    (packets that came in, of them out of order, packets that the program could have), and silence
    between them, in which the kernel is asked each tick."""
    arrivals: Arrivals = []
    samples = [Sample(0.0, 0, 0, 0.001)]
    sums = zip(*(accumulate(each) for each in zip(*trains, strict=True)), strict=True)
    for number, ((_, _, got), (came, out_of_order, _)) in enumerate(zip(trains, sums, strict=True)):
        begin = 0.02 + number * every_s
        arrivals += [(begin + n * 0.0005, PACKET_BYTES * got / 4) for n in range(4)]
        times = [begin + 0.001 + n * tick_s for n in range(round(every_s / tick_s))]
        samples += [Sample(at, came, out_of_order, 0.001) for at in times]
    return transfer(arrivals, first_byte_s=0.0, samples=samples)
