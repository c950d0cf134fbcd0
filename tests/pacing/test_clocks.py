"""Whatever a clock shows: how much leaves is the same, and everything ends."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitmthrottle.pacing import Allocations, Answer, Budget, Claim, Schedule, Shared
from mitmthrottle.pacing.moments import later, reached_at

from .simulate import Simulation

BASES = [0.0, 2.0**24, 2.0**31, 3.2e9, 1e12]


def sent_in(base: float, rate: float, burst: float | None, members: int) -> int:
    run = Simulation(start=base)
    budget = Budget(rate, burst, run.now)
    for number in range(members):
        run.join(number, Budget(0.9 * rate, burst, run.now), budget)
    run.run(2.5)
    return sum(size for _, size in run.everything())


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("rate", "burst"), [(16e3, None), (1.25e6, 1500), (25e6, None)])
@pytest.mark.parametrize("members", [1, 3])
def test_the_clocks_value_changes_nothing(
    base: float, rate: float, burst: float | None, members: int
) -> None:
    """Within 0.1 %, and what comes in a step of the clock, which at 1e12 s is 0.12 ms."""
    expected = sent_in(0.0, rate, burst, members)
    allowed = 0.001 * expected + 2 * rate * math.ulp(base) + 1
    assert abs(sent_in(base, rate, burst, members) - expected) <= allowed


@settings(max_examples=100, deadline=None)
@given(
    st.floats(0, 1e13),
    st.floats(1.0, 1e9),
    st.none() | st.floats(1, 1e6),
    st.lists(st.tuples(st.integers(1, 100_000), st.floats(0, 2)), min_size=1, max_size=12),
)
def test_who_waits_is_served_when_it_is_due(
    base: float, rate: float, burst: float | None, asks: list[tuple[int, float]]
) -> None:
    """`advance` at the time of `next_due` lets somebody pass, whatever was asked before."""
    schedule, now = Schedule(), base
    inner, outer = Budget(rate, burst, now), Budget(rate * 0.7, burst, now)
    claims = [Claim((inner, outer), number) for number in range(3)]
    for number, (size, later_s) in enumerate(asks):
        claim = claims[number % 3]
        if not claim.waiting:
            schedule.submit(claim, size, now)
        now = max(now, min(now + later_s, schedule.next_due()))
        schedule.advance(now)
        schedule.all_are_back()
    hops = sum(2 for claim in claims if claim.waiting)
    while (due := schedule.next_due()) < math.inf and hops:
        waiting = [(claim.waiting, claim._step) for claim in claims]
        schedule.advance(due)
        assert [(claim.waiting, claim._step) for claim in claims] != waiting
        assert schedule.next_due() > due
        hops -= 1
    assert not any(claim.waiting for claim in claims)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0, 1e12),
    st.lists(st.sampled_from([0.0, 0.0, 0.01, 0.3, -0.2, -3600.0]), max_size=30),
)
def test_a_clock_that_stands_still_or_goes_back_gives_nothing(
    base: float, jumps: list[float]
) -> None:
    schedule, now = Schedule(), base
    budget = Budget(10_000.0, 1000, now)
    claim, highest, sent = Claim((budget,), None), now, 0
    for jump in jumps:
        now += jump
        highest = max(highest, now)
        for granted in schedule.advance(now):
            sent += granted.size
        if not claim.waiting:
            while schedule.submit(claim, 500, now):
                sent += 500
        schedule.all_are_back()
        assert sent <= 1000 + 10_000 * (highest - base) + 10_000 * math.ulp(base)


@pytest.mark.parametrize("now", [0.0, 2.0**24, 1e12, 1e16, 1e300])
def test_nothing_goes_round_in_circles(now: float) -> None:
    shared = Shared(parts := Allocations())
    budget = shared.get("key", 1000.0, 500, now)
    claim = Claim((budget,), None)
    schedule = Schedule()
    schedule.submit(claim, 500, now)
    shared.sweep(now)
    for _ in range(3):
        shared.sweep(now := later(now, 1.0))
    assert len(shared) == 1
    (found,) = parts.due(now, 10)
    parts.answered(*found, Answer(0.5, 0.5, 2), now)
    assert parts.next_due() > now
    assert parts.due(now, 10) == []
    schedule.withdraw(claim, now)
    shared.sweep(later(now, 10.0))
    assert len(shared) == 0


def test_what_is_later_is_later() -> None:
    assert later(100.0, 0.5) == 100.5
    assert later(1e17, 0.5) > 1e17
    assert later(-math.inf, 1.0) < 0
    assert reached_at(7.0, 0.0, 3.0) == reached_at(7.0, -1.0, 3.0) == 7.0
    assert reached_at(7.0, 6.0, 3.0) == 9.0


@given(st.floats(0, 1e13), st.floats(0, 1e9), st.floats(1e-3, 1e9))
def test_what_is_reached_has_come(since: float, missing: float, per_s: float) -> None:
    when = reached_at(since, missing, per_s)
    assert (when - since) * per_s >= missing * (1 - 1e-15)
    assert (math.nextafter(math.nextafter(when, 0), 0) - since) * per_s <= missing or not missing


@pytest.mark.parametrize(
    "answer",
    [
        Answer(math.nan, 0.1, 2),
        Answer(math.inf, 0.1, 2),
        Answer(-0.5, 0.1, 2),
        Answer(1e300, 0.1, 2),
        Answer(0.5, math.nan, 2),
        Answer(0.5, math.inf, 2),
        Answer(0.5, -1.0, 2),
        Answer(0.5, 0.1, -1),
    ],
)
def test_an_answer_that_cannot_be_meant_is_none(answer: Answer) -> None:
    parts = Allocations()
    parts.processes = 2
    budget = Shared(parts).get("key", 1000.0, 500, 0.0)
    Claim((budget,), None)
    (found,) = parts.due(0.0, 10)
    parts.answered(*found, answer, 0.0)
    assert budget.rate_bytes_per_s == 500.0
    (found,) = parts.due(0.1, 10)
    parts.answered(*found, Answer(0.25, 0.25, 2), 0.1)
    (found,) = parts.due(1.0, 10)
    parts.answered(*found, answer, 1.0)
    assert budget.rate_bytes_per_s == 250.0
    assert parts.next_due() < 1.2


def test_a_part_of_nothing_is_a_foothold() -> None:
    parts = Allocations()
    budget = Shared(parts).get("key", 1_024_000.0, 5000, 0.0)
    Claim((budget,), None)
    (found,) = parts.due(0.0, 10)
    parts.answered(*found, Answer(0.0, 0.0, 2), 0.0)
    assert budget.rate_bytes_per_s == 1000.0


@pytest.mark.parametrize("fraction", [0.0, -1.0, math.nan, math.inf])
def test_a_budget_takes_no_part_that_is_none(fraction: float) -> None:
    budget = Budget(1000.0, None, 0.0)
    with pytest.raises(ValueError, match="a part of a rate is a number above 0"):
        budget.set_fraction(fraction, 0.0)
    assert budget.rate_bytes_per_s == 1000.0
