"""Places in a response's body where something happens: it stalls, or it is cut off.

Rule: places are counted in bytes that have left, so they are the same at every rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stalls:
    """Silence of `for_s` seconds after `after_bytes`, and again after each `every_bytes` more."""

    after_bytes: int
    for_s: float
    every_bytes: int | None = None


class Timeline:
    """How far one response may go before the next place where something happens."""

    __slots__ = ("_cut_bytes", "_resume", "_stall_bytes", "_stalls")

    def __init__(
        self, stalls: Stalls | None, cut_after_bytes: int | None, sent_bytes: int = 0
    ) -> None:
        self._stalls = stalls
        self._stall_bytes = stalls.after_bytes if stalls else math.inf
        if stalls and sent_bytes > stalls.after_bytes:
            every = stalls.every_bytes
            self._stall_bytes = (
                stalls.after_bytes + math.ceil((sent_bytes - stalls.after_bytes) / every) * every
                if every
                else math.inf
            )
        self._cut_bytes = math.inf if cut_after_bytes is None else cut_after_bytes
        self._resume: float | None = None

    def __repr__(self) -> str:
        return f"Timeline(next stall {self._stall_bytes}, cut {self._cut_bytes})"

    def replaced(
        self, stalls: Stalls | None, cut_after_bytes: int | None, sent_bytes: int, now: float
    ) -> Timeline:
        new = Timeline(stalls, cut_after_bytes, sent_bytes)
        if (
            self._resume is not None
            and stalls is not None
            and self._stalls is not None
            and stalls.after_bytes == self._stalls.after_bytes
        ):
            new._resume = self._resume - self._stalls.for_s + stalls.for_s
            new._stall_bytes = sent_bytes
        return new

    def is_cut(self, sent_bytes: int) -> bool:
        return sent_bytes >= self._cut_bytes

    def room_bytes(self, sent_bytes: int, now: float) -> float:
        """Bytes that may leave before the next place; 0: not before `resume_at`."""
        if sent_bytes >= self._stall_bytes and self._stalls is not None:
            if self._resume is None:
                self._resume = now + self._stalls.for_s
            if now < self._resume:
                return 0
            self._resume = None
            every = self._stalls.every_bytes
            self._stall_bytes = sent_bytes + every if every else math.inf
        return min(self._stall_bytes, self._cut_bytes) - sent_bytes

    @property
    def resume_at(self) -> float:
        """When the stall that `room_bytes` has met is over."""
        return self._resume if self._resume is not None else -math.inf
