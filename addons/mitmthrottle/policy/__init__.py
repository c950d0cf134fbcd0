"""What the policy file says, and which of its rules a response falls under. Pure.

The one rule: no HTTP library, no event loop and no clock in here; whoever asks brings an
`Exchange` (plain facts) and gets a `Decision`.
"""

from mitmthrottle.policy.active import Active
from mitmthrottle.policy.content import Kind, classify, needs_first_bytes, needs_more
from mitmthrottle.policy.cut import Cut
from mitmthrottle.policy.decide import Decider, Decision, WhyNot
from mitmthrottle.policy.delay import Delay
from mitmthrottle.policy.exchange import Exchange
from mitmthrottle.policy.faults import Fault, PolicyError
from mitmthrottle.policy.hosts import HostIndex, HostPattern, normalise_host
from mitmthrottle.policy.limits import Per, RateLimit
from mitmthrottle.policy.load import (
    load_policy,
    load_policy_with_warnings,
    parse_policy,
    parse_policy_with_warnings,
)
from mitmthrottle.policy.presets import Preset, presets
from mitmthrottle.policy.quota import Quota
from mitmthrottle.policy.requests import RequestLimit
from mitmthrottle.policy.schema import Policy, Rule
from mitmthrottle.policy.share import Share, unit_interval
from mitmthrottle.policy.shipped import find_policy, shipped_policies
from mitmthrottle.policy.sniff import FIRST_BYTES
from mitmthrottle.policy.stages import Stage
from mitmthrottle.policy.stall import Stall
from mitmthrottle.policy.then import Then
from mitmthrottle.policy.upload import Upload
from mitmthrottle.policy.when import When

__all__ = [
    "FIRST_BYTES",
    "Active",
    "Cut",
    "Decider",
    "Decision",
    "Delay",
    "Exchange",
    "Fault",
    "HostIndex",
    "HostPattern",
    "Kind",
    "Per",
    "Policy",
    "PolicyError",
    "Preset",
    "Quota",
    "RateLimit",
    "RequestLimit",
    "Rule",
    "Share",
    "Stage",
    "Stall",
    "Then",
    "Upload",
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
    "presets",
    "shipped_policies",
    "unit_interval",
]
