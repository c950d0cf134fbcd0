"""The `method` condition: of the request."""

from __future__ import annotations

from typing import Annotated, Any

from mitmthrottle.policy.conditions import Bound, Condition, OneOf, among, register
from mitmthrottle.policy.language import units
from mitmthrottle.policy.language.fields import TOKEN, Many, parsed

_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]


def _method(text: str) -> str:
    if not TOKEN.fullmatch(text):
        raise ValueError(f"`{text}` is no method: write for example `GET`")
    method = text.upper()
    near = units.did_you_mean(method, _METHODS)
    if method not in _METHODS and near:
        raise ValueError(f"`{text}` is no method{near}")
    return method


_method_item = parsed(_method, "a method", "GET")

type Method = Annotated[str, _method_item[0], _method_item[2]]


@register
class MethodCondition(Condition):
    """`method`."""

    key = "method"
    type = Many[Method]
    place = 30
    cost = 10
    help = "of the request"
    example = "{method: [GET, HEAD]}"

    def bind(self, value: Any, policy: Any, rule: Any) -> Bound:
        return OneOf("method", frozenset(value), value)

    def covers(self, mine: Any, its: Any) -> bool:
        return among(its, mine)
