"""The budgets that several responses may draw from, found by who shares them.

Rule: whoever comes back with the same key draws from the same budget.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable

from .allocations import Allocations
from .budgets import Budget


class Shared:
    """The budgets that several responses may draw from, by key.

    A budget is forgotten once nobody draws from it and it would be full anyway: forgetting it
    earlier would give each of a row of small responses a fresh burst.
    """

    __slots__ = ("_allocations", "_budgets", "_idle")

    def __init__(self, allocations: Allocations | None = None) -> None:
        """`allocations`: other processes draw from these budgets too."""
        self._allocations = allocations
        self._budgets: dict[Hashable, Budget] = {}
        self._idle: list[tuple[float, int, Hashable]] = []

    def __len__(self) -> int:
        return len(self._budgets)

    def get(
        self,
        key: Hashable,
        rate_bytes_per_s: float,
        burst_bytes: float | None,
        now: float,
        *,
        policing: bool = False,
        here_only: bool = False,
    ) -> Budget:
        """The budget of that key, made now if there is none.

        `here_only`: no other process can draw from it.
        """
        self.sweep(now)
        budget = self._budgets.get(key)
        if budget is None:
            # What a process asks of a store is how long its responses wait, which a smaller burst
            # would change: several processes would not get their parts.
            alone = self._allocations is None or here_only
            budget = Budget(rate_bytes_per_s, burst_bytes, now, policing=policing, shared=alone)
            self._budgets[key] = budget
            if self._allocations is not None and not here_only:
                self._allocations.share(key, budget, now)
                budget.start_afresh(now)
            self._watch(key, budget, now)
        return budget

    def sweep(self, now: float) -> None:
        """Forget the budgets that nobody needs any more."""
        while self._idle and self._idle[0][0] <= now:
            _, _, key = heapq.heappop(self._idle)
            budget = self._budgets[key]
            if not budget.is_as_new(now):
                self._watch(key, budget, now)
            else:
                del self._budgets[key]
                if self._allocations is not None:
                    self._allocations.forget(key)

    def _watch(self, key: Hashable, budget: Budget, now: float) -> None:
        heapq.heappush(self._idle, (budget.look_again_at(now), id(budget), key))
