"""Limits on starts: exact in every window, first come first served, all limits or none."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitmthrottle.pacing import StartChain, StartLimiter
from mitmthrottle.pacing import starts as starts_module


def most_in_a_window(times: list[float], period_s: float) -> int:
    """The most in any half-open window [t, t + period)."""
    times = sorted(times)
    return max(
        (sum(1 for other in times if 0 <= other - first < period_s) for first in times), default=0
    )


def run(limiter: StartLimiter, until: float, now: float = 0.0) -> list[tuple[float, object]]:
    """Starts of those who wait, each as soon as it may."""
    started = []
    while (due := limiter.due_at()) <= until:
        now = max(now, due)
        head = limiter.head
        assert head is not None
        assert limiter.take(head, now)
        started.append((now, head.owner))
    return started


def test_so_many_start_at_once_and_the_next_a_period_later() -> None:
    limiter = StartLimiter(3, 10.0)
    tickets = [limiter.join(name) for name in range(7)]
    assert limiter.due_at() == -math.inf
    assert not limiter.take(tickets[1], 5.0)
    assert [limiter.take(ticket, 5.0 + number) for number, ticket in enumerate(tickets[:3])] == [
        True,
        True,
        True,
    ]
    assert limiter.due_at() == 15.0
    assert not limiter.take(tickets[3], 14.999)
    assert limiter.take(tickets[3], 15.0)
    assert limiter.due_at() == 16.0
    assert run(limiter, 100.0, 15.0) == [(16.0, 4), (17.0, 5), (25.0, 6)]
    assert limiter.due_at() == math.inf
    assert limiter.head is None
    assert not limiter.is_as_new(34.999)
    assert limiter.is_as_new(35.0)


def test_who_gives_up_frees_its_place_and_the_next_is_told() -> None:
    told: list[object] = []
    limiter = StartLimiter(1, 10.0, told.append)
    tickets = [limiter.join(name) for name in "abcd"]
    assert told == []
    limiter.leave(tickets[1])
    assert told == []
    limiter.leave(tickets[0])
    assert told == ["c"]
    limiter.leave(tickets[0])
    assert told == ["c"]
    assert limiter.take(tickets[2], 0.0)
    assert told == ["c", "d"]
    assert not limiter.take(tickets[2], 100.0)
    assert len(limiter) == 1
    assert not limiter.is_as_new(1000.0)


def test_a_changed_limit_counts_what_has_started() -> None:
    told: list[object] = []
    limiter = StartLimiter(4, 10.0, told.append)
    for name in range(10):
        limiter.join(name)
    assert len(run(limiter, 0.0)) == 4
    limiter.change(6, 10.0)
    assert told[-1] == 4
    assert [when for when, _ in run(limiter, 1.0, 1.0)] == [1.0, 1.0]
    limiter.change(2, 20.0)
    assert [when for when, _ in run(limiter, 25.0, 1.0)] == [21.0, 21.0]
    told.clear()
    limiter.change(2, 20.0)
    assert told == []


@pytest.mark.parametrize(
    ("count", "period_s", "says"),
    [(0, 1.0, "at least 1 start, not 0"), (1, 0.0, "not 0.0"), (1, math.inf, "not inf")],
)
def test_a_limit_that_is_none_is_refused(count: int, period_s: float, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        StartLimiter(count, period_s)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 30),
    st.sampled_from([1, 3, 5, 1000]),
    st.floats(0.1, 10),
    st.floats(0, 1e9),
    st.lists(st.tuples(st.sampled_from("jjjltttc"), st.integers(0, 40), st.floats(0, 3))),
)
def test_never_more_in_any_window_and_in_order(
    count: int,
    exact: int,
    period_s: float,
    base: float,
    steps: list[tuple[str, int, float]],
) -> None:
    """With more starts than are remembered one by one, too."""
    before, starts_module.EXACT_STARTS = starts_module.EXACT_STARTS, exact
    try:
        limiter, now, names = StartLimiter(count, period_s), base, itertools.count()
        line, times, most = [], [], count
        started: list[object] = []
        for what, which, wait_s in steps:
            now += wait_s
            if what == "j":
                line.append(limiter.join(next(names)))
            elif what == "l" and line:
                limiter.leave(line.pop(which % len(line)))
            elif what == "c":
                limiter.change(1 + which, period_s)
                most = max(most, 1 + which)
            elif line:
                due = limiter.due_at()
                assert limiter.take(line[0], now) == (due <= now)
                if due <= now:
                    times.append(now)
                    started.append(line.pop(0).owner)
        assert most_in_a_window(times, period_s) <= most
        assert started == sorted(started)  # type: ignore[type-var]  # names are numbers
        assert len(limiter._starts) <= min(most, exact)
    finally:
        starts_module.EXACT_STARTS = before


def test_a_very_large_limit_needs_no_more_memory() -> None:
    limiter = StartLimiter(1_000_000, 1.0)
    ticket = limiter.join("it")
    for number in range(300_000):
        assert limiter.take(ticket, number * 1e-7)
        ticket = limiter.join("it")
    assert len(limiter._starts) <= 65536
    limiter.change(1000, 1.0)
    assert limiter.due_at() == pytest.approx(1.03, abs=0.001)


def test_a_clock_that_goes_back_frees_nothing() -> None:
    limiter = StartLimiter(2, 10.0)
    for name in range(4):
        limiter.join(name)
    assert len(run(limiter, 100.0, 100.0)[:2]) == 2
    head = limiter.head
    assert head is None or not limiter.take(head, 50.0)


def chains(limiters: list[StartLimiter], number: int) -> list[StartChain]:
    return [StartChain(limiters, name) for name in range(number)]


def test_a_chain_starts_in_all_or_in_none() -> None:
    narrow, wide = StartLimiter(2, 10.0), StartLimiter(1, 4.0)
    one, two, three = chains([narrow, wide], 3)
    assert two.try_start(0.0) == math.inf
    assert one.due(0.0) == one.due(0.0) == -math.inf
    assert one.try_start(0.0) == -math.inf
    assert two.try_start(1.0) == 4.0
    assert three.try_start(1.0) == math.inf
    other = StartChain([wide], "other")
    assert other.try_start(5.0) == math.inf
    assert two.try_start(4.0) == -math.inf
    assert other.try_start(5.0) == 8.0
    assert three.try_start(5.0) == 10.0
    assert other.try_start(8.0) == -math.inf
    assert three.try_start(10.0) == 12.0
    assert three.try_start(12.0) == -math.inf


def test_a_chain_that_leaves_frees_all_its_places() -> None:
    told: list[object] = []
    narrow, wide = StartLimiter(1, 10.0, told.append), StartLimiter(1, 10.0, told.append)
    StartChain([wide], "first").try_start(0.0)
    one, two = StartChain([narrow, wide], "one"), StartChain([narrow, wide], "two")
    last = StartChain([wide], "last")
    assert one.try_start(1.0) == math.inf
    last.leave()
    assert one.try_start(1.0) == 10.0
    assert told == ["one"]
    one.leave()
    one.leave()
    assert told == ["one", "two"]
    assert two.try_start(10.0) == -math.inf
    assert narrow.head is None
    assert wide.head is None


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.floats(0.5, 5)), min_size=3, max_size=3),
    st.integers(0, 1000),
)
def test_nested_limits_hold_each_and_nobody_is_forgotten(
    limits: list[tuple[int, float]], seed: int
) -> None:
    """Two clients under one rule, with some who give up: only when asked or told they try."""
    rng, awake = random.Random(seed), []
    a, b, rule = (StartLimiter(count, period, awake.append) for count, period in limits)
    paths = {name: [a if name % 2 else b, rule] for name in range(30)}
    waiting = {name: StartChain(path, name) for name, path in paths.items()}
    started: dict[int, float] = {}
    asks = [(0.0, name) for name in waiting]
    while asks:
        asks.sort()
        now, name = asks.pop(0)
        if name in waiting:
            if rng.random() < 0.1:
                waiting.pop(name).leave()
            elif (when := waiting[name].try_start(now)) <= now:
                started[name] = now
                del waiting[name]
            elif when < math.inf:
                asks.append((when, name))
        asks += [(now, int(str(told))) for told in awake]
        awake.clear()
    assert not waiting
    for limiter in (a, b, rule):
        times = [when for name, when in started.items() if limiter in paths[name]]
        assert most_in_a_window(times, limiter.period_s) <= limiter.count
    assert [name for name in started if name % 2] == sorted(n for n in started if n % 2)
