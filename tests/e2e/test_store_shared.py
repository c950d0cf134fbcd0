"""8 Mbit/s shared by 200 responses over four proxies, each in a network namespace of its own."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .figures import Figures
from .store_crowd import Crowd, jain
from .store_fleet import Fleet, fleet

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

RATE = 1_000_000.0
SPREAD = (150, 30, 15, 5)
POLICY = """
version: 1
name: fleet
rules:
  - {name: all of it, when: {host: .test}, then: {rate: {limit: 8 Mbit/s, per: rule}}}
"""


def middle(people: Crowd, start: float) -> float:
    """The median of three seconds' sums."""
    return statistics.median(people.sum_bytes_per_s(start + n, start + n + 1) for n in range(3))


@pytest.fixture
def four(policy: Callable[[str], Path]) -> Iterator[Fleet]:
    with fleet(policy(POLICY), 4, apart=True) as running:
        yield running
        assert "Traceback" not in running.log()


def test_parts_are_equal_wherever_a_response_runs(four: Fleet, figures: Figures) -> None:
    people = four.crowd
    for door, count in zip(four.doors, SPREAD, strict=True):
        people.join(door, count)
    begun = people.all_begun(people.bodies)
    time.sleep(max(0.0, begun + 6.3 - time.perf_counter()))
    start = begun + 1.0
    seconds = [people.rates(start + n, start + n + 1) for n in range(5)]
    for number, rates in enumerate(seconds, 2):
        figures.add(f"store, 4 proxies, 200 responses, second {number}: sum over rate, Jain",
                    f"{sum(rates) / RATE:.4f}, {jain(rates):.4f}")  # fmt: skip
    whole = people.rates(start, start + 5)
    figures.add("store, 4 proxies, 200 responses, seconds 2 to 6: sum over rate", sum(whole) / RATE)
    figures.add("store, and Jain", jain(whole))
    figures.add("store server", four.store.version())
    # A second in which the machine did something else is one of five.
    assert statistics.median(map(sum, seconds)) / RATE == pytest.approx(1.0, abs=0.01)
    assert statistics.median(map(jain, seconds)) > 0.99

    # A quarter of their part is all that half of them get from their origin.
    held = list(people.bodies)
    people.leave(held)
    slow, fast = [], []
    for door, count in zip(four.doors, SPREAD, strict=True):
        slow += people.join(door, count // 2, rate=RATE / 200 / 4)
        fast += people.join(door, count - count // 2)
    begun = people.all_begun(slow + fast)
    time.sleep(max(0.0, begun + 6.3 - time.perf_counter()))
    start = begun + 2.5
    rates, held_rates = (
        people.rates(start, start + 3.5, fast),
        people.rates(start, start + 3.5, slow),
    )
    figures.add("store, half of them held by their origin: sum over rate",
                (sum(rates) + sum(held_rates)) / RATE)  # fmt: skip
    expected = (RATE - sum(held_rates)) / len(fast)
    figures.add(
        "store, the others' mean over what is left for each", sum(rates) / len(fast) / expected
    )
    figures.add("store, the others' Jain", jain(rates))
    assert middle(people, start) == pytest.approx(RATE, rel=0.02)
    assert jain(rates) > 0.99

    # The load moves: the fast ones of the first proxy go to the last.
    moving = fast[: SPREAD[0] // 2]
    people.leave(moving)
    moved = people.join(four.doors[3], len(moving))
    begun = people.all_begun(moved)
    time.sleep(max(0.0, begun + 5.3 - time.perf_counter()))
    now_fast = fast[len(moving) :] + moved
    rates = people.rates(begun + 2, begun + 5, now_fast)
    total = people.sum_bytes_per_s(begun + 2, begun + 5)
    figures.add("store, two seconds after 75 have moved: sum over rate", total / RATE)
    figures.add("store, and Jain of the fast ones", jain(rates))
    assert middle(people, begun + 2) == pytest.approx(RATE, rel=0.02)
    assert jain(rates) > 0.99
    assert not people.broken()
