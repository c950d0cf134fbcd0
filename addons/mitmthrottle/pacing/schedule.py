"""Who may send next, over all budgets: one ordered list of due times.

Rule: every budget that somebody waits for stands in the list once, at its own due time.
"""

from __future__ import annotations

import heapq
import math

from .budgets import CATCH_UP_S, Budget


class Claim:
    """One response's way through its budgets, innermost first; `owner` is the caller's."""

    __slots__ = (
        "_as_of",
        "_at_once",
        "_round",
        "_step",
        "_tags",
        "_woken",
        "budgets",
        "owner",
        "size",
        "waiting",
        "withdrawn",
    )

    def __init__(self, budgets: tuple[Budget, ...], owner: object) -> None:
        self.budgets = budgets
        self.owner = owner
        self.size = 0
        self.waiting = False
        self.withdrawn = False
        self._step = 0
        self._as_of = -math.inf  # when it was due where it is now
        self._woken = 0  # the round in which its turn came last
        self._round = 0  # likewise, if others had theirs in the same
        self._at_once = 0  # bytes that it has asked for since
        self._tags = [0.0] * len(budgets)
        for budget in budgets:
            budget.join(self)

    def __repr__(self) -> str:
        state = f"waiting at {self._step}" if self.waiting else "idle"
        return f"Claim({self.size} B, {state}, of {self.budgets})"

    def shrink(self, size: int, now: float) -> None:
        """Wait for so many bytes only."""
        less = self.size - size
        for budget in self.budgets[: self._step]:
            budget.refund(less, now)
        for step in range(self._step + 1):
            self._tags[step] -= less
        self.size = size

    def move(self, budget: object, sooner: float) -> None:
        """Its place in that budget's queue is so much further in front."""
        self._tags[self.budgets.index(budget)] -= sooner


class Schedule:
    """The due times of all budgets.  `submit` asks, `advance` tells who may send."""

    __slots__ = ("_heap", "_round", "_serial")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Budget]] = []
        self._round = 1  # counts the calls of `advance`, and of `all_are_back`
        self._serial = 0

    def submit(self, claim: Claim, size: int, now: float) -> bool:
        """Ask to send `size` bytes.  True: now.  False: wait until `advance` returns the claim."""
        if claim.waiting or claim.withdrawn:
            raise ValueError(f"{claim} cannot ask now")
        claim.size = size
        claim.waiting = True
        claim._step = 0
        came_back = claim._woken == self._round
        claim._as_of = max(claim._as_of, now - CATCH_UP_S) if came_back else now
        if claim._round == self._round:
            claim._at_once += size
            for budget in claim.budgets:
                if budget.is_for_others(self._round, claim._at_once):
                    first = claim.budgets[0]
                    claim._tags[0] = first.enqueue(
                        claim, claim._tags[0], now, since=claim._as_of, in_turn=True
                    )
                    self.touch(first)
                    return False
        self._enter(claim, now)
        while claim.waiting:
            budget = claim.budgets[claim._step]
            # Whoever is before it is for `advance`, even if it is due.
            if budget.head is not claim or budget.next_due() > now:
                return False
            self._serve(budget, now)
        return True

    def next_due(self) -> float:
        """When `advance` has something to do next; infinity when nobody waits."""
        heap = self._heap
        while heap and heap[0][0] != heap[0][2].due:
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf

    def advance(self, now: float) -> list[Claim]:
        """All claims whose bytes may leave by `now`, in the order of their turn."""
        heap = self._heap
        granted: list[Claim] = []
        while heap and heap[0][0] <= now:
            due, _, budget = heapq.heappop(heap)
            if due == budget.due:  # which is not as it was if something has changed since
                budget.due = math.inf
                claim = self._serve(budget, now)
                if not claim.waiting:
                    granted.append(claim)
        # They come back one after the other, and the first is not to find all that is left.
        self._round += 1
        for claim in granted:
            claim._woken = self._round
        if len(granted) > 1:
            for claim in granted:
                claim._round = self._round
                claim._at_once = 0
                for budget in claim.budgets:
                    if budget.members > 1:
                        budget.has_let_through(self._round, now)
        return granted

    def all_are_back(self) -> None:
        """All that `advance` has returned have asked again by now, or have nothing to ask for."""
        self._round += 1

    def touch(self, budget: Budget) -> None:
        """The budget's rate has changed: put it, and whose pieces that has cut anew, where they
        belong now."""
        if budget.cut_anew:
            for claim in budget.others_cut_anew():
                assert isinstance(claim, Claim)  # noqa: S101  (only claims join these budgets)
                for other in claim.budgets:
                    self._place(other)
        self._place(budget)

    def _place(self, budget: Budget) -> None:
        due = budget.next_due()
        if due != budget.due:
            budget.due = due
            if due < math.inf:
                self._serial += 1
                heapq.heappush(self._heap, (due, self._serial, budget))

    def withdraw(self, claim: Claim, now: float) -> None:
        """The response ends: what it waits for and holds goes to the others."""
        if claim.withdrawn:
            return
        claim.withdrawn = True
        if claim.waiting:
            claim.waiting = False
            # What it was let through with at inner budgets, and never sent.
            for budget in claim.budgets[: claim._step]:
                budget.refund(claim.size, now)
        for budget in claim.budgets:
            budget.leave(claim)
            self.touch(budget)

    def _enter(self, claim: Claim, now: float) -> None:
        """Wait at the budget that it has come to."""
        step = claim._step
        budget = claim.budgets[step]
        claim._tags[step] = budget.enqueue(
            claim,
            claim._tags[step],
            now,
            since=claim._as_of,
            in_turn=claim._round == self._round,
        )
        self.touch(budget)

    def _serve(self, budget: Budget, now: float) -> Claim:
        """Let through whoever is the first in the queue, which is due, at the moment when it was;
        so far back only as lateness is made up for."""
        as_of = max(budget.next_due(), now - CATCH_UP_S)
        claim = budget.grant(as_of, now)
        assert isinstance(claim, Claim)  # noqa: S101  (only claims wait in these budgets)
        as_of = claim._as_of = max(as_of, claim._as_of)
        step = claim._step
        if step + 1 < len(claim.budgets):
            budget.hold(claim.size)
            claim._step = step + 1
            self._enter(claim, now)
        else:
            claim.waiting = False
            for passed in claim.budgets[:step]:
                passed.settle(claim.size, as_of)
                self.touch(passed)
        self.touch(budget)
        return claim
