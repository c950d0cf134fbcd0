"""Which rule an exchange falls under: the question that all of mitmthrottle turns on.

The one rule: the first rule whose conditions all hold wins. A rule that only the body's first
bytes can decide makes the decision wait; a rule whose size is not known yet does not hold now,
and is asked again when enough has been seen. `decide` and `explain` share every condition.
"""

from __future__ import annotations

from dataclasses import dataclass

from mitmthrottle.policy.conditions import CONDITIONS, Bound, Condition
from mitmthrottle.policy.exchange import Exchange
from mitmthrottle.policy.facts import FIRST_BYTES, NO, YES, Facts
from mitmthrottle.policy.language.hosts import HostIndex
from mitmthrottle.policy.schema import Policy, Rule


@dataclass(frozen=True, slots=True)
class WhyNot:
    """Why a rule did not apply. `condition` is its key in `when`, or `order`."""

    rule: str
    condition: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The rule that applies, or None.

    `kind`: what the response is, filled in for a match and by `explain`; otherwise only where a
    rule asked. `needs_first_bytes`: undecided until the first body bytes are seen. `size_step`: no
    rule yet; ask again once `seen` reaches this many bytes.
    """

    rule: Rule | None
    kind: str | None = None
    why_not: tuple[WhyNot, ...] = ()
    needs_first_bytes: bool = False
    size_step: int | None = None


NOTHING = Decision(None)


class _Bound:
    """A rule with its conditions in the order in which they are asked."""

    __slots__ = ("conditions", "given", "needs_response", "on_request", "rule")

    def __init__(self, policy: Policy, rule: Rule) -> None:
        self.rule = rule
        self.given: tuple[tuple[Condition, Bound], ...] = tuple(
            (condition, condition.bind(value, policy, rule))
            for condition in CONDITIONS
            if (value := getattr(rule.when, condition.key)) is not None
        )
        """in the order in which `explain` names them"""
        asked = sorted(self.given, key=lambda each: each[0].cost)
        self.conditions = tuple(bound for condition, bound in asked if not condition.indexed)
        self.on_request = tuple(each for each in self.conditions if not each.of_response)
        self.needs_response = len(self.on_request) < len(self.conditions)

    def test(self, facts: Facts) -> int:
        """NO wins over FIRST_BYTES, which wins over MORE_BYTES, which wins over YES.

        First bytes before the size: once enough was seen to tell the size, they are gone.
        """
        verdict = YES
        for condition in self.conditions:
            answer = condition.test(facts)
            if answer == NO:
                return NO
            if answer > verdict:
                verdict = answer
        return verdict

    def step(self, seen: int) -> int | None:
        step: int | None = None
        for condition in self.conditions:
            step = _sooner(step, condition.step(seen))
        return step

    def why_not(self, facts: Facts, found_in_index: bool) -> tuple[str, str] | None:
        """(key of the first condition that does not hold, why); None: all of them hold."""
        answers = [
            (
                condition,
                bound,
                (YES if found_in_index else NO) if condition.indexed else bound.test(facts),
            )
            for condition, bound in self.given
        ]
        failed = [each for each in answers if each[2] == NO] or [
            each for each in answers if each[2] != YES
        ]
        if not failed:
            return None
        condition, bound, _ = failed[0]
        return condition.key, bound.why(facts)


class Decider:
    """A policy made ready to decide: built once, then asked for each exchange."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._rules = [_Bound(policy, rule) for rule in policy.rules]
        self._index = HostIndex(policy.host_patterns(rule) for rule in policy.rules)

    def decide(self, exchange: Exchange) -> Decision:
        """The first rule that matches, as far as can be told now."""
        return self._first(exchange)

    def _first(self, exchange: Exchange, upload: bool = False) -> Decision:
        candidates = self._index.candidates(exchange.host)
        if not candidates:
            return NOTHING
        facts = Facts(exchange, upload)
        step: int | None = None
        for index in candidates:
            bound = self._rules[index]
            verdict = bound.test(facts)
            if verdict == NO:
                continue
            if verdict == YES:
                return Decision(bound.rule, facts.kind)
            if verdict == FIRST_BYTES:
                return Decision(None, needs_first_bytes=True)
            step = _sooner(step, bound.step(exchange.seen))
        if step is None and not facts.kind_known:
            return NOTHING
        return Decision(None, facts.kind if facts.kind_known else None, size_step=step)

    def decide_request(self, exchange: Exchange) -> Decision:
        """The rule that applies whatever the response will be, or none.

        None also when an earlier rule could still match, depending on the response.
        """
        candidates = self._index.candidates(exchange.host)
        if not candidates:
            return NOTHING
        facts = Facts(exchange)
        for index in candidates:
            bound = self._rules[index]
            if all(condition.test(facts) == YES for condition in bound.on_request):
                return NOTHING if bound.needs_response else Decision(bound.rule)
        return NOTHING

    def decide_upload(self, exchange: Exchange) -> Decision:
        """The rule that paces a request's body, or none.

        The exchange's content type, size, `seen` and `first_bytes` are those of the request's body,
        and there is no status yet. The first rule that matches decides, as ever: one whose
        effects are not for uploads leaves the body alone.
        """
        decided = self._first(exchange._replace(status=None), upload=True)
        if decided.rule is not None and not decided.rule.then.paces_uploads:
            return NOTHING
        return decided

    def explain(self, exchange: Exchange) -> Decision:
        """The same decision, with the reason for every rule that it is not."""
        decided = self.decide(exchange)
        facts = Facts(exchange)
        candidates = frozenset(self._index.candidates(exchange.host))
        why_not = tuple(
            self._why_not(bound, facts, index in candidates, decided)
            for index, bound in enumerate(self._rules)
            if bound.rule is not decided.rule
        )
        return Decision(
            decided.rule, facts.kind, why_not, decided.needs_first_bytes, decided.size_step
        )

    def might_match_host(self, host: str) -> bool:
        """Whether any rule could match some exchange of this host."""
        return bool(self._index.candidates(host))

    def _why_not(self, bound: _Bound, facts: Facts, host_holds: bool, decided: Decision) -> WhyNot:
        name = bound.rule.name
        failed = bound.why_not(facts, host_holds)
        if failed is not None:
            return WhyNot(name, *failed)
        if decided.rule is not None:
            return WhyNot(name, "order", f"rule `{decided.rule.name}` matched first")
        return WhyNot(name, "order", "an earlier rule waits for the body's first bytes")


def _sooner(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
