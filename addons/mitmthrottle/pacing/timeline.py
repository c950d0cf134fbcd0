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

    def next_after(self, sent_bytes: int) -> float:
        """The first of their places beyond so many bytes; infinity: there is none."""
        if sent_bytes < self.after_bytes:
            return self.after_bytes
        if not self.every_bytes:
            return math.inf
        passed = (sent_bytes - self.after_bytes) // self.every_bytes
        return self.after_bytes + (passed + 1) * self.every_bytes


class Timeline:
    """How far one response may go before the next place where something happens.

    `sent_bytes`: what has left when this begins.  A stall whose place lies behind that has been, or
    was never due; one exactly there comes.  A cut whose place is behind comes at once.
    """

    __slots__ = ("_cut_bytes", "_stall_bytes", "_stalled_at", "_stalls")

    def __init__(
        self, stalls: Stalls | None, cut_after_bytes: int | None, *, sent_bytes: int = 0
    ) -> None:
        self._stalls = stalls
        self._stall_bytes = stalls.next_after(sent_bytes - 1) if stalls else math.inf
        self._cut_bytes = math.inf if cut_after_bytes is None else cut_after_bytes
        self._stalled_at: float | None = None  # since when it is silent

    def __repr__(self) -> str:
        return f"Timeline(next stall {self._stall_bytes}, cut {self._cut_bytes})"

    def replaced(
        self, stalls: Stalls | None, cut_after_bytes: int | None, sent_bytes: int, now: float
    ) -> Timeline:
        """The timeline that takes the place of this one when so much has left.

        A stall under way goes on for as long as the new stalls say, counted from its beginning; it
        ends now where they are shorter, or where there are none.  One that has been at this very
        place is not run again.
        """
        line = Timeline(stalls, cut_after_bytes, sent_bytes=sent_bytes)
        if stalls is None:
            return line
        if self._stalled_at is not None and now < self._stalled_at + stalls.for_s:
            line._stall_bytes = sent_bytes
            line._stalled_at = self._stalled_at
        elif self._stalled_at is not None or self._has_stalled_at(sent_bytes):
            line._stall_bytes = stalls.next_after(sent_bytes)
        return line

    def _has_stalled_at(self, sent_bytes: int) -> bool:
        stalls = self._stalls
        return (
            stalls is not None
            and stalls.next_after(sent_bytes - 1) == sent_bytes
            and self._stall_bytes > sent_bytes
        )

    def is_cut(self, sent_bytes: int) -> bool:
        return sent_bytes >= self._cut_bytes

    def room_bytes(self, sent_bytes: int, now: float) -> float:
        """Bytes that may leave before the next place; 0: not before `resume_at`."""
        if sent_bytes >= self._stall_bytes and self._stalls is not None:
            if self._stalled_at is None:
                self._stalled_at = now
            if now < self.resume_at:
                return 0
            self._stalled_at = None
            self._stall_bytes = self._stalls.next_after(sent_bytes)
        return max(0, min(self._stall_bytes, self._cut_bytes) - sent_bytes)

    @property
    def resume_at(self) -> float:
        """When the stall that `room_bytes` has met is over."""
        if self._stalled_at is None or self._stalls is None:
            return -math.inf
        return self._stalled_at + self._stalls.for_s
