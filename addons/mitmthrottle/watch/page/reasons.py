"""Why a response was or was not slowed, in a sentence: by the same code that `explain` asks.

Rule: worked out when somebody looks, and once for each response; with a policy so large that it
would take long, only the command line tells.
"""

from __future__ import annotations

from dataclasses import replace

from mitmthrottle.policy import Decider, Exchange, WhyNot
from mitmthrottle.policy.language.outside import shown
from mitmthrottle.proxy.snapshot import Snapshot

from .state import Row

MOST_RULES = 300
"""Beyond that, explaining sixty responses would hold up the proxy for too long."""


LONGEST_REASON = 300
"""characters: it quotes what was asked for"""


class Reasons:
    """Explains rows under the policy in force."""

    def __init__(self) -> None:
        self._file: Decider | None = None  # of the policy without what commands have changed

    def reason(self, row: Row, now: Snapshot) -> str:
        """One sentence."""
        if row.rule is not None:
            left_alone = " and leaves it alone" if row.rule.then.pass_ else ""
            return f"`{row.rule.name}` holds{left_alone}"
        if row.undecided:
            return row.undecided
        if now.engine is None:
            return "no policy is in force"
        why = self.why_not(row, now)
        if row.would_match is not None:
            return f"`{row.would_match}` would hold now, but was off or another one then"
        if row.switched_off is not None:
            return f"`{row.switched_off}` is switched off"
        if not now.engine.decider.might_match_host(row.exchange.host):
            return f"no rule is for the host {row.exchange.host}"
        if not why:
            return "a condition did not hold: `mitmthrottle explain` tells which"
        return _sentence(why[0])

    def why_not(self, row: Row, now: Snapshot) -> tuple[WhyNot, ...]:
        """For each rule for this host that did not hold the condition that failed."""
        if now.engine is None or len(now.engine.policy.rules) > MOST_RULES:
            return ()
        if row.why is None:
            answer = now.engine.decider.explain(row.exchange)
            row.would_match = answer.rule.name if answer.rule and not row.rule else None
            row.switched_off = None if row.rule or answer.rule else self._off(row.exchange, now)
            row.why = tuple(_short(why) for why in answer.why_not if why.condition != "host")
        return row.why

    def _off(self, exchange: Exchange, now: Snapshot) -> str | None:
        """The rule of the file that would hold, had not somebody switched it off."""
        whole, rules = now.file_policy, now.engine.policy.rules if now.engine else ()
        if whole is None or len(whole.rules) in (0, len(rules)):
            return None
        if self._file is None or whole is not self._file.policy:
            self._file = Decider(whole)
        found = self._file.decide(exchange).rule
        return None if found is None or found in rules else found.name


def _short(why: WhyNot) -> WhyNot:
    return replace(why, reason=shown(why.reason, LONGEST_REASON))


def _sentence(why: WhyNot) -> str:
    return f"`{why.rule}` does not hold: {why.reason}"
