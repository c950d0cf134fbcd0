from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitmthrottle.pacing import Budget, Claim, Schedule, Shared
from mitmthrottle.pacing.budgets import CATCH_UP_S

from .simulate import Simulation, most_over_allowance, windows

RATES = [2000.0, 8000.0, 16000.0, 125e3, 1.25e6, 6.25e6, 25e6]


@pytest.mark.parametrize("rate", RATES)
def test_one_response_keeps_the_rate_and_is_smooth(rate: float) -> None:
    run = Simulation(late_s=0.004)
    run.join("it", Budget(rate, None, run.now))
    run.run(10.0)
    assert run.total("it") / 10 == pytest.approx(rate, rel=0.005)
    first_second = sum(size for when, size in run.sent["it"] if when < run.start + 1)
    assert first_second <= 1.15 * rate
    in_250_ms = list(windows(run.sent["it"], run.start, 0.25))
    assert max(in_250_ms) <= 1.25 * 0.25 * rate


def test_late_wake_ups_do_not_lower_the_mean() -> None:
    run = Simulation(late_s=0.05)
    run.join("it", Budget(16000.0, None, run.now))
    run.run(60.0)
    assert run.total("it") / 60 == pytest.approx(16000, rel=0.003)


def test_a_burst_that_was_asked_for_passes_at_once() -> None:
    run = Simulation()
    run.join("it", Budget(16000.0, 16384, run.now))
    at_once = sum(size for when, size in run.sent["it"] if when == run.start)
    assert 0.9 * 16384 <= at_once <= 16384


def test_idle_time_earns_no_more_than_the_burst() -> None:
    budget = Budget(1000.0, 500, 0.0)
    schedule = Schedule()
    claim = Claim((budget,), None)
    assert schedule.submit(claim, 500, 3600.0)
    assert not schedule.submit(claim, 1, 3600.0)


def test_those_who_share_get_equal_parts_whatever_their_chunks() -> None:
    run = Simulation(late_s=0.003)
    budget = Budget(250e3, None, run.now)
    rng = random.Random(3)
    chunks = [lambda: 1 << 30, lambda: 100, lambda: 700, lambda: rng.randint(1, 4000)]
    for index in range(20):
        run.join(index, budget, chunk=chunks[index % 4])
    run.run(20.0)
    got = [run.total(index) for index in range(20)]
    assert sum(got) / 20 == pytest.approx(250e3, rel=0.005)
    assert sum(got) ** 2 / (20 * sum(g * g for g in got)) > 0.9999
    assert min(got) > 0.97 * max(got)


def test_a_small_response_is_not_stuck_behind_large_ones() -> None:
    run = Simulation(late_s=0.003)
    budget = Budget(250e3, None, run.now)
    for index in range(10):
        run.join(index, budget)
    run.run(5.0)
    run.join("photo", budget, size=20_000)
    run.run(3.0)
    took = run.sent["photo"][-1][0] - (run.start + 5.0)
    assert run.total("photo") == 20_000
    assert took < 1.5 * 20_000 / (250e3 / 11)


def test_what_one_leaves_the_others_take() -> None:
    run = Simulation()
    client = Budget(100e3, None, run.now)
    run.join("slow", Budget(10e3, None, run.now), client)
    run.join("fast", client)
    run.run(10.0)
    assert run.total("slow") / 10 == pytest.approx(10e3, rel=0.01)
    assert run.total("fast") / 10 == pytest.approx(90e3, rel=0.01)


def test_nested_budgets_all_agree() -> None:
    run = Simulation(late_s=0.002)
    rule = Budget(100e3, None, run.now)
    clients = [Budget(40e3, None, run.now) for _ in range(4)]
    for index in range(40):
        run.join(index, Budget(16e3, None, run.now), clients[index % 4], rule)
    run.run(10.0)
    assert sum(run.total(i) for i in range(40)) / 10 == pytest.approx(100e3, rel=0.01)
    for number in range(4):
        mine = sum(run.total(i) for i in range(number, 40, 4)) / 10
        assert mine == pytest.approx(25e3, rel=0.02)


def test_a_response_that_leaves_gives_back_what_it_waited_for() -> None:
    run = Simulation()
    inner, outer = Budget(1e6, None, run.now), Budget(1000.0, 100, run.now)
    run.join("first", outer)
    run.join("second", inner, outer)
    run.run(1.0)
    run.leave("second")
    run.leave("first")
    assert (inner.members, outer.members) == (0, 0)
    assert run.schedule.next_due() == math.inf
    before = run.now
    run.join("third", inner)
    assert sum(size for when, size in run.sent["third"] if when == before) > 0


def test_a_changed_rate_holds_at_once() -> None:
    run = Simulation()
    budget = Budget(16e3, None, run.now)
    run.join("it", budget)
    run.run(5.0)
    before = run.total("it")
    budget.change(64e3, None, run.now)
    run.schedule.touch(budget)
    run.run(5.0)
    assert (run.total("it") - before) / 5 == pytest.approx(64e3, rel=0.02)


def test_shared_budgets_are_kept_while_they_matter_and_freed_after() -> None:
    shared = Shared()
    schedule = Schedule()
    budget = shared.get("key", 1000.0, 2000, 0.0)
    claim = Claim((budget,), None)
    assert schedule.submit(claim, 2000, 0.0)
    schedule.withdraw(claim, 0.0)
    # Nobody draws from it, but it is empty: a newcomer must not get a fresh burst.
    assert shared.get("key", 1000.0, 2000, 1.0) is budget
    shared.sweep(10.0)
    assert len(shared) == 0


@st.composite
def situations(draw: st.DrawFn) -> tuple[float, float | None, list[tuple[int, int, float]]]:
    rate = draw(st.floats(100, 1e7))
    burst = draw(st.none() | st.floats(50, 1e6))
    members = draw(
        st.lists(
            st.tuples(
                st.integers(1, 100_000),  # bytes at hand each time
                st.integers(1, 2_000_000),  # size of the response
                st.floats(0, 3),  # when it comes
            ),
            min_size=1,
            max_size=8,
        )
    )
    return rate, burst, members


@settings(max_examples=50, deadline=None)
@given(situations(), st.booleans())
def test_never_more_than_rate_times_time_plus_burst(
    situation: tuple[float, float | None, list[tuple[int, int, float]]], nested: bool
) -> None:
    """On time, and for any mix of responses: the promise of every budget, inner ones too."""
    rate, burst, members = situation
    run = Simulation()
    budget = Budget(rate, burst, run.now)
    outer = Budget(rate * 0.7, burst, run.now)
    for index, (chunk, size, joins) in enumerate(sorted(members, key=lambda m: m[2])):
        run.run(max(0.0, run.start + joins - run.now))
        chain = (budget, outer) if nested and index % 2 else (budget,)
        # Two million pieces of a byte say no more than two thousand.
        run.join(index, *chain, size=min(size, 2000 * chunk), chunk=lambda chunk=chunk: chunk)
    run.run(2.0)
    largest = max((size for _, size in run.everything()), default=0)
    # A piece is never larger than a burst that was asked for; the default burst may be smaller.
    allowed = max(budget.burst_bytes, largest) * (1 + 1e-6) + 1
    assert most_over_allowance(run.everything(), rate) <= allowed


@settings(max_examples=60, deadline=None)
@given(st.floats(1000, 1e6), st.floats(0, 0.3), st.integers(1, 5))
def test_lateness_is_made_up_for_and_no_more(rate: float, late: float, responses: int) -> None:
    run = Simulation(late_s=late)
    budget = Budget(rate, None, run.now)
    for index in range(responses):
        run.join(index, budget)
    run.run(5.0)
    largest = max(size for _, size in run.everything())
    allowed = max(budget.burst_bytes, largest) + rate * min(late, CATCH_UP_S) + largest
    assert most_over_allowance(run.everything(), rate) <= allowed * (1 + 1e-6)


def test_a_policer_bursts_at_line_speed_and_then_is_silent() -> None:
    shaped, policed = Simulation(late_s=0.002), Simulation(late_s=0.002)
    shaped.join("it", Budget(16e3, None, shaped.now))
    policed.join("it", Budget(16e3, None, policed.now, policing=True))
    shaped.run(20.0)
    policed.run(20.0)
    for run in (shaped, policed):
        assert run.total("it") / 20 == pytest.approx(16e3, rel=0.03)
    in_100_ms = list(windows(policed.sent["it"], policed.start, 0.1))
    assert sum(1 for size in in_100_ms if size == 0) > 0.7 * len(in_100_ms)
    assert max(in_100_ms) == pytest.approx(8000, rel=0.05)  # the burst, at once
    assert min(list(windows(shaped.sent["it"], shaped.start, 0.1))[:-1]) > 0


def test_a_policer_has_the_mean_of_a_shaper_from_the_second_burst_on() -> None:
    run = Simulation(late_s=0.002)
    run.join("it", Budget(16e3, None, run.now, policing=True))
    run.run(60.0)
    starts = [
        when for (before, _), (when, _) in itertools.pairwise(run.sent["it"]) if when - before > 0.2
    ]
    between = sum(size for when, size in run.sent["it"] if starts[0] <= when < starts[-1])
    assert between / (starts[-1] - starts[0]) == pytest.approx(16e3, rel=0.002)


@pytest.mark.parametrize("responses", [2, 100])
def test_what_a_pause_has_left_is_for_all_alike(responses: int) -> None:
    """Nobody ran for a while: whoever is woken first does not take what all have missed."""
    run = Simulation()
    budget = Budget(1e6, None, run.now)
    for name in range(responses):
        run.join(name, budget)
    run.run(3.0)
    before = {name: run.total(name) for name in range(responses)}
    run.now += 0.4
    run.run(0.6)
    since = [run.total(name) - before[name] for name in range(responses)]
    assert 0.69e6 < sum(since) < 0.81e6  # 0.6 s, a burst, and what is made up for
    piece = 1e6 / responses * 0.05
    assert max(since) - min(since) <= 6 * piece  # it was 200 of them for a hundred responses


@pytest.mark.parametrize("old", [1, 3, 10])
def test_who_was_there_before_a_crowd_is_not_silent_for_long(old: int) -> None:
    """What it took while it shared with few is not held against it."""
    run = Simulation()
    budget = Budget(1e6, None, run.now)
    for name in range(old):
        run.join(name, budget)
    run.run(2.0)
    for name in range(old, 200):
        run.join(name, budget, chunk=lambda: 250)
    run.run(1.05)
    before = {name: run.total(name) for name in range(200)}
    run.run(1.0)
    since = [run.total(name) - before[name] for name in range(200)]
    assert sum(since) == pytest.approx(1e6, rel=0.01)
    assert min(since) > 0.8 * 1e6 / 200
    assert max(since) < 1.2 * 1e6 / 200


@pytest.mark.parametrize(("shared", "takes_s"), [(True, 0.048), (False, 0.0)])
def test_a_shared_rate_earns_little_while_nobody_asks(shared: bool, takes_s: float) -> None:
    """Or small bodies would look fast to whoever measures a link by them."""
    run = Simulation()
    budget = Budget(137_500, None, run.now, shared=shared)
    run.run(1.0)
    begun = run.now
    run.join("10 kB", budget, size=10_000)
    run.run(1.0)
    assert run.sent["10 kB"][-1][0] - begun == pytest.approx(takes_s, abs=0.001)


@pytest.mark.parametrize("late_s", [0.0, 0.03, 0.06])
def test_a_small_burst_costs_a_shared_rate_nothing(late_s: float) -> None:
    run = Simulation(late_s=late_s)
    budget = Budget(137_500, None, run.now, shared=True)
    for number in range(4):
        run.join(number, budget)
    run.run(20.0)
    assert sum(size for _, size in run.everything()) == pytest.approx(20 * 137_500, rel=0.005)
    shares = [run.total(number) for number in range(4)]
    assert max(shares) - min(shares) < 0.005 * max(shares)
