"""The `requests` of a rule: how many matching responses may start in a period.

The one rule: it counts starts, not bytes; who comes too early waits for a turn and is not
refused. Several limits nest, as rates do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, PlainValidator

from mitmthrottle.policy.effects import BodyPart, Effect, Key, register
from mitmthrottle.policy.effects.rate import Per, PerField
from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.fields import (
    OneOrMany,
    Short,
    Strict,
    is_number,
    name_of_type,
    parsed,
)

MOST_STARTS = 1_000_000
_TEXT = re.compile(r"\s*([0-9]+)\s*(?:/|per\s)\s*([0-9][0-9.]*)?\s*([a-zA-Zµ]+)\s*")
_PERIODS = {"s": "s", "sec": "s", "second": "s", "min": "min", "minute": "min",
            "h": "h", "hour": "h", "d": "d", "day": "d", "ms": "ms"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StartRate:
    """`count` starts in each `period_s` seconds."""

    count: int
    period_s: float

    @classmethod
    def parse(cls, text: str) -> StartRate:
        """`10 / min`, `5/s`, `100 / hour`, `3 / 10 s`; ValueError with a remedy."""
        found = _TEXT.fullmatch(text)
        if found is None:
            number = re.fullmatch(r"\s*([0-9]+)\s*", text)
            remedy = f"did you mean `{number[1]} / min`?" if number else "write `10 / min`"
            raise ValueError(f"`{text}`: a number of starts needs its period: {remedy}")
        count, times, word = found.groups()
        word = word.lower()
        unit = _PERIODS.get(word) or _PERIODS.get(word.removesuffix("s"))
        if unit is None:
            near = "`min`" if word == "m" else "`s`, `min`, `hour` or `day`"
            raise ValueError(f"`{text}`: `{word}` is no period: write {near}")
        period_s = units.parse_duration(f"{times or 1} {unit}")
        if not 1 <= int(count[:9]) <= MOST_STARTS or period_s <= 0:
            raise ValueError(
                f"`{text}`: give from 1 to {MOST_STARTS} starts in some time; "
                "to let nothing through, use `block`"
            )
        return cls(int(count[:9]), period_s)

    def __str__(self) -> str:
        period = units.exact_duration(self.period_s)
        return f"{self.count} / {period.removeprefix('1 ')}"


def _start_rate(value: object) -> StartRate:
    if isinstance(value, StartRate):
        return value
    if isinstance(value, str) or is_number(value):
        return StartRate.parse(str(value))
    raise ValueError(f"must be a number of starts in a period, not {name_of_type(value)}")


_starts = parsed(StartRate.parse, "a number of starts in a period", "10 / min")
STARTS_TEXT: dict[str, Any] = dict(_starts[2].json_schema or {})


class RequestLimit(Strict):
    """How many may start, and the scope of those who share the count."""

    limit: Annotated[StartRate, PlainValidator(_start_rate), _starts[1], _starts[2]]
    per: PerField = "rule"

    @property
    def count(self) -> int:
        """Starts in each period."""
        return self.limit.count

    @property
    def period_s(self) -> float:
        """Length of the period in seconds."""
        return self.limit.period_s

    def describe(self) -> str:
        """`10 / min per client`."""
        return f"{self.limit} per {self.per}"


def _refuse_repeated(limits: tuple[RequestLimit, ...]) -> tuple[RequestLimit, ...]:
    seen: set[Per] = set()
    for limit in limits:
        if limit.per == "response":
            raise ValueError(
                "counts how many responses start, so not `per: response`: "
                "write `client`, `host`, `connection` or `rule`"
            )
        if limit.per in seen:
            raise ValueError(f"has two limits per {limit.per}: keep one of them")
        seen.add(limit.per)
    return limits


RequestsField = Annotated[
    tuple[Annotated[RequestLimit, Short("limit", STARTS_TEXT)], ...],
    AfterValidator(_refuse_repeated),
    OneOrMany(),
]


@register
class RequestsEffect(Effect):
    """`requests`."""

    keys: ClassVar = {
        "requests": Key(
            RequestsField, (), "how many responses may start: `10 / min`; the others wait"
        )
    }
    place = 70
    example = "{requests: 10 / min}"
    missing: ClassVar = {"limit": "limit: 10 / min"}

    def describe(self, part: Any) -> Iterator[str]:
        for limit in part.requests:
            yield f"{limit.describe()} may start"

    def explain(self, part: Any) -> dict[str, Any]:
        return {
            "requests": [
                {"count": limit.count, "period_s": limit.period_s, "per": limit.per}
                for limit in part.requests
            ]
        }

    def conflicts(self, part: Any) -> Iterator[str]:
        if part.requests and part.block is not None:
            yield (
                "`requests` would make a response wait for its turn only to be blocked: "
                "keep one of the two"
            )

    def plan(self, then: Any, body: BodyPart, rule: Any) -> dict[str, Any]:
        return {"starts": then.requests} if body == "response" else {}
