"""The store as the engine sees it: whether it is there, and what goes through it.

Rule: when it goes away or comes back, that is said once and counted, and takes effect at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Hashable

from mitmthrottle.pacing import Parts, SharedQuota

from .address import Address
from .connection import Connection, StoreUnavailable
from .names import Names
from .quotas import QuotaCalls
from .sharing import Sharing
from .starts import Down, SharedStarts

logger = logging.getLogger(__name__)

TRY_AGAIN_S = 0.5

_MEANWHILE = {
    "split": "each process goes on with its last part of what is shared",
    "open": "what is shared is not limited",
    "block": "new responses under a rule that shares something are answered with 503",
}


class Store:
    """What this process shares with others. To be made in a running event loop."""

    def __init__(self, address: Address, down: Down, now: Callable[[], float]) -> None:
        self.address = address
        self.down: Down = down
        self.away: str | None = None  # why, while it is away
        self.away_since = 0.0
        self.counts: Counter[str] = Counter()  # `away`, `emptied`: how often
        self.parts = Parts()
        self.connection = Connection(address)
        self._now = now
        self._names = Names("")
        self.sharing = Sharing(self.connection, self.parts, self._names, now)
        self._quotas = QuotaCalls(self)
        self.starts = SharedStarts(self, lambda key: self._names.of("starts", key))
        self._tasks: list[asyncio.Task[None]] = []
        self._listener: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"Store({self.address}, {self.away or 'there'}, {self.parts.processes} processes)"

    @property
    def away_s(self) -> float | None:
        """For so long it has been away."""
        return None if self.away is None else self._now() - self.away_since

    @property
    def blocks(self) -> bool:
        """Responses that would share something are not to begin now."""
        return self.away is not None and self.down == "block"

    @property
    def names(self) -> Names:
        return self._names

    def use(self, seed: str, clock: str) -> None:
        """Share under this policy's seed, and count its stages by the clock of this name."""
        names = Names(seed)
        if names.fleet != self._names.fleet:
            self._names = self.sharing.names = names
            if self._listener is not None:
                self._listener.cancel()
            self._listener = asyncio.get_running_loop().create_task(
                self.connection.listen(
                    names.channel(self.sharing.process), self.sharing.asked_back
                ),
                name="mitmthrottle presence",
            )
        self.sharing.clock = clock

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._share(), name="mitmthrottle shared budgets"),
            loop.create_task(self._quotas.run(), name="mitmthrottle shared quotas"),
        ]

    def stop(self) -> None:
        """The connections are closed a moment later."""
        for task in (*self._tasks, self._listener):
            if task is not None:
                task.cancel()
        self._tasks.append(asyncio.get_running_loop().create_task(self.connection.close()))

    def quota(self, key: Hashable, free_bytes: int, keep_s: float) -> SharedQuota:
        """An allowance that other processes use too."""
        return self._quotas.new(key, free_bytes, keep_s)

    # -- there or not

    def missed(self, error: StoreUnavailable) -> None:
        """It has not answered."""
        if self.away is not None:
            return
        self.away = str(error)
        self.away_since = self._now()
        self.counts["away"] += 1
        logger.warning(
            "mitmthrottle: the store at %s is away (%s); until it is back, %s",
            self.address,
            error,
            _MEANWHILE[self.down],
        )
        if self.down == "open":
            self.parts.away("open", self._now())
        self._quotas.away()

    def _answered(self, lost: bool) -> None:
        if self.away is not None:
            logger.warning(
                "mitmthrottle: the store at %s is back after %.0f s",
                self.address,
                self._now() - self.away_since,
            )
            self.away = None
            self.parts.away("split", self._now())
            self._quotas.back()
        if lost:
            self.counts["emptied"] += 1
            logger.warning("mitmthrottle: the store at %s has lost what it knew", self.address)

    async def _share(self) -> None:
        last = -TRY_AGAIN_S
        failures = 0
        while True:
            try:
                await self.sharing.wait(last)
                last = self._now()
                lost = await self.sharing.tell()
            except StoreUnavailable as error:
                failures += 1
                if failures > 1 or not error.at_once:
                    self.missed(error)
                    await asyncio.sleep(TRY_AGAIN_S)
            except Exception:  # a fault of ours: go on with the parts that we have
                if self.away is None:
                    logger.exception("mitmthrottle failed on what the store has said")
                self.missed(StoreUnavailable("an error of ours"))
                await asyncio.sleep(TRY_AGAIN_S)
            else:
                failures = 0
                self._answered(lost)
