"""8 Mbit/s shared by 200 responses over four proxies, each in a network namespace of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .figures import Figures
from .ran import Ran, until_undisturbed, watched
from .store_crowd import Body, jain
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


@pytest.fixture
def four(policy: Callable[[str], Path]) -> Iterator[Fleet]:
    with fleet(policy(POLICY), 4, apart=True) as running:
        yield running
        assert "Traceback" not in running.log()


# Who comes before the others shares with fewer, and then waits until all have had as much.
COMES_TOGETHER_S = 1.5


class Seconds:
    """What came, second by second, from `first` seconds after all of `come` had their first byte,
    of all together and of those who want all that they can get.  A second counts if nobody had to
    wait for the machine in it and in the one before."""

    def __init__(
        self, four: Fleet, ran: Ran, come: list[Body], first: int, count: int, fast: list[Body]
    ) -> None:
        begun = four.crowd.all_begun(come)
        together = begun - min(body.asked_at for body in come) < COMES_TOGETHER_S
        time.sleep(max(0.0, begun + first + count + 0.3 - time.perf_counter()))
        starts = [
            begun + n
            for n in range(first, first + count)
            if ran.undisturbed(begun + n - 1, begun + n + 1)
        ]
        self.first_counts = together and begun + first in starts
        self.sums = [four.crowd.sum_bytes_per_s(start, start + 1) / RATE for start in starts]
        self.jains = [jain(four.crowd.rates(start, start + 1, fast)) for start in starts]

    @property
    def enough(self) -> bool:
        return self.first_counts and len(self.sums) >= 3

    def check(self, figures: Figures, name: str) -> None:
        figures.add(f"store, 4 proxies, 200 responses, {name}: sum over rate",
                    sum(self.sums) / len(self.sums))  # fmt: skip
        figures.add(f"store, and second by second, in {len(self.sums)} seconds",
                    f"{min(self.sums):.4f} to {max(self.sums):.4f}")  # fmt: skip
        figures.add("store, and the least Jain's index of a second", min(self.jains))
        assert sum(self.sums) / len(self.sums) == pytest.approx(1.0, abs=0.01)
        assert min(self.jains) > 0.99


def test_parts_are_equal_wherever_a_response_runs(four: Fleet, figures: Figures) -> None:
    people = four.crowd
    figures.add("store server", four.store.version())
    ids = [proxy.pid for proxy in four.proxies] + [four.store.pid, people.thread_id]
    slow: list[Body] = []
    fast: list[Body] = []

    def all_alike() -> Seconds | None:
        people.leave(fast)
        fast[:] = []
        for door, count in zip(four.doors, SPREAD, strict=True):
            fast.extend(people.join(door, count))
        seconds = Seconds(four, ran, fast, 1, 5, fast)
        return seconds if seconds.enough else None

    def half_of_them_held() -> Seconds | None:
        """A quarter of their part is all that these get from their origin."""
        people.leave(slow + fast)
        slow[:], fast[:] = [], []
        for door, count in zip(four.doors, SPREAD, strict=True):
            slow.extend(people.join(door, count // 2, rate=RATE / 200 / 4))
            fast.extend(people.join(door, count - count // 2))
        seconds = Seconds(four, ran, slow + fast, 2, 4, fast)
        return seconds if seconds.enough else None

    def moved() -> Seconds | None:
        """The fast ones of the first proxy go to the last, or back."""
        here = max((four.doors[0], four.doors[3]), key=[body.proxy for body in fast].count)
        there = four.doors[3] if here == four.doors[0] else four.doors[0]
        moving = [body for body in fast if body.proxy == here][: SPREAD[0] // 2]
        people.leave(moving)
        fast[:] = [body for body in fast if not body.stopped]
        come = people.join(there, len(moving))
        fast.extend(come)
        seconds = Seconds(four, ran, come, 2, 4, fast)
        return seconds if seconds.enough else None

    with watched(ids) as ran:
        until_undisturbed(all_alike).check(figures, "from the second second on")
        until_undisturbed(half_of_them_held).check(
            figures, "half of them held by their origin, two seconds later"
        )
        until_undisturbed(moved).check(figures, "75 of them moved, two seconds later")
    assert not people.broken()
