"""An event loop whose time is a number: it jumps to the next timer when nothing is ready.

Rule: nothing in a simulation waits, and nothing depends on the machine.  What asyncio gives a
program besides time (connections, threads, the wall clock) comes from here too.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any
from unittest import mock

LATENESS_S = (0.0, 0.0, 20e-6, 100e-6)  # of a timer on an idle machine; sometimes to the tick
WALL_START = 1_700_000_000.0

type Connect = Callable[
    [Callable[[], asyncio.BaseProtocol], str, int],
    Awaitable[tuple[asyncio.BaseTransport, asyncio.BaseProtocol]],
]


class NothingToDo(BaseException):
    """Nobody is ready and no timer runs: whoever waits would wait for ever."""


class _Jump:
    """In the place of a selector: waiting is moving the clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[object]:
        if timeout is None:
            raise NothingToDo
        if timeout > 0 or not self._loop.is_busy():
            self._loop.move(timeout)  # (what is due this very moment is so only a moment later)
        else:
            self._loop.tick()
        return []

    def close(self) -> None:
        pass


class VirtualLoop(asyncio.BaseEventLoop):
    """`start`: what `time()` says at first, in seconds, as after so long an uptime."""

    connect: Connect | None = None

    def __init__(self, start: float = 1000.0) -> None:
        super().__init__()
        self._now = self._started = start
        self._wall = WALL_START
        self._selector = _Jump(self)
        self._late = random.Random("late")
        self._ticks = 0
        self.late_s = 0.0  # so late it may be besides, as on a busy machine
        self.slow_callback_duration = math.inf
        # A timer may fire when its time has come to the clock's last digit, and not only later.
        self._clock_resolution = max(1e-9, math.ulp(start))

    def time(self) -> float:
        return self._now

    def elapsed(self) -> float:
        """Seconds since the start of the simulation."""
        return self._now - self._started

    def wall(self) -> float:
        """Unix seconds; they go on as `time()` does, unless somebody sets the clock."""
        return self._wall + self.elapsed()

    def set_wall(self, by_s: float) -> None:
        """Somebody sets the machine's clock."""
        self._wall += by_s

    def move(self, seconds: float) -> None:
        """Time passes while nobody runs; also to be called for a machine that sleeps."""
        late = self._late.choice(LATENESS_S) + self._late.random() * self.late_s
        self._now = max(self._now + seconds + late, math.nextafter(self._now, math.inf))

    def tick(self) -> None:
        """Running takes time too, though a clock does not always show it."""
        self._ticks += 1
        if not self._ticks % 8:
            self._now = max(self._now + 5e-6, math.nextafter(self._now, math.inf))

    def is_busy(self) -> bool:
        """Whether somebody is ready."""
        return bool(vars(self)["_ready"]) or bool(vars(self)["_stopping"])

    # -- what asyncio's base class leaves to us

    def _process_events(self, event_list: list[object]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def run_in_executor[*Ts, T](
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """A thread that is done a little later."""
        future: asyncio.Future[T] = self.create_future()

        def run() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:
                future.set_exception(error)

        self.call_later(0.001, run)
        return future

    async def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Where `asyncio.open_connection` ends: whoever simulates the network answers."""
        if self.connect is None:
            raise OSError("there is no network")
        factory, host, port = args
        return await self.connect(factory, host, port)


@contextmanager
def world_of(loop: VirtualLoop, seed: int) -> Iterator[None]:
    """While this lasts, the wall clock and what is unique are the simulation's too."""
    names = random.Random(f"names/{seed}")

    def name() -> uuid.UUID:
        return uuid.UUID(int=names.getrandbits(128), version=4)

    with (
        mock.patch.object(time, "time", loop.wall),
        mock.patch.object(uuid, "uuid4", name),
        mock.patch.object(os, "urandom", names.randbytes),  # WebSocket's masks
    ):
        yield
