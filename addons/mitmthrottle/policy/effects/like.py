"""The `like` of a rule: the rates and the delay of a preset, a link of a known tool.

The one rule: a preset says what the rule itself leaves open. All that a client fetches shares the
link's rate, and its round trip is waited once, before the first byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import ValidationInfo

from mitmthrottle.policy.effects import BodyPart, Effect, Key, register
from mitmthrottle.policy.effects.delay import Delay
from mitmthrottle.policy.effects.rate import RateLimit
from mitmthrottle.policy.effects.upload import Upload
from mitmthrottle.policy.language.fields import parsed
from mitmthrottle.policy.library.presets import preset_name, presets

_preset = parsed(preset_name, "a preset", "wpt/3gslow")


@register
class LikeEffect(Effect):
    """`like`."""

    keys: ClassVar = {
        "like": Key(
            Annotated[str, _preset[0], _preset[2]] | None,
            None,
            "a preset's rate, upload and delay: `wpt/3gslow`",
        )
    }
    place = 10
    example = "{like: wpt/3gslow}"
    to_body = "slow"
    in_stages = "never"

    def describe(self, part: Any) -> Iterator[str]:
        yield f"like {part.like}"

    def explain(self, part: Any) -> dict[str, Any]:
        return {"like": part.like}

    def gives_rate(self, part: Any) -> bool:
        return part.like is not None

    def fill(self, part: Any, info: ValidationInfo) -> dict[str, Any]:
        if part.like is None:
            return {}
        preset = presets()[part.like]
        up = _link(preset.up_bytes_per_s)
        filled: dict[str, Any] = {}
        if not part.rate:
            filled["rate"] = _link(preset.down_bytes_per_s)
        if part.delay is None:
            filled["delay"] = Delay(mean_s=preset.rtt_s) if preset.rtt_s else None
        if part.upload is None:
            filled["upload"] = Upload.model_construct({"rate"}, rate=up)
        elif not part.upload.rate:
            filled["upload"] = part.upload.filled({"rate": up})
        return filled

    def plan(self, then: Any, body: BodyPart, rule: Any) -> dict[str, Any]:
        return {}  # of what it has filled in


def _link(bytes_per_s: float) -> tuple[RateLimit, ...]:
    # `per` counts as not given, so that a policy's own default may say otherwise
    limit = RateLimit.model_construct(
        {"limit_bytes_per_s"}, limit_bytes_per_s=bytes_per_s, per="client"
    )
    return (limit,)
