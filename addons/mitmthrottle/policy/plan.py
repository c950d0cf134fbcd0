"""What a rule asks of a body, as values: its plan.

The one rule: a plan is pure.  It knows the rule, the time and what kind of body it is for; no
stream, no clock, and nothing of what the body has done so far.  What it says, the effects say
(effects/), each for itself; `in_force` tells what of it holds now.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from mitmthrottle.pacing import Silences
from mitmthrottle.policy.effects import BodyPart
from mitmthrottle.policy.effects.block import Block
from mitmthrottle.policy.effects.delay import Delay
from mitmthrottle.policy.effects.quota import Quota
from mitmthrottle.policy.effects.rate import NO_LIMITS, Limits
from mitmthrottle.policy.effects.requests import RequestLimit
from mitmthrottle.policy.schema import Rule


@dataclass(frozen=True, slots=True)
class Plan:
    """What a body has to keep to, until `until_s` of the clock that its stages count from."""

    limits: Limits = NO_LIMITS
    delay: Delay | None = None
    silences: tuple[Silences, ...] = ()
    cut_after_bytes: int | None = None
    cut_resets: bool = False
    block: Block | None = None
    starts: tuple[RequestLimit, ...] = ()
    quota: Quota | None = None
    until_s: float = math.inf

    def in_force(self, *, within_quota: bool, began_within_quota: bool) -> Plan:
        """What of it holds now.

        Within its quota a body runs at full speed and nothing else holds.  One that has begun there
        has had its start and its headers, and is not blocked when the quota is used up under way.
        """
        if within_quota:
            return Plan(quota=self.quota, until_s=self.until_s)
        if began_within_quota:
            return replace(self, delay=None, block=None, starts=())
        return self

    def refused(self) -> Plan:
        """In its place: an answer that says to come again later."""
        return Plan(block=503, delay=self.delay, until_s=self.until_s)

    @property
    def shares(self) -> bool:
        """Whether responses on other connections, and so in other processes, have a say in it."""
        quota = (self.quota,) if self.quota else ()
        limits = (*self.limits.rate, *self.starts, *quota)
        return any(limit.per not in ("response", "connection") for limit in limits)


FREE = Plan()
"""as fast as it comes"""


def plan_for(part: BodyPart, rule: Rule, elapsed_s: float) -> Plan:
    """The plan of that part of an exchange under a rule, `elapsed_s` after its stages began."""
    then, until_s = rule.then.at(elapsed_s)
    says: dict[str, object] = {}
    for effect in then.acting:
        for field, value in effect.plan(then, part, rule).items():
            before = says.get(field)
            if isinstance(before, tuple) and isinstance(value, tuple):
                value = before + value
            says[field] = value
    return Plan(**says, until_s=until_s)  # type: ignore[arg-type]  # a test looks at each effect's
