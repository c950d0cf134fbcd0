"""What a budget needs to know of those who draw from it, and whom it tells of them.

Rule: a budget knows neither responses nor other processes.
"""

from __future__ import annotations

from typing import Protocol


class Claimant(Protocol):
    """What a budget needs to know of who waits in its queue."""

    size: int  # bytes of the piece that waits
    waiting: bool
    withdrawn: bool  # it has given up; drop it when its turn comes

    def shrink(self, size: int, now: float) -> None:
        """Wait for so many bytes only."""

    def move(self, budget: object, sooner: float) -> None:
        """Its place in that budget's queue is so much further in front."""


class Sharing(Protocol):
    """What a budget tells to whoever shares it with other processes."""

    def joined(self, claimant: Claimant) -> None: ...
    def left(self, claimant: Claimant) -> None: ...
    def waits(self, claimant: Claimant, now: float, *, in_turn: bool) -> None: ...
    def passed(self, claimant: Claimant, now: float) -> None: ...
