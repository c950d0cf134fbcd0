from __future__ import annotations

import math

from mitmthrottle.pacing import Quota, Quotas, Stalls, Timeline


def test_a_stall_comes_at_its_byte_and_ends() -> None:
    line = Timeline(Stalls(1000, 10.0), None)
    assert line.room_bytes(0, 0.0) == 1000
    assert line.room_bytes(1000, 5.0) == 0
    assert line.resume_at == 15.0
    assert line.room_bytes(1000, 14.9) == 0
    assert line.room_bytes(1000, 15.0) == math.inf


def test_a_stall_comes_again_every_so_many_bytes() -> None:
    line = Timeline(Stalls(1000, 10.0, 500), None)
    assert line.room_bytes(1000, 0.0) == 0
    assert line.room_bytes(1000, 10.0) == 500
    assert line.room_bytes(1500, 11.0) == 0
    assert line.room_bytes(1500, 21.0) == 500


def test_a_cut_comes_at_its_byte() -> None:
    line = Timeline(Stalls(1000, 1.0), 1200)
    assert not line.is_cut(1199)
    assert line.room_bytes(1000, 0.0) == 0
    assert line.room_bytes(1000, 1.0) == 200
    assert line.is_cut(1200)


def test_a_quota_is_used_once_in_each_period() -> None:
    quota = Quota(1000)
    assert quota.take(600, "mon")
    assert not quota.take(600, "mon")
    assert quota.take(400, "mon")
    assert quota.left_bytes("mon") == 0
    assert quota.take(1000, "tue")


def test_quotas_of_an_old_period_are_forgotten() -> None:
    quotas = Quotas()
    for client in range(100):
        quotas.get("rule", client, 1000, "mon").take(1000, "mon")
    assert not quotas.get("rule", 5, 1000, "mon").take(1, "mon")
    quotas.get("rule", 5, 1000, "tue")
    assert len(quotas) == 1
