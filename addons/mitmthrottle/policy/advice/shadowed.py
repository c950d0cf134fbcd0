"""Rules that can never be reached, because an earlier rule takes all that they could match.

The one rule: no false alarms. A rule is reported only when it is certain, condition by condition,
that whatever it matches the earlier one matches too, and at least as early. Two earlier rules
that cover a later one only together are not noticed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from mitmthrottle.policy.conditions.client import ClientMatch
from mitmthrottle.policy.conditions.share import Share
from mitmthrottle.policy.detect.content import KINDS, kind_of_type
from mitmthrottle.policy.language.hosts import HostKind, HostPattern
from mitmthrottle.policy.language.pattern import TextPattern, compile_glob
from mitmthrottle.policy.when import When

MOST_COMPARISONS = 500_000  # about a second; only thousands of rules on one host need more

type _Key = tuple[HostKind, str] | None


@dataclass(frozen=True)
class Reach:
    """A rule's conditions with the groups resolved (None: no such condition)."""

    index: int
    when: When
    hosts: tuple[HostPattern, ...] | None
    clients: tuple[ClientMatch, ...] | None

    @cached_property
    def host_keys(self) -> frozenset[_Key]:
        return frozenset((host.kind, host.name) for host in self.hosts or ())

    def covers(self, other: Reach) -> bool:
        """Whether it is certain that all that `other` matches, this matches too."""
        mine, its = self.when, other.when
        return (
            _within(its.method, mine.method)
            and (_within(its.scheme, mine.scheme) or set(mine.scheme or ()) == {"http", "https"})
            and _within(its.port, mine.port)
            and _within(_codes(its.status), _codes(mine.status))
            and _share_covers(mine.share, its.share)
            and _within(its.active, mine.active)
            and self._covers_hosts(other)
            and _patterns_cover(mine.path, its.path)
            and _content_covers(mine.content, its.content)
            and (
                mine.size is None
                or (
                    its.size is not None
                    and all(any(a.covers(b) for a in mine.size) for b in its.size)
                )
            )
            and (
                self.clients is None
                or (
                    other.clients is not None
                    and all(any(a.covers(b) for a in self.clients) for b in other.clients)
                )
            )
            and all(
                name in (its.header or {}) and _patterns_cover(patterns, (its.header or {})[name])
                for name, patterns in (mine.header or {}).items()
            )
        )

    def _covers_hosts(self, other: Reach) -> bool:
        if self.hosts is None:
            return True
        return other.hosts is not None and all(
            any(key in self.host_keys for key in host.keys_that_cover()) for host in other.hosts
        )


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
            for path in {_path_key(path) for path in rule.when.path} if rule.when.path else (None,):
                known.setdefault((host, path), []).append(rule)


_ANY_GLOB = "*"


def _path_key(path: TextPattern) -> str:
    return path.text if path.is_literal else _ANY_GLOB


def _candidates(known: dict[tuple[_Key, str | None], list[Reach]], rule: Reach) -> Iterator[Reach]:
    """Earlier rules that could cover this one: those that cover its first host and path."""
    hosts: list[_Key] = [None, *(rule.hosts[0].keys_that_cover() if rule.hosts else ())]
    paths: list[str | None] = [None]
    if rule.when.path:
        paths += [_ANY_GLOB, _path_key(rule.when.path[0])]
    for host in dict.fromkeys(hosts):
        for path in dict.fromkeys(paths):
            yield from known.get((host, path), ())


def _within(inner: Sequence[object] | None, outer: Sequence[object] | None) -> bool:
    if outer is None:
        return True
    return inner is not None and set(inner) <= set(outer)


def _codes(spans: tuple[range, ...] | None) -> tuple[int, ...] | None:
    return None if spans is None else tuple(code for span in spans for code in span)


def _share_covers(outer: Share | None, inner: Share | None) -> bool:
    if outer is None or outer.fraction >= 1:
        return True
    # a client among the 10 % is among the 50 %; responses are drawn anew for each rule
    return (
        inner is not None and outer.of == inner.of == "clients" and inner.fraction <= outer.fraction
    )


def _patterns_cover(
    outer: tuple[TextPattern, ...] | None, inner: tuple[TextPattern, ...] | None
) -> bool:
    if outer is None:
        return True
    return inner is not None and all(any(a.covers(b) for a in outer) for b in inner)


def _content_covers(outer: tuple[str, ...] | None, inner: tuple[str, ...] | None) -> bool:
    if outer is None:
        return True
    return inner is not None and all(
        any(_one_content_covers(wide, narrow) for wide in outer) for narrow in inner
    )


def _one_content_covers(wide: str, narrow: str) -> bool:
    if wide == narrow:
        return True
    if narrow in KINDS or set(narrow) & {"*", "?"}:
        return False
    if wide in KINDS:
        return kind_of_type(narrow) == wide
    return compile_glob(wide)(narrow) is not None
