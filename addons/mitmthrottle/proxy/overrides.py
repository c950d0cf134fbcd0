"""What somebody has changed by command while the proxy runs: a rule off, a rule at another rate.

Rule: the policy file is never written.  An override lies over whatever policy is in force, also
over a newly loaded one, until it is taken back or its time is over.
"""

from __future__ import annotations

from dataclasses import dataclass

from mitmthrottle.policy import Policy, Rule


@dataclass(frozen=True, slots=True)
class Override:
    """`rate_bytes_per_s` None: as the policy says."""

    disabled: bool = False
    rate_bytes_per_s: float | None = None


def under(overrides: dict[str, Override], policy: Policy) -> Policy:
    """The policy as it is with the overrides over it."""
    if not overrides:
        return policy
    rules = (_under(overrides.get(rule.name), rule) for rule in policy.rules)
    kept = tuple(rule for rule in rules if rule is not None)
    return policy.model_copy(update={"rules": kept})


def _under(override: Override | None, rule: Rule) -> Rule | None:
    if override is None:
        return rule
    if override.disabled:
        return None
    if override.rate_bytes_per_s is None:
        return rule
    rates = tuple(
        limit.model_copy(update={"limit_bytes_per_s": override.rate_bytes_per_s})
        for limit in rule.then.rate
    )
    changed = rule.model_copy(update={"then": rule.then.model_copy(update={"rate": rates})})
    return changed.at_line(rule.line)
