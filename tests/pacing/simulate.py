"""A fake clock and responses that always have something to send."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

from mitmthrottle.pacing import Budget, Claim, Pace, Schedule


class Simulation:
    """Responses drawing from budgets under a clock that only moves when told."""

    def __init__(self, start: float = 1000.0, late_s: float = 0.0, seed: int = 0) -> None:
        self.now = start
        self.start = start
        self.schedule = Schedule()
        self.sent: dict[object, list[tuple[float, int]]] = {}
        self._claims: dict[object, Claim] = {}
        self._paces: dict[object, Pace] = {}
        self._left: dict[object, float] = {}
        self._chunk: dict[object, Callable[[], int]] = {}
        self._late = late_s
        self._random = random.Random(seed)

    def join(
        self,
        name: object,
        *budgets: Budget,
        size: float = math.inf,
        chunk: Callable[[], int] = lambda: 1 << 30,
    ) -> Claim:
        """A response of `size` bytes that has at most `chunk()` bytes at hand each time."""
        claim = self._claims[name] = Claim(budgets, name)
        self._paces[name] = Pace(0.0, claim)
        self._left[name] = size
        self._chunk[name] = chunk
        self.sent.setdefault(name, [])
        self._ask(claim)
        return claim

    def leave(self, name: object) -> None:
        self.schedule.withdraw(self._claims.pop(name), self.now)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.schedule.next_due()) <= end:
            self.now = max(self.now, due) + self._random.random() * self._late
            for claim in self.schedule.advance(self.now):
                self._record(claim)
                self._ask(claim)
            self.schedule.all_are_back()
        self.now = max(self.now, end)

    def total(self, name: object) -> int:
        return sum(size for _, size in self.sent[name])

    def everything(self) -> list[tuple[float, int]]:
        return sorted(event for events in self.sent.values() for event in events)

    def _ask(self, claim: Claim) -> None:
        name = claim.owner
        while name in self._claims:
            if self._left[name] <= 0:
                self.leave(name)
                return
            piece = self._paces[name].piece_bytes(len(self._claims))
            size = int(min(piece, self._left[name], self._chunk[name]()))
            if not self.schedule.submit(claim, size, self.now):
                return
            self._record(claim)

    def _record(self, claim: Claim) -> None:
        self.sent[claim.owner].append((self.now, claim.size))
        self._left[claim.owner] -= claim.size


def windows(events: list[tuple[float, int]], start: float, width: float) -> Iterator[int]:
    """Bytes in each window of that width, from the first event's start on."""
    counts: dict[int, int] = {}
    for when, size in events:
        slot = int((when - start) / width + 1e-9)
        counts[slot] = counts.get(slot, 0) + size
    yield from (counts.get(slot, 0) for slot in range(max(counts, default=-1) + 1))


def most_over_allowance(events: list[tuple[float, int]], rate: float) -> float:
    """The largest excess of any stretch of time over rate x time, in bytes."""
    worst = lowest = 0.0
    total = 0
    for when, size in events:
        # Before this event: how far behind rate x time we were at the best starting moment.
        lowest = min(lowest, total - rate * when) if total else -rate * when
        total += size
        worst = max(worst, total - rate * when - lowest)
    return worst


class Promise:
    """What a budget may have let out: rate x time + burst over every stretch of time, whatever its
    rate was meanwhile.  Fed with what leaves and with each change, in the order of time."""

    def __init__(self, budget: Budget, now: float) -> None:
        self._budget = budget
        self._now = now
        self._level = self.allowed = self.smallest = budget.burst_bytes
        self.worst_bytes = 0.0  # beyond the promise

    def at(self, now: float) -> None:
        """Until now the rate was this one."""
        self._level += (now - self._now) * self._budget.rate_bytes_per_s
        self._level = min(self._level, self.allowed)
        self._now = now

    def changed(self) -> None:
        self.allowed = max(self.allowed, self._budget.burst_bytes)
        self.smallest = min(self.smallest, self._budget.burst_bytes)

    def left(self, size: int, now: float) -> None:
        self.at(now)
        self._level -= size
        self.worst_bytes = max(self.worst_bytes, -self._level)
