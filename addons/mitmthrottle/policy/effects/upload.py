"""The `upload` of a rule: what happens to the request's body.

The one rule: the same words as for a response, and the same meaning in the other direction. Which
effects it may have, they say themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Self

from pydantic import model_validator

from mitmthrottle.policy.effects import (
    BodyPart,
    Effect,
    EffectSet,
    Key,
    mapping_of,
    register,
)
from mitmthrottle.policy.effects.rate import Limits, limits_of
from mitmthrottle.policy.language.yamltree import Spot, Warned


class Upload(mapping_of("upload")):  # type: ignore[misc]  # made of the table of effects
    """Rate, burst (bytes) and delay before the first byte of a request's body."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        for reason in self.conflicts():
            raise ValueError(reason)
        if not self.given():
            raise ValueError("has no effect: add `rate` or `delay`, or leave it out")
        return self

    def describe(self) -> str:
        """`128 kbit/s per response, delay 300 ms`."""
        return ", ".join(self.described())


@register
class UploadEffect(Effect):
    """`upload`."""

    keys: ClassVar = {"upload": Key(Upload | None, None, "the same for the request's body")}
    place = 100
    example = "{upload: {rate: 1 Mbit/s, delay: 300 ms}}"
    beside_block = True
    paces_uploads = True

    def describe(self, part: Any) -> Iterator[str]:
        yield f"upload {part.upload.describe()}"

    def explain(self, part: Any) -> dict[str, Any]:
        return {"upload": part.upload.explained()}

    def nested(self, part: Any) -> Iterator[tuple[tuple[str | int, ...], EffectSet]]:
        yield ("upload",), part.upload

    def warnings(self, part: Any, spot: Spot, rule: Any) -> Iterator[Warned]:
        if rule.when.status is None:
            return
        others = any(effect.acts for effect in part.given() if effect is not self)
        yield (
            spot.node("like" if part.like else "upload", key=True),
            "an upload is sent before there is a `status`, so this one is never paced: "
            + ("put `upload` in a rule without `status`" if others else "leave out `status`"),
        )

    def plan(self, then: Any, body: BodyPart, rule: Any) -> dict[str, Any]:
        if body == "upload":
            limits = Limits(
                (rule.name, "upload"), then.upload.rate, then.upload.burst, then.as_ == "policer"
            )
            return {"limits": limits, "delay": then.upload.delay}
        if body in ("relay-up", "websocket-up"):
            return {"limits": limits_of(then.upload, then, rule, up=True)}
        return {}
