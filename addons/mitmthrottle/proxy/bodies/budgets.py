"""From a plan to what a body draws from: who shares with whom, and the budgets of its rates.

Rule: pure, like the plan (policy/plan.py); time is an argument.
"""

from __future__ import annotations

import math
import random
from collections.abc import Hashable
from dataclasses import dataclass

from mitmthrottle.pacing import Budget, Shared
from mitmthrottle.policy import Exchange, Limits, Per, Plan, Quota, normalise_host


@dataclass(frozen=True, slots=True)
class Parties:
    """Who shares with whom: the values behind `per`."""

    connection: str
    client: str
    host: str

    @classmethod
    def of(cls, exchange: Exchange, connection_id: str) -> Parties:
        return cls(connection_id, exchange.client_identity, normalise_host(exchange.host))

    def behind(self, per: Per) -> Hashable:
        """Who is meant; not for `per: response`, where nobody shares."""
        match per:
            case "connection":
                return self.connection
            case "client":
                return self.client
            case "host":
                return self.host
            case _:
                return None


# From the narrowest to the widest: claims, and the lines of those who start, go in this order.
WIDTHS: dict[Per, int] = {"response": 0, "connection": 1, "client": 2, "host": 3, "rule": 4}


def budgets_for(
    limits: Limits, parties: Parties, shared: Shared, own: dict[int, Budget], now: float
) -> tuple[Budget, ...]:
    """The budgets of one body, narrowest first, at the rates that are in force now.

    `own` keeps the body's own budgets, so that calling this again under a changed policy changes
    their rates instead of starting afresh.
    """
    burst, policing = limits.burst_bytes, limits.policing
    found: list[tuple[int, Budget]] = []
    for index, limit in enumerate(limits.rate):
        rate = limit.limit_bytes_per_s
        if limit.per == "response":
            budget = own.get(index)
            if budget is None:
                budget = own[index] = Budget(rate, burst, now, policing=policing)
        else:
            key = (limits.owner, index, limit.per, parties.behind(limit.per))
            budget = shared.get(
                key, rate, burst, now, policing=policing, here_only=limit.per == "connection"
            )
        if not budget.is_set_to(rate, burst, policing):
            budget.change(rate, burst, now, policing=policing)
        found.append((WIDTHS[limit.per], budget))
    found.sort(key=lambda pair: pair[0])
    return tuple(budget for _, budget in found)


_PERIODS_S = {"hour": 3600.0, "day": 86400.0, "week": 7 * 86400.0, "month": 31 * 86400.0}


def remembered_s(quota: Quota) -> float:
    """How long what was used of it matters, at most; a month where it is free once."""
    if quota.every is None:
        return _PERIODS_S["month"]
    return quota.every if isinstance(quota.every, float) else _PERIODS_S[quota.every]


def delay_s(plan: Plan, *seed: object) -> float:
    """Seconds before the first byte; for ever where there is never an answer.  The same seed always
    gives the same."""
    if plan.block == "timeout":
        return math.inf
    if plan.delay is None:
        return 0.0
    return plan.delay.sample(random.Random("/".join(str(part) for part in seed)))
