"""The `stall` of a rule: the body stops for a while, once or again and again.

The one rule: it counts bytes of the body as they leave; the time that it takes is added to
whatever else slows them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.fields import Bytes, Seconds, Strict, name_of_type


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
