"""The `host` condition: which hosts a rule is for.

The one rule: it is looked up in an index (language/hosts.py), once for all rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mitmthrottle.policy.conditions import Bound, Condition, register, resolved
from mitmthrottle.policy.facts import NO, YES, Facts, listed
from mitmthrottle.policy.language.fields import HostOrGroup, Many
from mitmthrottle.policy.language.hosts import HostPattern, is_group_word
from mitmthrottle.policy.language.substring_hosts import substring_host
from mitmthrottle.policy.language.yamltree import Spot, Warned


class Host(Bound):
    __slots__ = ("_asked", "_patterns")

    def __init__(self, patterns: tuple[HostPattern, ...], asked: tuple[Any, ...]) -> None:
        self._patterns = patterns
        self._asked = [str(getattr(each, "text", each)) for each in asked]

    def test(self, facts: Facts) -> int:
        host = facts.exchange.host
        return YES if any(pattern.matches(host) for pattern in self._patterns) else NO

    def why(self, facts: Facts) -> str:
        return f"host `{facts.exchange.host}` is not {listed(self._asked)}"


@register
class HostCondition(Condition):
    """`host`."""

    key = "host"
    type = Many[HostOrGroup]
    place = 10
    cost = 0
    help = "`a.com`, `.a.com` (and subdomains), `*.a.com` (only those), `~regex`, or a group"
    example = "{host: .example.com}"
    indexed = True
    groups = "hosts"

    def bind(self, value: Any, policy: Any, rule: Any) -> Bound:
        return Host(resolved(value, policy.hosts), value)

    def comparable(self, value: Any) -> Any:
        """(keys of its patterns, the patterns)"""
        return frozenset((host.kind, host.name) for host in value), value

    def covers(self, mine: Any, its: Any) -> bool:
        if its is None:
            return False
        keys, (_, hosts) = mine[0], its
        return all(any(key in keys for key in host.keys_that_cover()) for host in hosts)

    def warnings(self, value: Any, spot: Spot, now: float | None) -> Iterator[Warned]:
        for index, pattern in enumerate(value):
            said = substring_host(pattern) if isinstance(pattern, HostPattern) else None
            if said:
                yield spot.node(index), said

    def is_group(self, text: str) -> bool:
        return is_group_word(text)

    def define(self, name: str) -> str:
        return (
            f"define it under `hosts`, or write `.{name}` for the host of that name, "
            f"`{name}.com` for a longer one"
        )
