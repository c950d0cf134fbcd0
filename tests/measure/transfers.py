"""Transfers as they would be seen, made by arithmetic."""

from __future__ import annotations

import random

from mitmthrottle.measure.transfer import Transfer

Arrivals = list[tuple[float, float]]


def transfer(
    arrivals: Arrivals, *, first_byte_s: float = 0.02, connect_s: float = 0.01
) -> Transfer:
    """One whose body begins `first_byte_s` after the request."""
    return Transfer(
        url="http://a.example/", status=200, http_version="HTTP/1.1", address="198.18.0.1",
        lookup_s=0.0, connect_s=connect_s, tls_s=None, headers_s=first_byte_s,
        arrivals=tuple((at + first_byte_s, size) for at, size in arrivals),
        declared=None, ended="complete",
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
