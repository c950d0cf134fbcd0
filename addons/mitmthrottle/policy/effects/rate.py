"""The `rate` of a rule with its `burst` and `as`: how many bytes per second, and who shares them.

The one rule: a list nests, all of its limits must agree; so each `per` stands in it once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from mitmthrottle.policy.effects import BodyPart, Effect, Home, Key, register
from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.fields import (
    RATE_TEXT,
    Bytes,
    BytesPerSecond,
    OneOrMany,
    Short,
    Strict,
    parsed,
    word_of,
)
from mitmthrottle.policy.language.yamltree import Spot, Warned

LOWEST_LIVELY_BYTES_PER_S = 125.0  # 1 kbit/s: 30 s, a common time-out, bring less than 4 kB
LONGEST_BURST_S = 10.0
SHORTEST_BURST_S = 0.005  # no pacing comes back as often as that

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


RatesField = Annotated[tuple[RateField, ...], AfterValidator(refuse_repeated), OneOrMany()]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a rule says of a body's rate.

    `owner` tells apart whose budgets they are: those of each rule, up from down, and of each stage
    where every response has stages of its own: the newest is not to set everybody's rate.
    """

    owner: Hashable = None
    rate: tuple[RateLimit, ...] = ()
    burst_bytes: int | None = None
    policing: bool = False

    @property
    def lowest_bytes_per_s(self) -> float | None:
        """The lowest of the rates, whoever shares it; None without one."""
        return min((limit.limit_bytes_per_s for limit in self.rate), default=None)


NO_LIMITS = Limits()


def limits_of(part: Any, then: Any, rule: Any, *, up: bool) -> Limits:
    """Of a part that has a rate; `up`: of what a client sends."""
    owner: Hashable = (rule.name, "upload") if up else rule.name
    if rule.then.from_ == "response":
        stage = tuple((limit.limit_bytes_per_s, limit.per) for limit in part.rate)
        owner = (rule.name, "upload" if up else "down", stage, part.burst, then.as_)
    return Limits(owner, part.rate, part.burst, then.as_ == "policer")


_EVERYWHERE: tuple[Home, ...] = ("then", "stage", "upload")


@register
class RateEffect(Effect):
    """`rate`, with its `burst` and `as`."""

    keys: ClassVar = {
        "rate": Key(
            RatesField,
            (),
            "`128 kbit/s`, `{limit: 2 Mbit/s, per: client}`, or a list: all must agree",
            homes=_EVERYWHERE,
        ),
        "burst": Key(
            BurstField | None,
            None,
            "what may pass at once after idling (default: 100 ms of the rate; shared: 25 ms)",
            homes=_EVERYWHERE,
        ),
        "as_": Key(
            AsField,
            "shaper",
            "`shaper` (smooth) or `policer` (bursts and silence)",
            alias="as",
            homes=("then", "stage"),
        ),
    }
    place = 20
    example = "{rate: {limit: 2 Mbit/s, per: client}, burst: 64 KiB, as: policer}"
    to_body = "slow"
    missing: ClassVar = {"limit": "limit: 128 kbit/s"}
    slips: ClassVar = {
        "per": "it goes with a rate, as in `rate: {limit: 128 kbit/s, per: client}`",
        "limit": "did you mean `rate`?",
    }

    def given(self, part: Any) -> bool:
        return bool(part.rate) or part.burst is not None or self._policed(part)

    def describe(self, part: Any) -> Iterator[str]:
        for limit in part.rate:
            yield limit.describe()
        if part.burst is not None:
            yield f"burst {units.format_size(part.burst)}"
        if self._policed(part):
            yield "policed"

    def explain(self, part: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if part.rate:
            found["rate"] = [
                {"rate_bytes_per_s": limit.limit_bytes_per_s, "per": limit.per}
                for limit in part.rate
            ]
        if part.burst is not None:
            found["burst_bytes"] = part.burst
        if part.rate and hasattr(part, "as_"):
            found["as"] = part.as_
        return found

    def gives_rate(self, part: Any) -> bool:
        return bool(part.rate)

    def conflicts(self, part: Any) -> Iterator[str]:
        if part.leaves_open or any(effect.gives_rate(part) for effect in part.table):
            return
        if part.burst is not None:
            yield "`burst` goes with a `rate`: add `rate: 128 kbit/s`, or leave it out"
        if "as_" in part.model_fields_set:
            yield (
                f"`as: {part.as_}` says how a `rate` is held: add `rate: 128 kbit/s`, "
                "or leave it out"
            )

    def warnings(self, part: Any, spot: Spot, rule: Any) -> Iterator[Warned]:
        yield from self._too_slow(part, spot)
        if part.rate and part.burst is not None and spot.has("burst"):
            yield from self._burst_doubts(part, spot)

    def plan(self, then: Any, body: BodyPart, rule: Any) -> dict[str, Any]:
        if body == "upload":
            return {}
        # of a relayed connection nobody can tell which way is the upload: both are slowed
        up = body in ("relay-up", "websocket-up")
        return {"limits": limits_of(then, then, rule, up=up)}

    @staticmethod
    def _policed(part: Any) -> bool:
        return getattr(part, "as_", "shaper") == "policer"

    @staticmethod
    def _too_slow(part: Any, spot: Spot) -> Iterator[Warned]:
        limits: tuple[RateLimit, ...] = part.rate if spot.has("rate") else ()
        # behind a quota a block spares what has begun, and this freezes it
        remedy = "" if getattr(part, "quota", None) is not None else ", or `block: timeout`"
        for index, limit in enumerate(limits):
            if limit.limit_bytes_per_s < LOWEST_LIVELY_BYTES_PER_S:
                yield (
                    spot.node("rate", index),
                    f"{units.format_rate(limit.limit_bytes_per_s)} is too slow for a connection "
                    f"to stay alive, clients time out: use `1 kbit/s` or more{remedy}",
                )

    def _burst_doubts(self, part: Any, spot: Spot) -> Iterator[Warned]:
        lowest = min(limit.limit_bytes_per_s for limit in part.rate)
        highest = max(limit.limit_bytes_per_s for limit in part.rate)
        if part.burst > LONGEST_BURST_S * lowest:
            yield (
                spot.node("burst"),
                f"{units.format_size(part.burst)} is {_seconds(part.burst / lowest)} of "
                f"`{units.format_rate(lowest)}`, and passes at full speed after each pause: "
                f"`{units.format_size(round(lowest))}` is one second of it",
            )
        elif part.burst < SHORTEST_BURST_S * highest:
            half, tenth = (
                units.format_size(round(highest / 2)),
                units.format_size(round(highest / 10)),
            )
            yield (
                spot.node("burst"),
                f"{units.format_size(part.burst)} is {_seconds(part.burst / highest)} of "
                f"`{units.format_rate(highest)}`, too little to reach that rate: "
                + (
                    f"`{half}` is a policer's default, 500 ms of it"
                    if self._policed(part)
                    else f"`{tenth}` is the default, 100 ms of it"
                ),
            )


def _seconds(length_s: float) -> str:
    return units.format_duration(float(f"{length_s:.2g}"))
