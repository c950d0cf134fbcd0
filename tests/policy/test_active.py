"""When a rule is in force: days and hours in their zone, moments, and spans from the start."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmthrottle.policy import Active, Decider, Exchange, parse_policy
from mitmthrottle.policy.conditions.active import DaySpan, Hours
from mitmthrottle.policy.language.fields import FROM_FILE
from mitmthrottle.policy.language.zones import wall_clock


def active(**keys: Any) -> Active:
    return Active.model_validate(
        {key.rstrip("_"): value for key, value in keys.items()},
        context={FROM_FILE: True}, by_alias=True, by_name=False,
    )  # fmt: skip


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


SCHOOL = {"days": "mon-fri", "hours": "08:00-16:00", "tz": "Europe/Moscow"}
NIGHT = {"days": ["fri", "sat"], "hours": "22:00-06:00", "tz": "Europe/Moscow"}


@pytest.mark.parametrize(
    ("keys", "moment", "holds"),
    [
        (SCHOOL, "2021-03-10T08:00+03:00", True),  # a Wednesday
        (SCHOOL, "2021-03-10T07:59:59+03:00", False),
        (SCHOOL, "2021-03-10T15:59:59+03:00", True),
        (SCHOOL, "2021-03-10T16:00+03:00", False),
        (SCHOOL, "2021-03-10T05:00Z", True),  # the same 08:00
        (SCHOOL, "2021-03-13T10:00+03:00", False),  # Saturday
        (SCHOOL, "2021-03-12T22:00-05:00", False),  # Saturday in Moscow
        (NIGHT, "2021-03-12T22:00+03:00", True),  # Friday evening
        (NIGHT, "2021-03-13T05:59+03:00", True),  # Saturday morning, begun on Friday
        (NIGHT, "2021-03-14T05:59+03:00", True),  # Sunday morning, begun on Saturday
        (NIGHT, "2021-03-14T22:00+03:00", False),  # Sunday evening
        (NIGHT, "2021-03-12T05:59+03:00", False),  # Friday morning, begun on Thursday
        (NIGHT, "2021-03-13T06:00+03:00", False),
        ({"days": "fri-mon", "tz": "UTC"}, "2021-03-14T12:00Z", True),  # Sunday
        ({"days": "fri-mon", "tz": "UTC"}, "2021-03-16T12:00Z", False),  # Tuesday
        ({"hours": "20:00-24:00", "tz": "UTC"}, "2021-03-14T23:59:59Z", True),
        ({"hours": "20:00-24:00", "tz": "UTC"}, "2021-03-15T00:00Z", False),
        ({"hours": ["01:00-02:00", "03:00-04:00"], "tz": "UTC"}, "2021-03-14T03:30Z", True),
        ({"hours": ["01:00-02:00", "03:00-04:00"], "tz": "UTC"}, "2021-03-14T02:30Z", False),
        # the clock in New York goes from 02:00 to 03:00 on 14 March 2021, back on 7 November
        ({"hours": "03:00-04:00", "tz": "America/New_York"}, "2021-03-14T07:00Z", True),
        ({"hours": "02:00-03:00", "tz": "America/New_York"}, "2021-03-14T07:00Z", False),
        ({"hours": "01:00-02:00", "tz": "America/New_York"}, "2021-11-07T05:30Z", True),
        ({"hours": "01:00-02:00", "tz": "America/New_York"}, "2021-11-07T06:30Z", True),
        ({"from": "2021-03-10T10:00+03:00"}, "2021-03-10T07:00Z", True),
        ({"from": "2021-03-10T10:00+03:00"}, "2021-03-10T06:59:59Z", False),
        ({"until": "2021-03-10T10:00+03:00"}, "2021-03-10T06:59:59Z", True),
        ({"until": "2021-03-10T10:00+03:00"}, "2021-03-10T07:00Z", False),
        ({**SCHOOL, "until": "2021-03-11T00:00Z"}, "2021-03-10T10:00+03:00", True),
        ({**SCHOOL, "until": "2021-03-11T00:00Z"}, "2021-03-12T10:00+03:00", False),
    ],
)  # fmt: skip
def test_moments(keys: dict[str, Any], moment: str, holds: bool) -> None:
    assert active(**keys).holds(at(moment), 0.0) is holds


@pytest.mark.parametrize(
    ("keys", "elapsed_s", "holds"),
    [
        ({"after": "60 s", "for": "5 min"}, 59.9, False),
        ({"after": "60 s", "for": "5 min"}, 60.0, True),
        ({"after": "60 s", "for": "5 min"}, 359.9, True),
        ({"after": "60 s", "for": "5 min"}, 360.0, False),
        ({"for": "10 s"}, 0.0, True),
        ({"for": "10 s"}, 10.0, False),
        ({"after": "1 h"}, 3600.0, True),
        ({"after": "1 h"}, 3599.0, False),
    ],
)
def test_spans_from_the_start(keys: dict[str, Any], elapsed_s: float, holds: bool) -> None:
    assert active(**keys).holds(1.6e9, elapsed_s) is holds


def test_without_a_zone_the_clock_is_this_machines() -> None:
    moment = datetime(2021, 3, 10, 12, 30).astimezone()  # whatever zone that is
    assert active(hours="12:00-13:00").holds(moment.timestamp(), 0.0)
    assert not active(hours="13:00-14:00").holds(moment.timestamp(), 0.0)


def test_a_list_means_any_of() -> None:
    policy = parse_policy(
        "version: 1\nname: x\nrules:\n"
        "  - when: {active: [{for: 10 s}, {after: 60 s}]}\n    then: {rate: 1 Mbit/s}\n"
    )
    decider = Decider(policy)
    held = [decider.decide(Exchange("a.com", elapsed_s=s)).rule is not None for s in (5, 30, 61)]
    assert held == [True, False, True]
    # the request alone can tell
    assert decider.decide_request(Exchange("a.com", elapsed_s=5)).rule is not None


def test_explain_says_what_time_it_is() -> None:
    policy = parse_policy(
        "version: 1\nname: x\nrules:\n  - when: {active: {days: [mon-fri], hours: 08:00-16:00, "
        "tz: Europe/Moscow}}\n    then: {rate: 1 Mbit/s}\n"
    )
    saturday = Exchange("a.com", time=at("2021-03-13T10:00+03:00"), elapsed_s=90)
    (why,) = Decider(policy).explain(saturday).why_not
    assert (why.condition, why.reason) == (
        "active",
        "it is Sat 2021-03-13 10:00 MSK, 90 s after the start, "
        "not `mon-fri 08:00-16:00 (Europe/Moscow)`",
    )


@pytest.mark.parametrize("text", ["mon-fri", "Monday", "SAT", "sun–tue", " fri "])
def test_days_as_people_write_them(text: str) -> None:
    span = DaySpan.parse(text)
    assert DaySpan.parse(str(span)) == span


def test_a_rule_is_covered_only_by_one_that_is_active_as_often() -> None:
    rules = (
        "  - {{name: a, when: {{host: a.com{0}}}, then: {{rate: 1 Mbit/s}}}}\n"
        "  - {{name: b, when: {{host: a.com{1}}}, then: {{rate: 2 Mbit/s}}}}\n"
    )
    head = "version: 1\nname: x\nrules:\n"
    assert parse_policy(head + rules.format(", active: {for: 10 s}", ""))
    assert parse_policy(head + rules.format(", active: {for: 10 s}", ", active: {for: 20 s}"))
    for late in (", active: {for: 10 s}", ", active: [{for: 10 s}]"):
        with pytest.raises(ValueError, match="can never be reached: `a`"):
            parse_policy(head + rules.format("", late))
        with pytest.raises(ValueError, match="can never be reached: `a`"):
            parse_policy(head + rules.format(", active: [{for: 10 s}, {days: mon}]", late))


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 1439))
def test_a_span_and_the_rest_of_the_day_are_the_day(start: int, end: int, minute: int) -> None:
    if start != end:
        inside = Hours(start, end).began(minute) is not None
        outside = Hours(end, start).began(minute) is not None
        assert inside != outside


@given(st.floats())
def test_no_moment_is_too_far(unix_time: float) -> None:
    for zone in (None, "UTC", "Pacific/Kiritimati", "America/New_York"):
        assert 1969 <= wall_clock(unix_time, zone).year <= 9999
