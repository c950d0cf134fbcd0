"""The `header` condition: of the request, by name."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema

from mitmthrottle.policy.conditions import Bound, Condition, all_within, register
from mitmthrottle.policy.exchange import Exchange
from mitmthrottle.policy.facts import ENCRYPTED, NO, YES, Facts, listed
from mitmthrottle.policy.language.fields import TOKEN, FoldedPattern, OneOrManyOf
from mitmthrottle.policy.language.pattern import TextPattern


def _header_name(name: object) -> str:
    if not isinstance(name, str) or not TOKEN.fullmatch(name):
        raise ValueError(f"`{name}` is no name of a header: write for example `accept-language`")
    return name.lower()


def _some(value: object) -> object:
    if value == {}:
        raise ValueError("`header` names no header: leave it out")
    return value


type HeaderName = Annotated[str, PlainValidator(_header_name), WithJsonSchema({"type": "string"})]


class Header(Bound):
    __slots__ = ("_wanted",)

    def __init__(self, wanted: dict[str, tuple[TextPattern, ...]]) -> None:
        self._wanted = tuple(wanted.items())

    def test(self, facts: Facts) -> int:
        if facts.exchange.opaque:
            return NO
        return NO if self._missing(facts.exchange) else YES

    def why(self, facts: Facts) -> str:
        if facts.exchange.opaque:
            return ENCRYPTED
        name, patterns = self._missing(facts.exchange) or self._wanted[0]
        value = facts.exchange.request_headers.get(name)
        if value is None:
            return f"the request has no header `{name}`"
        return f"header `{name}` is `{value[:80]}`, not {listed([each.text for each in patterns])}"

    def _missing(self, exchange: Exchange) -> tuple[str, tuple[TextPattern, ...]] | None:
        for name, patterns in self._wanted:
            value = exchange.request_headers.get(name)
            if value is None or not any(pattern.matches(value) for pattern in patterns):
                return name, patterns
        return None


@register
class HeaderCondition(Condition):
    """`header`."""

    key = "header"
    type = Annotated[dict[HeaderName, OneOrManyOf[FoldedPattern]], BeforeValidator(_some)] | None
    place = 100
    cost = 80
    help = "of the request: name to glob or `~regex`"
    example = '{header: {accept-language: "de*"}}'

    def bind(self, value: Any, policy: Any, rule: Any) -> Bound:
        return Header(value)

    def covers(self, mine: Any, its: Any) -> bool:
        return all(
            all_within((its or {}).get(name), patterns, lambda narrow, wide: wide.covers(narrow))
            for name, patterns in mine.items()
        )
