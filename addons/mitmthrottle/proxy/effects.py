"""From what a rule says to what paces a body: its delay and the budgets that it draws from.

Rule: a budget belongs to a rule and to what it counts `per`; only `per: response` is a response's
own.  Whoever comes back with the same key draws from the same budget.
"""

from __future__ import annotations

import math
import random
from collections.abc import Hashable
from dataclasses import dataclass

from mitmthrottle.pacing import Budget, Shared
from mitmthrottle.policy import Delay, Exchange, Per, Quota, RateLimit, Then, normalise_host


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


@dataclass(frozen=True, slots=True)
class Limits:
    """What a rule says of a body's rate; `owner` tells apart rules, and up from down."""

    owner: Hashable
    rate: tuple[RateLimit, ...]
    burst_bytes: int | None
    policing: bool

    @classmethod
    def of(cls, owner: Hashable, then: Then) -> Limits:
        return cls(owner, then.rate, then.burst, then.as_ == "policer")


# From the narrowest to the widest: a claim walks in this order.
_ORDER = {"response": 0, "connection": 1, "client": 2, "host": 3, "rule": 4}


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
        found.append((_ORDER[limit.per], budget))
    found.sort(key=lambda pair: pair[0])
    return tuple(budget for _, budget in found)


def shares(then: Then) -> bool:
    """Whether responses on other connections, and so in other processes, have a say in this."""
    quota = (then.quota,) if then.quota else ()
    limits = (*then.rate, *then.requests, *quota)
    return any(limit.per not in ("response", "connection") for limit in limits)


_PERIODS_S = {"hour": 3600.0, "day": 86400.0, "week": 7 * 86400.0, "month": 31 * 86400.0}


def remembered_s(quota: Quota) -> float:
    """How long what was used of it matters, at most; a month where it is free once."""
    if quota.every is None:
        return _PERIODS_S["month"]
    return quota.every if isinstance(quota.every, float) else _PERIODS_S[quota.every]


def lowest(rates: tuple[RateLimit, ...]) -> float | None:
    """The lowest of these rates in bytes/s, whoever shares it; None without one."""
    return min((limit.limit_bytes_per_s for limit in rates), default=None)


def sampled_s(delay: Delay | None, *seed: object) -> float:
    """Seconds before the first byte.  The same seed always gives the same."""
    if delay is None:
        return 0.0
    return delay.sample(random.Random("/".join(str(part) for part in seed)))


def delay_s(then: Then, *seed: object) -> float:
    """What a response waits for its first byte; for ever where it is never answered."""
    return math.inf if then.block == "timeout" else sampled_s(then.delay, *seed)
