"""What the goodput of one transfer looks like: held flat, in steps, with losses, uneven.

Rule: told from when bytes came and from what the receiver's kernel knows (losses, queueing), never
from what somebody says is set. Pure: no clock, no I/O.

A shaper queues what is too fast: bytes come evenly, and the round trip grows by the queue. A
policer drops it: packets after a lost one wait for it (`losses.py`), at the receiver bytes come in
jumps, and no queue builds up. Where a proxy terminates the connection no loss can be seen; then a
policer shows as bursts at line speed with silence between them. A sender that limits itself by a
timer (nginx's `limit_rate`, Squid's delay pools) does the same once a second; see
`Shape.mechanism`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from mitmthrottle.measure.losses import lost_packets
from mitmthrottle.measure.transfer import BRIEFEST_S, Transfer, cumulated, windows

Kind = Literal["flat", "steps", "losses", "uneven", "short"]
Mechanism = Literal["shaper", "policer", "delay"]

LONG_ENOUGH_S = 1.0
"""A transfer that is over sooner has no shape that could be told."""

Arrivals = Sequence[tuple[float, float]]

_SETTLE_S = 0.25  # what the steady rate leaves out at least
_WINDOW_S = 0.25  # as Wehe's
_PACKET_BYTES = 1460
_PACKETS_A_WINDOW = 8  # with fewer, a flat rate looks uneven
_FLAT_VARIATION = 0.35
_SILENCE_S = 0.2  # four times what a shaper of ours leaves between two pieces
_SILENT_SHARE = 0.5
_STEPS_AT_LEAST = 4
BY_TIMER = "a sender that limits itself by a timer, or a policer whose bucket fills in that time"
_TIMER_S, _TIMER_TOLERANCE = 1.0, 0.08
_LOSS_SHARE, _LOSSES_AT_LEAST = 0.01, 3
_BUCKET_S, _BUCKET_PACKETS = 0.1, 2.2
_BURST_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Shape:
    """Rates in bytes per second."""

    kind: Kind
    rate_bytes_per_s: float
    steady_bytes_per_s: float
    """after the initial burst, and over whole periods where it comes in steps"""
    burst_bytes: float
    """what came at the beginning beyond the steady rate"""
    duration_s: float
    variation: float | None
    """standard deviation over mean of windows of 250 ms (slow rates: eight packets)"""
    period_s: float | None
    """from step to step"""
    loss: float | None
    """share of packets that waited behind a lost one; None where the kernel does not tell"""
    queue_s: float | None
    """by how much the round trip grew beyond that of connecting"""

    @property
    def mechanism(self) -> Mechanism | None:
        """What makes such a shape.

        Steps without losses are a policer's, emptying its bucket and waiting until it is full
        again, unless they come once a second: that may as well be the timer of a sender, or of a
        proxy, that limits itself and drops nothing (nginx's limit_rate does), so it is neither.
        """
        if self.kind == "flat":
            return "shaper"
        if self.kind == "losses":
            return "policer"
        if self.kind == "steps" and self.period_s is not None:
            return None if self.by_timer else "policer"
        return None

    @property
    def words(self) -> str:
        """In a few words, for people."""
        if self.kind == "flat":
            return "held flat, as a shaper does"
        if self.kind == "losses":
            return f"{self.loss or 0:.1%} of the packets lost, as a policer does"
        if self.kind == "steps" and self.period_s is not None:
            if self.by_timer:
                return f"in steps of {self.period_s:.2f} s: {BY_TIMER}"
            return f"a saw-tooth of {self.period_s:.2f} s, as a policer does"
        if self.kind == "short":
            return "over too soon to tell"
        return "uneven: no rate is held"

    @property
    def by_timer(self) -> bool:
        """Whether it comes in steps of a second, of which two things may be the cause."""
        if self.kind != "steps" or self.period_s is None:
            return False
        return abs(self.period_s / _TIMER_S - 1) <= _TIMER_TOLERANCE


def shape_of(transfer: Transfer) -> Shape:
    """Look at one transfer."""
    steps = _steps(transfer)
    loss, losses, queue_s = _from_kernel(transfer)
    kind: Kind
    variation: float | None = None
    period_s: float | None = None
    if steps is not None:
        steady, burst, period_s = steps
    else:
        steady, burst = _steady(transfer)
    if transfer.duration_s < LONG_ENOUGH_S and steps is None:
        kind = "short"
    else:
        lossy = loss is not None and loss >= _LOSS_SHARE and losses >= _LOSSES_AT_LEAST
        # Behind a lost packet the others wait for it: what reaches the program then comes in
        # jumps, whatever the rate on the way. The kernel's count of packets does not.
        seen = _on_the_way(transfer) if lossy else transfer.arrivals
        variation = _variation(seen, steady)
        if lossy and _at_line_speed(transfer, steady):
            kind = "losses"
        elif steps is not None:
            kind = "steps"
        else:
            kind = "flat" if variation <= _FLAT_VARIATION else "uneven"
    return Shape(
        kind, transfer.rate_bytes_per_s, steady, burst, transfer.duration_s, variation, period_s,
        loss, queue_s,
    )  # fmt: skip


def mechanism_of(shapes: Sequence[Shape]) -> Mechanism | None:
    """What most of several transfers of the same show; None unless two thirds agree."""
    told = [shape.mechanism for shape in shapes if shape.kind != "short"]
    if not told:
        return None
    common = statistics.mode(told)
    return common if told.count(common) * 3 >= len(told) * 2 else None


def _steps(transfer: Transfer) -> tuple[float, float, float] | None:
    """(steady rate, initial burst, period) of bursts with silence between them; else None."""
    arrivals = transfer.arrivals
    if len(arrivals) < _STEPS_AT_LEAST or transfer.duration_s <= 0:
        return None
    packet_s = _PACKET_BYTES / transfer.rate_bytes_per_s
    silence_s = max(_SILENCE_S, 4 * packet_s)
    gaps = [(n, later[0] - at[0]) for n, (at, later) in enumerate(pairwise(arrivals), start=1)]
    begins = [0] + [n for n, gap in gaps if gap > silence_s]
    silent_s = sum(gap for _, gap in gaps if gap > silence_s)
    if len(begins) < _STEPS_AT_LEAST or silent_s < _SILENT_SHARE * transfer.duration_s:
        return None
    # From the second burst on: the first may be a bucket that was full.
    first = begins[1]
    counted = sum(size for _, size in arrivals[first : begins[-1]])
    time_s = arrivals[begins[-1]][0] - arrivals[first][0]
    between = [arrivals[b][0] - arrivals[a][0] for a, b in pairwise(begins)]
    period_s = statistics.median(between)
    # Silences at random are a bad network, not a mechanism.
    if statistics.median(abs(each - period_s) for each in between) > 0.2 * period_s:
        return None
    step = counted / (len(begins) - 2)
    burst = max(0.0, sum(size for _, size in arrivals[: begins[1]]) - step)
    return counted / time_s, burst, period_s


def _steady(transfer: Transfer) -> tuple[float, float]:
    """(steady rate, initial burst): the burst ends where the curve is farthest above its chord."""
    curve = cumulated(transfer.arrivals)
    begin, end = curve[0][0], curve[-1][0]
    if end - begin < LONG_ENOUGH_S:
        return transfer.rate_bytes_per_s, 0.0
    size = curve[-1][1]

    def above(point: tuple[float, float]) -> float:
        return point[1] - size * (point[0] - begin) / (end - begin)

    start = max(curve, key=above)
    if above(start) < _BURST_SHARE * size or end - start[0] < _SETTLE_S:
        start = next(point for point in curve if point[0] - begin >= min(_SETTLE_S, end - begin))
    if end <= start[0]:
        return transfer.rate_bytes_per_s, 0.0
    steady = (size - start[1]) / (end - start[0])
    return steady, max(0.0, start[1] - steady * (start[0] - begin))


def _variation(arrivals: Arrivals, steady_bytes_per_s: float) -> float:
    """Of windows of 250 ms, without those of an initial burst."""
    long_s = max(_WINDOW_S, _PACKETS_A_WINDOW * _PACKET_BYTES / max(steady_bytes_per_s, 1.0))
    begin, end = arrivals[0][0] + _SETTLE_S, arrivals[-1][0]
    count = max(2, int((end - begin) / long_s))
    found = windows(arrivals, begin, max(end, begin + BRIEFEST_S), count)
    middle = statistics.median(found)
    while len(found) > 2 and found[0] > 2 * max(middle, 1.0):
        found = found[1:]
    mean = statistics.mean(found)
    return statistics.pstdev(found) / mean if mean > 0 else float("inf")


def _on_the_way(transfer: Transfer) -> Arrivals:
    """Arrivals of packets, in their order or not, by the kernel's count."""
    begin = transfer.first_byte_s
    return [
        (later.at_s, (later.segments - sample.segments) * float(_PACKET_BYTES))
        for sample, later in pairwise(transfer.samples)
        if later.at_s >= begin
    ] or transfer.arrivals


def _at_line_speed(transfer: Transfer, steady_bytes_per_s: float) -> bool:
    """Whether, after the beginning, some packets came much closer together than the rate allows.

    A policer lets what its bucket holds pass at line speed; out of a shaper's queue nothing comes
    faster than its rate. A sender's window may come at once as well, once a round trip.
    """
    begin = transfer.first_byte_s + _SETTLE_S
    most = max(
        (
            (later.segments - sample.segments) * _PACKET_BYTES
            - steady_bytes_per_s * (later.at_s - sample.at_s)
            for sample, later in pairwise(transfer.samples)
            if sample.at_s >= begin
        ),
        default=0.0,
    )
    least_s = max(_BUCKET_S, 2 * transfer.connect_s)
    return most >= max(_BUCKET_PACKETS * _PACKET_BYTES, least_s * steady_bytes_per_s)


def _from_kernel(transfer: Transfer) -> tuple[float | None, int, float | None]:
    """(share lost, number lost, growth of the round trip in seconds)."""
    if len(transfer.samples) < 2:
        return None, 0, None
    first, last = transfer.samples[0], transfer.samples[-1]
    segments = last.segments - first.segments
    losses = lost_packets(transfer)
    estimates = [sample.round_trip_s for sample in transfer.samples if sample.round_trip_s > 0]
    queue_s = statistics.median(estimates) - transfer.connect_s if estimates else None
    share = losses / segments if segments > 0 else 0.0
    return share, losses, None if queue_s is None else max(0.0, queue_s)
