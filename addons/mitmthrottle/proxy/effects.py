"""From what a rule says to what paces a response: its delay and the budgets that it draws from.

Rule: a budget belongs to a rule and to what it counts `per`; only `per: response` is a response's
own.  Whoever comes back with the same key draws from the same budget.
"""

from __future__ import annotations

import math
import random
from collections.abc import Hashable
from dataclasses import dataclass

from mitmthrottle.pacing import Budget, Shared
from mitmthrottle.policy import Exchange, RateLimit, Rule, normalise_host


@dataclass(frozen=True, slots=True)
class Parties:
    """Who shares with whom: the values behind `per`."""

    connection: str
    client: str
    host: str

    @classmethod
    def of(cls, exchange: Exchange, connection_id: str) -> Parties:
        return cls(connection_id, exchange.client_identity, normalise_host(exchange.host))


def budgets_for(
    rule: Rule, parties: Parties, shared: Shared, own: dict[int, Budget], now: float
) -> tuple[Budget, ...]:
    """The budgets of one response under a rule, narrowest first, at the rates that it says now.

    `own` keeps the response's own budgets, so that calling this again under a changed policy
    changes their rates instead of starting afresh.
    """
    burst = rule.then.burst
    found: list[tuple[float, Budget]] = []
    for index, limit in enumerate(rule.then.rate):
        if limit.per == "response":
            budget = own.get(index)
            if budget is None:
                budget = own[index] = Budget(limit.limit_bytes_per_s, burst, now)
        else:
            key = (rule.name, index, limit.per, _party(limit, parties))
            budget = shared.get(key, limit.limit_bytes_per_s, burst, now)
        budget.change(limit.limit_bytes_per_s, burst, now)
        found.append((_ORDER[limit.per], budget))
    found.sort(key=lambda pair: pair[0])
    return tuple(budget for _, budget in found)


# From the narrowest to the widest: a claim walks in this order.
_ORDER = {"response": 0, "connection": 1, "client": 2, "host": 3, "rule": 4}


def _party(limit: RateLimit, parties: Parties) -> Hashable:
    match limit.per:
        case "connection":
            return parties.connection
        case "client":
            return parties.client
        case "host":
            return parties.host
        case _:
            return None


def delay_s(rule: Rule, seed: str, serial: int) -> float:
    """Seconds before the first byte.  The nth response under a seed always gets the same."""
    if rule.then.block == "timeout":
        return math.inf
    if rule.then.delay is None:
        return 0.0
    return rule.then.delay.sample(random.Random(f"{seed}/{rule.name}/delay/{serial}"))
