"""The `pass` of a rule: an exception, a response that is matched and left alone.

The one rule: it goes with nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import PlainValidator, WithJsonSchema

from mitmthrottle.policy.effects import BodyPart, Effect, Key, register
from mitmthrottle.policy.language.fields import name_of_type


def _pass(value: object) -> bool:
    if value is not True:
        raise ValueError(f"can only be `true`, not {name_of_type(value)}: or leave it out")
    return True


PassField = Annotated[bool, PlainValidator(_pass), WithJsonSchema({"const": True})]


@register
class PassEffect(Effect):
    """`pass`."""

    keys: ClassVar = {
        "pass_": Key(
            PassField,
            False,
            "an exception: matched, and left alone",
            alias="pass",
            homes=("then", "stage"),
        )
    }
    place = 110
    example = "{pass: true}"
    alone = True
    in_stages = "never"

    def describe(self, part: Any) -> Iterator[str]:
        yield "pass"

    def explain(self, part: Any) -> dict[str, Any]:
        return {"pass": True}

    def conflicts(self, part: Any) -> Iterator[str]:
        others = [key for key in part.given_keys() if key != self.key]
        if part.pass_ and others:
            yield (
                f"`pass` leaves the response alone, but `{others[0]}` is given too: "
                "keep one of them"
            )

    def plan(self, then: Any, body: BodyPart, rule: Any) -> dict[str, Any]:
        return {}
