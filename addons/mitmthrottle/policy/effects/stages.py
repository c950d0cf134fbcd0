"""The `stages` of a rule: effects that change as time goes on.

The one rule: in a stage its own keys stand over the rule's, key by key. A rule's own `block` does
not reach into a stage (it is what comes after the last one). A stage that blocks keeps the rule's
`delay`, `quota` and `upload`, one that says `pass` keeps nothing. After the last stage the rule's
own effects hold; with none, the response is left alone. A trace's stages begin again instead.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from mitmthrottle.policy.effects.block import BlockField, PassField
from mitmthrottle.policy.effects.delay import DelayField
from mitmthrottle.policy.effects.rate import AsField, BurstField, RateField, refuse_repeated
from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.fields import OneOrMany, Seconds, Strict


def _some_time(length_s: float) -> float:
    if length_s <= 0:
        raise ValueError("of zero is no stage: give a duration, or remove the stage")
    return length_s


class Stage(Strict):
    """What holds for `for_s` seconds (None, of the last stage only: from then on)."""

    for_s: Annotated[Seconds, AfterValidator(_some_time)] | None = Field(None, alias="for")
    rate: Annotated[tuple[RateField, ...], AfterValidator(refuse_repeated), OneOrMany()] = ()
    burst: BurstField | None = None
    as_: AsField = Field("shaper", alias="as")
    delay: DelayField | None = None
    block: BlockField | None = None
    pass_: PassField = Field(False, alias="pass")

    @property
    def effects(self) -> frozenset[str]:
        """The fields that this stage gives, without its length."""
        return frozenset(self.model_fields_set - {"for_s"})

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        given = self.effects
        if not given:
            raise ValueError(
                "has no effect: add `rate`, `delay` or `block`, or `pass: true` for full speed"
            )
        if self.pass_ and len(given) > 1:
            other = min(given - {"pass_"}).rstrip("_")
            raise ValueError(
                f"`pass` leaves the response alone, but `{other}` is given too: keep one of them"
            )
        if self.block is not None and given & {"rate", "burst", "as_"}:
            raise ValueError("`block` sends no body that a `rate` could slow: keep one of them")
        return self

    def describe(self) -> str:
        """`60 s: 5 Mbit/s per response`."""
        parts = [limit.describe() for limit in self.rate]
        parts += [f"burst {units.format_size(self.burst)}"] if self.burst is not None else []
        parts += ["policed"] if self.as_ == "policer" else []
        parts += [f"delay {self.delay.describe()}"] if self.delay is not None else []
        parts += [f"block {self.block}"] if self.block is not None else []
        parts += ["pass"] if self.pass_ else []
        length = "then" if self.for_s is None else units.format_duration(self.for_s)
        return f"{length}: {', '.join(parts)}"


def _only_last_open(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    for number, stage in enumerate(stages[:-1], 1):
        if stage.for_s is None:
            raise ValueError(
                f"has no `for` in stage {number} of {len(stages)}, which so never ends: "
                "add `for: 60 s`, only the last stage may go without"
            )
    if len(stages) == 1 and stages[0].for_s is None:
        raise ValueError(
            "has a single stage without `for`, which always holds: give its effects without "
            "`stages`, or add `for: 60 s`"
        )
    return stages


StagesField = Annotated[tuple[Stage, ...], AfterValidator(_only_last_open), OneOrMany()]


class Timeline:
    """Which stage it is: built once from the lengths of stages, then asked by time."""

    __slots__ = ("_count", "_ends", "_repeat")

    def __init__(self, stages: Iterable[Stage], repeat: bool) -> None:
        lengths = [math.inf if stage.for_s is None else stage.for_s for stage in stages]
        self._ends = list(accumulate(lengths))
        self._count = len(lengths)
        self._repeat = repeat

    def at(self, elapsed_s: float) -> tuple[int | None, float]:
        """(index of the stage, or None after the last; until when), both in elapsed seconds."""
        elapsed_s = elapsed_s if elapsed_s > 0 else 0.0  # and for what is no number
        if not self._count:
            return None, math.inf
        whole = self._ends[-1]
        base = 0.0
        if self._repeat and whole <= elapsed_s < math.inf:
            base = whole * math.floor(elapsed_s / whole)
        index = bisect_right(self._ends, elapsed_s - base)
        if index < self._count and base + self._ends[index] <= elapsed_s:
            index += 1  # rounding put the end of this one a hair before now
        if index < self._count:
            return index, base + self._ends[index]
        if self._repeat and elapsed_s < math.inf:
            until = base + whole + self._ends[0]
            return 0, until if until > elapsed_s else math.inf
        return (None, math.inf) if whole < math.inf else (self._count - 1, math.inf)
