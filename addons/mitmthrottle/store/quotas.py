"""Quotas that several processes use: what was used here is told, what is left is taken in.

Rule: what is used and not told yet is a batch at most (pacing/quota.py says how much that is), so
all processes together use at most one batch each too much.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import weakref
from collections.abc import Hashable
from typing import TYPE_CHECKING

from mitmthrottle.pacing import SharedQuota

from .answers import MOST_BYTES, count
from .connection import StoreUnavailable

if TYPE_CHECKING:
    from .store import Store

logger = logging.getLogger(__name__)

SOONEST_S = 0.07  # between two calls for a quota: 15 a second
LATEST_S = 0.25  # after which also a little that was used is told


class QuotaCalls:
    """The calls for the quotas of one process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # What each quota in use is for, and for how many seconds it is kept.
        self._known: weakref.WeakKeyDictionary[SharedQuota, tuple[Hashable, float]] = (
            weakref.WeakKeyDictionary()
        )
        self._told_at: weakref.WeakKeyDictionary[SharedQuota, float] = weakref.WeakKeyDictionary()
        self._to_tell: dict[SharedQuota, None] = {}
        self._changed = asyncio.Event()

    def new(self, key: Hashable, free_bytes: int, keep_s: float) -> SharedQuota:
        quota = SharedQuota(free_bytes, self._used)
        self._known[quota] = (key, keep_s)
        if self._store.away is not None:
            self._part(quota)
        return quota

    def away(self) -> None:
        for quota in list(self._known):
            self._part(quota)

    def back(self) -> None:
        for quota in list(self._known):
            quota.back()

    async def run(self) -> None:
        """Tell, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._to_tell and self._store.away is None:
                soonest = loop.time() + LATEST_S
                for quota in list(self._to_tell):
                    if not quota.to_tell:
                        del self._to_tell[quota]
                        continue
                    after_s = SOONEST_S if quota.urgent else LATEST_S
                    at = self._told_at.get(quota, 0.0) + after_s
                    if at <= loop.time():
                        self._told_at[quota] = loop.time()
                        await self._tell(quota)
                    soonest = min(soonest, at)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.005, soonest - loop.time())):
                        await self._changed.wait()
                self._changed.clear()

    def _used(self, quota: SharedQuota) -> None:
        self._to_tell[quota] = None
        self._changed.set()

    def _part(self, quota: SharedQuota) -> None:
        match self._store.down:
            case "split":
                quota.alone(1 / self._store.parts.processes)
            case "open":
                quota.alone(math.inf)
            case "block":
                quota.alone(0.0)

    async def _tell(self, quota: SharedQuota) -> None:
        key, keep_s = self._known[quota]
        used, known, period = quota.tell()
        name = self._store.names.of("quota", (key, period))
        try:
            total = await self._store.connection.run(
                "quota.lua", [name], [used, known, f"{1000 * keep_s:.0f}"]
            )
            quota.told(count(total, MOST_BYTES), period)
        except StoreUnavailable as error:
            quota.not_told()
            if not error.at_once:
                self._store.missed(error)
        except Exception:  # a fault of ours: nobody is to be slowed for it
            logger.exception("mitmthrottle failed on a shared quota, which is this proxy's own now")
            quota.alone(1 / self._store.parts.processes)
