"""Whose turn it is to start: the limits on starts (`requests: 10 / min`) that responses share.

Rule: whoever comes back with the same key waits in the same line.  What a line is belongs to
pacing/starts.py; where other processes count with us, to the store.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

from mitmthrottle.pacing import StartChain, StartLimiter
from mitmthrottle.policy import RequestLimit

from .budgets import WIDTHS, Parties


class StartPlace(Protocol):
    """A body's place among those who wait to start."""

    def may_start(self, now: float) -> float:
        """`now` or before: it may, and that is counted.  Else when to ask again; infinity: when
        it is told."""

    def leave(self) -> None:
        """It will not start after all; or it has: then that does nothing."""


type SharedPlaces = Callable[
    [Sequence[tuple[Hashable, int, float]], Callable[[], None]], StartPlace
]
"""Where other processes count with us: a place for these keys, counts and periods."""


class StartLimits:
    """The limits on starts that responses share, by rule and party."""

    def __init__(self, now: Callable[[], float], shared: SharedPlaces | None = None) -> None:
        self._now = now
        self._shared = shared
        self._limiters: dict[Hashable, StartLimiter] = {}  # the least lately used first
        self._look_at: dict[Hashable, float] = {}  # when it may be as new

    def __len__(self) -> int:
        return len(self._limiters)

    def join(
        self,
        rule_name: str,
        limits: tuple[RequestLimit, ...],
        parties: Parties,
        wake: Callable[[], None],
    ) -> StartPlace:
        """A place at the end of each of these lines, the narrowest first.  `wake`: called when its
        turn may have come."""
        now = self._now()
        self._sweep(now)
        ordered = sorted(limits, key=lambda limit: WIDTHS[limit.per])
        keys = [(rule_name, limit.per, parties.behind(limit.per)) for limit in ordered]
        here = [
            self._limiter(key, limit, now)
            for key, limit in zip(keys, ordered, strict=True)
            if self._shared is None or limit.per == "connection"
        ]
        elsewhere = [
            (key, limit.count, limit.period_s)
            for key, limit in zip(keys, ordered, strict=True)
            if self._shared is not None and limit.per != "connection"
        ]
        return _Place(StartChain(here, wake), self._shared, elsewhere, wake)

    def _limiter(self, key: Hashable, limit: RequestLimit, now: float) -> StartLimiter:
        limiter = self._limiters.pop(key, None)
        if limiter is None:
            limiter = StartLimiter(limit.count, limit.period_s, on_head=_tell)
        else:
            limiter.change(limit.count, limit.period_s)
        self._limiters[key] = limiter
        self._look_at[key] = now + limit.period_s
        return limiter

    def _sweep(self, now: float) -> None:
        """Forget limiters that nobody has used for their period and nobody waits for."""
        for key, limiter in list(self._limiters.items()):
            if self._look_at[key] > now:
                break
            if limiter.is_as_new(now):
                del self._limiters[key], self._look_at[key]
            else:
                self._limiters[key] = self._limiters.pop(key)
                self._look_at[key] = now + limiter.period_s


def _tell(owner: object) -> None:
    """Who waits first in a line now may ask again."""
    if callable(owner):
        owner()


class _Place:
    """A place in lines of this process, and in those of all behind them."""

    def __init__(
        self,
        here: StartChain,
        shared: SharedPlaces | None,
        elsewhere: Sequence[tuple[Hashable, int, float]],
        wake: Callable[[], None],
    ) -> None:
        self._here = here
        self._shared = shared
        self._elsewhere = elsewhere
        self._wake = wake
        self._place: StartPlace | None = None

    def may_start(self, now: float) -> float:
        if self._shared is not None and self._elsewhere:
            # A start that the store gives is used at once or lost: it is asked for when nothing
            # here stands against it.
            if self._place is None:
                when = self._here.due(now)
                if when > now:
                    return when
                self._place = self._shared(self._elsewhere, self._wake)
            when = self._place.may_start(now)
            if when > now:
                return when
        return self._here.try_start(now)

    def leave(self) -> None:
        self._here.leave()
        if self._place is not None:
            self._place.leave()
