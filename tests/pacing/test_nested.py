"""Budgets in a nest: each keeps its promise, and none is the reason that less leaves."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitmthrottle.pacing import Budget, Claim, Schedule

from .simulate import Promise, Simulation, windows

MBIT = 125e3


@pytest.mark.parametrize("late_s", [0.0, 0.002])
@pytest.mark.parametrize("burst", [1500, 16384, 65536])
@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize(
    ("outer", "inner", "clients", "each"),
    [(1, 4, 1, 3), (1, 4, 3, 2), (4, 1, 4, 1), (4, 1, 3, 2), (1, 1, 1, 1), (1, 1.04, 1, 4)],
)
def test_a_nest_with_small_bursts_has_its_whole_rate(
    late_s: float, burst: int, levels: int, outer: float, inner: float, clients: int, each: int
) -> None:
    run = Simulation(late_s=late_s)
    all_of_it = Budget(outer * MBIT, burst, run.now)
    for client in range(clients):
        middle = Budget(inner * MBIT, burst, run.now)
        for number in range(each):
            own = (Budget(1.5 * inner * MBIT, burst, run.now),) if levels == 3 else ()
            run.join((client, number), *own, middle, all_of_it)
    run.run(2.0)
    rate = min(outer, inner * clients) * MBIT
    assert sum(size for _, size in run.everything()) >= 0.99 * 2 * rate


@pytest.mark.parametrize("late_s", [0.0, 0.0005])
def test_a_burst_of_a_hundred_bytes_is_no_brake(late_s: float) -> None:
    run = Simulation(late_s=late_s)
    outer, inner = Budget(MBIT, 100, run.now), Budget(4 * MBIT, 100, run.now)
    for number in range(3):
        run.join(number, inner, outer)
    run.run(1.0)
    assert sum(size for _, size in run.everything()) >= 0.99 * MBIT


class Checked(Simulation):
    """Each budget's promise is looked after while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.promises: dict[Budget, Promise] = {}
        self.largest = 0

    def budget(self, rate: float, burst: float | None, policing: bool) -> Budget:
        made = Budget(rate, burst, self.now, policing=policing)
        self.promises[made] = Promise(made, self.now)
        return made

    def change(self, budget: Budget, how: Any) -> None:
        for promise in self.promises.values():
            promise.at(self.now)
        how()
        self.promises[budget].changed()
        self.schedule.touch(budget)

    def _record(self, claim: Claim) -> None:
        super()._record(claim)
        self.largest = max(self.largest, claim.size)
        for budget in claim.budgets:
            self.promises[budget].left(claim.size, self.now)


rates = st.floats(500, 1e6)
bursts = st.none() | st.floats(50, 1e5)
steps = st.lists(
    st.tuples(
        st.sampled_from(["join", "leave", "change", "part", "run"]),
        st.integers(0, 5),
        rates,
        bursts,
        st.floats(0.001, 1.0),
    ),
    min_size=3,
    max_size=14,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(rates, bursts, st.booleans()), min_size=2, max_size=4), steps)
def test_every_budget_of_a_nest_keeps_its_promise(
    kinds: list[tuple[float, float | None, bool]],
    steps: list[tuple[str, int, float, float | None, float]],
) -> None:
    run = Checked()
    nest = [run.budget(*kind) for kind in kinds]
    there: list[int] = []
    for number in range(3):
        run.join(number, *nest[number % len(nest) :], chunk=lambda: 3000)
        there.append(number)
    for at, (what, which, rate, burst, seconds) in enumerate(steps):
        budget = nest[which % len(nest)]
        match what:
            case "join":
                there.append(10 + at)
                run.join(10 + at, *nest[which % len(nest) :], chunk=lambda: 700)
            case "leave" if there:
                run.leave(there.pop(which % len(there)))
            case "change":
                run.change(
                    budget,
                    lambda b=budget, r=rate, u=burst: b.change(r, u, run.now, policing=b.policing),
                )
            case "part":
                run.change(budget, lambda b=budget, s=seconds: b.set_fraction(s, run.now))
        run.run(min(seconds, 0.3))
    for budget, promise in run.promises.items():
        # The default burst is a custom: one piece may be larger.
        over = max(0.0, run.largest - promise.smallest)
        assert promise.worst_bytes <= over + 1 + 1e-6 * promise.allowed, budget


def test_a_piece_that_is_cut_anew_is_not_late() -> None:
    """It is due at once then: what comes meanwhile must not be counted twice."""
    run = Checked()
    nest = [
        run.budget(500, None, True),
        run.budget(12832, None, True),
        run.budget(500, None, False),
    ]
    for number in range(3):
        run.join(number, *nest[number:], chunk=lambda: 3000)
    for number, first in enumerate([0, 0, 0, 1]):
        run.join(10 + number, *nest[first:], chunk=lambda: 700)
        run.run(0.3)
    promise = run.promises[nest[2]]
    assert promise.worst_bytes <= run.largest - promise.smallest + 1


def longest_silence(events: list[tuple[float, int]], start: float, end: float) -> float:
    times = [start, *(when for when, _ in events if start < when < end), end]
    return max(after - before for before, after in itertools.pairwise(times))


@pytest.mark.parametrize("members", [1, 4])
@pytest.mark.parametrize("how", ["change", "part"])
@pytest.mark.parametrize("place", ["only", "inner", "outer", "middle"])
def test_what_waits_is_cut_anew_when_a_rate_falls(members: int, how: str, place: str) -> None:
    """10 Mbit/s become 64 kbit/s under way, wherever in the nest."""
    run = Simulation()
    falls = Budget(1.25e6, None, run.now)
    narrow = lambda: Budget(1.3e6, None, run.now)  # noqa: E731
    wide = narrow()
    for number in range(members):
        chain = {
            "only": (falls,),
            "inner": (falls, wide),
            "outer": (narrow(), falls),
            "middle": (narrow(), falls, wide),
        }[place]
        run.join(number, *chain)
    run.run(2.013)
    changed = run.now
    if how == "change":
        falls.change(8000.0, None, run.now)
    else:
        falls.set_fraction(8000 / 1.25e6, run.now)
    run.schedule.touch(falls)
    run.run(6.0)
    for number in range(members):
        mine = run.sent[number]
        assert longest_silence(mine, changed, run.now) < 0.7
        assert max(size for when, size in mine if when > changed) < 2000
    after = [(when, size) for when, size in run.everything() if when > changed]
    assert sum(size for _, size in after) == pytest.approx(48000, rel=0.05)
    assert max(windows(after, changed, 1.0)) < 10000


def test_a_smaller_burst_holds_for_what_waits() -> None:
    schedule = Schedule()
    budget = Budget(1000.0, 5000, 0.0)
    claim = Claim((budget,), None)
    assert schedule.submit(claim, 5000, 0.0)
    assert not schedule.submit(claim, 5000, 0.0)
    budget.change(1000.0, 200, 0.0)
    schedule.touch(budget)
    assert claim.size == 200
    assert schedule.next_due() == pytest.approx(0.2)


def test_a_policer_goes_on_whose_burst_became_smaller_than_what_waits() -> None:
    run = Simulation()
    budget = Budget(16e3, 40_000, run.now, policing=True)
    run.join("it", budget)
    run.run(5.0)
    budget.change(16e3, 1000, run.now, policing=True)
    run.schedule.touch(budget)
    before = run.total("it")
    run.run(10.0)
    assert (run.total("it") - before) / 10 == pytest.approx(16e3, rel=0.1)
    assert run.schedule.next_due() < math.inf
