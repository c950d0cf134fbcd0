"""The `delay` of a rule: how long the first byte of a response waits.

The one rule: `sample` draws a time in seconds, never negative, from a generator it is given.

Fixed: `mean` alone. With `jitter`:
- `normal` (default): mean and standard deviation; what falls below zero is zero.
- `uniform`: anything from mean - jitter to mean + jitter, below zero is zero.
- `lognormal`, `pareto`: parametrised so that mean and standard deviation are as asked.
Percentiles: straight lines between the points given; from half the smallest value (p0, unless
given) up, and never above the largest.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from mitmthrottle.policy.effects import BodyPart, Effect, Key, register
from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.fields import (
    DURATION_TEXT,
    FROM_FILE,
    Seconds,
    Short,
    Strict,
    is_number,
    name_of_type,
    parsed,
    word_of,
)

Distribution = Literal["normal", "uniform", "lognormal", "pareto"]
DISTRIBUTIONS: tuple[Distribution, ...] = ("normal", "uniform", "lognormal", "pareto")

_distribution = parsed(
    word_of(DISTRIBUTIONS, "distribution"), "a distribution", "normal", enum=list(DISTRIBUTIONS)
)


def _percentiles(value: object, info: ValidationInfo) -> tuple[tuple[float, float], ...]:
    """((0.5, seconds), (0.95, seconds), …), ascending in both."""
    if isinstance(value, tuple):
        return value
    if not isinstance(value, dict) or not value:
        raise ValueError(
            "must be a mapping of percentiles, as in `{p50: 80 ms, p95: 400 ms}`, "
            f"not {name_of_type(value)}"
        )
    from_file = bool(info.context and info.context.get(FROM_FILE))
    points = sorted((_fraction(key), _time(key, item, from_file)) for key, item in value.items())
    for (below, low), (above, high) in itertools.pairwise(points):
        if low > high:
            raise ValueError(
                f"`p{below * 100:g}` is longer than `p{above * 100:g}`: "
                "a higher percentile cannot be a shorter delay"
            )
    if points[-1][1] == 0:
        raise ValueError("all percentiles are zero: leave `delay` out")
    return tuple(points)


def _percentile_texts(points: tuple[tuple[float, float], ...] | None) -> object:
    return points and {
        f"p{units.exact_percent(share)}": units.exact_duration(time) for share, time in points
    }


def _fraction(key: object) -> float:
    text = str(key)
    try:
        percent = float(text.removeprefix("p"))
    except ValueError:
        percent = -1.0
    if not text.startswith("p") or not 0 <= percent <= 100:
        raise ValueError(f"`{text}` is no percentile: write `p50`, `p95`, `p99.9`")
    return percent / 100


def _time(key: object, value: object, from_file: bool) -> float:
    if is_number(value) and not from_file:
        value = f"{value:.20f} s"
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ValueError(f"`{key}` must be a duration, as in `80 ms`, not {name_of_type(value)}")
    return units.parse_duration(str(value))


class Delay(Strict):
    """Times in seconds; either `mean_s` with what belongs to it, or `percentiles`."""

    mean_s: Seconds | None = Field(None, alias="mean")
    jitter_s: Seconds = Field(0.0, alias="jitter")
    distribution: Annotated[Distribution, _distribution[0], _distribution[2]] = "normal"
    percentiles: (
        Annotated[
            tuple[tuple[float, float], ...],
            PlainValidator(_percentiles),
            PlainSerializer(_percentile_texts),
            WithJsonSchema(
                {
                    "type": "object",
                    "patternProperties": {r"^p[0-9]+(\.[0-9]+)?$": DURATION_TEXT},
                    "additionalProperties": False,
                    "minProperties": 1,
                }
            ),
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        given = self.model_fields_set
        if self.percentiles is not None:
            if given - {"percentiles"}:
                raise ValueError(
                    "has `percentiles` and a mean: keep either `percentiles` or "
                    "`mean`, `jitter` and `distribution`"
                )
            return self
        if self.mean_s is None:
            raise ValueError(
                "says no time: write `300 ms`, `{mean: 300 ms, jitter: 80 ms}` or "
                "`{percentiles: {p50: 80 ms, p95: 400 ms}}`"
            )
        if self.mean_s == 0:
            raise ValueError("of zero delays nothing: leave `delay` out")
        if "distribution" in given and not self.jitter_s:
            raise ValueError(
                f"has a `distribution` but no jitter: add `jitter: "
                f"{units.format_duration(self.mean_s / 4)}`, or leave `distribution` out"
            )
        return self

    def sample(self, unit: random.Random) -> float:
        """One delay in seconds, >= 0, drawn from the generator given."""
        if self.percentiles is not None:
            return _inverse(self.percentiles, unit.random())
        mean = self.mean_s or 0.0
        if not self.jitter_s:
            return mean
        return max(0.0, _DRAW[self.distribution](mean, self.jitter_s, unit))

    def describe(self) -> str:
        """`300 ms`, `300 ms ± 80 ms (normal)`, `p50 80 ms, p95 400 ms`."""
        if self.percentiles is not None:
            return ", ".join(
                f"p{share * 100:g} {units.format_duration(time)}"
                for share, time in self.percentiles
            )
        text = units.format_duration(self.mean_s or 0.0)
        if not self.jitter_s:
            return text
        return f"{text} ± {units.format_duration(self.jitter_s)} ({self.distribution})"


def _normal(mean: float, jitter: float, unit: random.Random) -> float:
    return unit.gauss(mean, jitter)


def _uniform(mean: float, jitter: float, unit: random.Random) -> float:
    return unit.uniform(mean - jitter, mean + jitter)


def _lognormal(mean: float, jitter: float, unit: random.Random) -> float:
    variance = math.log1p((jitter / mean) ** 2)
    return unit.lognormvariate(math.log(mean) - variance / 2, math.sqrt(variance))


def _pareto(mean: float, jitter: float, unit: random.Random) -> float:
    # variance / mean^2 = 1 / (a (a - 2)) for shape a; the scale then follows from the mean
    shape = 1 + math.sqrt(1 + (mean / jitter) ** 2)
    return mean * (shape - 1) / shape * unit.paretovariate(shape)


_DRAW: dict[Distribution, Callable[[float, float, random.Random], float]] = {
    "normal": _normal,
    "uniform": _uniform,
    "lognormal": _lognormal,
    "pareto": _pareto,
}


def _inverse(points: tuple[tuple[float, float], ...], share: float) -> float:
    below, low = 0.0, points[0][1] / 2
    for above, high in points:
        if share <= above:
            if above == below:
                return high
            return low + (high - low) * (share - below) / (above - below)
        below, low = above, high
    return low


DelayField = Annotated[Delay, Short("mean", DURATION_TEXT)]


@register
class DelayEffect(Effect):
    """`delay`."""

    keys: ClassVar = {
        "delay": Key(
            DelayField | None, None, "before the first byte", homes=("then", "stage", "upload")
        )
    }
    place = 30
    example = "{delay: {mean: 300 ms, jitter: 80 ms}}"
    beside_block = True

    def describe(self, part: Any) -> Iterator[str]:
        yield f"delay {part.delay.describe()}"

    def explain(self, part: Any) -> dict[str, Any]:
        delay: Delay = part.delay
        if delay.percentiles is not None:
            points = ({"share": share, "delay_s": time} for share, time in delay.percentiles)
            return {"delay": {"percentiles": list(points)}}
        return {
            "delay": {
                "mean_s": delay.mean_s,
                "jitter_s": delay.jitter_s,
                "distribution": delay.distribution if delay.jitter_s else None,
            }
        }

    def plan(self, then: Any, body: BodyPart, rule: Any) -> dict[str, Any]:
        # the answer to a WebSocket's handshake has had its delay already
        return {"delay": then.delay} if body in ("response", "relay-down") else {}
