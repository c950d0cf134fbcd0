"""Who may send next, over all budgets: one ordered list of due times.

Rule: every budget that somebody waits for stands in the list once, at its own due time.
"""

from __future__ import annotations

import heapq
import math

from .budgets import Budget


class Claim:
    """One response's way through its budgets, innermost first; `owner` is the caller's."""

    __slots__ = (
        "_at_once",
        "_round",
        "_step",
        "_tags",
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
        self._round = 0  # in which its turn came last
        self._at_once = 0  # bytes that it has asked for since
        self._tags = [0.0] * len(budgets)
        for budget in budgets:
            budget.members += 1
            if budget.sharing is not None:
                budget.sharing.joined(self)

    def __repr__(self) -> str:
        state = f"waiting at {self._step}" if self.waiting else "idle"
        return f"Claim({self.size} B, {state}, of {self.budgets})"

    def shrink(self, size: int, sooner: float, now: float) -> None:
        """Wait for so many bytes only, in the queue so much further in front."""
        less = self.size - size
        for budget in self.budgets[: self._step]:
            budget.refund(less, now)
        self._tags[self._step] -= less + sooner
        self.size = size


class Schedule:
    """The due times of all budgets.  `submit` asks, `advance` tells who may send."""

    __slots__ = ("_granted", "_heap", "_round", "_serial")

    def __init__(self) -> None:
        self._granted: list[Claim] = []  # whose turn came while another asked
        self._heap: list[tuple[float, int, Budget]] = []
        self._round = 0  # counts the calls of `advance`, and of `all_are_back`
        self._serial = 0

    def submit(self, claim: Claim, size: int, now: float) -> bool:
        """Ask to send `size` bytes.  True: now.  False: wait until `advance` returns the claim."""
        if claim.waiting or claim.withdrawn:
            raise ValueError(f"{claim} cannot ask now")
        claim.size = size
        claim.waiting = True
        claim._step = 0
        granted = self._granted
        if claim._round == self._round:
            claim._at_once += size
            for budget in claim.budgets:
                if budget.is_for_others(self._round, claim._at_once):
                    first = claim.budgets[0]
                    claim._tags[0] = first.enqueue(claim, claim._tags[0], now, in_turn=True)
                    self.touch(first)
                    return False
        self._enter(claim, now)
        if claim.waiting:
            return False
        granted.remove(claim)
        return True

    def next_due(self) -> float:
        """When `advance` has something to do next; infinity when nobody waits."""
        if self._granted:
            return -math.inf
        heap = self._heap
        while heap and heap[0][0] != heap[0][2].due:
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf

    def advance(self, now: float) -> list[Claim]:
        """All claims whose bytes may leave by `now`, in the order of their turn."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            due, _, budget = heapq.heappop(heap)
            if due == budget.due:
                budget.due = math.inf
                self._serve(budget, now)
        granted = [claim for claim in self._granted if not claim.withdrawn]
        self._granted = []
        # They come back one after the other, and the first is not to find all that is left.
        self._round += 1
        if len(granted) > 1:
            for claim in granted:
                claim._round = self._round
                claim._at_once = 0
                for budget in claim.budgets:
                    if budget.members > 1:
                        budget.has_let_through(self._round)
        return granted

    def all_are_back(self) -> None:
        """All that `advance` has returned have asked again by now, or have nothing to ask for."""
        self._round += 1

    def touch(self, budget: Budget) -> None:
        """The budget's rate has changed: put it where it belongs now."""
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
            budget.members -= 1
            if budget.sharing is not None:
                budget.sharing.left(claim)
            self.touch(budget)

    def _enter(self, claim: Claim, now: float) -> None:
        step = claim._step
        budget = claim.budgets[step]
        in_turn = claim._round == self._round
        claim._tags[step] = budget.enqueue(claim, claim._tags[step], now, in_turn=in_turn)
        due = budget.next_due()
        if due <= now:
            self._serve(budget, now, claim if in_turn else None)
        elif due < budget.due:
            self.touch(budget)

    def _serve(self, budget: Budget, now: float, until: Claim | None = None) -> None:
        """Let through whoever's turn it is.  `until`: those behind this one are for `advance`."""
        for claim in budget.grant(now):
            assert isinstance(claim, Claim)  # noqa: S101  (only claims wait in these budgets)
            step = claim._step
            if step + 1 < len(claim.budgets):
                budget.hold(claim.size)
                claim._step = step + 1
                self._enter(claim, now)
            else:
                claim.waiting = False
                for passed in claim.budgets[:step]:
                    passed.settle(claim.size, now)
                    self.touch(passed)
                self._granted.append(claim)
            if claim is until:
                break
        self.touch(budget)
