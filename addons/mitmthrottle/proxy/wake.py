"""One clock for everything that is paced: it wakes a stream when its next piece is due.

Rule: no task and no timer of its own for a piece.  One task sleeps until the earliest due time and
then wakes all that is due, a few at a time, so that other connections are served in between.

mitmproxy's layers are generators that only run when an event is handed to the top of the stack.
An event that answers a command finds its way back down, because every `HttpLayer` keeps in
`command_sources` from which child a command came.  A `Waker` is such a command that was never
sent: it puts itself into the `command_sources` along its way and is then answered with `Wakeup`.
That costs about half of what a `RequestWakeup` per piece does (no task, no timer).
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable

from mitmproxy.proxy import commands, events, layer, server
from mitmproxy.proxy.layers import http

from mitmthrottle.pacing import Schedule

TICK_S = 0.002  # what is due within this time is woken together
BATCH = 8  # wake-ups (about 100 us each) before other connections get their turn


class Waker(commands.RequestWakeup):
    """The way from the top of a connection's layers to one stream."""

    def __init__(self, stream: layer.Layer, handler: server.ConnectionHandler) -> None:
        super().__init__(0.0)
        self.granted = False  # the schedule has let this stream's claim through
        self.closed = False
        self._handler = handler
        layers = stream.context.layers
        self._route = [
            (upper, layers[index + 1])
            for index, upper in enumerate(layers)
            if isinstance(upper, http.HttpLayer) and upper is not layers[-1]
        ]

    async def wake(self) -> None:
        if self.closed:
            return
        for upper, child in self._route:
            upper.command_sources[self] = child
        await self._handler.server_event(events.Wakeup(self))

    def close(self) -> None:
        """The stream has ended: wake it no more."""
        self.closed = True
        for upper, _ in self._route:
            upper.command_sources.pop(self, None)


class Clock:
    """Wakes the owners of granted claims, and wakers at times that they asked for."""

    def __init__(self) -> None:
        self.schedule = Schedule()
        self.on_failure: Callable[[], None] = lambda: None
        self._timers: list[tuple[float, int, Waker]] = []
        self._serial = 0
        self._sleeping_until = -math.inf
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name="mitmthrottle clock")

    def now(self) -> float:
        return self._loop.time()

    def wake_at(self, when: float, waker: Waker) -> None:
        """Wake that stream at this time of `now`'s clock.  Wakers may be woken early and often."""
        self._serial += 1
        heapq.heappush(self._timers, (when, self._serial, waker))
        self._hurry(when)

    def submitted(self) -> None:
        """A claim was handed to the schedule: it may be due before anything else is."""
        self._hurry(self.schedule.next_due())

    def soon(self, waker: Waker) -> None:
        """Wake that stream whether or not this clock goes on."""
        self._loop.create_task(waker.wake())

    def stop(self) -> None:
        self._task.cancel()

    def _hurry(self, when: float) -> None:
        if when < self._sleeping_until:
            self._changed.set()

    async def _run(self) -> None:
        while True:
            try:
                due = self._due()
            except Exception:  # a fault in our arithmetic: nobody may be left waiting
                self.schedule = Schedule()
                self._timers.clear()
                self.on_failure()
                due = []
            for number, waker in enumerate(due, 1):
                await waker.wake()
                if number % BATCH == 0:
                    await asyncio.sleep(0)
            await self._sleep()

    def _due(self) -> list[Waker]:
        now = self.now()
        due: list[Waker] = []
        for claim in self.schedule.advance(now):
            waker = claim.owner
            if isinstance(waker, Waker):
                waker.granted = True
                due.append(waker)
        while self._timers and self._timers[0][0] <= now:
            due.append(heapq.heappop(self._timers)[2])
        return due

    async def _sleep(self) -> None:
        when = self.schedule.next_due()
        if self._timers:
            when = min(when, self._timers[0][0])
        when = max(when, self.now() + TICK_S)
        timer = self._loop.call_at(when, self._changed.set) if when < math.inf else None
        self._sleeping_until = when
        self._changed.clear()
        try:
            await self._changed.wait()
        finally:
            self._sleeping_until = -math.inf
            if timer is not None:
                timer.cancel()
