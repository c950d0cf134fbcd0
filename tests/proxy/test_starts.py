"""Whose turn it is to start, by rule and party."""

from __future__ import annotations

from mitmthrottle.policy import RequestLimit, parse_policy
from mitmthrottle.proxy.bodies.budgets import Parties
from mitmthrottle.proxy.bodies.starts import StartLimits, StartPlace

POLICY = """
version: 1
name: starts
rules:
  - name: few
    when: {host: .example.com}
    then: {requests: LIMITS}
"""
ME, OTHER = (Parties("connection", client, "host") for client in ("me", "other"))


def limits_of(text: str) -> tuple[RequestLimit, ...]:
    return parse_policy(POLICY.replace("LIMITS", text), "p").rules[0].then.requests


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def started(places: dict[str, StartPlace], clock: Clock) -> list[str]:
    """Who may start now, in the order in which they are asked; they ask no more then."""
    found = [name for name, place in places.items() if place.may_start(clock.time) <= clock.time]
    for name in found:
        del places[name]
    return found


def test_so_many_may_start_and_the_others_wait_their_turn() -> None:
    clock = Clock()
    lines = StartLimits(clock)
    limits = limits_of("{limit: 3 / 10 s, per: client}")
    mine = {str(n): lines.join("few", limits, ME, lambda: None) for n in range(5)}
    others = {"other": lines.join("few", limits, OTHER, lambda: None)}
    assert started(mine, clock) == ["0", "1", "2"]
    assert started(others, clock) == ["other"]
    assert mine["3"].may_start(clock.time) == 110.0
    clock.time = 109.9
    assert started(mine, clock) == []
    clock.time = 110.0
    assert started(mine, clock) == ["3", "4"]


def test_never_more_than_the_limit_in_any_window() -> None:
    clock = Clock()
    lines = StartLimits(clock)
    limits = limits_of("10 / 3 s")
    waiting = {str(n): lines.join("few", limits, ME, lambda: None) for n in range(60)}
    starts = list[float]()
    while waiting:
        starts += [clock.time for _ in started(waiting, clock)]
        clock.time += 0.05
    assert all(sum(1 for at in starts if begin <= at < begin + 3) <= 10 for begin in starts)
    assert starts[-1] - starts[0] < 15.4


def test_who_gives_up_frees_the_place_and_the_next_is_told() -> None:
    clock = Clock()
    lines = StartLimits(clock)
    limits = limits_of("1 / 10 s")
    told = list[str]()
    first = lines.join("few", limits, ME, lambda: None)
    second = lines.join("few", limits, ME, lambda: None)
    third = lines.join("few", limits, ME, lambda: told.append("third"))
    assert first.may_start(100.0) <= 100.0
    assert third.may_start(100.0) > 100.0
    second.leave()
    assert told == ["third"]
    assert third.may_start(110.0) <= 110.0


def test_several_limits_hold_together_whatever_their_order_in_the_file() -> None:
    for text in ("[4 / 10 s, {limit: 1 / 2 s, per: client}]",
                 "[{limit: 1 / 2 s, per: client}, 4 / 10 s]"):  # fmt: skip
        clock = Clock()
        lines = StartLimits(clock)
        waiting = {str(n): lines.join("few", limits_of(text), ME, lambda: None) for n in range(6)}
        starts = list[float]()
        while waiting:
            starts += [clock.time for _ in started(waiting, clock)]
            clock.time += 0.5
        assert starts == [100.0, 102.0, 104.0, 106.0, 110.0, 112.0]


def test_lines_that_nobody_needs_are_forgotten() -> None:
    clock = Clock()
    lines = StartLimits(clock)
    limits = limits_of("{limit: 1 / 2 s, per: client}")
    for n in range(100):
        lines.join("few", limits, Parties("c", str(n), "h"), lambda: None).may_start(clock.time)
    assert len(lines) == 100
    clock.time += 3.0
    lines.join("few", limits, ME, lambda: None)
    assert len(lines) == 1
