"""Bytes that are free until they are used up, once or once in each period.

Rule: a period is whatever the caller says it is: any value that changes when a new one begins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable


class Quota:
    """What is left of an allowance."""

    __slots__ = ("_period", "free_bytes", "used_bytes")

    def __init__(self, free_bytes: int) -> None:
        self.free_bytes = free_bytes
        self.used_bytes = 0
        self._period: Hashable = None

    def __repr__(self) -> str:
        return f"Quota({self.used_bytes} of {self.free_bytes} B used in {self._period})"

    def left_bytes(self, period: Hashable) -> int:
        if period != self._period:
            self._period = period
            self.used_bytes = 0
        return max(0, self.free_bytes - self.used_bytes)

    def at_hand_bytes(self, period: Hashable) -> int:
        """What may be taken now; of a shared quota that may be less than what is left."""
        return self.left_bytes(period)

    def take(self, size: int, period: Hashable) -> bool:
        """Use that many bytes, all or none."""
        if size > self.at_hand_bytes(period):
            return False
        self.used_bytes += size
        return True


MIN_BATCH_BYTES = 64 * 1024
BATCHES = 64


class SharedQuota(Quota):
    """What is left of an allowance that other processes use too.

    What was used here is told to them in batches: a sixty-fourth of the whole, 64 KiB at least.
    More than a batch is never used without having been told. `on_use` is called with the quota
    when there is something to tell.
    """

    __slots__ = (
        "__weakref__",
        "_alone",
        "_others",
        "_telling",
        "_untold",
        "batch_bytes",
        "news",
        "on_use",
    )

    def __init__(self, free_bytes: int, on_use: Callable[[SharedQuota], None]) -> None:
        super().__init__(free_bytes)
        self.batch_bytes = min(free_bytes, max(MIN_BATCH_BYTES, free_bytes // BATCHES))
        self.on_use = on_use
        self.news = True  # we want to know the total
        self._untold = 0
        self._telling = 0  # on its way
        self._others = 0  # used by others, as far as we know
        self._alone: float | None = None  # bytes that may be used before anybody is told again

    @property
    def to_tell(self) -> bool:
        return self._period is not None and not self._telling and (self._untold > 0 or self.news)

    @property
    def urgent(self) -> bool:
        """Half a batch is not told yet, or nothing is known."""
        return self.news or 2 * self._untold >= self.batch_bytes

    def left_bytes(self, period: Hashable) -> int:
        if period != self._period:
            self._untold = self._telling = self._others = 0
            self.news = True
            self.on_use(self)
        left = super().left_bytes(period) - self._others
        if self._alone is not None:
            left = int(min(self.free_bytes, self._alone))
        return max(0, left)

    def at_hand_bytes(self, period: Hashable) -> int:
        left = self.left_bytes(period)
        if self._alone is not None:
            return left
        return max(0, min(left, self.batch_bytes - self._untold - self._telling))

    def take(self, size: int, period: Hashable) -> bool:
        if not super().take(size, period):
            return False
        first = not self._untold
        self._untold += size
        if self._alone is not None:
            self._alone -= size
        if first or self.urgent:
            self.on_use(self)
        return True

    def tell(self) -> tuple[int, int, Hashable]:
        """What was used here and not told yet, the total that was known before, and the period."""
        self._telling, self._untold = self._untold, 0
        self.news = False
        return self._telling, self._others + self.used_bytes - self._telling, self._period

    def told(self, total_bytes: int, period: Hashable) -> None:
        """The total that all have used in that period, with what was told."""
        if period != self._period:
            return
        self._others = max(0, total_bytes - (self.used_bytes - self._untold))
        self._telling = 0

    def not_told(self) -> None:
        """It did not arrive, as far as we know."""
        self._untold += self._telling
        self._telling = 0

    def alone(self, fraction: float) -> None:
        """Nobody can be told: use this fraction of what is left."""
        left = max(0, self.free_bytes - self.used_bytes - self._others)
        self._alone = left * fraction if fraction < math.inf else math.inf

    def back(self) -> None:
        """The others can be told again."""
        self._alone = None
        self.news = True
        self.on_use(self)


class Quotas:
    """The quotas that several responses may use: one for each party under a rule.

    Kept as long as their period lasts: forgetting one earlier would give it out twice.
    """

    __slots__ = ("_by_rule", "_new")

    def __init__(self, new: Callable[[Hashable, int, float], Quota] | None = None) -> None:
        """`new` makes the quota of a key, where others use it too: key, free bytes, seconds for
        which it has to be remembered."""
        self._new = new
        self._by_rule: dict[Hashable, tuple[Hashable, dict[Hashable, Quota]]] = {}

    def __len__(self) -> int:
        return sum(len(quotas) for _, quotas in self._by_rule.values())

    def get(
        self,
        rule: Hashable,
        party: Hashable,
        free_bytes: int,
        period: Hashable,
        *,
        keep_s: float = math.inf,
        here_only: bool = False,
    ) -> Quota:
        """The quota of a party under a rule, in the period that it is."""
        then, quotas = self._by_rule.get(rule, (period, {}))
        if then != period:
            quotas = {}
        self._by_rule[rule] = (period, quotas)
        quota = quotas.get(party)
        if quota is None:
            if self._new is None or here_only:
                quota = Quota(free_bytes)
            else:
                quota = self._new((rule, party), free_bytes, keep_s)
            quotas[party] = quota
        quota.free_bytes = free_bytes
        return quota
