"""Why a response was or was not slowed, in a sentence: by the same code that `explain` asks.

Rule: worked out when somebody looks, and once for each response; with a policy so large that it
would take long, only the command line tells.
"""

from __future__ import annotations

from collections.abc import Callable

from mitmthrottle.policy import Decider, Policy, WhyNot

from .state import Row

MOST_RULES = 300
"""Beyond that, explaining sixty responses would hold up the proxy for too long."""


class Reasons:
    """Explains rows under the policy in force."""

    def __init__(self, might_match: Callable[[str], bool]) -> None:
        self._might_match = might_match
        self._policy: Policy | None = None
        self._decider: Decider | None = None

    def reason(self, row: Row, policy: Policy | None) -> str:
        """One sentence."""
        if row.rule is not None:
            left_alone = " and leaves it alone" if row.rule.then.pass_ else ""
            return f"`{row.rule.name}` holds{left_alone}"
        if row.undecided:
            return row.undecided
        if policy is None:
            return "no policy is in force"
        if not self._might_match(row.exchange.host):
            return f"no rule is for the host {row.exchange.host}"
        why = self.why_not(row, policy)
        if row.would_match is not None:
            return f"`{row.would_match}` would hold now, but was off or another one then"
        if not why:
            return "a condition did not hold: `mitmthrottle explain` tells which"
        return _sentence(why[0])

    def why_not(self, row: Row, policy: Policy | None) -> tuple[WhyNot, ...]:
        """For each rule for this host that did not hold the condition that failed."""
        if policy is None or len(policy.rules) > MOST_RULES:
            return ()
        if row.why is None:
            answer = self._decider_of(policy).explain(row.exchange)
            row.would_match = answer.rule.name if answer.rule and not row.rule else None
            row.why = tuple(why for why in answer.why_not if why.condition != "host")
        return row.why

    def _decider_of(self, policy: Policy) -> Decider:
        if self._decider is None or policy is not self._policy:
            self._policy = policy
            self._decider = Decider(policy)
        return self._decider


def _sentence(why: WhyNot) -> str:
    return f"`{why.rule}` does not hold: {why.reason}"
