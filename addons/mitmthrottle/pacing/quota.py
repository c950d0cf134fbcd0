"""Bytes that are free until they are used up, once or once in each period.

Rule: a period is whatever the caller says it is: any value that changes when a new one begins.
"""

from __future__ import annotations

from collections.abc import Hashable


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

    def take(self, size: int, period: Hashable) -> bool:
        """Use that many bytes, all or none."""
        if size > self.left_bytes(period):
            return False
        self.used_bytes += size
        return True


class Quotas:
    """The quotas that several responses may use, by key.

    Kept as long as their period lasts: forgetting one earlier would give it out twice.
    """

    __slots__ = ("_quotas",)

    def __init__(self) -> None:
        self._quotas: dict[Hashable, tuple[Quota, Hashable]] = {}

    def __len__(self) -> int:
        return len(self._quotas)

    def get(self, key: Hashable, free_bytes: int, period: Hashable) -> Quota:
        found = self._quotas.get(key)
        quota = found[0] if found else Quota(free_bytes)
        quota.free_bytes = free_bytes
        if found is None or found[1] != period:
            self._sweep(key, period)
            self._quotas[key] = (quota, period)
        return quota

    def _sweep(self, key: Hashable, period: Hashable) -> None:
        """A new period has begun: forget what the last one left of the same rule."""
        rule = key[0] if isinstance(key, tuple) else key
        stale = [
            other
            for other, (_, then) in self._quotas.items()
            if then != period and (other[0] if isinstance(other, tuple) else other) == rule
        ]
        for other in stale:
            del self._quotas[other]
