from __future__ import annotations

import math
from typing import NamedTuple

from mitmthrottle.pacing import Quota, Quotas, Stalls, Timeline


def test_a_stall_comes_at_its_byte_and_ends() -> None:
    line = Timeline((Stalls(1000, 10.0),), None)
    assert line.room_bytes(0, 0.0) == 1000
    assert line.room_bytes(1000, 5.0) == 0
    assert line.resume_at == 15.0
    assert line.room_bytes(1000, 14.9) == 0
    assert line.room_bytes(1000, 15.0) == math.inf


def test_a_stall_comes_again_every_so_many_bytes() -> None:
    line = Timeline((Stalls(1000, 10.0, 500),), None)
    assert line.room_bytes(1000, 0.0) == 0
    assert line.room_bytes(1000, 10.0) == 500
    assert line.room_bytes(1500, 11.0) == 0
    assert line.room_bytes(1500, 21.0) == 500


def test_a_cut_comes_at_its_byte() -> None:
    line = Timeline((Stalls(1000, 1.0),), 1200)
    assert not line.is_cut(1199)
    assert line.room_bytes(1000, 0.0) == 0
    assert line.room_bytes(1000, 1.0) == 200
    assert line.is_cut(1200)


def test_a_quota_is_used_once_in_each_period() -> None:
    quota = Quota(1000)
    assert quota.take(600, 1)
    assert not quota.take(600, 1)
    assert quota.take(400, 1)
    assert quota.left_bytes(1) == 0
    assert quota.take(1000, 2)


def test_quotas_of_an_old_period_are_forgotten() -> None:
    quotas = Quotas()
    for client in range(100):
        quotas.get("rule", client, 1000, 1).take(1000, 1)
    assert not quotas.get("rule", 5, 1000, 1).take(1, 1)
    quotas.get("rule", 5, 1000, 2)
    assert len(quotas) == 1


def test_places_count_from_the_bodys_start() -> None:
    stalls = Stalls(1000, 10.0, 500)
    assert Timeline((stalls,), None, sent_bytes=1001).room_bytes(1001, 0.0) == 499
    assert Timeline((stalls,), None, sent_bytes=1500).room_bytes(1500, 0.0) == 0
    assert Timeline((stalls,), 1700, sent_bytes=1600).room_bytes(1600, 0.0) == 100
    assert Timeline((Stalls(1000, 10.0),), None, sent_bytes=1001).room_bytes(1001, 0.0) == math.inf
    assert Timeline((), 500, sent_bytes=800).is_cut(800)
    assert Timeline((), 500, sent_bytes=800).room_bytes(800, 0.0) == 0


def test_every_keeps_its_grid_when_a_place_was_passed() -> None:
    line = Timeline((Stalls(1000, 10.0, 500),), None)
    assert line.room_bytes(1700, 0.0) == 0
    assert line.room_bytes(1700, 10.0) == 300


def test_a_stall_under_way_goes_by_the_new_length() -> None:
    line = Timeline((Stalls(1000, 10.0),), None)
    assert line.room_bytes(1000, 5.0) == 0
    longer = line.replaced((Stalls(1000, 30.0),), None, 1000, 8.0)
    assert longer.room_bytes(1000, 8.0) == 0
    assert longer.resume_at == 35.0
    assert longer.room_bytes(1000, 35.0) == math.inf
    shorter = line.replaced((Stalls(1000, 2.0),), None, 1000, 8.0)
    assert shorter.room_bytes(1000, 8.0) == math.inf
    moved = line.replaced((Stalls(400, 10.0, 500),), 1200, 1000, 8.0)
    assert moved.room_bytes(1000, 8.0) == 0
    assert moved.room_bytes(1000, 15.0) == 200
    assert line.replaced((), 1200, 1000, 8.0).room_bytes(1000, 8.0) == 200


def test_a_stall_that_is_over_is_not_run_again() -> None:
    line = Timeline((Stalls(1000, 10.0),), None)
    line.room_bytes(1000, 0.0)
    assert line.room_bytes(1000, 10.0) == math.inf
    assert line.replaced((Stalls(1000, 10.0, 500),), None, 1000, 11.0).room_bytes(1000, 11.0) == 500
    fresh = Timeline((), None).replaced((Stalls(1000, 10.0),), None, 1000, 11.0)
    assert fresh.room_bytes(1000, 11.0) == 0
    assert fresh.resume_at == 21.0
    assert line.resume_at == -math.inf


def test_silences_of_two_kinds_run_side_by_side() -> None:
    class Late(NamedTuple):
        """Each 400 bytes, as long as the seed says."""

        every_bytes: int

        def next_after(self, sent_bytes: int) -> float:
            return (sent_bytes // self.every_bytes + 1) * self.every_bytes

        def length_s(self, place_bytes: float, seed: str) -> float:
            return float(seed)

    line = Timeline((Stalls(800, 10.0), Late(400)), 1300, sent_bytes=1, seed="2.5")
    assert line.room_bytes(1, 0.0) == 399
    assert line.room_bytes(400, 1.0) == 0
    assert line.resume_at == 3.5
    assert line.room_bytes(400, 3.5) == 400
    assert line.room_bytes(800, 4.0) == 0
    assert line.resume_at == 14.0
    assert line.room_bytes(800, 6.5) == 0
    other = line.replaced((Late(300),), 1300, 800, 7.0)
    assert other.room_bytes(800, 7.0) == 100
    assert other.room_bytes(900, 8.0) == 0
    assert other.resume_at == 10.5
