"""An allowance is given out once in each period, whoever keeps it."""

from __future__ import annotations

import gc
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmthrottle.pacing import Quota, Quotas, SharedQuota


@pytest.mark.parametrize("shared", [False, True])
def test_a_period_that_ends_under_a_body_gives_its_allowance_once(shared: bool) -> None:
    quotas = Quotas(
        (lambda key, free, keep: SharedQuota(free, lambda used: None)) if shared else None
    )
    running = quotas.get("rule", "a", 1000, 1)
    running.take(1000, 1)
    quotas.get("rule", "b", 1000, 2)
    other = quotas.get("rule", "a", 1000, 2)
    assert other is running
    assert running.take(600, 2)
    assert other.left_bytes(2) == 400


def test_what_a_body_has_used_in_a_new_period_is_kept_when_it_ends() -> None:
    quotas = Quotas()
    running = quotas.get("rule", "a", 1000, 1)
    quotas.get("rule", "b", 1000, 2)
    assert running.take(1000, 2)
    del running
    gc.collect()
    assert quotas.get("rule", "a", 1000, 2).left_bytes(2) == 0
    again = quotas.get("rule", "c", 1000, 2)
    assert again.take(1000, 3)
    del again
    assert quotas.get("rule", "c", 1000, 3).left_bytes(3) == 0


def test_parties_of_periods_that_are_over_are_forgotten() -> None:
    quotas = Quotas()
    for period in range(50):
        for party in range(20):
            quotas.get("rule", (period, party), 1000, period).take(10, period)
    gc.collect()
    assert len(quotas) == 20
    assert sum(isinstance(found, Quota) for found in gc.get_objects()) < 40


def test_a_party_that_is_gone_is_forgotten() -> None:
    quotas = Quotas()
    quotas.get("rule", "connection 1", 1000, 0)
    quotas.get("other", "connection 1", 1000, 0)
    quotas.get("rule", "connection 2", 1000, 0)
    quotas.forget("connection 1")
    quotas.forget("connection 1")
    assert len(quotas) == 1


@pytest.mark.parametrize("shared", [False, True])
def test_no_period_changes_nothing(shared: bool) -> None:
    made = SharedQuota(1000, lambda used: None) if shared else Quota(1000)
    assert made.take(600, 5)
    assert made.left_bytes(None) == 400
    assert made.take(400, None)
    assert made.left_bytes(5) == 0
    quotas = Quotas()
    quotas.get("rule", "a", 1000, 5).take(1000, 5)
    assert quotas.get("rule", "a", 1000, None).left_bytes(None) == 0
    assert quotas.get("rule", "a", 1000, 5).left_bytes(5) == 0
    assert quotas.get("rule", "b", 1000, None).left_bytes(5) == 1000


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2), st.booleans()), max_size=60))
def test_no_period_is_begun_twice(steps: list[tuple[int, int, bool]]) -> None:
    """Whatever the clock does, and whether bodies keep what they have or ask anew."""
    quotas, kept = Quotas(), {}
    used: dict[tuple[int, int], int] = {}
    latest = 0
    for period, party, anew in steps:
        latest = max(latest, period)
        if anew or party not in kept:
            kept[party] = quotas.get("rule", party, 100, period)
        while kept[party].take(40, period):
            used[latest, party] = used.get((latest, party), 0) + 40
    assert all(bytes_used <= 80 for bytes_used in used.values())


@pytest.mark.parametrize("total", [math.nan, math.inf, -1, 1e300])
def test_a_total_that_cannot_be_is_not_taken_in(total: float) -> None:
    quota = SharedQuota(10_000_000, lambda used: None)
    quota.take(1000, 0)
    used, _, period = quota.tell()
    with pytest.raises(ValueError, match="the bytes that all have used of a quota are not"):
        quota.told(total, period)  # type: ignore[arg-type]  # what a store may say
    assert quota.to_tell
    assert quota.tell()[0] == used
    quota.told(5000, period)
    assert quota.left_bytes(0) == 10_000_000 - 5000


def test_what_was_told_in_vain_is_told_again() -> None:
    quota = SharedQuota(10_000_000, lambda used: None)
    quota.take(1000, 0)
    quota.tell()
    assert not quota.to_tell
    assert quota.take(500, 0)
    quota.not_told()
    assert quota.tell()[0] == 1500
