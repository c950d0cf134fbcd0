"""What is doubtful about a policy that can be used: the warnings of `check`.

The one rule: no false alarms. A warning is given only for what surely does not do what its author
wants, or surely does more; each says what to write instead. They are the conditions' and the
effects' own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mitmthrottle.policy.conditions import CONDITIONS
from mitmthrottle.policy.effects import EffectSet
from mitmthrottle.policy.language.yamltree import Node, Spot, Warned
from mitmthrottle.policy.schema import Policy, Rule


def warnings(policy: Policy, root: Node, now: float | None) -> Iterator[Warned]:
    """(where, message) of each; `root` is the file's tree, `now` in Unix seconds, if known."""
    for condition in CONDITIONS:
        groups: dict[str, Any] = getattr(policy, condition.groups) if condition.groups else {}
        for name, values in groups.items():
            yield from condition.warnings(values, Spot(root, (condition.groups, name)), now)
    for index, rule in enumerate(policy.rules):
        spot = Spot(root, ("rules", index))
        yield from _of_conditions(rule, spot.below("when"), now)
        yield from _of_effects(rule.then, spot.below("then"), rule)


def _of_conditions(rule: Rule, spot: Spot, now: float | None) -> Iterator[Warned]:
    for condition in CONDITIONS:
        value = getattr(rule.when, condition.key)
        if value is not None:
            yield from condition.warnings(value, spot.below(condition.key), now)


def _of_effects(part: EffectSet, spot: Spot, rule: Rule) -> Iterator[Warned]:
    for effect in part.given():
        yield from effect.warnings(part, spot, rule)
        for path, inner in effect.nested(part):
            yield from _of_effects(inner, spot.below(*path), rule)
