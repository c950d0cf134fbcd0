"""The `upload` of a rule: what happens to the request's body.

The one rule: the same words as for a response, and the same meaning in the other direction.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from mitmthrottle.policy.effects.delay import DelayField
from mitmthrottle.policy.effects.rate import BurstField, RateField, refuse_repeated
from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.fields import OneOrMany, Strict


class Upload(Strict):
    """Rate, burst (bytes) and delay before the first byte of a request's body."""

    rate: Annotated[tuple[RateField, ...], AfterValidator(refuse_repeated), OneOrMany()] = ()
    burst: BurstField | None = None
    delay: DelayField | None = None

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.burst is not None and not self.rate:
            raise ValueError("`burst` goes with a `rate`: add `rate: 128 kbit/s`, or leave it out")
        if not self.rate and self.delay is None:
            raise ValueError("has no effect: add `rate` or `delay`, or leave it out")
        return self

    def describe(self) -> str:
        """`128 kbit/s per response, delay 300 ms`."""
        parts = [limit.describe() for limit in self.rate]
        if self.burst is not None:
            parts.append(f"burst {units.format_size(self.burst)}")
        if self.delay is not None:
            parts.append(f"delay {self.delay.describe()}")
        return ", ".join(parts)
