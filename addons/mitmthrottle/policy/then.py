"""The `then` of a rule: its effects, as values.

The one rule: a rule has at least one effect, and `pass` goes with nothing else. Each effect has
a file of its own (limits.py, delay.py, …) and one field here; how to pace is not told here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema, model_validator

from mitmthrottle.policy import units
from mitmthrottle.policy.delay import DelayField
from mitmthrottle.policy.fields import Bytes, OneOrMany, Strict, name_of_type
from mitmthrottle.policy.limits import RateField, refuse_repeated

# Documented effects that this version does not have yet: refused by name.
THEN_LATER = frozenset(
    {"as", "stall", "cut", "requests", "quota", "stages", "trace", "upload", "like", "from"}
)
Block = int | Literal["reset", "timeout"]


def _block(value: object) -> Block:
    if value == "reset" or value == "timeout":
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 9:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599:
        return value
    near = units.did_you_mean(value, ["reset", "timeout"]) if isinstance(value, str) else ""
    raise ValueError(
        f"must be a status from 400 to 599, `reset` or `timeout`, not {name_of_type(value)}{near}"
    )


def _pass(value: object) -> bool:
    if value is not True:
        raise ValueError(f"can only be `true`, not {name_of_type(value)}: or leave it out")
    return True


def _burst(size: int) -> int:
    if size < 1:
        raise ValueError("a burst of no bytes lets nothing pass: give at least `1 KiB`")
    return size


BlockField = Annotated[
    Block,
    PlainValidator(_block),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 400, "maximum": 599},
                {"enum": ["reset", "timeout"]},
            ]
        }
    ),
]
BurstField = Annotated[Bytes, AfterValidator(_burst)]
PassField = Annotated[bool, PlainValidator(_pass), WithJsonSchema({"const": True})]


class Then(Strict):
    """What happens to a response that a rule matched. `burst` is in bytes."""

    rate: Annotated[tuple[RateField, ...], AfterValidator(refuse_repeated), OneOrMany()] = ()
    burst: BurstField | None = None
    delay: DelayField | None = None
    block: BlockField | None = None
    pass_: PassField = Field(False, alias="pass")

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, value: Any) -> Any:
        if value == "pass":
            raise ValueError("must be a mapping: did you mean `{pass: true}`?")
        return value

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        effects = [
            name
            for name, given in (
                ("rate", self.rate),
                ("delay", self.delay),
                ("block", self.block),
            )
            if given
        ]
        if self.pass_:
            others = effects + (["burst"] if self.burst else [])
            if others:
                raise ValueError(
                    f"`pass` leaves the response alone, but `{others[0]}` is given too: "
                    "keep one of them"
                )
            return self
        if self.burst is not None and not self.rate:
            raise ValueError("`burst` goes with a `rate`: add `rate: 128 kbit/s`, or leave it out")
        if not effects:
            raise ValueError("has no effect: add `rate`, `delay`, `block`, or `pass: true`")
        if self.block is not None and self.rate:
            raise ValueError("`block` sends no body that a `rate` could slow: keep one of them")
        return self

    def describe(self) -> str:
        """`128 kbit/s per response, delay 300 ms`."""
        if self.pass_:
            return "pass"
        parts = [limit.describe() for limit in self.rate]
        if self.burst is not None:
            parts.append(f"burst {units.format_size(self.burst)}")
        if self.delay is not None:
            parts.append(f"delay {self.delay.describe()}")
        if self.block is not None:
            parts.append(f"block {self.block}")
        return ", ".join(parts)
