"""Rules that can never be reached, because an earlier rule takes all that they could match.

The one rule: no false alarms. A rule is reported only when it is certain, condition by condition,
that whatever it matches the earlier one matches too, and at least as early. Two earlier rules
that cover a later one only together are not noticed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mitmthrottle.policy.conditions import CONDITIONS, Condition, resolved
from mitmthrottle.policy.language.hosts import HostKind, HostPattern
from mitmthrottle.policy.language.pattern import TextPattern
from mitmthrottle.policy.when import When

MOST_COMPARISONS = 500_000  # about a second; only thousands of rules on one host need more

type _Key = tuple[HostKind, str] | None


class Reach:
    """A rule's conditions, ready to be compared; `groups` are those of the policy.

    KeyError for a group that is not there.
    """

    __slots__ = ("given", "hosts", "index", "its", "paths")

    def __init__(self, index: int, when: When, groups: dict[str, dict[str, Any]]) -> None:
        self.index = index
        given: list[tuple[Condition, Any]] = []
        for condition in CONDITIONS:
            value = getattr(when, condition.key)
            if value is not None:
                if condition.groups:
                    value = resolved(value, groups[condition.groups])
                given.append((condition, value))
        self.given = tuple(
            (condition, condition.comparable(value))
            for condition, value in sorted(given, key=lambda each: each[0].cost)
        )
        self.its = {condition.key: comparable for condition, comparable in self.given}
        values = {condition.key: value for condition, value in given}
        # by these two it is found among the rules of a large policy
        self.hosts: tuple[HostPattern, ...] | None = values.get("host")
        self.paths: tuple[TextPattern, ...] | None = values.get("path")

    @property
    def host_keys(self) -> frozenset[_Key]:
        return frozenset((host.kind, host.name) for host in self.hosts or ())

    def covers(self, other: Reach) -> bool:
        """Whether it is certain that all that `other` matches, this matches too."""
        its = other.its
        return all(condition.covers(mine, its.get(condition.key)) for condition, mine in self.given)


def unreachable(rules: Iterable[Reach]) -> Iterator[tuple[int, int]]:
    """(index of the rule, index of the earlier rule that covers it), for rules in file order."""
    known: dict[tuple[_Key, str | None], list[Reach]] = {}
    left = MOST_COMPARISONS
    for rule in rules:
        for earlier in _candidates(known, rule):
            left -= 1
            if left < 0:
                return
            if earlier.covers(rule):
                yield rule.index, earlier.index
                break
        for host in rule.host_keys if rule.hosts is not None else (None,):
            for path in {_path_key(path) for path in rule.paths} if rule.paths else (None,):
                known.setdefault((host, path), []).append(rule)


_ANY_GLOB = "*"


def _path_key(path: TextPattern) -> str:
    return path.text if path.is_literal else _ANY_GLOB


def _candidates(known: dict[tuple[_Key, str | None], list[Reach]], rule: Reach) -> Iterator[Reach]:
    """Earlier rules that could cover this one: those that cover its first host and path."""
    hosts: list[_Key] = [None, *(rule.hosts[0].keys_that_cover() if rule.hosts else ())]
    paths: list[str | None] = [None]
    if rule.paths:
        paths += [_ANY_GLOB, _path_key(rule.paths[0])]
    for host in dict.fromkeys(hosts):
        for path in dict.fromkeys(paths):
            yield from known.get((host, path), ())
