"""The processes that share budgets, seen as one: telling them of us, and keeping what they say.

Rules: whether they are listened to depends on whether somebody looks at the page.  No client, host
or rule is told in clear: a rule is a keyed hash, which whoever runs the same policy knows.  What
does not read as a status is none: anybody who can write to the store may have put it there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from mitmthrottle.policy import Policy
from mitmthrottle.policy.language.outside import printable
from mitmthrottle.proxy.snapshot import EngineSnapshot, Observed, ShareSnapshot, StoreSnapshot
from mitmthrottle.store import Names, PeerMessages
from mitmthrottle.store.peers import EVERY_S

from . import api as shape
from .samples import Samples
from .state import PageState

logger = logging.getLogger(__name__)

MOST_SHARES = 12
"""of one process; the busiest"""
SOON_S = 0.5
"""The least time between two calls, when somebody begins to look."""
SILENT_AFTER_S = 3 * EVERY_S
SETTLED_S = 5.0
"""A policy that came later than that is on its way to the others too."""
FORGOTTEN_S = 60.0
"""What was heard before that is not shown, if the store is away for so long."""

# Anybody who can write to the store may have put escapes for a terminal into it.
_Short = Annotated[str, Field(max_length=100), AfterValidator(printable)]
_Count = Annotated[int, Field(ge=0, le=10**9)]
# Sums of them are shown too, and stay numbers that JSON has.
_Rate = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Share:
    """One limit of one rule, over all whom it is counted `per`."""

    rule: _Short
    """its hash"""
    index: _Count
    """which of the rule's limits"""
    per: _Short
    upload: bool
    budgets: _Count
    responses: _Count
    limit_bytes_per_s: _Rate
    asked_bytes_per_s: _Rate | None
    """what this process may give out; None: no limit now"""
    measured_bytes_per_s: _Rate


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """What one process says of itself."""

    name: _Short
    version: _Short
    """of its policy"""
    policy_s: Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]
    """for so long it has had that"""
    paced: _Count
    measured_bytes_per_s: _Rate
    """of everything slowed"""
    shares: Annotated[tuple[Share, ...], Field(max_length=MOST_SHARES)]

    __pydantic_config__ = ConfigDict(extra="ignore")  # a newer release may say more

    def text(self) -> str:
        return _STATUS.dump_json(self).decode()


_STATUS = TypeAdapter(PeerStatus)


def parse(text: str) -> PeerStatus | None:
    """The status that this is, if it is one."""
    try:
        return _STATUS.validate_json(text)
    except ValidationError:
        return None


def hash_of_rule(names: Names, name: str) -> str:
    return names.of("rule", name).rpartition(":")[2]


def _shares(found: Iterable[ShareSnapshot], names: Names) -> tuple[Share, ...]:
    busiest = sorted(found, key=lambda share: -share.measured_bytes_per_s)[:MOST_SHARES]
    return tuple(
        Share(
            rule=hash_of_rule(names, share.rule),
            index=share.index,
            per=share.per,
            upload=share.direction == "up",
            budgets=share.budgets,
            responses=share.bodies,
            limit_bytes_per_s=share.limit_bytes_per_s,
            asked_bytes_per_s=share.rate_bytes_per_s,
            measured_bytes_per_s=share.measured_bytes_per_s,
        )
        for share in busiest
    )


@dataclass(frozen=True, slots=True)
class _Last:
    """What was heard last."""

    heard: PeerMessages
    at: float


class Peers:
    """What this process and the others say."""

    def __init__(
        self, throttle: Observed, page_state: PageState, samples: Samples, name: Callable[[], str]
    ) -> None:
        """`name` is how this process is to be called."""
        self._throttle = throttle
        self._page_state = page_state
        self._samples = samples
        self._name = name
        self._last: _Last | None = None
        self._somebody_looks = asyncio.Event()
        self._rules: tuple[Policy, dict[str, str]] | None = None

    async def run(self) -> None:
        """Tell and listen, until cancelled."""
        while True:
            await asyncio.sleep(SOON_S)
            try:
                await self._once()
            except Exception:  # looking on never does harm
                logger.exception("mitmthrottle: what this process says of itself has failed")
            try:
                async with asyncio.timeout(EVERY_S - SOON_S):
                    await self._somebody_looks.wait()
            except TimeoutError:
                pass
            self._somebody_looks.clear()

    async def _once(self) -> None:
        engine = self._throttle.snapshot().engine
        if engine is None or engine.store is None or engine.store.away_s is not None:
            return
        heard = await self._throttle.tell_peers(
            self._own(engine, engine.store).text(), listen=self._page_state.wants_unmatched
        )
        if heard is not None:
            self._last = _Last(heard, time.monotonic())

    def looked_at(self) -> None:
        """Somebody looks at the page."""
        if self._last is None or time.monotonic() - self._last.at > SILENT_AFTER_S:
            self._somebody_looks.set()

    def _own(self, engine: EngineSnapshot, store: StoreSnapshot) -> PeerStatus:
        """What we say."""
        loaded = self._page_state.loaded
        series = self._samples.series.values()
        return PeerStatus(
            name=self._name()[:100],
            version=engine.version,
            policy_s=time.time() - loaded.time if loaded else 0.0,
            paced=len(engine.bodies),
            measured_bytes_per_s=sum(each.measured[-1] for each in series if each.measured),
            shares=_shares(store.shares, Names(engine.policy.seed)),
        )

    # -- what the page shows

    def states(
        self,
        engine: EngineSnapshot,
        store: StoreSnapshot,
        file_policy: Policy | None,
        *,
        trusted: bool,
    ) -> list[shape.MemberState] | None:
        """This process first, then the others by name; None: nothing was heard yet."""
        rules = self._names_of_rules(file_policy)
        own = self._own(engine, store)
        found = [_state(own, own, rules, store.process, None, trusted)]
        last = self._last
        if last is None or time.monotonic() - last.at > FORGOTTEN_S:
            return found if store.away_s is not None else None
        since_s = time.monotonic() - last.at
        others = []
        for message in last.heard.messages:
            status = parse(message.text)
            if status is not None and message.process != store.process:
                silent_s = message.silent_s + since_s
                others.append(_state(status, own, rules, message.process, silent_s, trusted))
        others.sort(key=lambda each: (each["name"] or "", each["id"]))
        return found + others

    def count(self) -> int:
        """How many there are, as far as was heard."""
        return max(1, self._last.heard.count) if self._last else 1

    def _names_of_rules(self, file_policy: Policy | None) -> dict[str, str]:
        """By their hashes."""
        if file_policy is None:
            return {}
        if self._rules is None or self._rules[0] is not file_policy:
            names = Names(file_policy.seed)
            hashes = {hash_of_rule(names, rule.name): rule.name for rule in file_policy.rules}
            self._rules = (file_policy, hashes)
        return self._rules[1]


def _state(
    status: PeerStatus,
    own: PeerStatus,
    rules: dict[str, str],
    process: str,
    silent_s: float | None,
    trusted: bool,
) -> shape.MemberState:
    late = silent_s is not None and silent_s > SILENT_AFTER_S
    settled = min(status.policy_s, own.policy_s) > SETTLED_S or status.version.endswith("+")
    order = {rule: number for number, rule in enumerate(rules)}
    shown = sorted(status.shares, key=lambda e: (order.get(e.rule, len(order)), e.upload, e.index))
    return {
        "id": process[:8],
        "name": status.name if trusted else None,
        "this": status is own,
        "version": status.version,
        "other_policy": status.version != own.version and settled and not late,
        "silent_s": silent_s if late else None,
        "active": status.paced,
        "measured_bytes_per_s": status.measured_bytes_per_s,
        "shares": [_share_state(share, rules) for share in shown],
    }


def _share_state(share: Share, rules: dict[str, str]) -> shape.ShareState:
    asked, limit = share.asked_bytes_per_s, share.limit_bytes_per_s
    return {
        "id": f"{share.rule}/{share.upload}/{share.index}",
        "rule": rules.get(share.rule),
        "direction": "up" if share.upload else "down",
        "per": share.per,
        "budgets": share.budgets,
        "responses": share.responses,
        "limit_bytes_per_s": limit,
        "part": asked / limit if asked is not None and limit else None,
        "asked_bytes_per_s": asked,
        "measured_bytes_per_s": share.measured_bytes_per_s,
    }
