"""What somebody has changed by command while the proxy runs: a rule off, a rule at another rate.

Rule: the policy file is never written.  An override lies over whatever policy is in force, also
over a newly loaded one, until it is taken back or its time is over.
"""

from __future__ import annotations

from dataclasses import dataclass

from mitmthrottle.policy import Policy, Rule


@dataclass(frozen=True, slots=True)
class Override:
    """`rate_bytes_per_s`: of the narrowest of its limits, in each stage too; None: as the policy
    says."""

    disabled: bool = False
    rate_bytes_per_s: float | None = None


def under_policy(overrides: dict[str, Override], policy: Policy) -> Policy:
    """The policy as it is with the overrides over it."""
    if not overrides:
        return policy
    rules = (under(overrides.get(rule.name), rule) for rule in policy.rules)
    kept = tuple(rule for rule in rules if rule is not None)
    return policy.model_copy(update={"rules": kept})


def under(override: Override | None, rule: Rule) -> Rule | None:
    """The rule as it is with an override over it; None: it is switched off."""
    if override is None:
        return rule
    if override.disabled:
        return None
    if override.rate_bytes_per_s is None:
        return rule
    return rule.with_rate(override.rate_bytes_per_s)
