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
import logging
import math
from collections.abc import Callable
from typing import Protocol

from mitmproxy.proxy import commands, events, layer, server
from mitmproxy.proxy.commands import OpenConnection
from mitmproxy.proxy.layers import http

from mitmthrottle.pacing import Schedule

from .cork import corked

logger = logging.getLogger(__name__)

SHORTEST_TICK_S = 0.002  # what is due within a tick is woken together
LONGEST_TICK_S = 0.025
BATCH = 4  # wake-ups (about 100 us each) before other connections get their turn


class Alarm(Protocol):
    """What a waker needs of the clock."""

    def wake_at(self, when: float, waker: Waker) -> None: ...
    def timer_dropped(self) -> None: ...


class Timer:
    """When a waker is to be woken; without one once that is not wanted any more."""

    __slots__ = ("serial", "waker", "when")

    def __init__(self, when: float, serial: int, waker: Waker) -> None:
        self.when = when
        self.serial = serial
        self.waker: Waker | None = waker

    def __lt__(self, other: Timer) -> bool:
        return (self.when, self.serial) < (other.when, other.serial)


class Waker(commands.RequestWakeup):
    """The way from the top of a connection's layers to one of its layers.

    It has one timer at most: whoever is woken early looks again and asks for the next time.
    """

    def __init__(self, place: layer.Layer, handler: server.ConnectionHandler, clock: Alarm) -> None:
        super().__init__(0.0)
        self.closed = False
        self.handler = handler
        self.timer: Timer | None = None
        self._clock = clock
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

    def at(self, when: float) -> None:
        """Wake the layer at this time of the clock's `now`, or before."""
        if not self.closed and (self.timer is None or when < self.timer.when):
            self._clock.wake_at(when, self)

    async def wake(self, *, a_last_time: bool = False) -> None:
        """`a_last_time`: also where its body has been closed, so that what is left passes on."""
        if self.is_free or (a_last_time and not self._on_its_way):
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
        if self.timer is not None:
            self.timer.waker = None
            self.timer = None
            self._clock.timer_dropped()
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
        # Typed as a layer there; `handle_event` is all that is used (see compat.py).
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
            # A stream that raises ends by itself (see carrier.py); what raises beside it is the
            # routing of mitmproxy, and must not keep the others from their turn.
            for command in self._told(stream, waker):
                source = parent.command_sources.get(command)
                opened = command.connection if isinstance(command, OpenConnection) else None
                protocol = parent.connections.get(opened) if opened else None
                yield command
                # The caller has taken us for the one who asked.
                if source is not None:
                    parent.command_sources[command] = source
                if opened and protocol:
                    parent.connections[opened] = protocol

    def _told(self, stream: layer.Layer, waker: Waker) -> layer.CommandGenerator[None]:
        try:
            yield from self._parent.event_to_child(stream, events.Wakeup(waker))
        except Exception:
            logger.exception("mitmthrottle: a stream failed when it was woken; the others go on")


class Timers:
    """Timers in their order; those that were dropped are swept out when they are the most."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._serial = 0
        self._dropped = 0

    def __len__(self) -> int:
        """Of those that somebody waits for."""
        return len(self._heap) - self._dropped

    def add(self, when: float, waker: Waker) -> None:
        if waker.timer is not None:
            waker.timer.waker = None
            self._dropped += 1
        self._serial += 1
        waker.timer = Timer(when, self._serial, waker)
        heapq.heappush(self._heap, waker.timer)
        self._sweep()

    def drop(self) -> None:
        """A timer's waker was taken from it."""
        self._dropped += 1
        self._sweep()

    def next_at(self) -> float:
        heap = self._heap
        while heap and heap[0].waker is None:
            heapq.heappop(heap)
            self._dropped -= 1
        return heap[0].when if heap else math.inf

    def due(self, now: float) -> list[Waker]:
        """Those whose time has come."""
        found: list[Waker] = []
        while self.next_at() <= now:
            waker = heapq.heappop(self._heap).waker
            if waker is not None:
                waker.timer = None
                found.append(waker)
        return found

    def clear(self) -> list[Waker]:
        """Whoever waited for one."""
        return self.due(math.inf)

    def _sweep(self) -> None:
        if self._dropped > 64 and 2 * self._dropped > len(self._heap):
            self._heap = [timer for timer in self._heap if timer.waker is not None]
            heapq.heapify(self._heap)
            self._dropped = 0


class Clock:
    """Wakes the owners of granted claims, and wakers at times that they asked for.

    Its time is in seconds since it was made: whatever the machine's clock says, and for however
    long the machine is up, a float counts nanoseconds then.
    """

    def __init__(self) -> None:
        self.schedule = Schedule()
        self.tick_s = SHORTEST_TICK_S
        self.on_failure: Callable[[], None] = lambda: None
        self.on_wake_failure: Callable[[], None] = lambda: None
        self._timers = Timers()
        self._sleeping_until = -math.inf
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._start = self._loop.time()
        self._tasks: set[asyncio.Task[None]] = set()
        self._task = self._loop.create_task(self._run(), name="mitmthrottle clock")

    def __len__(self) -> int:
        """So many wait for a time."""
        return len(self._timers)

    def now(self) -> float:
        return self._time() - self._start

    def wake_at(self, when: float, waker: Waker) -> None:
        """Wake that layer at this time.  Wakers may be woken early and often."""
        if when == math.inf:
            return
        self._timers.add(when, waker)
        self._hurry(when)

    def timer_dropped(self) -> None:
        self._timers.drop()

    def submitted(self) -> None:
        """A claim was handed to the schedule: it may be due before anything else is."""
        self._hurry(self.schedule.next_due())

    def soon(self, waker: Waker) -> None:
        """Wake that layer whether or not this clock goes on, and also where it is paced no more."""
        task = self._loop.create_task(waker.wake(a_last_time=True))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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
                due = self._timers.clear()
                self.on_failure()
            done = 0
            for group in _grouped(due):
                await self._wake(group)
                done += 1 if isinstance(group, Waker) else BATCH
                if done >= BATCH:
                    done = 0
                    await asyncio.sleep(0)
            self.schedule.all_are_back()
            await self._sleep()

    async def _wake(self, group: Waker | Together) -> None:
        try:
            await group.wake()
        except Exception:  # of one connection: all others are woken all the same
            self.on_wake_failure()

    def _due(self) -> list[Waker]:
        now = self.now()
        due = [claim.owner for claim in self.schedule.advance(now)]
        return [owner for owner in due if isinstance(owner, Waker)] + self._timers.due(now)

    async def _sleep(self) -> None:
        when = min(self.schedule.next_due(), self._timers.next_at())
        when = max(when, self.now() + self.tick_s)
        timer = None
        if when < math.inf:
            timer = self._loop.call_at(self._start + when, self._changed.set)
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
