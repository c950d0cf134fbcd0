"""All processes that share, seen as one: telling them of us, and keeping what they say.

Rule: whether they are listened to depends on whether somebody looks at the page; what we say of
ourselves is worked out every two seconds, in microseconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from mitmthrottle.policy import Policy
from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.engine import Engine
from mitmthrottle.store import Heard, Names, Store, tell
from mitmthrottle.store.members import EVERY_S

from . import state_json as shape
from .members import Share, Word, hash_of_rule, parse, shares
from .state import Live
from .state_samples import Samples

logger = logging.getLogger(__name__)

SOON_S = 0.5
"""The least time between two calls, when somebody begins to look."""
SILENT_AFTER_S = 3 * EVERY_S
SETTLED_S = 5.0
"""A policy that came later than that is on its way to the others too."""
FORGOTTEN_S = 60.0
"""What was heard before that is not shown, if the store is away for so long."""


@dataclass(frozen=True, slots=True)
class _Last:
    """What was heard last."""

    heard: Heard
    at: float


class Members:
    """What this process and the others say."""

    def __init__(
        self, throttle: Throttle, live: Live, samples: Samples, name: Callable[[], str]
    ) -> None:
        """`name` is how this process is to be called."""
        self._throttle = throttle
        self._live = live
        self._samples = samples
        self._name = name
        self._last: _Last | None = None
        self._somebody_looks = asyncio.Event()
        self._rules: tuple[Policy, str, dict[str, str]] | None = None

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
        engine = self._throttle.engine
        if engine is None or engine.store is None or engine.store.away is not None:
            return
        heard = await tell(
            engine.store,
            self._word(engine, engine.store).text(),
            listen=self._live.wants_unmatched,
        )
        if heard is not None:
            self._last = _Last(heard, time.monotonic())

    def looked_at(self) -> None:
        """Somebody looks at the page."""
        if self._last is None or time.monotonic() - self._last.at > SILENT_AFTER_S:
            self._somebody_looks.set()

    def _word(self, engine: Engine, store: Store) -> Word:
        """What we say."""
        loaded = self._live.loaded
        series = self._samples.series.values()
        return Word(
            name=self._name()[:100],
            version=engine.version,
            policy_s=time.time() - loaded.time if loaded else 0.0,
            paced=engine.paced_bodies,
            measured_bytes_per_s=sum(each.measured[-1] for each in series if each.measured),
            shares=shares(store.parts.active(), store.names),
        )

    # -- what the page shows

    def states(self, store: Store, *, trusted: bool) -> list[shape.MemberState] | None:
        """This process first, then the others by name; None: nothing was heard yet."""
        engine = self._throttle.engine
        if engine is None:
            return None
        own = self._word(engine, store)
        found = [self._state(own, own, store, store.sharing.process, None, trusted)]
        last = self._last
        if last is None or time.monotonic() - last.at > FORGOTTEN_S:
            return found if store.away is not None else None
        since_s = time.monotonic() - last.at
        others = []
        for said in last.heard.said:
            word = parse(said.text)
            if word is not None and said.process != store.sharing.process:
                silent_s = said.silent_s + since_s
                others.append(self._state(word, own, store, said.process, silent_s, trusted))
        others.sort(key=lambda each: (each["name"] or "", each["id"]))
        return found + others

    def count(self) -> int:
        """How many there are, as far as was heard."""
        return max(1, self._last.heard.count) if self._last else 1

    def _state(
        self,
        word: Word,
        own: Word,
        store: Store,
        process: str,
        silent_s: float | None,
        trusted: bool,
    ) -> shape.MemberState:
        late = silent_s is not None and silent_s > SILENT_AFTER_S
        settled = min(word.policy_s, own.policy_s) > SETTLED_S or word.version.endswith("+")
        rules = self._names_of_rules(store.names)
        order = {rule: number for number, rule in enumerate(rules)}
        shown = sorted(
            word.shares, key=lambda e: (order.get(e.rule, len(order)), e.upload, e.index)
        )
        return {
            "id": process[:8],
            "name": word.name if trusted else None,
            "this": word is own,
            "version": word.version,
            "other_policy": word.version != own.version and settled and not late,
            "silent_s": silent_s if late else None,
            "active": word.paced,
            "measured_bytes_per_s": word.measured_bytes_per_s,
            "shares": [_share(share, rules) for share in shown],
        }

    def _names_of_rules(self, names: Names) -> dict[str, str]:
        policy = self._throttle.control.policy
        if policy is None:
            return {}
        known = self._rules
        if known is None or known[0] is not policy or known[1] != names.fleet:
            hashes = {hash_of_rule(names, rule.name): rule.name for rule in policy.rules}
            self._rules = known = (policy, names.fleet, hashes)
        return known[2]


def _share(share: Share, rules: dict[str, str]) -> shape.ShareState:
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
