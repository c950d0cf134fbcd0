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
    """The quotas that several responses may use: one for each party under a rule.

    Kept as long as their period lasts: forgetting one earlier would give it out twice.
    """

    __slots__ = ("_by_rule",)

    def __init__(self) -> None:
        self._by_rule: dict[Hashable, tuple[Hashable, dict[Hashable, Quota]]] = {}

    def __len__(self) -> int:
        return sum(len(quotas) for _, quotas in self._by_rule.values())

    def get(self, rule: Hashable, party: Hashable, free_bytes: int, period: Hashable) -> Quota:
        then, quotas = self._by_rule.get(rule, (period, {}))
        if then != period:
            quotas = {}
        self._by_rule[rule] = (period, quotas)
        quota = quotas.setdefault(party, Quota(free_bytes))
        quota.free_bytes = free_bytes
        return quota
