"""The `path` condition: a glob or a `~regex` of path and query."""

from __future__ import annotations

from typing import Any

from mitmthrottle.policy.conditions import Bound, Condition, all_within, register
from mitmthrottle.policy.facts import ENCRYPTED, NO, YES, Facts, listed
from mitmthrottle.policy.language.fields import Many, PathPattern
from mitmthrottle.policy.language.pattern import TextPattern


class Path(Bound):
    __slots__ = ("_patterns",)

    def __init__(self, patterns: tuple[TextPattern, ...]) -> None:
        self._patterns = patterns

    def test(self, facts: Facts) -> int:
        if facts.exchange.opaque:
            return NO
        path = facts.exchange.path
        for pattern in self._patterns:
            if pattern.matches(path):
                return YES
        return NO

    def why(self, facts: Facts) -> str:
        if facts.exchange.opaque:
            return ENCRYPTED
        wanted = listed([each.text for each in self._patterns])
        return f"path `{facts.exchange.path}` does not match {wanted}"


@register
class PathCondition(Condition):
    """`path`."""

    key = "path"
    type = Many[PathPattern]
    place = 20
    cost = 70
    help = "glob or `~regex`, of path and query"
    example = '{path: "/photos/*"}'

    def bind(self, value: Any, policy: Any, rule: Any) -> Bound:
        return Path(value)

    def covers(self, mine: Any, its: Any) -> bool:
        return all_within(its, mine, lambda narrow, wide: bool(wide.covers(narrow)))
