"""The `active` condition: when a rule is in force.

The one rule: of one mapping all the keys given must hold, and a list of mappings means any of.
Times of day are those of the zone `tz` (the machine's without one). Hours may wrap midnight;
`days` then means the day on which they began. `after` and `for` count from the policy's start.
Every span holds its beginning and not its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, PlainSerializer, model_validator

from mitmthrottle.policy.conditions import Bound, Condition, among, register
from mitmthrottle.policy.facts import NO, YES, Facts, listed
from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.fields import Many, OneOrMany, Seconds, Strict, ZoneField, parsed
from mitmthrottle.policy.language.yamltree import Spot, Warned
from mitmthrottle.policy.language.zones import parse_moment, wall_clock

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONG_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_HOURS = re.compile(r"\s*([0-9]{1,2}):([0-9]{2})\s*[-–]\s*([0-9]{1,2}):([0-9]{2})\s*")
_DAY_MIN = 24 * 60


@dataclass(frozen=True, slots=True)
class DaySpan:
    """`mon`, or `mon-fri`; 0 is Monday. `fri-mon` goes over the weekend."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> DaySpan:
        """ValueError with a remedy for what is no day of the week."""
        first, dash, last = text.strip().lower().replace("–", "-").partition("-")
        return cls(_day(first, text), _day(last, text) if dash else _day(first, text))

    def __contains__(self, day: int) -> bool:
        return (day - self.first) % 7 <= (self.last - self.first) % 7

    def __str__(self) -> str:
        return DAYS[self.first] + (f"-{DAYS[self.last]}" if self.last != self.first else "")


@dataclass(frozen=True, slots=True)
class Hours:
    """`08:00-16:00`, in minutes of the day; `start` beyond `end` wraps midnight."""

    start_min: int
    end_min: int

    @classmethod
    def parse(cls, text: str) -> Hours:
        """ValueError with a remedy for what is no span of the day."""
        found = _HOURS.fullmatch(text)
        if found is None:
            raise ValueError(f"`{text}` is no span of the day: write for example `08:00-16:00`")
        start_h, start_min, end_h, end_min = (int(part) for part in found.groups())
        start, end = start_h * 60 + start_min, end_h * 60 + end_min
        if start_min > 59 or end_min > 59 or start >= _DAY_MIN or end > _DAY_MIN:
            raise ValueError(f"`{text}`: the day goes from `00:00` to `24:00`")
        if start == end or (start == 0 and end == _DAY_MIN):
            raise ValueError(f"`{text}` is the whole day or none of it: leave `hours` out")
        return cls(start, end)

    def began(self, minute: int) -> int | None:
        """How many days ago the span began that this minute lies in; None: in none."""
        if self.start_min < self.end_min:
            return 0 if self.start_min <= minute < self.end_min else None
        if minute >= self.start_min:
            return 0
        return 1 if minute < self.end_min else None

    def __str__(self) -> str:
        return f"{_clock(self.start_min)}-{_clock(self.end_min)}"


_days = parsed(DaySpan.parse, "a day or a span of days", "mon-fri")
_hours = parsed(Hours.parse, "a span of the day", "08:00-16:00")
_moment = parsed(parse_moment, "a moment with its zone", "2021-03-10T10:00+03:00")
_moment_text = PlainSerializer(lambda moment: moment.isoformat())


def _some_time(length_s: float) -> float:
    if length_s <= 0:
        raise ValueError("of zero is no time at all: give a duration, or leave it out")
    return length_s


type DayItem = Annotated[DaySpan, _days[0], _days[1], _days[2]]
type HoursItem = Annotated[Hours, _hours[0], _hours[1], _hours[2]]
MomentField = Annotated[datetime, _moment[0], _moment_text, _moment[2]]
LengthField = Annotated[Seconds, AfterValidator(_some_time)]


class Active(Strict):
    """Some time; None means that the key was not given. Durations in seconds."""

    days: Many[DayItem] = None
    hours: Many[HoursItem] = None
    tz: ZoneField | None = None
    from_: MomentField | None = Field(None, alias="from")
    until: MomentField | None = None
    after_s: Seconds | None = Field(None, alias="after")
    for_s: LengthField | None = Field(None, alias="for")

    @model_validator(mode="before")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        if isinstance(value, dict) and not value:
            raise ValueError(
                "names no time: give `days` and `hours`, `from` and `until`, or `after` and `for`"
            )
        return value

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.tz is not None and self.days is None and self.hours is None:
            raise ValueError(
                "`tz` says where `days` and `hours` are meant: add one of them, or leave it out"
            )
        if self.from_ is not None and self.until is not None and self.from_ >= self.until:
            raise ValueError("`until` is not after `from`, so it is never: exchange the two")
        return self

    def holds(self, unix_time: float, elapsed_s: float) -> bool:
        """Whether this is the time. `elapsed_s` is counted from the policy's start."""
        if self.from_ is not None and unix_time < self.from_.timestamp():
            return False
        if self.until is not None and unix_time >= self.until.timestamp():
            return False
        after = self.after_s or 0.0
        if elapsed_s < after and self.after_s is not None:
            return False
        if self.for_s is not None and elapsed_s >= after + self.for_s:
            return False
        if self.days is None and self.hours is None:
            return True
        clock = wall_clock(unix_time, self.tz)
        minute, day = clock.hour * 60 + clock.minute, clock.weekday()
        if self.hours is None:
            return self._on(day)
        begun = (span.began(minute) for span in self.hours)
        return any(ago is not None and self._on(day - ago) for ago in begun)

    def over(self, unix_time: float) -> bool:
        """Whether it is past and will not come again."""
        return self.until is not None and unix_time >= self.until.timestamp()

    def describe(self) -> str:
        """`mon-fri 08:00-16:00 (Europe/Moscow)`, `from 60 s after the start for 5 min`."""
        parts = [", ".join(map(str, self.days))] if self.days else []
        parts += [", ".join(map(str, self.hours))] if self.hours else []
        parts += [f"({self.tz})"] if self.tz else []
        parts += [f"from {self.from_.isoformat()}"] if self.from_ else []
        parts += [f"until {self.until.isoformat()}"] if self.until else []
        if self.after_s is not None:
            parts.append(f"from {units.format_duration(self.after_s)} after the start")
        if self.for_s is not None:
            start = "" if self.after_s is not None else " from the start"
            parts.append(f"for {units.format_duration(self.for_s)}{start}")
        return " ".join(parts)

    def _on(self, day: int) -> bool:
        return self.days is None or any(day % 7 in span for span in self.days)


ActiveField = Annotated[tuple[Active, ...], OneOrMany()]


def _day(word: str, text: str) -> int:
    name = word.strip()
    for names in (DAYS, _LONG_DAYS):
        if name in names:
            return names.index(name)
    near = units.did_you_mean(name, [*DAYS, *_LONG_DAYS])
    if near:
        meant = near.split("`")[1]
        near = f": did you mean `{text.strip().lower().replace(name, meant)}`?"
    raise ValueError(f"`{text}` is no day of the week{near or ': write `mon-fri` or `sat`'}")


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


class InForce(Bound):
    """`active`: the time at which the question is asked."""

    __slots__ = ("_spans",)

    def __init__(self, spans: tuple[Active, ...]) -> None:
        self._spans = spans

    def test(self, facts: Facts) -> int:
        time, elapsed_s = facts.exchange.time, facts.exchange.elapsed_s
        return YES if any(span.holds(time, elapsed_s) for span in self._spans) else NO

    def why(self, facts: Facts) -> str:
        exchange, wanted = facts.exchange, [span.describe() for span in self._spans]
        clock = wall_clock(exchange.time, self._spans[0].tz)
        return (
            f"it is {clock:%a %Y-%m-%d %H:%M %Z}, {units.format_duration(exchange.elapsed_s)} "
            f"after the start, not {listed(wanted)}"
        )


@register
class ActiveCondition(Condition):
    """`active`."""

    key = "active"
    type = ActiveField | None
    place = 120
    cost = 60
    help = "when: days and hours, from and until, after and for"
    example = "{active: {days: mon-fri, hours: 08:00-16:00}}"

    def bind(self, value: Any, policy: Any, rule: Any) -> Bound:
        return InForce(value)

    def covers(self, mine: Any, its: Any) -> bool:
        return among(its, mine)

    def warnings(self, value: Any, spot: Spot, now: float | None) -> Iterator[Warned]:
        if now is not None and all(span.over(now) for span in value):
            yield (
                spot.node(),
                "this is over, so the rule never matches: remove it, or count from the policy's "
                "start as in `{after: 60 s, for: 5 min}`",
            )
