"""The `rate` of a rule with its `burst` and `as`: how many bytes per second, and who shares them.

The one rule: a list nests, all of its limits must agree; so each `per` stands in it once.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.fields import (
    RATE_TEXT,
    Bytes,
    BytesPerSecond,
    Short,
    Strict,
    parsed,
    word_of,
)

As = Literal["shaper", "policer"]
HOLDERS: tuple[As, ...] = ("shaper", "policer")
Per = Literal["response", "connection", "client", "host", "rule"]
PERS: tuple[Per, ...] = ("response", "connection", "client", "host", "rule")

_per = parsed(word_of(PERS, "`per`"), "who shares the rate", "client", enum=list(PERS))
PerField = Annotated[Per, _per[0], _per[2]]
_as = parsed(word_of(HOLDERS, "way to hold a rate"), "a way to hold the rate", "policer",
             enum=list(HOLDERS))  # fmt: skip
AsField = Annotated[As, _as[0], _as[2]]


def _burst(size: int) -> int:
    if size < 1:
        raise ValueError("a burst of no bytes lets nothing pass: give at least `1 KiB`")
    return size


BurstField = Annotated[Bytes, AfterValidator(_burst)]


class RateLimit(Strict):
    """A rate in bytes per second, and the scope of those who share it."""

    limit_bytes_per_s: BytesPerSecond = Field(alias="limit")
    per: PerField = "response"

    def describe(self) -> str:
        """`128 kbit/s per response`."""
        return f"{units.format_rate(self.limit_bytes_per_s)} per {self.per}"


RateField = Annotated[RateLimit, Short("limit", RATE_TEXT)]


def refuse_repeated(limits: tuple[RateLimit, ...]) -> tuple[RateLimit, ...]:
    """ValueError when two limits of one rule have the same scope."""
    seen: dict[str, RateLimit] = {}
    for limit in limits:
        if limit.per in seen:
            low = min(limit.limit_bytes_per_s, seen[limit.per].limit_bytes_per_s)
            raise ValueError(
                f"has two rates per {limit.per}: only the lower would count, "
                f"keep `{units.format_rate(low)}`"
            )
        seen[limit.per] = limit
    return limits
