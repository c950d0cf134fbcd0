"""The `quota` of a rule: so many bytes at full speed, then the rule's other effects.

The one rule: what was used is counted by whoever sends; this only says how much is free and
which period a moment is in. Calendar periods begin when the clock of `tz` says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from mitmthrottle.policy.effects import BodyPart, Effect, Key, register
from mitmthrottle.policy.effects.rate import PerField
from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.fields import (
    DURATION_TEXT,
    Bytes,
    Strict,
    ZoneField,
    is_number,
    name_of_type,
)
from mitmthrottle.policy.language.zones import wall_clock

Calendar = Literal["hour", "day", "week", "month"]
CALENDAR: tuple[Calendar, ...] = ("hour", "day", "week", "month")


def _every(value: object) -> str | float:
    if isinstance(value, str) and value.strip().lower() in CALENDAR:
        return value.strip().lower()
    if isinstance(value, str) and any(char.isdigit() for char in value):
        length_s = units.parse_duration(value)
    elif is_number(value):
        length_s = _from_number(value)
    else:
        near = units.did_you_mean(value, list(CALENDAR)) if isinstance(value, str) else ""
        raise ValueError(
            "must be `hour`, `day`, `week`, `month` or a duration as `30 min`, "
            f"not {name_of_type(value)}{near}"
        )
    if length_s <= 0:
        raise ValueError("of zero is no period: give for example `1 h`, or leave it out")
    return length_s


def _from_number(value: Any) -> float:
    raise ValueError(f"`{value}`: a duration needs a unit: did you mean `{value} min` or `day`?")


def _every_text(every: str | float) -> str:
    return every if isinstance(every, str) else units.exact_duration(every)


EveryField = Annotated[
    str | float,
    PlainValidator(_every),
    PlainSerializer(_every_text),
    WithJsonSchema({"anyOf": [{"enum": list(CALENDAR)}, DURATION_TEXT]}),
]


class Quota(Strict):
    """`free_bytes` at full speed in each period, shared as `per` says.

    `every`: `hour`, `day`, `week` (from Monday), `month`, or seconds from the policy's start;
    None: once.
    """

    free_bytes: Bytes = Field(alias="free")
    per: PerField = "client"
    every: EveryField | None = None
    tz: ZoneField | None = None

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.free_bytes < 1:
            raise ValueError("of no bytes is used up at once: leave `quota` out")
        if self.tz is not None and not isinstance(self.every, str):
            raise ValueError(
                "`tz` says when a calendar period begins: add `every: day`, or leave it out"
            )
        return self

    def window(self, unix_time: float, start: float) -> int:
        """A number for the period that a moment is in: equal numbers, same period.

        `start` is when the policy started; both in Unix seconds. Never falls as time goes on: an
        hour that a zone has twice, in autumn, is two.
        """
        if self.every is None:
            return 0
        if not isinstance(self.every, str):
            periods = (unix_time - start) / self.every
            return math.floor(periods) if math.isfinite(periods) else 0
        clock = wall_clock(unix_time, self.tz)
        if self.every == "month":
            return clock.year * 12 + clock.month - 1
        day = clock.toordinal() - 1  # day 0, the first of the year 1, was a Monday
        if self.every == "week":
            return day // 7
        if self.every == "day":
            return day
        # Hours by the clock begin where its minutes are 0, which is not so by UTC in all zones.
        offset_s = (clock.utcoffset() or timedelta()).total_seconds()
        return math.floor((clock.timestamp() + offset_s % 3600) / 3600)

    def describe(self) -> str:
        """`500 MiB free per client every day`."""
        text = f"{units.format_size(self.free_bytes)} free per {self.per}"
        return text if self.every is None else f"{text} every {_every_text(self.every)}"


@register
class QuotaEffect(Effect):
    """`quota`."""

    keys: ClassVar = {
        "quota": Key(Quota | None, None, "so much at full speed, then the other effects")
    }
    place = 80
    words_place = 130
    example = "{quota: {free: 500 MiB, every: day}, rate: 128 kbit/s}"
    acts = False
    beside_block = True
    missing: ClassVar = {"free": "free: 500 MiB"}

    def describe(self, part: Any) -> Iterator[str]:
        yield f"after {part.quota.describe()}"

    def explain(self, part: Any) -> dict[str, Any]:
        quota: Quota = part.quota
        return {"quota": {"free_bytes": quota.free_bytes, "per": quota.per, "every": quota.every}}

    def conflicts(self, part: Any) -> Iterator[str]:
        if part.given() == [self]:
            yield (
                "`quota` says when the rule's other effects begin, and there are none: "
                "add `rate: 128 kbit/s`"
            )

    def plan(self, then: Any, body: BodyPart, rule: Any) -> dict[str, Any]:
        return {"quota": then.quota}
