"""Whose turn it is to start, over all processes: `requests: 10 / min`.

Rule: a start is counted by the store when it is given, and used at once or never: so there are
never more in any window than the limit says.  A response waits for its turn, but not for the store:
while that is away each process gives one start in `processes` times the limit's interval, and none
in advance.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Literal, Protocol

from mitmthrottle.pacing import Parts

from . import answers
from .connection import Connection, StoreUnavailable

logger = logging.getLogger(__name__)

# At most 15 calls in any second: four at once, and eleven a second.
ASK_EVERY_S = 1 / 11
ASK_AT_ONCE = 4
MOST_PERIODS = 1000  # each process reserves one start at most: so many processes, at `1 / period`
STALE_S = 0.05  # a turn that nobody wants by then is lost: to use it later would be one too many


Down = Literal["split", "open", "block"]
"""what to do while the store is away"""


class Counted(Protocol):
    """What the lines need of the store."""

    connection: Connection
    parts: Parts
    away: str | None
    down: Down

    def missed(self, error: StoreUnavailable) -> None: ...


class SharedLine:
    """Those who wait here for one limit, first come first served."""

    def __init__(self, store: Counted, key: str, count: int, period_s: float) -> None:
        self.limit = (count, period_s)
        self._store = store
        self._key = key
        self._first = asyncio.Lock()
        self._waiting = 0
        self._turns = 0  # given to us
        self._turns_at = 0.0  # from then on, for `STALE_S`
        self._asked_until = 0.0
        self._given: deque[tuple[float, int]] = deque()  # when, and how many; within the period
        self.new_at = 0.0  # the loop's time at which it will be as if nobody had started here
        self._failures = 0
        self._alone_at: float | None = None  # the next start while the store is away

    @property
    def is_new(self) -> bool:
        return not self._first.locked()

    async def wait(self) -> None:
        """Until it is the caller's turn."""
        if not self._waiting and asyncio.get_running_loop().time() > self._turns_at + STALE_S:
            self._turns = 0  # those whom it was given to are gone
        self._waiting += 1
        try:
            async with self._first:
                await self._turn()
        finally:
            self._waiting -= 1

    async def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            if self._turns and now >= self._turns_at:
                self._turns -= 1
                return
            if self._turns:
                await asyncio.sleep(self._turns_at - now)
            elif self._store.away is None:
                await self._ask(loop)
            elif self._store.down == "open":
                return
            else:
                await self._alone(loop)
                return

    async def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        await asyncio.sleep(0)  # those who come in this moment are asked for together
        now = loop.time()
        self._asked_until = max(self._asked_until, now) + ASK_EVERY_S
        if (early_s := self._asked_until - now - ASK_AT_ONCE * ASK_EVERY_S) > 0:
            await asyncio.sleep(early_s)
        count, period_s = self.limit
        try:
            answer = await self._store.connection.run(
                "starts.lua",
                [self._key],
                [count, 1000 * period_s, max(1, self._waiting), self._known(loop.time())],
            )
            if not isinstance(answer, (list, tuple)) or len(answer) != 3:
                raise StoreUnavailable("it has answered out of turn")
            given, wait_ms, _ = answer
            turns, wait_s = answers.count(given, count), answers.milliseconds(wait_ms) / 1000
            if wait_s > MOST_PERIODS * period_s:
                raise StoreUnavailable(f"it has answered {wait_s:g} s of a limit of {period_s:g} s")
            self._turns, self._turns_at = turns, loop.time() + wait_s
            self._given.append((self._turns_at, turns))
            self.new_at = self._turns_at + period_s
        except StoreUnavailable as error:
            self._failed(error)
        except Exception:  # fail open: nobody waits for ever because of an error of ours
            logger.exception("mitmthrottle failed on a shared limit on starts, and lets one start")
            self._turns, self._turns_at = 1, loop.time()
        else:
            self._failures = 0
            self._alone_at = None

    def _known(self, now: float) -> int:
        """Starts within the last period that were given here."""
        while self._given and self._given[0][0] + self.limit[1] <= now:
            self._given.popleft()
        return sum(number for _, number in self._given)

    def _failed(self, error: StoreUnavailable) -> None:
        self._failures += 1
        if self._failures > 1 or not error.at_once:
            self._failures = 0
            self._store.missed(error)

    async def _alone(self, loop: asyncio.AbstractEventLoop) -> None:
        count, period_s = self.limit
        step_s = period_s / count * self._store.parts.processes
        now = loop.time()
        at = now + step_s if self._alone_at is None else max(self._alone_at, now)
        self._alone_at = at
        await asyncio.sleep(at - now)
        self._alone_at = at + step_s


class SharedPlace:
    """A response's place in several lines, one after the other."""

    def __init__(self, lines: Sequence[SharedLine], wake: Callable[[], None]) -> None:
        self._lines = lines
        self._wake = wake
        self._may = False
        self._task = asyncio.get_running_loop().create_task(self._wait())

    def may_start(self, now: float) -> float:
        """`now`: it may.  Infinity: when it is told."""
        return now if self._may else float("inf")

    def leave(self) -> None:
        self._task.cancel()

    async def _wait(self) -> None:
        for line in self._lines:
            await line.wait()
        self._may = True
        self._wake()


class SharedStarts:
    """The lines of this process, by what they count."""

    def __init__(self, store: Counted, name: Callable[[Hashable], str]) -> None:
        self._store = store
        self._name = name
        self._lines: dict[Hashable, SharedLine] = {}  # the least lately used first

    def __len__(self) -> int:
        return len(self._lines)

    def place(
        self, limits: Sequence[tuple[Hashable, int, float]], wake: Callable[[], None]
    ) -> SharedPlace:
        """A place for each of these keys, counts and periods in seconds; `wake` is called when it
        may start."""
        self._sweep(asyncio.get_running_loop().time())
        return SharedPlace([self._line(*limit) for limit in limits], wake)

    def _line(self, key: Hashable, count: int, period_s: float) -> SharedLine:
        whole = (key, count, period_s)
        line = self._lines.pop(whole, None)
        if line is None:
            line = SharedLine(self._store, self._name(whole), count, period_s)
        self._lines[whole] = line
        return line

    def _sweep(self, now: float) -> None:
        """Forget lines in which nobody waits, and of whose starts none counts any more."""
        for key, line in list(self._lines.items())[:8]:
            if line.is_new and line.new_at <= now:
                del self._lines[key]
