"""Budgets that several processes share: what is asked of one here, and how much of it may be given.

Rule: a budget never waits to be told.  It starts with an equal part for each process, goes on with
the part that it was told last, and what it may give here is always a fraction of what the policy
says; who gets it among the responses here is the budget's own business.

Theory of operation.  Somewhere the budget is shared out so that each *response* gets the same,
wherever it runs, and what one does not need flows to the others (max-min fairness).  For that the
others need to know three numbers of us: how many responses wait for more (*backlogged*), how many
take less than they may (*limited*: their origin, their client or a narrower budget holds them), and
what the latter need.  A response is backlogged if it spends most of its time in this budget's
queue.  What the limited ones need is what they took lately; where nobody else here could use what
is left over, they get a thirty-second more and a little of what each might have, so that they can
show when they need more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Literal

from .budgets import Budget
from .claimants import Claimant
from .moments import later

SOON_S = 0.07  # between two reports of a budget where something changes: 14 a second
STEADY_S = 0.2  # and where nothing does
ALONE_S = 0.4  # and where no other process draws from it
FADE_S = 0.5  # how fast what a response did is forgotten
BACKLOGGED, LIMITED = 0.8, 0.6  # of the time in the queue: above the one it is, below the other not
HEADROOM, FOOTHOLD = 1 / 32, 1 / 256
# Shared budgets do not hold while nobody shares them out and the policy's user wants it so: a part
# of so many times the whole.
OPEN_FRACTION = 1e6
# Where nothing is ours: enough for what waits to go on, too little for the others to notice.
LEAST_PART = 1 / 1024

Mode = Literal["split", "open"]


@dataclass(frozen=True, slots=True)
class Demand:
    """What the responses here ask of one budget; fractions are of the whole budget."""

    backlogged: int
    limited: int
    needed: float  # by the limited ones, in all
    held: float | None  # the part that is given out here; None: nothing was told yet

    @property
    def none(self) -> bool:
        return not (self.backlogged or self.limited)


@dataclass(frozen=True, slots=True)
class Answer:
    """The part that is ours, what one response may have, and how many processes share."""

    part: float
    each: float
    sharing: int

    @property
    def is_sound(self) -> bool:
        """Whether it can be meant: a part of the whole is 0 to 1.  (A sum of parts may be rounded
        up.)"""
        return 0 <= self.part <= 1 + 1e-9 and 0 <= self.each < math.inf and self.sharing >= 0


class _Use:
    """What one response did with one budget lately."""

    __slots__ = (
        "_rate",
        "_seen",
        "backlogged",
        "busy",
        "passed_at",
        "since",
        "started",
        "taken_bytes",
        "waited_s",
    )

    def __init__(self) -> None:
        self.since: float | None = None  # in the queue since
        self.passed_at = 0.0  # when it had its last turn
        self.waited_s = 0.0  # since the last report
        self.taken_bytes = 0  # likewise
        self.started = False  # has had something
        # Who is new may want all that it can get.
        self.busy = 1.0  # the fraction of its time in the queue, lately
        self._rate = 0.0
        self._seen = 0.0  # how much of the fading past we have been there for, 0 to 1
        self.backlogged = True

    @property
    def rate_bytes_per_s(self) -> float:
        """What it took lately."""
        return self._rate / self._seen if self._seen else 0.0

    def fade(self, now: float, over_s: float) -> None:
        """Take in what happened since the last report, `over_s` ago."""
        if self.since is not None:
            self.waited_s += now - max(self.since, now - over_s)
            self.since = now
        weight = -math.expm1(-over_s / FADE_S)
        self.busy += weight * (min(1.0, self.waited_s / over_s) - self.busy)
        self._rate += weight * (self.taken_bytes / over_s - self._rate)
        self._seen += weight * (1 - self._seen)
        self.waited_s, self.taken_bytes = 0.0, 0
        if not self.started and self.since is not None:  # has had a delay, and is new only now
            self.busy = 1.0
        self.backlogged = self.busy > (LIMITED if self.backlogged else BACKLOGGED)


class Allocation:
    """Our part of one budget, and who draws from it here."""

    __slots__ = (
        "_changed",
        "_each",
        "_uses",
        "alone",
        "budget",
        "dirty",
        "key",
        "looked",
        "reported",
        "short",
        "told",
    )

    def __init__(
        self, key: Hashable, budget: Budget, changed: Callable[[Allocation], None]
    ) -> None:
        self.key = key
        self.budget = budget
        self.told: float | None = None
        self.alone = False  # no other process draws from it
        self.short = False  # we may have more than we were told, once others have given it back
        self.dirty = False
        self.reported = -math.inf
        self.looked = -math.inf
        self._each = 0.0
        self._uses: dict[Claimant, _Use] = {}
        self._changed = changed

    def __repr__(self) -> str:
        return f"Allocation({self.told} of {self.budget}, {len(self._uses)} draw from it)"

    @property
    def drawing(self) -> int:
        """Responses that draw from it here."""
        return len(self._uses)

    @property
    def taken_bytes_per_s(self) -> float:
        """What these took lately, in all."""
        return sum(use.rate_bytes_per_s for use in self._uses.values())

    # -- what the budget tells

    def joined(self, claimant: Claimant) -> None:
        self._uses[claimant] = _Use()
        self.hurry()

    def left(self, claimant: Claimant) -> None:
        self._uses.pop(claimant, None)
        self.hurry()

    def waits(self, claimant: Claimant, now: float, *, in_turn: bool) -> None:
        """`in_turn`: it comes straight back from its last turn.  What passed meanwhile is our own
        lateness: whoever cannot do more for want of a processor wants more all the same, or its
        part would shrink, its pieces with that, and with these what it can do."""
        if use := self._uses.get(claimant):
            if in_turn:
                use.waited_s += now - max(use.passed_at, self.looked)
            use.since = now
            if not use.started and not use.backlogged:
                self.hurry()

    def passed(self, claimant: Claimant, now: float) -> None:
        if use := self._uses.get(claimant):
            if use.since is not None:
                use.waited_s += now - max(use.since, self.looked)
                use.since = None
            use.passed_at = now
            use.taken_bytes += claimant.size
            use.started = True

    def hurry(self) -> None:
        """It is to be reported as soon as may be."""
        self.dirty = True
        self._changed(self)

    # -- what is told

    def due_at(self) -> float:
        """When this should be reported again."""
        wait = SOON_S if self.dirty or self.short else ALONE_S if self.alone else STEADY_S
        return later(self.reported, wait)

    def demand(self, now: float) -> Demand:
        """What is asked of the budget here, lately."""
        over_s = now - self.looked
        self.looked = now
        whole = self.budget.limit_bytes_per_s
        backlogged, needed = 0, 0.0
        for use in self._uses.values():
            if 0 < over_s < math.inf:
                use.fade(now, over_s)
            if use.backlogged:
                backlogged += 1
            else:
                needed += use.rate_bytes_per_s / whole
        limited = len(self._uses) - backlogged
        if not backlogged:
            needed += HEADROOM * needed + FOOTHOLD * limited * self._each
        return Demand(backlogged, limited, needed, self.told)

    def answered(self, answer: Answer, demand: Demand, now: float) -> None:
        """This part is ours from now on, or the least that there is."""
        part = min(1.0, max(answer.part, LEAST_PART))
        self.told = part
        self._each = answer.each
        self.alone = answer.sharing <= 1
        wanted = demand.backlogged * answer.each + min(demand.limited * answer.each, demand.needed)
        self.short = part < 0.99 * min(1.0, wanted)
        # What we held until now counts as ours until we have said that it is not.
        self.short |= demand.held is not None and part < 0.99 * demand.held
        self.budget.set_fraction(part, now)


class Allocations:
    """Our parts of all the budgets that are shared with other processes."""

    def __init__(self) -> None:
        self.processes = 1  # that share, as far as we know
        self.on_change: Callable[[], None] = lambda: None
        self.on_allocation: Callable[[Budget], None] = lambda budget: None
        self._mode: Mode = "split"
        self._all: dict[Hashable, Allocation] = {}
        self._active: dict[Hashable, Allocation] = {}  # drawn from, or not yet given back

    def __len__(self) -> int:
        return len(self._active)

    def share(self, key: Hashable, budget: Budget, now: float) -> None:
        """This budget is new here: it starts with an equal part."""
        self._all[key] = budget.sharing = part = Allocation(key, budget, self._activate)
        self._start(part, now)

    def forget(self, key: Hashable) -> None:
        """Nobody needs it here any more."""
        self._all.pop(key, None)

    def active(self) -> Iterable[Allocation]:
        return self._active.values()

    def due(self, now: float, at_most: int) -> list[tuple[Allocation, Demand]]:
        """What to report now, the longest waiting first."""
        parts = sorted(
            (part for part in self._active.values() if part.due_at() <= now),
            key=lambda part: part.reported,
        )[:at_most]
        for part in parts:
            part.reported = now
            part.dirty = False
        return [(part, part.demand(now)) for part in parts]

    def next_due(self) -> float:
        """When `due` has something; infinity while nobody draws from shared budgets."""
        return min((part.due_at() for part in self._active.values()), default=math.inf)

    def answered(self, part: Allocation, demand: Demand, answer: Answer, now: float) -> None:
        """The answer to what was reported."""
        if demand.none:
            part.told = None
            if not part.dirty and self._active.get(part.key) is part:  # nobody has come meanwhile
                self._active.pop(part.key, None)
            self._start(part, now)
        elif not answer.is_sound:
            # As if nobody shared it out: what was told last, or else an equal part.
            self.unanswered(part)
        elif self._mode == "split":
            part.answered(answer, demand, now)
            self.on_allocation(part.budget)

    def unanswered(self, part: Allocation) -> None:
        """It was reported in vain."""
        part.dirty = True

    def away(self, mode: Mode, now: float) -> None:
        """Nobody shares out: go on like this.  `split`: with the parts that were told last."""
        self._mode = mode
        for part in self._all.values():
            if mode == "open":
                part.budget.set_fraction(OPEN_FRACTION, now)
            elif part.told is not None:
                part.budget.set_fraction(part.told, now)
            else:
                self._start(part, now)
            self.on_allocation(part.budget)

    def _start(self, part: Allocation, now: float) -> None:
        fraction = OPEN_FRACTION if self._mode == "open" else 1 / max(1, self.processes)
        if fraction != part.budget.fraction:
            part.budget.set_fraction(fraction, now)
            self.on_allocation(part.budget)

    def _activate(self, part: Allocation) -> None:
        if self._active.get(part.key) is not part:
            part.looked = -math.inf
            self._active[part.key] = part
        self.on_change()
