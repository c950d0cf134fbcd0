"""Whose turn it is to start: `requests: 10 / min`.

Rule: aiolimiter counts.  Starts are whole, all of one size and at a rate that does not change, so
what makes it unfit for bytes does not matter here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

from aiolimiter import AsyncLimiter

from mitmthrottle.policy import RequestLimit

from .effects import Parties


class Turns:
    """The limits on starts that responses share, by rule and party."""

    def __init__(self) -> None:
        # With the loop's time at which each will be as if new, the least lately used first.
        self._limiters: dict[Hashable, tuple[AsyncLimiter, float]] = {}

    def __len__(self) -> int:
        return len(self._limiters)

    def take(
        self,
        rule_name: str,
        limits: tuple[RequestLimit, ...],
        parties: Parties,
        then: Callable[[], None],
    ) -> asyncio.Task[None]:
        """Call `then` when it may start.  Cancel the task when it need not any more."""
        loop = asyncio.get_running_loop()
        self._sweep(loop.time())
        limiters = [
            self._limiter((rule_name, limit.per, parties.behind(limit.per)), limit, loop.time())
            for limit in limits
        ]
        return loop.create_task(self._wait(limiters, then))

    async def _wait(self, limiters: list[AsyncLimiter], then: Callable[[], None]) -> None:
        for limiter in limiters:
            await limiter.acquire()
        then()

    def _limiter(self, key: Hashable, limit: RequestLimit, now: float) -> AsyncLimiter:
        limiter, _ = self._limiters.pop(key, (None, 0.0))
        wanted = (limit.count, limit.period_s)
        if limiter is None or (limiter.max_rate, limiter.time_period) != wanted:
            limiter = AsyncLimiter(*wanted)
        self._limiters[key] = (limiter, now + limit.period_s)
        return limiter

    def _sweep(self, now: float) -> None:
        """Forget limiters that nobody has used for their period and nobody waits for."""
        for key, (limiter, new_at) in list(self._limiters.items()):
            if new_at > now:
                break
            if limiter.has_capacity(limiter.max_rate):
                del self._limiters[key]
