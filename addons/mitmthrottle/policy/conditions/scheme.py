"""The `scheme` condition: `http` or `https`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from mitmthrottle.policy.conditions import Bound, Condition, OneOf, among, register
from mitmthrottle.policy.language.fields import Many, parsed, word_of

SCHEMES = ("http", "https")


_scheme_item = parsed(word_of(SCHEMES, "scheme"), "a scheme", "https", enum=list(SCHEMES))

type Scheme = Annotated[Literal["http", "https"], _scheme_item[0], _scheme_item[2]]


@register
class SchemeCondition(Condition):
    """`scheme`."""

    key = "scheme"
    type = Many[Scheme]
    place = 40
    cost = 20
    help = "`http` or `https`"
    example = "{scheme: https}"

    def bind(self, value: Any, policy: Any, rule: Any) -> Bound:
        return OneOf("scheme", frozenset(value), value, readable=True)

    def covers(self, mine: Any, its: Any) -> bool:
        return among(its, mine) or set(mine) == set(SCHEMES)
