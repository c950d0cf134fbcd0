"""Quotas: how much is free, and which period a moment is in."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmthrottle.policy import Quota
from mitmthrottle.policy.language.fields import FROM_FILE


def quota(**keys: Any) -> Quota:
    return Quota.model_validate(
        {"free": "500 MiB", **keys}, context={FROM_FILE: True}, by_alias=True, by_name=False
    )


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_the_fields() -> None:
    found = quota(every="day", tz="Europe/Moscow")
    assert (found.free_bytes, found.per, found.every, found.tz) == (
        500 * 2**20, "client", "day", "Europe/Moscow"
    )  # fmt: skip
    assert quota(every="90 min").every == 5400.0
    assert quota().every is None
    assert quota(every="90 min", per="rule").describe() == "500 MiB free per rule every 90 min"


@pytest.mark.parametrize(
    ("every", "before", "after"),
    [
        ("day", "2021-03-10T23:59:59+03:00", "2021-03-11T00:00:00+03:00"),
        ("hour", "2021-03-10T10:59:59+03:00", "2021-03-10T11:00:00+03:00"),
        ("week", "2021-03-14T23:59:59+03:00", "2021-03-15T00:00:00+03:00"),  # Sunday to Monday
        ("month", "2021-03-31T23:59:59+03:00", "2021-04-01T00:00:00+03:00"),
        ("month", "2021-12-31T23:59:59+03:00", "2022-01-01T00:00:00+03:00"),
    ],
)
def test_calendar_periods_begin_by_the_clock_of_their_zone(
    every: str, before: str, after: str
) -> None:
    found = quota(every=every, tz="Europe/Moscow")
    assert found.window(at(after), 0.0) == found.window(at(before), 0.0) + 1
    assert found.window(at(before) - 1, 0.0) == found.window(at(before), 0.0)


def test_durations_count_from_the_start() -> None:
    found = quota(every="90 min")
    start = 1.6e9 + 17
    assert [found.window(start + s, start) for s in (0, 5399, 5400, 10800)] == [0, 0, 1, 2]


def test_without_a_period_there_is_one() -> None:
    assert quota().window(1.6e9, 1.6e9) == quota().window(1.9e9, 1.6e9)


@given(
    st.sampled_from(["hour", "day", "week", "month", "90 min", None]),
    st.sampled_from([None, "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]),
    st.floats(1.5e9, 1.7e9),
    st.floats(0, 1e7),
)
def test_periods_never_go_back(every: str | None, tz: str | None, time: float, step: float) -> None:
    keys = {"every": every} if every else {}
    if tz and every in ("hour", "day", "week", "month"):
        keys["tz"] = tz
    found = quota(**keys)
    assert found.window(time + step, 1.5e9) >= found.window(time, 1.5e9)


@given(st.floats(), st.floats())
def test_no_moment_is_too_much(time: float, start: float) -> None:
    for every in ("hour", "day", "week", "month", "1 us"):
        assert isinstance(quota(every=every).window(time, start), int)


@pytest.mark.parametrize("tz", ["Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe"])
def test_an_hour_is_an_hour_when_the_clock_is_set_back(tz: str) -> None:
    """Through the whole of a year no period is longer, and each begins at a full hour."""
    found = quota(every="hour", tz=tz)
    begins, last = [], None
    for step in range(365 * 24 * 4):
        if (number := found.window(1.7e9 // 900 * 900 + 900 * step, 0.0)) != last:
            begins.append(step)
            last = number
    lengths = [after - before for before, after in itertools.pairwise(begins[1:])]
    assert max(lengths) <= (6 if tz == "Australia/Lord_Howe" else 4)  # set by half an hour there
    assert lengths.count(4) > 0.999 * len(lengths)
