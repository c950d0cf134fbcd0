"""Telling the store what is asked of shared budgets here, and taking in what it says.

Rule: one call for all budgets that are due, one call at a time; a budget is reported ten times a
second at most (parts.py), and a process that has nothing to tell says once a second that it is
there.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from mitmthrottle.pacing import Answer, Demand, Part, Parts

from .answers import MOST_PROCESSES, count, fraction, milliseconds
from .connection import Connection, StoreUnavailable
from .names import Names

TOGETHER_S = 0.01  # what comes within this time is told in one call
AFTER_S = 0.002  # the first byte of a new response goes out before that
AT_MOST = 50  # budgets in one call: the store does nothing else meanwhile
STILL_THERE_S = 1.0


class Sharing:
    """The calls of one process."""

    def __init__(
        self, connection: Connection, parts: Parts, names: Names, now: Callable[[], float]
    ) -> None:
        self.process = secrets.token_hex(8)
        self.names = names
        self.clock = ""  # the name of the policy, whose stages count from a common start
        self.elapsed_s: Callable[[], float] = lambda: 0.0
        self.on_clock: Callable[[float, float], None] = lambda elapsed_s, took_s: None
        self.epoch: str | None = None  # another one: the store has lost what it knew
        self._connection = connection
        self._parts = parts
        self._now = now
        self._serial = 0
        self._changed = asyncio.Event()
        parts.on_change = self._changed.set

    async def wait(self, last: float) -> None:
        """Until there is something to tell, or it is time to say that we are still there."""
        while True:
            self._changed.clear()
            until = min(self._parts.next_due(), last + STILL_THERE_S)
            until = max(until, last + TOGETHER_S)
            delay_s = until - self._now()
            if delay_s <= 0:
                return
            try:
                async with asyncio.timeout(delay_s):
                    await self._changed.wait()
            except TimeoutError:
                return
            await asyncio.sleep(AFTER_S)

    def asked_back(self, key: str) -> None:
        """Another process has come for a budget of which we hold more than our part."""
        for part in self._parts.active():
            if self.names.of("budget", part.key) == key:
                part.hurry()
                return

    async def tell(self) -> bool:
        """One call. Whether the store had lost what it knew. Raises StoreUnavailable."""
        names = self.names
        begun = self._now()
        asked = self._parts.due(begun, AT_MOST)
        self._serial += 1
        clock = self.clock
        arguments: list[str | int | float] = [
            self.process,
            int(self._connection.listening),
            self._serial,
            self._parts.processes,
            names.of("clock", clock).rpartition(":")[2],
            f"{1000 * self.elapsed_s():.0f}",
        ]
        for _, demand in asked:
            held = -1 if demand.held is None else demand.held
            arguments += (demand.backlogged, demand.limited, repr(demand.needed), repr(held))
        keys = [names.fleet, *(names.of("budget", part.key) for part, _ in asked)]
        try:
            answer = await self._connection.run("parts.lua", keys, arguments)
            if not isinstance(answer, list) or len(answer) < 3 + 3 * len(asked):
                raise StoreUnavailable("it has answered out of turn")
            # All of it before any of it is taken in.
            processes = max(1, count(answer[1], MOST_PROCESSES))
            clock_ms = milliseconds(answer[2])
            answers = [_answer(answer[at : at + 3]) for at in range(3, 3 + 3 * len(asked), 3)]
        except BaseException:
            for part, _ in asked:
                self._parts.unanswered(part)
            raise
        self._parts.processes = processes
        lost = self.epoch is not None and self.epoch != answer[0] and names is self.names
        self.epoch = answer[0]
        self._take_in(asked, answers)
        if clock == self.clock:
            self.on_clock(clock_ms / 1000, self._now() - begun)
        return lost

    def _take_in(self, asked: list[tuple[Part, Demand]], answers: list[Answer]) -> None:
        now = self._now()
        for (part, demand), answer in zip(asked, answers, strict=True):
            self._parts.answered(part, demand, answer, now)


def _answer(texts: list[object]) -> Answer:
    """Raises StoreUnavailable."""
    part, each, sharing = texts
    return Answer(fraction(part), fraction(each), count(sharing, MOST_PROCESSES))
