"""temporary"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence


class StartTicket:
    def __init__(self, owner: object) -> None:
        self.owner = owner


class StartLimiter:
    def __init__(
        self, count: int, period_s: float, on_head: Callable[[object], None] = lambda o: None
    ) -> None:
        self.count, self.period_s, self.on_head = count, period_s, on_head
        self._starts: deque[float] = deque(maxlen=count)
        self._line: deque[StartTicket] = deque()

    def join(self, owner: object) -> StartTicket:
        t = StartTicket(owner)
        self._line.append(t)
        return t

    @property
    def head(self) -> StartTicket | None:
        return self._line[0] if self._line else None

    def leave(self, ticket: StartTicket) -> None:
        if ticket in self._line:
            first = self.head is ticket
            self._line.remove(ticket)
            if first and self._line:
                self.on_head(self._line[0].owner)

    def due_at(self) -> float:
        if not self._line:
            return math.inf
        if len(self._starts) < self.count:
            return -math.inf
        return self._starts[0] + self.period_s

    def take(self, ticket: StartTicket, now: float) -> bool:
        if self.head is not ticket or self.due_at() > now:
            return False
        self._starts.append(now)
        self.leave(ticket)
        return True

    def change(self, count: int, period_s: float) -> None:
        self._starts = deque(self._starts, maxlen=count)
        self.count, self.period_s = count, period_s

    def is_as_new(self, now: float) -> bool:
        return not self._line and (not self._starts or self._starts[-1] + self.period_s <= now)


class StartChain:
    def __init__(self, limiters: Sequence[StartLimiter], owner: object) -> None:
        self._at = [(each, each.join(owner)) for each in limiters]

    def due(self, now: float) -> float:
        if any(each.head is not ticket for each, ticket in self._at):
            return math.inf
        return max((each.due_at() for each, _ in self._at), default=-math.inf)

    def try_start(self, now: float) -> float:
        when = self.due(now)
        if when > now:
            return when
        for each, ticket in self._at:
            each.take(ticket, now)
        self._at = []
        return -math.inf

    def leave(self) -> None:
        at, self._at = self._at, []
        for each, ticket in at:
            each.leave(ticket)
