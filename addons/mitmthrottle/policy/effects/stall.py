"""The `stall` of a rule: the body stops for a while, once or again and again.

The one rule: it counts bytes of the body as they leave; the time that it takes is added to
whatever else slows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, model_validator

from mitmthrottle.pacing import Stalls
from mitmthrottle.policy.effects import DOWN, BodyPart, Effect, Key, register
from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.fields import Bytes, Seconds, Strict, name_of_type
from mitmthrottle.policy.language.yamltree import Spot, Warned


def _some_bytes(size: int) -> int:
    if size < 1:
        raise ValueError("of no bytes would stall for ever: give for example `1 MiB`")
    return size


def _some_time(length_s: float) -> float:
    if length_s <= 0:
        raise ValueError("of zero stalls nothing: give for example `10 s`")
    return length_s


class Stall(Strict):
    """Nothing leaves for `for_s` seconds after `after_bytes`, and after each further
    `every_bytes` (None: only once)."""

    after_bytes: Bytes = Field(alias="after")
    for_s: Annotated[Seconds, AfterValidator(_some_time)] = Field(alias="for")
    every_bytes: Annotated[Bytes, AfterValidator(_some_bytes)] | None = Field(None, alias="every")

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, value: Any) -> Any:
        if isinstance(value, dict | cls):
            return value
        raise ValueError(
            f"must be a mapping as `{{after: 256 KiB, for: 10 s}}`, not {name_of_type(value)}"
        )

    def describe(self) -> str:
        """`10 s after 256 KiB and every 1 MiB`."""
        text = f"{units.format_duration(self.for_s)} after {units.format_size(self.after_bytes)}"
        if self.every_bytes is not None:
            text += f" and every {units.format_size(self.every_bytes)}"
        return text


@register
class StallEffect(Effect):
    """`stall`."""

    keys: ClassVar = {"stall": Key(Stall | None, None, "the body stops for a while")}
    place = 40
    example = "{stall: {after: 256 KiB, for: 10 s}}"
    to_body = "hold up"
    missing: ClassVar = {"after": "after: 256 KiB", "for": "for: 10 s"}

    def describe(self, part: Any) -> Iterator[str]:
        yield f"stall {part.stall.describe()}"

    def explain(self, part: Any) -> dict[str, Any]:
        stall: Stall = part.stall
        return {
            "stall": {
                "after_bytes": stall.after_bytes,
                "for_s": stall.for_s,
                "every_bytes": stall.every_bytes,
            }
        }

    def warnings(self, part: Any, spot: Spot, rule: Any) -> Iterator[Warned]:
        if part.cut and part.cut.after_bytes <= part.stall.after_bytes:
            yield (
                spot.node("stall", key=True),
                f"the body is cut after {units.format_size(part.cut.after_bytes)}, before it "
                "could stall: stall earlier, or cut later",
            )

    def plan(self, then: Any, body: BodyPart, rule: Any) -> dict[str, Any]:
        if body not in DOWN:
            return {}
        stall: Stall = then.stall
        return {"silences": (Stalls(stall.after_bytes, stall.for_s, stall.every_bytes),)}
