"""Token budgets: how many bytes may leave, and whose turn it is.

Rule: a budget never lets out more than rate x time + burst, whoever asks and however.

Theory of operation.  A budget is a token bucket with a queue.  Tokens are bytes; they come at
`rate_bytes_per_s` and idle time earns at most the burst.  Who wants to send a piece waits in the
queue with a claim and is let through when the bucket holds as many tokens as the piece has bytes.

*Whose turn*: start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996).  Each claim gets a
start tag, the later of the budget's virtual time and the end of that claimant's previous piece in
served bytes; the smallest tag goes first.  So those who share get equal bytes whatever the size
of their pieces, and a newcomer is served within one round: a small photo is not stuck behind a
video.

*Nested budgets*: a claim walks through its budgets from the innermost to the outermost.  What an
inner budget has let through but an outer one holds up is *held*: it counts as spent, and the cap
on idle tokens is lowered by it, so that the budget's promise stays true for what really leaves.

*Policing*: a shaper lets each piece through as soon as there are tokens for it.  A policer spends
all it has at line speed and then lets nothing through until the bucket is full again: the saw-tooth
that a receiver sees behind a device which drops what exceeds the rate.

*Shared with other processes*: then only a fraction of the rate and of the burst is ours to give
(`take_part`), and `sharing` is told who draws from the budget (parts.py).

*Late is not idle*: while somebody waits and the program itself wakes up late, tokens go on
coming, up to `CATCH_UP_S` above the burst.  Without that, each late wake-up would lower the mean.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from typing import Protocol

DEFAULT_BURST_S = 0.1  # the burst where none is asked for, in seconds of the rate
# Likewise for a policer: half a second on, half a second's worth of silence, which is what senders
# show whose retransmission timer (200 ms at least) runs out again and again.
POLICER_BURST_S = 0.5
# What a new budget with the default burst starts with: enough for a first byte at once, and so
# little that the mean over the first ten seconds is within 0.25 % of the rate.
START_S = 0.025
SMALLEST_CUT_BYTES = 256
# How far behind the others it may put somebody what it took while it shared with fewer: so long,
# and more where pieces are as long (see pace.py).
FURTHEST_S = 0.6
FURTHEST_S_A_MEMBER = 1 / 500
IN_TURN_S = 0.2  # and how far before them, because it had its last turn when they had theirs
CATCH_UP_S = 0.1  # how much of our own lateness is made up for, in seconds of the rate


class Claimant(Protocol):
    """What a budget needs to know of who waits in its queue."""

    size: int  # bytes of the piece that waits
    withdrawn: bool  # it has given up; drop it when its turn comes

    def shrink(self, size: int, sooner: float, now: float) -> None:
        """Wait for so many bytes only, and in the queue so much further in front."""


class Sharing(Protocol):
    """What a budget tells to whoever shares it with other processes."""

    def joined(self, claimant: Claimant) -> None: ...
    def left(self, claimant: Claimant) -> None: ...
    def waits(self, claimant: Claimant, now: float, *, in_turn: bool) -> None: ...
    def passed(self, claimant: Claimant, now: float) -> None: ...


class Budget:
    """A token bucket with a fair queue.

    `burst_bytes` None means 100 ms of the rate, whatever the rate becomes (500 ms for a policer).
    A budget with a burst that was asked for starts full, and so does a policer; a shaper with the
    default burst has not idled yet and starts with 25 ms of the rate.
    """

    __slots__ = (
        "_asked_burst_bytes",
        "_company",
        "_cut_for",
        "_held",
        "_level",
        "_queue",
        "_refilling",
        "_round",
        "_serial",
        "_spare_bytes",
        "_stamp",
        "_virtual",
        "burst_bytes",
        "due",
        "fraction",
        "limit_bytes_per_s",
        "members",
        "policing",
        "rate_bytes_per_s",
        "sharing",
    )

    def __init__(
        self,
        rate_bytes_per_s: float,
        burst_bytes: float | None,
        now: float,
        *,
        policing: bool = False,
    ) -> None:
        self.fraction = 1.0  # of what the policy says, that is ours to give
        self.sharing: Sharing | None = None
        self._refilling = False  # a policer that has spent all it had
        self.members = 0  # responses that draw from this budget now
        self.due = math.inf  # when the schedule has this budget down to be served
        self._held = 0
        self._round = -1  # of the schedule, when somebody was let through last
        self._company = 0  # so many were, then
        self._cut_for = 0.0  # bytes/s for each, when what waits was cut
        self._spare_bytes = 0.0  # what was left
        self._queue: list[tuple[float, int, Claimant]] = []
        self._serial = 0
        self._virtual = 0.0
        self._stamp = now
        self._set(rate_bytes_per_s, burst_bytes, policing)
        self.start_afresh(now)

    def __repr__(self) -> str:
        return (
            f"Budget({self.rate_bytes_per_s:.0f} B/s, burst {self.burst_bytes:.0f} B, "
            f"level {self._level:.0f} B, held {self._held} B, members {self.members}, "
            f"waiting {len(self._queue)})"
        )

    def _set(self, rate_bytes_per_s: float, burst_bytes: float | None, policing: bool) -> None:
        if not (rate_bytes_per_s > 0 and math.isfinite(rate_bytes_per_s)):
            raise ValueError(f"a rate is a positive number of bytes/s, not {rate_bytes_per_s}")
        self.limit_bytes_per_s = rate_bytes_per_s
        self.rate_bytes_per_s = rate_bytes_per_s * self.fraction
        self._asked_burst_bytes = burst_bytes
        self.policing = policing
        if burst_bytes is None:
            burst_bytes = rate_bytes_per_s * (POLICER_BURST_S if policing else DEFAULT_BURST_S)
        self.burst_bytes = max(1.0, burst_bytes * self.fraction)

    def start_afresh(self, now: float) -> None:
        """As if made now: for a response that waited before its first byte, which is not idling."""
        self._stamp = now
        if self._asked_burst_bytes is None and not self.policing:
            self._level = self.rate_bytes_per_s * START_S
        else:
            self._level = self.burst_bytes

    def is_set_to(self, rate_bytes_per_s: float, burst_bytes: float | None, policing: bool) -> bool:
        return (self.limit_bytes_per_s, self._asked_burst_bytes, self.policing) == (
            rate_bytes_per_s,
            burst_bytes,
            policing,
        )

    def change(
        self,
        rate_bytes_per_s: float,
        burst_bytes: float | None,
        now: float,
        *,
        policing: bool = False,
    ) -> None:
        """Go on at another rate; what was earned so far stays, up to the new burst."""
        self._accrue(now)
        self._set(rate_bytes_per_s, burst_bytes, policing)
        self._refilling = self._refilling and policing
        self._level = min(self._level, self._room())

    def take_part(self, fraction: float, now: float) -> None:
        """Give out this fraction (above 0) of the rate and of the burst from now on."""
        self._accrue(now)
        if fraction < self.fraction:
            self._recut(fraction / self.fraction, now)
        self.fraction = fraction
        self._set(self.limit_bytes_per_s, self._asked_burst_bytes, self.policing)
        self._level = min(self._level, self._room())

    @property
    def share_bytes_per_s(self) -> float:
        """What each of those who share may have when all of them are busy."""
        return self.rate_bytes_per_s / max(1, self.members)

    @property
    def piece_limit_bytes(self) -> float:
        """No piece may be larger: an asked burst is a promise.  (The default burst is only a
        custom and may grow when very many responses are paced.)"""
        if self.policing:
            return self.burst_bytes / 4
        return self.burst_bytes if self._asked_burst_bytes is not None else math.inf

    def enqueue(
        self, claimant: Claimant, tag: float, now: float, *, in_turn: bool = False
    ) -> float:
        """Wait in the queue.  `tag` is the claimant's last return value here (0 at first);
        returns its next tag.  `in_turn`: it comes straight back from its last turn, so that what
        others had meanwhile is not to put it behind them."""
        self._accrue(now)
        if self.policing and claimant.size > self._level:
            self._refilling = True
        if self.sharing is not None:
            self.sharing.waits(claimant, now, in_turn=in_turn)
        if self.members > 1:
            tag = self._in_reach(tag, now)
        else:
            self._cut_for = self.rate_bytes_per_s
        before = self.share_bytes_per_s * IN_TURN_S if in_turn else 0.0
        start = max(self._virtual - before, tag)
        self._serial += 1
        heapq.heappush(self._queue, (start, self._serial, claimant))
        return start + claimant.size

    def next_due(self) -> float:
        """When the head of the queue may leave; infinity when nobody waits."""
        queue = self._queue
        while queue and queue[0][2].withdrawn:
            heapq.heappop(queue)
        if not queue:
            return math.inf
        size = queue[0][2].size
        if self._held and size > self._cap():
            return math.inf  # until what is held has left
        missing = (self.burst_bytes if self._refilling else size) - self._level
        return self._stamp + missing / self.rate_bytes_per_s if missing > 0 else self._stamp

    def grant(self, now: float) -> Iterator[Claimant]:
        """Let through whoever's turn has come."""
        self._accrue(now)
        queue = self._queue
        # Due times are floats and `now` may be the due time itself: forgive a nanosecond.
        forgiven = 1e-9 * self.rate_bytes_per_s
        if self._refilling and self._level + forgiven >= self.burst_bytes:
            self._refilling = False
        while queue and (queue[0][2].withdrawn or self._affords(queue[0][2].size, forgiven)):
            start, _, claimant = heapq.heappop(queue)
            if claimant.withdrawn:
                continue
            self._virtual = max(self._virtual, start)
            self._level -= claimant.size
            if self.sharing is not None:
                self.sharing.passed(claimant, now)
            yield claimant

    def _affords(self, size: int, forgiven: float) -> bool:
        if self._refilling:
            return False
        if size <= self._level + forgiven:
            return True
        self._refilling = self.policing
        return False

    def has_let_through(self, round_number: int) -> None:
        """One more of those whose turn has come in this round of the schedule."""
        if self._round != round_number:
            self._round, self._company, self._spare_bytes = round_number, 0, self._level
        self._company += 1

    def is_for_others(self, round_number: int, size: int) -> bool:
        """Whether so many bytes more, in this round, are not for one alone."""
        return (
            self._round == round_number
            and self._company > 1
            and size * self._company > self._spare_bytes
            and not self.policing
        )

    def hold(self, size: int) -> None:
        """A piece that was let through here waits at an outer budget, until `settle` or
        `refund`."""
        self._held += size

    def settle(self, size: int, now: float) -> None:
        """A piece that was held has left."""
        self._accrue(now)
        self._held -= size

    def refund(self, size: int, now: float) -> None:
        """A piece that was held will not be sent after all."""
        self._accrue(now)
        self._held -= size
        self._level += size

    def full_at(self) -> float:
        """When this budget will be as if new, if nobody asks any more."""
        return self._stamp + (self.burst_bytes - self._level) / self.rate_bytes_per_s

    def is_as_new(self, now: float) -> bool:
        """Whether nobody would notice if another took its place."""
        self._accrue(now)
        return not (self.members or self._held) and self.full_at() <= now + 1e-6

    def look_again_at(self) -> float:
        """When to ask that again: a busy budget is looked at now and then, not all the time."""
        return max(self.full_at(), self._stamp + 1.0)

    def _recut(self, factor: float, now: float) -> None:
        """What waits was cut for a larger part, and would be silent for as many times longer."""
        last = self._virtual + self._furthest()
        queue = self._queue
        for index, (start, serial, claimant) in enumerate(queue):
            size = min(claimant.size, max(SMALLEST_CUT_BYTES, int(claimant.size * factor)))
            sooner = max(0.0, start - last)
            if (sooner or size < claimant.size) and not claimant.withdrawn:
                claimant.shrink(size, sooner, now)
                queue[index] = (start - sooner, serial, claimant)
        heapq.heapify(queue)

    def _in_reach(self, tag: float, now: float) -> float:
        """That place in the queue, or one that is not too far behind the others."""
        share = self.rate_bytes_per_s / self.members
        if not self._queue or share > self._cut_for:
            self._cut_for = share
        elif share < self._cut_for / 1.5:
            self._recut(share / self._cut_for, now)
            self._cut_for = share
        return min(tag, self._virtual + self._furthest())

    def _furthest(self) -> float:
        return self.share_bytes_per_s * max(FURTHEST_S, self.members * FURTHEST_S_A_MEMBER)

    def _accrue(self, now: float) -> None:
        elapsed = now - self._stamp
        if elapsed > 0:
            self._stamp = now
            self._level += elapsed * self.rate_bytes_per_s
        cap = self._cap()
        if self._level > cap:
            self._level = cap

    def _cap(self) -> float:
        """The most tokens that there may be now."""
        if not self._queue:
            return self._room()
        most = max(self.burst_bytes, self._queue[0][2].size)
        # Whoever waits for what is held does not wait because of our lateness.
        if self._held:
            return max(0.0, most - self._held)
        return most + CATCH_UP_S * self.rate_bytes_per_s

    def _room(self) -> float:
        """Of the burst, beside what is held.  When the rate has just shrunk more may be held than
        the burst is now; that was paid for when it was let through."""
        return max(0.0, self.burst_bytes - self._held)
