"""Whose turn it is to start: `requests: 10 / min`.

Rule: aiolimiter counts.  Starts are whole, all of one size and at a rate that does not change, so
what makes it unfit for bytes does not matter here.  But it does not keep the order in which they
came (each waiter tries again by itself), so only the first in line asks it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

from aiolimiter import AsyncLimiter

from mitmthrottle.policy import RequestLimit
from mitmthrottle.store import SharedLine, Store

from .effects import Parties


class _Line:
    """Those who wait for one limiter, first come first served (as asyncio's lock wakes them)."""

    def __init__(self, limit: RequestLimit) -> None:
        self.limit = (limit.count, limit.period_s)
        self.limiter = AsyncLimiter(limit.count, limit.period_s)
        self.new_at = 0.0  # the loop's time at which it will be as if new
        self._first = asyncio.Lock()

    @property
    def is_new(self) -> bool:
        return not self._first.locked() and self.limiter.has_capacity(self.limiter.max_rate)

    async def wait(self) -> None:
        async with self._first:
            await self.limiter.acquire()


class Turns:
    """The limits on starts that responses share, by rule and party."""

    def __init__(self, store: Store | None = None) -> None:
        """`store`: where the turns are given out, if other processes count with us."""
        self._store = store
        self._lines: dict[Hashable, _Line | SharedLine] = {}  # the least lately used first

    def __len__(self) -> int:
        return len(self._lines)

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
        lines = [
            self._line((rule_name, limit.per, parties.behind(limit.per)), limit, loop.time())
            for limit in limits
        ]
        return loop.create_task(self._wait(lines, then))

    async def _wait(self, lines: list[_Line | SharedLine], then: Callable[[], None]) -> None:
        for line in lines:
            await line.wait()
        then()

    def _line(self, key: Hashable, limit: RequestLimit, now: float) -> _Line | SharedLine:
        line = self._lines.pop(key, None)
        wanted = (limit.count, limit.period_s)
        if line is None or line.limit != wanted:
            if self._store is None or limit.per == "connection":
                line = _Line(limit)
            else:
                line = self._store.line(key, *wanted)
        self._lines[key] = line
        line.new_at = now + limit.period_s
        return line

    def _sweep(self, now: float) -> None:
        """Forget limiters that nobody has used for their period and nobody waits for."""
        for key, line in list(self._lines.items()):
            if line.new_at > now:
                break
            if line.is_new:
                del self._lines[key]
