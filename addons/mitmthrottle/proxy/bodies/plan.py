"""What a rule asks of a body, as values: its plan.

Rule: a plan is pure.  It knows the rule, the time and what kind of body it is for; no stream, no
clock, and nothing of what the body has done so far.  `in_force` tells what of it holds now.
"""

from __future__ import annotations

import math
import random
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Literal

from mitmthrottle.pacing import Budget, Shared, Stalls
from mitmthrottle.policy import (
    Delay,
    Exchange,
    Per,
    Quota,
    RateLimit,
    RequestLimit,
    Rule,
    Then,
    normalise_host,
)

type Part = Literal[
    "response", "upload", "relay-down", "relay-up", "websocket-down", "websocket-up"
]
"""which body of an exchange"""

type Block = int | Literal["reset", "timeout"]


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
    """What a rule says of a body's rate.

    `owner` tells apart whose budgets they are: those of each rule, up from down, and of each stage
    where every response has stages of its own: the newest is not to set everybody's rate.
    """

    owner: Hashable = None
    rate: tuple[RateLimit, ...] = ()
    burst_bytes: int | None = None
    policing: bool = False

    @property
    def lowest_bytes_per_s(self) -> float | None:
        """The lowest of the rates, whoever shares it; None without one."""
        return min((limit.limit_bytes_per_s for limit in self.rate), default=None)


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a body has to keep to, until `until_s` of the clock that its stages count from."""

    limits: Limits = NO_LIMITS
    delay: Delay | None = None
    stalls: Stalls | None = None
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
            return replace(
                self, limits=NO_LIMITS, delay=None, stalls=None, cut_after_bytes=None,
                block=None, starts=(),
            )  # fmt: skip
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


def plan(part: Part, rule: Rule, elapsed_s: float) -> Plan:
    """The plan of that part of an exchange under a rule, `elapsed_s` after its stages began."""
    then, until_s = rule.then.at(elapsed_s)
    if then.pass_:
        return Plan(until_s=until_s)
    if part == "upload":
        return _upload(rule, then, until_s)
    down = part in ("response", "relay-down", "websocket-down")
    cut = then.cut if down else None
    return Plan(
        limits=_limits(part, rule, then),
        # The answer to a WebSocket's handshake has had its delay already.
        delay=then.delay if part in ("response", "relay-down") else None,
        stalls=_stalls(then) if down else None,
        cut_after_bytes=cut.after_bytes if cut else None,
        cut_resets=cut is not None and cut.how == "reset",
        block=then.block,
        starts=then.requests if part == "response" else (),
        quota=then.quota,
        until_s=until_s,
    )


def _upload(rule: Rule, then: Then, until_s: float) -> Plan:
    """Of a request's body; whether its exchange is blocked is asked of the response."""
    upload = then.upload
    if upload is None:
        return Plan(quota=then.quota, until_s=until_s)
    return Plan(
        limits=Limits((rule.name, "upload"), upload.rate, upload.burst, _is_policed(then)),
        delay=upload.delay,
        quota=then.quota,
        until_s=until_s,
    )


def _limits(part: Part, rule: Rule, then: Then) -> Limits:
    """Of a relayed connection, up: `upload` if the rule has one, else as down, for nobody can tell
    which is which."""
    rate, burst = then.rate, then.burst
    owner: Hashable = rule.name
    if part in ("relay-up", "websocket-up"):
        owner = (rule.name, "upload")
        if then.upload is not None:
            rate, burst = then.upload.rate, then.upload.burst
    if rule.then.from_ == "response":
        way = "upload" if isinstance(owner, tuple) else "down"
        stage = tuple((limit.limit_bytes_per_s, limit.per) for limit in rate)
        owner = (rule.name, way, stage, burst, then.as_)
    return Limits(owner, rate, burst, _is_policed(then))


def _is_policed(then: Then) -> bool:
    return then.as_ == "policer"


def _stalls(then: Then) -> Stalls | None:
    stall = then.stall
    return Stalls(stall.after_bytes, stall.for_s, stall.every_bytes) if stall else None


# -- from a plan to the budgets that a body draws from

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
