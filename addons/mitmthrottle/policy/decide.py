"""Which rule an exchange falls under: the question that all of mitmthrottle turns on.

The one rule: the first rule whose conditions all hold wins. A rule that only the body's first
bytes can decide makes the decision wait; a rule whose size is not known yet does not hold now,
and is asked again when enough has been seen. `decide` and `explain` share every condition.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mitmthrottle.policy.bound import (
    Client,
    Condition,
    Header,
    InForce,
    OneOf,
    Path,
    Shared,
)
from mitmthrottle.policy.conditions.client import ClientMatch
from mitmthrottle.policy.conditions_of_body import Content, Size
from mitmthrottle.policy.exchange import Exchange
from mitmthrottle.policy.facts import FIRST_BYTES, NO, YES, Facts, listed
from mitmthrottle.policy.language.hosts import HostIndex
from mitmthrottle.policy.schema import Policy, Rule

# The order in which `explain` names the condition that failed, as documented.
ORDER = ("host", "path", "method", "scheme", "port", "status", "content", "size", "client",
         "header", "share", "active")  # fmt: skip
# The order in which they are asked: cheap ones first.
_CHEAP_FIRST = ("method", "scheme", "port", "status", "size", "active", "path", "header", "client",
                "share", "content")  # fmt: skip


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
    rule asked. `needs_head`: undecided until the first body bytes are seen. `size_step`: no rule
    yet; ask again once `seen` reaches this many bytes.
    """

    rule: Rule | None
    kind: str | None = None
    why_not: tuple[WhyNot, ...] = ()
    needs_head: bool = False
    size_step: int | None = None


NOTHING = Decision(None)


class _Bound:
    """A rule with its conditions in the order in which they are asked."""

    __slots__ = ("conditions", "needs_response", "on_request", "rule", "size")

    def __init__(self, rule: Rule, conditions: Iterable[Condition]) -> None:
        by_cost = sorted(conditions, key=lambda each: _CHEAP_FIRST.index(each.key))
        self.rule = rule
        self.conditions = tuple(by_cost)
        self.on_request = tuple(each for each in by_cost if not each.of_response)
        self.needs_response = len(self.on_request) < len(self.conditions)
        self.size = next((each for each in by_cost if isinstance(each, Size)), None)

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
        return self.size.step(seen) if self.size is not None else None


class Decider:
    """A policy made ready to decide: built once, then asked for each exchange."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._rules = [_bind(policy, rule) for rule in policy.rules]
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
                return Decision(None, needs_head=True)
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

        The exchange's content type, size, `seen` and `head` are those of the request's body, and
        there is no status yet. The first rule that matches decides, as ever: one without an
        `upload` leaves the body alone.
        """
        decided = self._first(exchange._replace(status=None), upload=True)
        if decided.rule is not None and decided.rule.then.upload is None:
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
        return Decision(decided.rule, facts.kind, why_not, decided.needs_head, decided.size_step)

    def might_match_host(self, host: str) -> bool:
        """Whether any rule could match some exchange of this host."""
        return bool(self._index.candidates(host))

    def _why_not(self, bound: _Bound, facts: Facts, host_holds: bool, decided: Decision) -> WhyNot:
        name = bound.rule.name
        if not host_holds:
            wanted = listed([str(getattr(h, "text", h)) for h in bound.rule.when.host or ()])
            return WhyNot(name, "host", f"host `{facts.exchange.host}` is not {wanted}")
        failed = [each for each in bound.conditions if each.test(facts) == NO] or [
            each for each in bound.conditions if each.test(facts) != YES
        ]
        if failed:
            first = min(failed, key=lambda each: ORDER.index(each.key))
            return WhyNot(name, first.key, first.why(facts))
        if decided.rule is not None:
            return WhyNot(name, "order", f"rule `{decided.rule.name}` matched first")
        return WhyNot(name, "order", "an earlier rule waits for the body's first bytes")


def _sooner(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _bind(policy: Policy, rule: Rule) -> _Bound:
    when = rule.when
    conditions: list[Condition] = []
    if when.path is not None:
        conditions.append(Path(when.path))
    if when.method is not None:
        conditions.append(OneOf("method", frozenset(when.method), when.method))
    if when.scheme is not None:
        conditions.append(OneOf("scheme", frozenset(when.scheme), when.scheme))
    if when.port is not None:
        conditions.append(OneOf("port", frozenset(when.port), when.port))
    if when.status is not None:
        codes = frozenset(code for span in when.status for code in span)
        shown = [f"{s.start}-{s.stop - 1}" if len(s) > 1 else s.start for s in when.status]
        conditions.append(OneOf("status", codes, shown))
    if when.content is not None:
        conditions.append(Content(when.content))
    if when.size is not None:
        conditions.append(Size(when.size))
    if when.client is not None:
        matches: list[ClientMatch] = []
        for client in when.client:
            matches.extend(policy.clients[client] if isinstance(client, str) else (client,))
        names = [c if isinstance(c, str) else "the one asked for" for c in when.client]
        conditions.append(Client(tuple(matches), names))
    if when.header is not None:
        conditions.append(Header(when.header))
    if when.share is not None:
        conditions.append(Shared(when.share, policy.seed, rule.name))
    if when.active is not None:
        conditions.append(InForce(when.active))
    return _Bound(rule, conditions)
