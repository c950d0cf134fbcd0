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
import itertools
import math
from collections.abc import Callable

from mitmproxy.proxy import commands, events, layer, server
from mitmproxy.proxy.commands import OpenConnection
from mitmproxy.proxy.layers import http

from mitmthrottle.pacing import Schedule

from .cork import corked

SHORTEST_TICK_S = 0.002  # what is due within a tick is woken together
LONGEST_TICK_S = 0.025
BATCH = 4  # wake-ups (about 100 us each) before other connections get their turn


class Waker(commands.RequestWakeup):
    """The way from the top of a connection's layers to one of its layers."""

    def __init__(self, place: layer.Layer, handler: server.ConnectionHandler) -> None:
        super().__init__(0.0)
        self.granted = False  # the schedule has let this layer's claim through
        self.closed = False
        self.handler = handler
        self._on_its_way = False
        self._again = False  # asked for once more meanwhile
        layers = place.context.layers
        self.route = [
            (upper, layers[index + 1])
            for index, upper in enumerate(layers)
            if isinstance(upper, http.HttpLayer) and upper is not layers[-1]
        ]

    @property
    def parent(self) -> http.HttpLayer | None:
        """The innermost HTTP layer: streams of one are woken together."""
        return self.route[-1][0] if self.route else None

    @property
    def is_free(self) -> bool:
        """Whether it can be woken now; if a wake-up is on its way, another follows that one."""
        if self._on_its_way:
            self._again = True
        return not self.closed and not self._on_its_way

    async def wake(self) -> None:
        if self.is_free:
            for upper, child in self.route:
                upper.command_sources[self] = child
            await self.deliver()

    async def deliver(self) -> None:
        """Hand the event to the top.  Others may stand before it there, and one of them may end
        this layer: the way down stays until the event has gone it."""
        self._on_its_way = True
        try:
            await self.handler.server_event(events.Wakeup(self))
        finally:
            self._on_its_way = False
            if self.closed:
                self._forget_the_way()
        if self._again:
            self._again = False
            await self.wake()

    def close(self) -> None:
        """The layer has ended: wake it no more."""
        self.closed = True
        if not self._on_its_way:
            self._forget_the_way()

    def _forget_the_way(self) -> None:
        for upper, _ in self.route:
            upper.command_sources.pop(self, None)


class Together:
    """Several streams of one connection, woken by one event on its way down the layers."""

    def __init__(self, parent: http.HttpLayer, wakers: list[Waker]) -> None:
        self._parent = parent
        self._wakers = wakers

    async def wake(self) -> None:
        self._wakers = [waker for waker in self._wakers if waker.is_free]
        if not self._wakers:
            return
        first = self._wakers[0]
        for upper, child in first.route[:-1]:
            upper.command_sources[first] = child
        # Typed as a layer there; `handle_event` is all that is used (see guard.py).
        self._parent.command_sources[first] = self  # type: ignore[assignment]
        writer = corked(first.handler)
        try:
            await first.deliver()
        finally:
            if writer is not None:
                writer.uncork()

    def handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Pass the event on to each stream, and let answers to what it asks go to it, not to us."""
        parent = self._parent
        for waker in self._wakers:
            if waker.closed:
                continue
            _, stream = waker.route[-1]
            for command in parent.event_to_child(stream, events.Wakeup(waker)):
                source = parent.command_sources.get(command)
                opened = command.connection if isinstance(command, OpenConnection) else None
                protocol = parent.connections.get(opened) if opened else None
                yield command
                # The caller has taken us for the one who asked.
                if source is not None:
                    parent.command_sources[command] = source
                if opened and protocol:
                    parent.connections[opened] = protocol


class Clock:
    """Wakes the owners of granted claims, and wakers at times that they asked for."""

    def __init__(self) -> None:
        self.schedule = Schedule()
        self.tick_s = SHORTEST_TICK_S
        self.on_failure: Callable[[], None] = lambda: None
        self._timers: list[tuple[float, int, Waker]] = []
        self._serial = 0
        self._sleeping_until = -math.inf
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.now: Callable[[], float] = self._loop.time
        """seconds; the loop's own function, since it is asked several times for each response"""
        self._task = self._loop.create_task(self._run(), name="mitmthrottle clock")

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
            done = 0
            for group in _grouped(due):
                await group.wake()
                done += 1 if isinstance(group, Waker) else BATCH
                if done >= BATCH:
                    done = 0
                    await asyncio.sleep(0)
            self.schedule.all_are_back()
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
        when = max(when, self.now() + self.tick_s)
        timer = self._loop.call_at(when, self._changed.set) if when < math.inf else None
        self._sleeping_until = when
        self._changed.clear()
        try:
            await self._changed.wait()
        finally:
            self._sleeping_until = -math.inf
            if timer is not None:
                timer.cancel()


def _grouped(due: list[Waker]) -> list[Waker | Together]:
    """What is due, the streams of one connection together."""
    if len(due) < 2:
        return list(due)
    by_parent: dict[int, list[Waker]] = {}
    for waker in dict.fromkeys(due):
        by_parent.setdefault(id(waker.parent or waker), []).append(waker)
    return [
        batch[0] if len(batch) == 1 or batch[0].parent is None else Together(batch[0].parent, batch)
        for wakers in by_parent.values()
        for batch in map(list, itertools.batched(wakers, BATCH))
    ]
