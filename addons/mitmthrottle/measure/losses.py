"""Which packets were lost on the way, from what the receiver's kernel counts and from when the
program got what.

Rule: a packet out of order is only a sign of a loss. Pure: no clock, no I/O.

Behind a lost packet the later ones wait in the kernel until it has been sent again: they were
counted, and the program gets them later than that. Packets that merely overtook each other (two
ways, two queues of a network card, a sender that was moved to another processor) are put in order
at once. So at moments at which the program had got all that there was for it, the two are compared:
where it has since got more than has come in, it has caught up on what a loss held back. In a flow
that never pauses there is no such moment, and out of order counts as lost.
"""

from __future__ import annotations

import statistics
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

from mitmthrottle.measure.transfer import Transfer, cumulated

_WAITING_S = 0.015  # with nothing for the program before a sample, it has got what there was
_FLOWING_S = 0.25
_CAUGHT_UP_PACKETS, _CAUGHT_UP_SHARE = 1.5, 0.1  # some packets are shorter than others


@dataclass(frozen=True, slots=True)
class _Part:
    """From one moment at which the program waited to the next."""

    length_s: float
    packets: int
    out_of_order: int
    came_bytes: float


def lost_packets(transfer: Transfer) -> int:
    """How many packets waited behind a lost one."""
    samples = transfer.samples
    if len(samples) < 2 or samples[0].out_of_order == samples[-1].out_of_order:
        return 0
    parts = _parts(transfer)
    flowing = sum(each.out_of_order for each in parts if each.length_s > _FLOWING_S)
    checked = [each for each in parts[1:-1] if each.length_s <= _FLOWING_S]
    doubtful = sum(each.out_of_order for each in checked)
    if not doubtful:
        return flowing
    # What is sent again for nothing is counted as well; where all is in order there is none of it.
    sizes = [
        each.came_bytes / each.packets for each in checked if each.packets and not each.out_of_order
    ]
    packet_bytes = statistics.median(sizes or [transfer.size / sum(e.packets for e in parts)])
    caught_up = 0.0
    for each in checked:
        more = each.came_bytes / max(packet_bytes, 1.0) - each.packets
        if more >= max(_CAUGHT_UP_PACKETS, _CAUGHT_UP_SHARE * each.packets):
            caught_up += more
    return flowing + min(doubtful, round(caught_up))


def _parts(transfer: Transfer) -> list[_Part]:
    """The first begins and the last ends anyhow: there the program may not have been waiting."""
    times = [at for at, _ in transfer.arrivals]
    totals = [0.0, *(total for _, total in cumulated(transfer.arrivals))]

    def arrived(at_s: float) -> int:
        """How many arrivals the program has had by then."""
        return bisect_right(times, at_s)

    first, *between, last = transfer.samples
    waits = (
        each for each in between if arrived(each.at_s) == arrived(each.at_s - _WAITING_S)
    )  # fmt: skip
    return [
        _Part(
            later.at_s - one.at_s,
            later.segments - one.segments,
            later.out_of_order - one.out_of_order,
            totals[arrived(later.at_s)] - totals[arrived(one.at_s)],
        )
        for one, later in pairwise([first, *waits, last])
    ]
