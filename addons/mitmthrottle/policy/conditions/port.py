"""The `port` condition: of the server."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from mitmthrottle.policy.conditions import Bound, Condition, OneOf, among, register
from mitmthrottle.policy.language.fields import Many, name_of_type


def _port(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 9:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 65536:
        raise ValueError(f"must be a port from 1 to 65535, not {name_of_type(value)}")
    return value


type Port = Annotated[
    int,
    PlainValidator(_port),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 65535}),
]


@register
class PortCondition(Condition):
    """`port`."""

    key = "port"
    type = Many[Port]
    place = 50
    cost = 30
    help = "of the server"
    example = "{port: 8443}"

    def bind(self, value: Any, policy: Any, rule: Any) -> Bound:
        return OneOf("port", frozenset(value), value, readable=True)

    def covers(self, mine: Any, its: Any) -> bool:
        return among(its, mine)
