"""The `block` and the `pass` of a rule: no body at all, or all of it untouched.

The one rule: a status is one that says no (400 to 599), so that no block looks like success.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import PlainValidator, WithJsonSchema

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


def _pass(value: object) -> bool:
    if value is not True:
        raise ValueError(f"can only be `true`, not {name_of_type(value)}: or leave it out")
    return True


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
PassField = Annotated[bool, PlainValidator(_pass), WithJsonSchema({"const": True})]
