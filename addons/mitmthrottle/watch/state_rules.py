"""What each rule of the policy does now, for the live page.

Rule: all rules of the file are shown, also those that a command has switched off; where there
are too many, those that have had something to do come first.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

from mitmthrottle.policy import Rule
from mitmthrottle.policy.effects.stages import Timeline
from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.bodies.body import Body

from . import state_json as shape
from .state import Live
from .state_samples import KEPT, Samples

MOST_RULES = 200
MOST_LISTED = 20


class RuleStates:
    """Looks at the policy in force, at commands and at samples."""

    def __init__(self, throttle: Throttle, live: Live, samples: Samples) -> None:
        self._throttle = throttle
        self._live = live
        self._samples = samples

    def of_file(self) -> tuple[Rule, ...]:
        """As the file says, also those that are switched off."""
        policy = self._throttle.control.policy
        return policy.rules if policy and self._throttle.engine else ()

    def states(self, active: list[Body], since: int) -> list[shape.RuleState]:
        """What each rule does now, with the samples newer than number `since`."""
        rules = self.of_file()
        busy = Counter(body.rule.name for body in active if body.rule)
        under_way = Counter[str]()
        for body in active:
            if body.rule:
                under_way[body.rule.name] += body.sent_bytes
        if len(rules) > MOST_RULES:  # those that have had something to do first
            known = self._live.rules
            rules = tuple(sorted(rules, key=lambda rule: rule.name not in known)[:MOST_RULES])
        in_force = {rule.name: rule for rule in self._in_force()} if rules else {}
        return [self._rule(rule, in_force.get(rule.name), busy, under_way, since) for rule in rules]

    def _in_force(self) -> tuple[Rule, ...]:
        loaded = self._live.loaded
        return loaded.policy.rules if loaded else ()

    def _rule(
        self,
        rule: Rule,
        now: Rule | None,
        busy: Counter[str],
        under_way: Counter[str],
        since: int,
    ) -> shape.RuleState:
        control, engine = self._throttle.control, self._throttle.engine
        elapsed = engine.elapsed_s if engine else 0.0
        override = control.override_of(rule.name)
        series = self._samples.series.get(rule.name)
        news = min(KEPT, max(0, self._samples.last - since))
        tally = self._live.rules.get(rule.name)
        patterns = self._patterns(rule)
        when = rule.when.active
        return {
            "name": rule.name,
            "line": rule.line,
            "effects": rule.then.describe(),
            "says_now": _says(now, elapsed) if now else "switched off",
            "hosts": None if patterns is None else patterns[:MOST_LISTED],
            "stage": _stage(now or rule, elapsed),
            "in_force": when is None or any(each.holds(time.time(), elapsed) for each in when),
            "switched_off": override is not None and override.disabled,
            "changed": override is not None,
            "reverts_in_s": control.reverts_in_s(rule.name),
            "active": busy[rule.name],
            "matched": tally.matched if tally else 0,
            "bytes": (tally.ended_bytes if tally else 0) + under_way[rule.name],
            "asked_bytes_per_s": series.asked[-1] if series else 0.0,
            "measured_bytes_per_s": series.measured[-1] if series else 0.0,
            "asked": _last(series.asked, news) if series else [],
            "measured": _last(series.measured, news) if series else [],
        }

    def _patterns(self, rule: Rule) -> list[str] | None:
        policy = self._throttle.control.policy
        patterns = policy.host_patterns(rule) if policy else None
        return None if patterns is None else [str(pattern) for pattern in patterns]

    def hosts_wanted(self) -> list[str]:
        """Some of the hosts that rules are for, as the file writes them."""
        found: dict[str, None] = {}
        for rule in self.of_file():
            for pattern in self._patterns(rule) or ():
                found[pattern] = None
            if len(found) >= MOST_LISTED:
                break
        return list(found)[:MOST_LISTED]


def _says(rule: Rule, elapsed_s: float) -> str:
    """The stage that is in force, or all stages where each response counts its own."""
    if rule.then.from_ == "response":
        return rule.then.describe()
    return rule.then.at(elapsed_s)[0].describe()


def _stage(rule: Rule, elapsed_s: float) -> shape.Stage | None:
    then = rule.then
    if not then.stages or then.from_ == "response":
        return None
    index, until = Timeline(then.stages, then.stages_repeat).at(elapsed_s)
    return {
        "number": None if index is None else index + 1,
        "of": len(then.stages),
        "ends_in_s": until - elapsed_s if until < float("inf") else None,
    }


def _last[T](values: Iterable[T], count: int) -> list[T]:
    found = list(values)
    return found[-count:] if count else []
