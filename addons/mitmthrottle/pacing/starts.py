"""How many may start in a period, and whose turn it is (`requests: 10 / min`).

Rule: no `period_s` seconds, wherever they begin, hold more than `count` starts; first come, first
served.

Theory of operation.  A limiter remembers when its last starts were, `count` of them: the next one
may be when the oldest of those is a period ago.  A window is half-open, [t, t + period): a start
exactly a period after another one is not in the same window.  So the limit is exact, not a mean
(a token bucket lets twice the count pass within one period), for eight bytes a start.

*Many starts*: above `EXACT_STARTS` (half a megabyte) a limiter remembers the latest start of each
group of `ceil(count / EXACT_STARTS)` only, and counts a group as gone when its latest start is.
That errs on the side of fewer: the limit still holds in every window, and what does not fill a
group, or is older than its group's latest start, comes later than it might.

*Nested limits*: a chain waits in the line of one limiter after the other, the narrowest first, and
keeps its place at the head of those it has reached.  It starts in all of them at the same moment,
when it is at the head of all and all allow it; before that it is counted nowhere.
"""

from __future__ import annotations

import math
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence

from .moments import reached_at

EXACT_STARTS = 65_536


class StartTicket:
    """A place in the line of one limiter."""

    __slots__ = ("owner",)

    def __init__(self, owner: object) -> None:
        self.owner = owner

    def __repr__(self) -> str:
        return f"StartTicket({self.owner!r})"


def _nobody(owner: object) -> None:
    pass


class StartLimiter:
    """At most `count` starts in any `period_s` seconds, in the order in which they joined.

    `on_head` is called with the owner of whoever comes to stand first because the one before has
    started or left, or because the limit has changed.  ValueError: a count below 1, or a period
    that is no positive number of seconds.
    """

    __slots__ = ("_counted", "_group", "_line", "_next", "_starts", "count", "on_head", "period_s")

    def __init__(
        self, count: int, period_s: float, on_head: Callable[[object], None] = _nobody
    ) -> None:
        self.on_head = on_head
        self._line: OrderedDict[StartTicket, None] = OrderedDict()
        self._starts = array("d")  # when each group's latest start was, as a ring
        self._next = 0  # where the oldest is, once the ring is full: the next goes there
        self._counted = 0  # starts in the latest group
        self._set(count, period_s)

    def __repr__(self) -> str:
        return f"StartLimiter({self.count} / {self.period_s} s, waiting {len(self._line)})"

    def __len__(self) -> int:
        """How many wait."""
        return len(self._line)

    def _set(self, count: int, period_s: float) -> None:
        if count < 1:
            raise ValueError(f"a limit on starts lets at least 1 start, not {count}")
        if not (period_s > 0 and math.isfinite(period_s)):
            raise ValueError(f"a period is a positive number of seconds, not {period_s}")
        self.count = count
        self.period_s = period_s
        self._group = -(-count // EXACT_STARTS)

    @property
    def _slots(self) -> int:
        """How many groups may be within a period; what does not fill one is not used."""
        return self.count // self._group

    def join(self, owner: object) -> StartTicket:
        """A place at the end of the line."""
        ticket = StartTicket(owner)
        self._line[ticket] = None
        return ticket

    def leave(self, ticket: StartTicket) -> None:
        """Give up a place; one that is gone already is no error."""
        was_head = self.head is ticket
        self._line.pop(ticket, None)
        if was_head:
            self.tell_head()

    @property
    def head(self) -> StartTicket | None:
        """Who is first in the line."""
        return next(iter(self._line), None)

    def due_at(self) -> float:
        """When the head may start: -infinity: now; infinity: nobody waits."""
        return self.free_at() if self._line else math.inf

    def free_at(self) -> float:
        """When one more may start, whoever it is; -infinity: now."""
        if self._counted < self._group and self._starts:
            return -math.inf  # the latest group was let in as a whole
        if len(self._starts) < self._slots:
            return -math.inf
        return self._over_at(self._starts[self._next])

    def _over_at(self, start: float) -> float:
        """When a start is a period ago."""
        return reached_at(start, self.period_s, 1.0)

    def take(self, ticket: StartTicket, now: float) -> bool:
        """Start, if it is this one's turn and the limit allows it; then its place is gone."""
        if self.head is not ticket or self.free_at() > now:
            return False
        self.count_start(ticket, now)
        self.tell_head()
        return True

    def count_start(self, ticket: StartTicket, now: float) -> None:
        """Count a start that `take` would allow, and tell nobody yet."""
        del self._line[ticket]
        self._record(now)

    def _record(self, now: float) -> None:
        starts = self._starts
        if starts:
            now = max(now, starts[self._next - 1])  # a clock that goes back frees nothing
            if self._counted < self._group:
                starts[self._next - 1] = now
                self._counted += 1
                return
        if len(starts) < self._slots:
            starts.append(now)
        else:
            starts[self._next] = now
            self._next = (self._next + 1) % len(starts)
        self._counted = 1

    def change(self, count: int, period_s: float) -> None:
        """Another limit from now on, for those who wait too; what has started stays counted."""
        if (count, period_s) == (self.count, self.period_s):
            return
        starts, newest = self._starts, len(self._starts) - 1
        latest_first = [
            (starts[(self._next + at) % len(starts)], self._group) for at in range(newest, -1, -1)
        ]
        if latest_first:
            latest_first[0] = (latest_first[0][0], self._counted)
        self._set(count, period_s)
        groups: list[float] = []
        room = counted = 0
        for when, size in latest_first:
            while size and (room or len(groups) < self._slots):
                if not room:
                    groups.append(when)
                    room = self._group
                took = min(size, room)
                size -= took
                room -= took
                if len(groups) == 1:
                    counted += took
        self._starts = array("d", reversed(groups))
        self._counted = counted
        self._next = 0
        self.tell_head()

    def is_as_new(self, now: float) -> bool:
        """Whether nobody would notice if another took its place."""
        if self._line:
            return False
        return not self._starts or self._over_at(self._starts[self._next - 1]) <= now

    def tell_head(self) -> None:
        """Whoever is first may ask."""
        if (head := self.head) is not None:
            self.on_head(head.owner)


class StartChain:
    """A way through several limiters, the narrowest first, that starts in all or in none.

    Whoever waits at several has to come to them in the same order as everybody else, or two might
    each wait for the other.

    `on_head` of the limiters is how its owner learns that it may ask again.
    """

    __slots__ = ("_limiters", "_tickets", "owner")

    def __init__(self, limiters: Sequence[StartLimiter], owner: object) -> None:
        self.owner = owner
        self._limiters = tuple(limiters)
        self._tickets = [limiter.join(owner) for limiter in self._limiters[:1]]

    def __repr__(self) -> str:
        return f"StartChain({len(self._tickets)} of {self._limiters}, {self.owner!r})"

    def due(self, now: float) -> float:
        """-infinity: `try_start` would start it now.  Else as that; nothing is counted."""
        while True:
            due = -math.inf
            for limiter, ticket in zip(self._limiters, self._tickets, strict=False):
                if limiter.head is not ticket:
                    return math.inf
                due = max(due, limiter.free_at())
            if due > now:
                return due
            reached = len(self._tickets)
            if reached == len(self._limiters):
                return -math.inf
            self._tickets.append(self._limiters[reached].join(self.owner))

    def try_start(self, now: float) -> float:
        """-infinity: it starts now, and all limiters have counted it.  Else when to ask again;
        infinity: when its owner is told that it has come to stand first."""
        if (due := self.due(now)) > now:
            return due
        tickets, self._tickets, limiters = self._tickets, [], self._limiters
        self._limiters = ()
        # All count it before anybody is told, who might ask at once.
        for limiter, ticket in zip(limiters, tickets, strict=True):
            limiter.count_start(ticket, now)
        for limiter in limiters:
            limiter.tell_head()
        return -math.inf

    def leave(self) -> None:
        """It will not start: its places are free at once.  After its start that does nothing."""
        limiters, self._limiters = self._limiters, ()
        tickets, self._tickets = self._tickets, []
        for limiter, ticket in zip(limiters, tickets, strict=False):
            limiter.leave(ticket)
