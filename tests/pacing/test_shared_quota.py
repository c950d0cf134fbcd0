"""Quotas that several processes use, without and with a store between them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mitmthrottle.pacing import SharedQuota

FREE = 10_000_000
BATCH = FREE // 64


def quota() -> SharedQuota:
    made = SharedQuota(FREE, lambda used: None)
    made.left_bytes(0)
    return made


def tell(quota: SharedQuota, total: int) -> int:
    used, known, period = quota.tell()
    total = max(total, known) + used
    quota.told(total, period)
    return total


def test_a_batch_is_at_hand_before_anything_is_known() -> None:
    one = quota()
    assert one.to_tell
    assert one.left_bytes(0) == FREE
    assert one.at_hand_bytes(0) == one.batch_bytes == BATCH
    assert one.take(BATCH, 0)
    assert not one.take(1, 0)
    assert one.left_bytes(0) == FREE - BATCH
    assert tell(one, 0) == BATCH
    assert one.at_hand_bytes(0) == BATCH


def test_what_others_have_used_is_gone() -> None:
    one = quota()
    assert tell(one, FREE - 1000) == FREE - 1000
    assert one.at_hand_bytes(0) == 1000
    assert one.take(1000, 0)
    assert one.left_bytes(0) == 0


def test_a_new_period_is_a_new_allowance() -> None:
    one = quota()
    tell(one, FREE)
    assert one.left_bytes(0) == 0
    assert one.left_bytes(1) == FREE
    late, _, period = one.tell()
    one.left_bytes(2)
    one.told(FREE, period)
    assert (late, one.left_bytes(2)) == (0, FREE)


def test_an_emptied_store_learns_it_again() -> None:
    one = quota()
    total = tell(one, FREE // 2)
    one.take(1000, 0)
    assert tell(one, 0) == total + 1000


def test_alone_it_has_its_part_of_what_is_left() -> None:
    one = quota()
    tell(one, FREE // 2)
    one.alone(1 / 4)
    assert one.left_bytes(0) == one.at_hand_bytes(0) == FREE // 8
    assert one.take(FREE // 8, 0)
    assert not one.take(1, 0)
    one.back()
    assert tell(one, FREE // 2) == FREE // 2 + FREE // 8
    one.alone(float("inf"))
    assert one.at_hand_bytes(0) == FREE
    one.alone(0.0)
    assert one.at_hand_bytes(0) == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(1, 64)), max_size=300))
def test_all_together_use_at_most_a_batch_each_too_much(
    steps: list[tuple[int, bool, int]],
) -> None:
    processes = [quota() for _ in range(4)]
    total = 0
    for index, tells, size in [*steps, *((n % 4, n % 3 == 0, 64) for n in range(1000))]:
        process = processes[index]
        process.take(min(size * 1024, process.at_hand_bytes(0)), 0)
        if tells:
            total = tell(process, total)
    assert sum(process.used_bytes for process in processes) <= FREE + 4 * BATCH
