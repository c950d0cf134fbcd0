"""Why a response was or was not slowed, in a sentence: by the same code that `explain` asks.

Rule: worked out when somebody looks, and once for each response; with a policy so large that it
would take long, only the command line tells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mitmthrottle.policy import Decider, Exchange, Policy, WhyNot
from mitmthrottle.policy.language.outside import shown

from .state import Row

MOST_RULES = 300
"""Beyond that, explaining sixty responses would hold up the proxy for too long."""


LONGEST_REASON = 300
"""characters: it quotes what was asked for"""


class Reasons:
    """Explains rows under the policy in force."""

    def __init__(
        self, might_match: Callable[[str], bool], of_file: Callable[[], Policy | None]
    ) -> None:
        """`of_file` is the policy without what commands have changed."""
        self._might_match = might_match
        self._of_file = of_file
        self._policy: Policy | None = None
        self._decider: Decider | None = None
        self._file: Policy | None = None
        self._file_decider: Decider | None = None

    def reason(self, row: Row, policy: Policy | None) -> str:
        """One sentence."""
        if row.rule is not None:
            left_alone = " and leaves it alone" if row.rule.then.pass_ else ""
            return f"`{row.rule.name}` holds{left_alone}"
        if row.undecided:
            return row.undecided
        if policy is None:
            return "no policy is in force"
        why = self.why_not(row, policy)
        if row.would_match is not None:
            return f"`{row.would_match}` would hold now, but was off or another one then"
        if row.switched_off is not None:
            return f"`{row.switched_off}` is switched off"
        if not self._might_match(row.exchange.host):
            return f"no rule is for the host {row.exchange.host}"
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
            row.switched_off = None if row.rule or answer.rule else self._off(row.exchange, policy)
            row.why = tuple(_short(why) for why in answer.why_not if why.condition != "host")
        return row.why

    def _off(self, exchange: Exchange, policy: Policy) -> str | None:
        """The rule of the file that would hold, had not somebody switched it off."""
        whole = self._of_file()
        if whole is None or len(whole.rules) in (0, len(policy.rules)):
            return None
        if self._file_decider is None or whole is not self._file:
            self._file, self._file_decider = whole, Decider(whole)
        found = self._file_decider.decide(exchange).rule
        return None if found is None or found in policy.rules else found.name

    def _decider_of(self, policy: Policy) -> Decider:
        if self._decider is None or policy is not self._policy:
            self._policy = policy
            self._decider = Decider(policy)
        return self._decider


def _short(why: WhyNot) -> WhyNot:
    return replace(why, reason=shown(why.reason, LONGEST_REASON))


def _sentence(why: WhyNot) -> str:
    return f"`{why.rule}` does not hold: {why.reason}"
