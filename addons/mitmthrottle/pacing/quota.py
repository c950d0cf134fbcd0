"""Bytes that are free until they are used up, once or once in each period.

Rule: a period is a number that the caller gives, and each begins once.  A number below the latest
is a clock that was set back: the latest goes on.  None is no period (the rule has no quota now): it
changes nothing.  A quota with periods of another length is another quota.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from weakref import WeakValueDictionary

MOST_BYTES = 1 << 63  # more than can have been used: whoever says so is wrong


class Quota:
    """What is left of an allowance."""

    __slots__ = ("__weakref__", "_kept_by", "_party", "_period", "free_bytes", "used_bytes")

    def __init__(self, free_bytes: int) -> None:
        self.free_bytes = free_bytes
        self.used_bytes = 0
        self._period: int | None = None
        self._kept_by: _Parties | None = None
        self._party: Hashable = None

    def __repr__(self) -> str:
        return f"Quota({self.used_bytes} of {self.free_bytes} B used in {self._period})"

    def enter(self, period: int | None) -> None:
        """It is this period now; a new one brings a new allowance."""
        if period is None:
            return
        if self._kept_by is not None and self._kept_by.period is not None:
            period = max(period, self._kept_by.period)
        if self._period is not None and period <= self._period:
            return
        self._period = period
        self.used_bytes = 0
        if self._kept_by is not None:
            self._kept_by.begin(period)
            self._kept_by.keep(self._party, self)

    def left_bytes(self, period: int | None) -> int:
        self.enter(period)
        return max(0, self.free_bytes - self.used_bytes)

    def at_hand_bytes(self, period: int | None) -> int:
        """What may be taken now; of a shared quota that may be less than what is left."""
        return self.left_bytes(period)

    def take(self, size: int, period: int | None) -> bool:
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

    def enter(self, period: int | None) -> None:
        before = self._period
        super().enter(period)
        if self._period != before:
            self._untold = self._telling = self._others = 0
            self.news = True
            self.on_use(self)

    def left_bytes(self, period: int | None) -> int:
        left = super().left_bytes(period) - self._others
        if self._alone is not None:
            left = int(min(self.free_bytes, self._alone))
        return max(0, left)

    def at_hand_bytes(self, period: int | None) -> int:
        left = self.left_bytes(period)
        if self._alone is not None:
            return left
        return max(0, min(left, self.batch_bytes - self._untold - self._telling))

    def take(self, size: int, period: int | None) -> bool:
        if not super().take(size, period):
            return False
        first = not self._untold
        self._untold += size
        if self._alone is not None:
            self._alone -= size
        if first or self.urgent:
            self.on_use(self)
        return True

    def tell(self) -> tuple[int, int, int | None]:
        """What was used here and not told yet, the total that was known before, and the period."""
        self._telling, self._untold = self._untold, 0
        self.news = False
        return self._telling, self._others + self.used_bytes - self._telling, self._period

    def told(self, total_bytes: int, period: int | None) -> None:
        """The total that all have used in that period, with what was told.

        ValueError: that is no number of bytes; then nothing was told, as far as we know.
        """
        if period != self._period:
            return
        if not 0 <= total_bytes < MOST_BYTES:
            self.not_told()
            raise ValueError(f"the bytes that all have used of a quota are not {total_bytes}")
        self._others = max(0, int(total_bytes) - (self.used_bytes - self._untold))
        self._telling = 0

    def not_told(self) -> None:
        """It did not arrive, as far as we know."""
        self._untold += self._telling
        self._telling = 0

    def alone(self, fraction: float) -> None:
        """Nobody can be told: use this fraction of what is left; infinity: all that is asked."""
        left = max(0, self.free_bytes - self.used_bytes - self._others)
        self._alone = left * fraction if fraction < math.inf else math.inf

    def back(self) -> None:
        """The others can be told again."""
        self._alone = None
        self.news = True
        self.on_use(self)


class _Parties:
    """The quotas of one rule: those of the latest period, and what else is still in use."""

    __slots__ = ("_earlier", "_latest", "period")

    def __init__(self) -> None:
        self.period: int | None = None
        self._latest: dict[Hashable, Quota] = {}
        self._earlier: WeakValueDictionary[Hashable, Quota] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._latest)

    def get(self, party: Hashable) -> Quota | None:
        found = self._latest.get(party)
        return self._earlier.get(party) if found is None else found

    def begin(self, period: int) -> None:
        if self.period is None or period > self.period:
            self.period = period
            # A body that runs on has its quota still, and takes its new allowance from that.
            self._earlier.update(self._latest)
            self._latest = {}

    def keep(self, party: Hashable, quota: Quota) -> None:
        """This one is used in the latest period: it is not forgotten before that is over."""
        self._latest[party] = quota

    def forget(self, party: Hashable) -> None:
        self._latest.pop(party, None)


class Quotas:
    """The quotas that several responses may use: one for each party under a rule.

    Kept as long as their period lasts, and as long as a body has one: forgetting one earlier would
    give it out twice.
    """

    __slots__ = ("_by_rule", "_new")

    def __init__(self, new: Callable[[Hashable, int, float], Quota] | None = None) -> None:
        """`new` makes the quota of a key, where others use it too: key, free bytes, seconds for
        which it has to be remembered."""
        self._new = new
        self._by_rule: dict[Hashable, _Parties] = {}

    def __len__(self) -> int:
        return sum(len(parties) for parties in self._by_rule.values())

    def get(
        self,
        rule: Hashable,
        party: Hashable,
        free_bytes: int,
        period: int | None,
        *,
        keep_s: float = math.inf,
        here_only: bool = False,
    ) -> Quota:
        """The quota of a party under a rule, in the period that it is."""
        parties = self._by_rule.get(rule)
        if parties is None:
            parties = self._by_rule[rule] = _Parties()
        quota = parties.get(party)
        if quota is None:
            if self._new is None or here_only:
                quota = Quota(free_bytes)
            else:
                quota = self._new((rule, party), free_bytes, keep_s)
            quota._party, quota._kept_by = party, parties
        quota.free_bytes = free_bytes
        quota.enter(parties.period if period is None else period)
        parties.keep(party, quota)
        return quota

    def forget(self, party: Hashable) -> None:
        """That party is gone for good (a connection that is closed) and takes nothing more."""
        for parties in self._by_rule.values():
            parties.forget(party)
