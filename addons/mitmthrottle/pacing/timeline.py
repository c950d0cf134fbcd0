"""Places in a body where something happens: nothing leaves for a while, or it is cut off.

Rule: places are counted in bytes that have left, so they are the same at every rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class Silences(Protocol):
    """Where a body is silent, and for how long.  A value: equal ones say the same."""

    def next_after(self, sent_bytes: int) -> float:
        """The first of their places beyond so many bytes; infinity: there is none."""

    def length_s(self, place_bytes: float, seed: str) -> float:
        """How long the silence at a place is.  What is random derives from the body's seed."""


@dataclass(frozen=True, slots=True)
class Stalls:
    """Silence of `for_s` seconds after `after_bytes`, and again after each `every_bytes` more."""

    after_bytes: int
    for_s: float
    every_bytes: int | None = None

    def next_after(self, sent_bytes: int) -> float:
        if sent_bytes < self.after_bytes:
            return self.after_bytes
        if not self.every_bytes:
            return math.inf
        passed = (sent_bytes - self.after_bytes) // self.every_bytes
        return self.after_bytes + (passed + 1) * self.every_bytes

    def length_s(self, place_bytes: float, seed: str) -> float:
        return self.for_s


class _Line:
    """Silences of one kind: the next one, or the one that is under way."""

    __slots__ = ("next_bytes", "says", "seed", "since")

    def __init__(self, says: Silences, seed: str, sent_bytes: int) -> None:
        self.says = says
        self.seed = seed
        self.next_bytes = says.next_after(sent_bytes - 1)
        self.since: float | None = None

    def replaced(self, says: Silences, sent_bytes: int, now: float) -> _Line:
        """The line that takes the place of this one, see `Timeline.replaced`."""
        line = _Line(says, self.seed, sent_bytes)
        if self.since is not None and now < self.since + says.length_s(self.next_bytes, self.seed):
            line.next_bytes = self.next_bytes
            line.since = self.since
        elif self.since is not None or self._was_silent_at(sent_bytes):
            line.next_bytes = says.next_after(sent_bytes)
        return line

    def _was_silent_at(self, sent_bytes: int) -> bool:
        return self.says.next_after(sent_bytes - 1) == sent_bytes and self.next_bytes > sent_bytes

    def is_silent(self, sent_bytes: int, now: float) -> bool:
        if sent_bytes < self.next_bytes:
            return False
        if self.since is None:
            self.since = now
        if now < self.resume_at:
            return True
        self.since = None
        self.next_bytes = self.says.next_after(sent_bytes)
        return False

    @property
    def resume_at(self) -> float:
        if self.since is None:
            return -math.inf
        return self.since + self.says.length_s(self.next_bytes, self.seed)


class Timeline:
    """How far one response may go before the next place where something happens.

    `sent_bytes`: what has left when this begins.  A silence whose place lies behind that has been,
    or was never due; one exactly there comes.  A cut whose place is behind comes at once.
    """

    __slots__ = ("_cut_bytes", "_lines", "_seed")

    def __init__(
        self,
        silences: tuple[Silences, ...],
        cut_after_bytes: int | None,
        *,
        sent_bytes: int = 0,
        seed: str = "",
    ) -> None:
        self._lines = tuple(_Line(says, seed, sent_bytes) for says in silences)
        self._cut_bytes = math.inf if cut_after_bytes is None else cut_after_bytes
        self._seed = seed

    def __repr__(self) -> str:
        silent = min((line.next_bytes for line in self._lines), default=math.inf)
        return f"Timeline(next silence {silent}, cut {self._cut_bytes})"

    def replaced(
        self,
        silences: tuple[Silences, ...],
        cut_after_bytes: int | None,
        sent_bytes: int,
        now: float,
    ) -> Timeline:
        """The timeline that takes the place of this one when so much has left.

        A silence under way goes on for as long as the new ones of its kind say, counted from its
        beginning; it ends now where they are shorter, or where there are none.  One that has been
        at this very place is not run again.
        """
        line = Timeline((), cut_after_bytes, seed=self._seed)
        known = {type(each.says): each for each in self._lines}
        line._lines = tuple(
            known[type(says)].replaced(says, sent_bytes, now)
            if type(says) in known
            else _Line(says, self._seed, sent_bytes)
            for says in silences
        )
        return line

    @property
    def cut_bytes(self) -> float:
        """Where it is cut; infinity: nowhere."""
        return self._cut_bytes

    def is_cut(self, sent_bytes: int) -> bool:
        return sent_bytes >= self._cut_bytes

    def room_bytes(self, sent_bytes: int, now: float) -> float:
        """Bytes that may leave before the next place; 0: not before `resume_at`."""
        silent = [line.is_silent(sent_bytes, now) for line in self._lines]  # each: all may begin
        if any(silent):
            return 0
        ahead = min((line.next_bytes for line in self._lines), default=math.inf)
        return max(0, min(ahead, self._cut_bytes) - sent_bytes)

    @property
    def resume_at(self) -> float:
        """When the silences that `room_bytes` has met are over."""
        return max((line.resume_at for line in self._lines), default=-math.inf)
