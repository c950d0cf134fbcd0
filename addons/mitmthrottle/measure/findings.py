"""What is found by comparing a target with a control: the facts, without how they come about.

Rule: nothing but data, so that whoever shows or keeps it needs no statistics installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mitmthrottle.measure.interval import Interval
from mitmthrottle.measure.shape import Mechanism, Shape
from mitmthrottle.measure.transfer import Transfer, windows

SAMPLES = 20
"""throughput samples of a transfer"""
_PARTS = (20, 10, 5, 4, 2, 1)  # what divides it
RESOLUTION_S = 0.005
"""What the client's own work may take of a transfer; it counts as time of both."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Target against control, both in pairs."""

    statistic: float
    """Kolmogorov and Smirnov's distance, 0 to 1"""
    p_value: float
    """by swaps within pairs"""
    ks_p_value: float
    """the usual one, as if all samples were independent: far too sure of itself"""
    area: float
    """between the two distributions, as a part of the larger mean"""
    agreement: float
    """share of random halves of the pairs that find the same difference"""
    ratio: Interval
    """target's rate over control's, by pair"""


@dataclass(frozen=True, slots=True)
class Pair:
    """One transfer of each, one right after the other."""

    target: Transfer | str
    """or the sentence that says why there is none"""
    control: Transfer | str
    target_first: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """Rates in bytes per second, times in seconds."""

    differentiated: bool | None
    reason: str
    mechanism: Mechanism | None
    slower: Literal["target", "control"] | None
    pairs: int
    """that could be used"""
    target_failures: int
    control_failures: int
    span_bytes: float
    """what was compared of each: so many first bytes of its body"""
    comparison: Comparison | None
    target_bytes_per_s: float | None
    control_bytes_per_s: float | None
    target_first_byte_s: float | None
    control_first_byte_s: float | None
    delay: Interval | None
    """by how much the target's first byte is later: by pair"""
    delay_p_value: float | None
    target_shapes: tuple[Shape, ...] = ()
    control_shapes: tuple[Shape, ...] = ()


def samples(transfer: Transfer, span_bytes: float) -> list[float]:
    """The throughput samples of a transfer, over its first bytes.

    They are of equal parts of its time, none shorter than what a client can resolve: a transfer
    that was over in no time is one sample, counted as often as the others have samples.
    """
    part = transfer.first(span_bytes)
    begin, end = part.arrivals[0][0], part.arrivals[-1][0]
    count = next(n for n in _PARTS if n == 1 or part.duration_s / n >= RESOLUTION_S)
    found = windows(part.arrivals, begin, end, count)
    scale = part.size / (part.duration_s + RESOLUTION_S) * count / sum(found)
    return [each * scale for each in found for _ in range(SAMPLES // count)]
