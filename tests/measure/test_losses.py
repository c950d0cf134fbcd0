"""Packets that were lost are told from packets that overtook each other."""

from __future__ import annotations

import random

import pytest

from mitmthrottle.measure.findings import Pair
from mitmthrottle.measure.losses import lost_packets
from mitmthrottle.measure.shape import shape_of
from mitmthrottle.measure.transfer import Sample
from mitmthrottle.measure.verdict import judge

from .transfers import PACKET_BYTES, flat, received, transfer

SENDER_S = 46 * PACKET_BYTES / 500_000
"""nginx's `limit_rate` of 500 kB/s: 46 packets at line speed, then silence until they are paid"""


def overtaken(draw: random.Random, share: float) -> list[tuple[int, int, int]]:
    """Trains of a sender that limits itself; in some of them packets overtook each other, and some
    of these were sent again for nothing."""
    return [
        (46 + again, late, 46)
        for _ in range(40)
        for late in [draw.randrange(3, 13) if draw.random() < share else 0]
        for again in [draw.randrange(late) if late else 0]
    ]


def policed(draw: random.Random, trains: int = 12) -> list[tuple[int, int, int]]:
    """A bucket of 30 packets: what came behind a hole the program gets with the next train."""
    found, held = [], 0
    for _ in range(trains):
        behind = draw.randrange(20, 45)
        found.append((71, behind, 71 - behind + held))
        held = behind
    return found


@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_what_overtakes_is_not_lost(share: float) -> None:
    for seed in range(10):
        seen = received(overtaken(random.Random(seed), share), SENDER_S)
        assert seen.samples[-1].out_of_order > 10
        assert lost_packets(seen) == 0
        shape = shape_of(seen)
        assert (shape.kind, shape.mechanism, shape.loss) == ("flat", "shaper", 0)


def test_what_waits_behind_a_hole_is_lost() -> None:
    for seed in range(10):
        seen = received(policed(random.Random(seed)), 0.208)
        assert lost_packets(seen) > 0.02 * seen.samples[-1].segments
        assert (shape_of(seen).kind, shape_of(seen).mechanism) == ("losses", "policer")


def test_in_a_flow_without_a_pause_out_of_order_is_lost() -> None:
    """Nobody can see there whether the program has got all that was counted."""
    pieces = flat(500_000, 4.0, piece_s=0.01)
    samples = [
        Sample(0.02 + at, int(at * 500_000 / PACKET_BYTES), int(at / 0.1), 0.001)
        for at, _ in pieces[::2]
    ]
    seen = transfer(pieces, samples=samples)
    assert lost_packets(seen) == seen.samples[-1].out_of_order == 39


def test_a_sender_that_limits_itself_is_a_shaper_whatever_overtakes() -> None:
    draw = random.Random(1)
    found = judge(
        [
            Pair(
                received(overtaken(draw, draw.choice([0.0, 0.3, 0.9])), SENDER_S),
                transfer(flat(2e7, 0.13, piece_s=0.005)),
            )
            for _ in range(8)
        ],
        "seed",
    )
    assert (found.differentiated, found.mechanism) == (True, "shaper")


def test_who_is_not_told_by_the_kernel_has_lost_nothing() -> None:
    assert lost_packets(transfer(flat(100_000))) == 0
