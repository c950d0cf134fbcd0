"""What the policy file says, and which of its rules a response falls under. Pure.

The one rule: no HTTP library, no event loop and no clock in here; whoever asks brings an
`Exchange` (plain facts) and gets a `Decision`.
"""

from mitmthrottle.policy.conditions import CONDITIONS
from mitmthrottle.policy.conditions.active import Active
from mitmthrottle.policy.conditions.share import unit_interval
from mitmthrottle.policy.decide import Decider, Decision, WhyNot
from mitmthrottle.policy.detect.content import Kind, classify, needs_first_bytes, needs_more
from mitmthrottle.policy.detect.sniff import FIRST_BYTES
from mitmthrottle.policy.effects import EFFECTS, BodyPart
from mitmthrottle.policy.effects.block import Block
from mitmthrottle.policy.effects.delay import Delay
from mitmthrottle.policy.effects.quota import Quota
from mitmthrottle.policy.effects.rate import NO_LIMITS, Limits, Per, RateLimit
from mitmthrottle.policy.effects.requests import RequestLimit
from mitmthrottle.policy.exchange import Exchange
from mitmthrottle.policy.language.hosts import HostIndex, HostPattern, normalise_host
from mitmthrottle.policy.language.problems import PolicyError, Problem
from mitmthrottle.policy.library.presets import presets
from mitmthrottle.policy.library.shipped import find_policy, shipped_policies
from mitmthrottle.policy.load import (
    load_policy,
    load_policy_with_warnings,
    parse_policy,
    parse_policy_with_warnings,
)
from mitmthrottle.policy.plan import FREE, Plan, plan_for
from mitmthrottle.policy.schema import Policy, Rule
from mitmthrottle.policy.then import Then
from mitmthrottle.policy.when import When

__all__ = [
    "CONDITIONS",
    "EFFECTS",
    "FIRST_BYTES",
    "FREE",
    "NO_LIMITS",
    "Active",
    "Block",
    "BodyPart",
    "Decider",
    "Decision",
    "Delay",
    "Exchange",
    "HostIndex",
    "HostPattern",
    "Kind",
    "Limits",
    "Per",
    "Plan",
    "Policy",
    "PolicyError",
    "Problem",
    "Quota",
    "RateLimit",
    "RequestLimit",
    "Rule",
    "Then",
    "When",
    "WhyNot",
    "classify",
    "find_policy",
    "load_policy",
    "load_policy_with_warnings",
    "needs_first_bytes",
    "needs_more",
    "normalise_host",
    "parse_policy",
    "parse_policy_with_warnings",
    "plan_for",
    "presets",
    "shipped_policies",
    "unit_interval",
]
