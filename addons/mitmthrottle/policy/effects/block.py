"""The `block` of a rule: no body at all.

The one rule: a status is one that says no (400 to 599), so that no block looks like success.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import PlainValidator, WithJsonSchema

from mitmthrottle.policy.effects import BodyPart, Effect, Key, register
from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.fields import name_of_type

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


@register
class BlockEffect(Effect):
    """`block`."""

    keys: ClassVar = {
        "block": Key(
            BlockField | None,
            None,
            "a status from 400 to 599, `reset` or `timeout`",
            homes=("then", "stage"),
        )
    }
    place = 60
    example = "{block: 451}"
    beside_block = True
    blocks = True
    in_stages = "after"

    def describe(self, part: Any) -> Iterator[str]:
        yield f"block {part.block}"

    def explain(self, part: Any) -> dict[str, Any]:
        return {"block": part.block}

    def conflicts(self, part: Any) -> Iterator[str]:
        # with stages, what the rule itself says of its body holds in those that do not block
        if part.block is None or getattr(part, "stages", None):
            return
        written = set(part.given_keys())
        for effect in part.table:
            keys = {key.alias or name for name, key in effect.keys.items()}
            if effect.to_body and written & keys:
                yield (
                    f"`block` sends no body that a `{effect.key}` could {effect.to_body}: "
                    "keep one of them"
                )

    def plan(self, then: Any, body: BodyPart, rule: Any) -> dict[str, Any]:
        # whether the exchange of an upload is blocked is asked of the response
        return {} if body == "upload" else {"block": then.block}
