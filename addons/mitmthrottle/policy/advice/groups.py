"""Names in a policy file that must agree: groups and rules.

The one rule: a name used must exist, a name given must be used, and both are looked for in the
data as written, so that a problem elsewhere in the file hides none of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from mitmthrottle.policy.conditions import CONDITIONS, Condition
from mitmthrottle.policy.language.units import did_you_mean
from mitmthrottle.policy.language.yamltree import Node

MOST_SEARCHES = 10_000  # of a name among others, about 10 us each

type Found = tuple[Node, str | Callable[[], str]]


def group_problems(root: Node) -> Iterator[Found]:
    """(where, message) of groups that do not exist or are not used, and names given twice."""
    rules = root.find(("rules",)).items or []
    yield from _repeated_names(rules)
    for condition in CONDITIONS:
        if condition.groups:
            yield from _mismatches(root, rules, condition)


def _repeated_names(rules: list[Node]) -> Iterator[Found]:
    first: dict[Any, Node] = {}
    for number, rule in enumerate(rules, 1):
        given = (rule.keys or {}).get("name")
        node = given[1] if given else rule
        name = node.data if given else f"rule {number}"
        if not isinstance(name, str):
            continue
        if name in first:
            yield (
                node,
                f"two rules are named `{name}`, the other is at line {first[name].line}: "
                "give each its own name",
            )
        first.setdefault(name, node)


def _mismatches(root: Node, rules: list[Node], condition: Condition) -> Iterator[Found]:
    groups_key, when_key = condition.groups, condition.key
    defined = (root.keys or {}).get(groups_key)
    groups = (defined[1].keys if defined else None) or {}
    used: set[str] = set()
    unknown = 0
    for rule in rules:
        for item in _items(rule, when_key):
            name = item.data
            if not isinstance(name, str) or not condition.is_group(name):
                continue
            used.add(name)
            if name not in groups:
                unknown += 1
                yield (
                    item,
                    partial(_unknown, name, list(groups) if unknown < 100 else [], condition),
                )
    strays = sorted(used - set(groups))
    searches = MOST_SEARCHES // (len(strays) + 1)
    for name, (key, _) in groups.items():
        if name in used:
            continue
        searches -= 1
        # a near miss of an unknown name is surely that name, and has been said
        if searches < 0 or not did_you_mean(name, strays):
            yield (
                key,
                f"the group `{name}` of `{groups_key}` is never used: "
                f"name it in a rule's `{when_key}`, or remove it",
            )


def _items(rule: Node, when_key: str) -> list[Node]:
    when = (rule.keys or {}).get("when")
    value = (when[1].keys or {}).get(when_key) if when else None
    if value is None:
        return []
    return value[1].items if value[1].items is not None else [value[1]]


def _unknown(name: str, groups: list[str], condition: Condition) -> str:
    near = did_you_mean(name, groups)
    return f"no group of `{condition.groups}` is named `{name}`" + (
        near or f": {condition.define(name)}"
    )
