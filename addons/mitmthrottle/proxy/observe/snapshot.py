"""How it is with the throttle at one moment: the policy in force, what is under way, what went
wrong, and what other processes share.

Rule: plain values that nothing changes afterwards.  Who looks on (watch/) reads a snapshot and what
an `Observer` is told, and asks the proxy for nothing else; `Observed` is all that it knows of the
throttle.  A snapshot with a thousand bodies under way takes one to two milliseconds, so it is taken
when somebody asks, never for a flow.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mitmthrottle.pacing import Allocation
from mitmthrottle.policy import Decider, Policy
from mitmthrottle.proxy.bodies.record import BodySnapshot, Direction
from mitmthrottle.store import Down, PeerMessages, Store

from .observer import Observer


@dataclass(frozen=True, slots=True)
class OverrideSnapshot:
    """What a command has changed of one rule."""

    changed: bool
    """False: it is as the file says, until `reverts_in_s` is over"""
    switched_off: bool
    rate_bytes_per_s: float | None
    """instead of the rule's own; None: as the policy says"""
    reverts_in_s: float | None
    """None: it stays"""


@dataclass(frozen=True, slots=True)
class ShareSnapshot:
    """One limit of one rule that processes share, over all whom it is counted `per`, as far as
    this process draws from it."""

    rule: str
    index: int
    """which of the rule's limits"""
    per: str
    direction: Direction
    budgets: int
    """how many of them are drawn from"""
    bodies: int
    """that draw from them"""
    limit_bytes_per_s: float
    """what the policy allows these budgets, in all processes together"""
    rate_bytes_per_s: float | None
    """what of it this process may give out; None: no limit now"""
    measured_bytes_per_s: float


@dataclass(frozen=True, slots=True)
class StoreSnapshot:
    """What several processes share their budgets through."""

    address: str
    """without its password"""
    down: Down
    """what is done while it is away"""
    away_s: float | None
    """for so long it has not answered; None: it is there"""
    process: str
    """this one's id"""
    processes: int
    """that share, this one included, as far as it was told"""
    budgets: int
    """shared ones in use here"""
    shares: tuple[ShareSnapshot, ...]
    calls: int
    outages: int
    """how often it went away"""
    losses: int
    """how often it had lost what it knew"""


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """The running throttle."""

    policy: Policy
    """in force, with what commands have changed"""
    version: str
    """of it, see record.py"""
    decider: Decider
    """of it: asks what the proxy asks, and changes nothing"""
    policy_started_unix: float
    """Unix seconds from which its stages count"""
    elapsed_s: float
    """since then"""
    bodies: tuple[BodySnapshot, ...]
    """under way"""
    unmatched_responses: int
    """so far, that no rule has matched"""
    outcomes: Mapping[str, int]
    """how many bodies under a rule ended how, see record.py; `failed`: exchanges that an error of
    ours let pass unthrottled, `failed_beyond`: those that an error of others ended"""
    not_held: int
    """bodies so far that were to be held before their start, with no place for them"""
    store: StoreSnapshot | None
    """None: this process shares with nobody"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment."""

    engine: EngineSnapshot | None = None
    """None: no policy is in force, and nothing is slowed"""
    file_policy: Policy | None = None
    """the policy as its file says, also with the rules that commands have switched off"""
    overrides: Mapping[str, OverrideSnapshot] = field(default_factory=dict)
    """by rule"""
    observer_failures: int = 0
    """errors in those who look on"""

    @property
    def bodies(self) -> tuple[BodySnapshot, ...]:
        """Under way."""
        return self.engine.bodies if self.engine is not None else ()


class Observed(Protocol):
    """The throttle, for those who look on: to be read, observed, and told what somebody wants who
    looks at it."""

    def snapshot(self) -> Snapshot:
        """How it is now.  Observers have been told by then of all that was before."""

    def observe(self, observer: Observer) -> None:
        """Tell this one what happens, from now on."""

    async def tell_peers(self, text: str, *, listen: bool) -> PeerMessages | None:
        """Say this to the processes that share with this one, and hear what they say; None where
        nobody wants to know (`listen`), or there is no store that answers."""

    def disable(self, rule: str, revert_after: str = "") -> None:
        """Switch a rule off.  Raises mitmproxy's CommandError."""

    def enable(self, rule: str, revert_after: str = "") -> None:
        """Take back what commands have changed of a rule.  Raises mitmproxy's CommandError."""


def of_store(store: Store) -> StoreSnapshot:
    return StoreSnapshot(
        address=str(store.address),
        down=store.down,
        away_s=store.away_s,
        process=store.sharing.process,
        processes=store.allocations.processes,
        budgets=len(store.allocations),
        shares=_shares(store.allocations.active()),
        calls=store.connection.calls,
        outages=store.counts["away"],
        losses=store.counts["emptied"],
    )


def _shares(parts: Iterable[Allocation]) -> tuple[ShareSnapshot, ...]:
    """Those of one limit taken together."""
    limits: dict[tuple[Hashable, ...], list[Allocation]] = {}
    for part in parts:
        if part.drawing and isinstance(part.key, tuple):
            limits.setdefault(part.key[:3], []).append(part)
    return tuple(_share(key, group) for key, group in limits.items())


def _share(key: tuple[Hashable, ...], parts: list[Allocation]) -> ShareSnapshot:
    """`key` is of bodies/budgets.py: whose limit, its number, `per`."""
    owner, index, per = key
    upload = isinstance(owner, tuple) and owner[1] == "upload"
    limited = all(part.budget.fraction <= 1 for part in parts)
    return ShareSnapshot(
        rule=str(owner[0] if isinstance(owner, tuple) else owner),
        index=int(str(index)),
        per=str(per),
        direction="up" if upload else "down",
        budgets=len(parts),
        bodies=sum(part.drawing for part in parts),
        limit_bytes_per_s=sum(part.budget.limit_bytes_per_s for part in parts),
        rate_bytes_per_s=sum(p.budget.rate_bytes_per_s for p in parts) if limited else None,
        measured_bytes_per_s=sum(part.taken_bytes_per_s for part in parts),
    )
