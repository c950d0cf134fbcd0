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
(`set_fraction`), and `sharing` is told who draws from the budget (allocations.py).

*One comparison*: when the head of the queue may leave is a moment that `next_due` computes from the
level, the moment of that level, and the rate; it leaves when `next_due() <= now`, and nothing else
is asked.  Tokens are counted from one event to the next (`_accrue`), never at a mere look, so a due
time that somebody has been told is still the same number when the clock shows it.  Levels are
bytes and differences of two clock readings, which are exact, so the size of the clock's value does
not add up to an error; the due time alone is rounded, up, to a value that the clock can show.
Integer nanoseconds would round each rate and need the same comparison; a GCRA's theoretical arrival
time would be rounded to the clock's step with each piece, and the mean with it.  What is left is
that a clock of 1e12 s moves in steps of 0.12 ms: what comes in one step may leave beyond the
burst.  A clock that goes back stands still until it has caught up.

*Late is not idle*: everything happens at the moment when it was due, not when the program woke up
for it (`CATCH_UP_S` back at most): a piece that an inner budget lets through late has been waiting
at the outer one since it was due there, and whoever comes back from its turn asks as of that turn.
Without that, each late wake-up would lower the mean, with small bursts by a half.

*Falling rates*: a piece is cut for a rate.  When that falls, all that waits is cut anew, wherever
on its way it waits: in this queue, at an outer budget with this one's tokens, or at an inner one.
"""

from __future__ import annotations

import heapq
import math

from .claimants import Claimant, Sharing
from .moments import later, reached_at

DEFAULT_BURST_S = 0.1  # the burst where none is asked for, in seconds of the rate
# Likewise of a budget that several may draw from: it idles whenever none of them has anything to
# send, and what it earns then makes small bodies look fast. A player that fetches 10 kB at a time
# at 1.1 Mbit/s would measure twice that.
SHARED_BURST_S = 0.025
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


class Budget:
    """A token bucket with a fair queue.

    `burst_bytes` None means 100 ms of the rate, whatever the rate becomes; 25 ms where several may
    draw from it (`shared`), and 500 ms for a policer.
    A budget with a burst that was asked for starts full, and so does a policer; a shaper with the
    default burst has not idled yet and starts with 25 ms of the rate.
    """

    __slots__ = (
        "_asked_burst_bytes",
        "_claimants",
        "_company",
        "_cut_for",
        "_default_burst_s",
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
        "cut_anew",
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
        shared: bool = False,
    ) -> None:
        self._default_burst_s = SHARED_BURST_S if shared else DEFAULT_BURST_S
        self.fraction = 1.0  # of what the policy says, that is ours to give
        self.sharing: Sharing | None = None
        self._refilling = False  # a policer that has spent all it had
        self.members = 0  # responses that draw from this budget now
        self.cut_anew = False  # what its members wait for, here and elsewhere, is another size now
        self._claimants: dict[Claimant, None] = {}
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
            default_s = POLICER_BURST_S if policing else self._default_burst_s
            burst_bytes = rate_bytes_per_s * default_s
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
        before = self.rate_bytes_per_s
        self._set(rate_bytes_per_s, burst_bytes, policing)
        self._refilling = self._refilling and policing
        self._go_on(before, now)

    def set_fraction(self, fraction: float, now: float) -> None:
        """Give out this fraction of the rate and of the burst from now on.

        ValueError: it is no finite number above 0.
        """
        if not (fraction > 0 and math.isfinite(fraction)):
            raise ValueError(f"a part of a rate is a number above 0, not {fraction}")
        self._accrue(now)
        before = self.rate_bytes_per_s
        self.fraction = fraction
        self._set(self.limit_bytes_per_s, self._asked_burst_bytes, self.policing)
        self._go_on(before, now)

    def _go_on(self, before_bytes_per_s: float, now: float) -> None:
        """The rate or the burst is another now."""
        factor = min(1.0, self.rate_bytes_per_s / before_bytes_per_s)
        self._cut_for *= factor
        self._recut(factor, now)

    def join(self, claimant: Claimant) -> None:
        """One more draws from this budget."""
        self._claimants[claimant] = None
        self.members = len(self._claimants)
        if self.sharing is not None:
            self.sharing.joined(claimant)

    def leave(self, claimant: Claimant) -> None:
        """One draws from it no more."""
        del self._claimants[claimant]
        self.members = len(self._claimants)
        if self.sharing is not None:
            self.sharing.left(claimant)

    def others_cut_anew(self) -> list[Claimant]:
        """Whose pieces have become smaller since this was asked last: those who wait."""
        self.cut_anew = False
        return [claimant for claimant in self._claimants if claimant.waiting]

    @property
    def share_bytes_per_s(self) -> float:
        """What each of those who share may have when all of them are busy."""
        return self.rate_bytes_per_s / (self.members or 1)

    @property
    def piece_limit_bytes(self) -> float:
        """No piece may be larger: an asked burst is a promise.  (The default burst is only a
        custom and may grow when very many responses are paced.)"""
        if self.policing:
            return self.burst_bytes / 4
        return self.burst_bytes if self._asked_burst_bytes is not None else math.inf

    def enqueue(
        self,
        claimant: Claimant,
        tag: float,
        now: float,
        *,
        since: float | None = None,
        in_turn: bool = False,
    ) -> float:
        """Wait in the queue.  `tag` is the claimant's last return value here (0 at first);
        returns its next tag.  `since`: when it came, if we are late.  `in_turn`: it comes straight
        back from its last turn, so that what others had meanwhile is not to put it behind them."""
        since = now if since is None else since
        self._prune()
        if not self._queue:
            self._accrue(since)
        if self.policing and not self._refilling and claimant.size > self._level_at(since):
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

    @property
    def head(self) -> Claimant | None:
        """Whose turn is next."""
        self._prune()
        return self._queue[0][2] if self._queue else None

    def next_due(self) -> float:
        """When the head of the queue may leave; infinity when nobody waits, or until what is held
        has left."""
        head = self.head
        if head is None:
            return math.inf
        needed = max(self.burst_bytes, head.size) if self._refilling else head.size
        if self._held and needed > self._cap():
            return math.inf
        return reached_at(self._stamp, needed - self._level, self.rate_bytes_per_s)

    def _prune(self) -> None:
        queue = self._queue
        while queue and queue[0][2].withdrawn:
            heapq.heappop(queue)

    def grant(self, as_of: float, now: float) -> Claimant:
        """Let the head of the queue through: it was due by `as_of`."""
        # What comes in the clock's last step before that is not lost: due times are rounded up.
        self._accrue(as_of, self.rate_bytes_per_s * math.ulp(as_of))
        start, _, claimant = heapq.heappop(self._queue)
        self._virtual = max(self._virtual, start)
        self._level -= claimant.size
        head = self.head
        self._refilling = self.policing and head is not None and head.size > self._level
        if self.sharing is not None:
            self.sharing.passed(claimant, now)
        return claimant

    def has_let_through(self, round_number: int, now: float) -> None:
        """One more of those whose turn has come in this round of the schedule."""
        if self._round != round_number:
            self._round, self._company = round_number, 0
            # Whoever comes back asks as of its last turn, and has what has come since.
            since_s = min(max(0.0, now - self._stamp), CATCH_UP_S)
            self._spare_bytes = self._level + since_s * self.rate_bytes_per_s
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
        self._level = min(self._level + size, self._cap())

    def full_at(self) -> float:
        """When this budget will be as if new, if nobody asks any more."""
        return reached_at(self._stamp, self.burst_bytes - self._level, self.rate_bytes_per_s)

    def is_as_new(self, now: float) -> bool:
        """Whether nobody would notice if another took its place."""
        return not (self.members or self._held) and self.full_at() <= now

    def look_again_at(self, now: float) -> float:
        """When to ask that again, always after `now`: a busy budget is looked at now and then, not
        all the time."""
        return max(self.full_at(), later(now, 1.0))

    def _recut(self, factor: float, now: float) -> None:
        """What waits was cut for a larger rate, and would be silent for as many times longer."""
        self._accrue(now)
        limit = self.piece_limit_bytes
        for claimant in self._claimants:
            if not claimant.waiting:
                continue
            size = claimant.size
            if factor < 1:
                size = min(size, max(SMALLEST_CUT_BYTES, int(size * factor)))
            size = int(min(size, max(1.0, limit)))
            if size < claimant.size:
                claimant.shrink(size, now)
                self.cut_anew = True
        last = self._virtual + self._furthest()
        if any(start > last for start, _, _ in self._queue):
            self._queue = [
                (self._moved(claimant, start, last), serial, claimant)
                for start, serial, claimant in self._queue
            ]
            heapq.heapify(self._queue)
        # What had come for a larger piece is no burst; and the smaller one is due now, not late.
        self._level = min(self._level, self._cap())

    def _moved(self, claimant: Claimant, start: float, last: float) -> float:
        if start > last and not claimant.withdrawn:
            claimant.move(self, start - last)
        return min(start, last)

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

    def _level_at(self, now: float, beyond: float = 0.0) -> float:
        """The tokens that there are then, if nothing happens before."""
        level = self._level + max(0.0, now - self._stamp) * self.rate_bytes_per_s
        return max(self._level, min(level, self._cap() + beyond))

    def _accrue(self, now: float, beyond: float = 0.0) -> None:
        """Count the tokens that have come.  Only where something happens to them: a due time that
        was told before stays the same number."""
        self._level = self._level_at(now, beyond)
        self._stamp = max(self._stamp, now)

    def _cap(self) -> float:
        """The most tokens that there may be now.  When the rate has just shrunk more may be held
        than the burst is now; that was paid for when it was let through."""
        most = self.burst_bytes
        if self._queue:
            most = max(most, self._queue[0][2].size)
        return max(0.0, most - self._held)
