"""Many clients and their origin in one thread: responses through several proxies, and what came of
each when.

Rule: the origin never ends a body by itself; whatever ends one is noted.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from mitmthrottle.lab.netns import inside

PIECE_S = 0.1  # of an origin that holds its own rate
SLOT_S = 0.1


@dataclass
class Body:
    """One response. `slots`: bytes that came in each `SLOT_S` of the crowd's clock."""

    proxy: tuple[str, int]
    rate: float | None  # of its origin, bytes/s; None: as fast as it is taken
    slots: dict[int, int] = field(default_factory=dict)
    asked_at: float = 0.0
    first_byte_s: float | None = None
    status: int | None = None
    broken: str | None = None
    stopped: bool = False


class Crowd:
    """The thread; times are of `time.perf_counter`."""

    def __init__(self, namespace: str | None = None, address: str = "127.0.0.1") -> None:
        self.address = address
        self.port = 0
        self.bodies: list[Body] = []
        self._loop = asyncio.new_event_loop()
        self._tasks: dict[int, Future[None]] = {}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(namespace,), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    @property
    def thread_id(self) -> int:
        """The kernel's."""
        return self._thread.native_id or 0

    # -- what a test does

    def join(
        self, proxy: tuple[str, int], count: int, *, rate: float | None = None, host: str = "a.test"
    ) -> list[Body]:
        """So many responses through this proxy, from now on."""
        bodies = [Body(proxy, rate) for _ in range(count)]
        self.bodies += bodies
        for body in bodies:
            self._tasks[id(body)] = self._do(self._fetch(body, host))
        return bodies

    def leave(self, bodies: list[Body]) -> None:
        for body in bodies:
            body.stopped = True
            self._tasks[id(body)].cancel()

    def all_begun(self, bodies: list[Body], within_s: float = 20) -> float:
        """When the last of them had its first byte."""
        assert until(lambda: all(body.first_byte_s is not None for body in bodies), within_s)
        return max(body.asked_at + (body.first_byte_s or 0.0) for body in bodies)

    def stop(self) -> None:
        self.leave(self.bodies)
        time.sleep(0.1)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def broken(self) -> list[str]:
        return [body.broken for body in self.bodies if body.broken]

    # -- what came

    def sum_bytes_per_s(self, start: float, stop: float, bodies: list[Body] | None = None) -> float:
        return sum(self.rates(start, stop, bodies))

    def rates(self, start: float, stop: float, bodies: list[Body] | None = None) -> list[float]:
        """Bytes/s of each from `start` to `stop`, in whole slots."""
        first, last = round(start / SLOT_S), round(stop / SLOT_S)
        span = (last - first) * SLOT_S
        return [
            sum(size for slot, size in list(body.slots.items()) if first <= slot < last) / span
            for body in (self.bodies if bodies is None else bodies)
        ]

    # -- the thread

    def _run(self, namespace: str | None) -> None:
        with inside(namespace) if namespace else contextlib.nullcontext():
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(self._serve())
            self._ready.set()
            self._loop.run_forever()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._origin, self.address, 0, backlog=1000)
        self.port = server.sockets[0].getsockname()[1]

    def _do(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _origin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ")[1].decode().partition("?")[0]
                kind, _, number = path.lstrip("/").partition("/")
                if kind == "bytes":
                    size = int(number)
                    writer.write(_HEAD + b"Content-Length: %d\r\n\r\n" % size + bytes(size))
                    await writer.drain()
                    continue
                writer.write(_HEAD + b"Connection: close\r\n\r\n")
                rate = float(number or 0)
                piece = bytes(int(rate * PIECE_S) or 65536)
                while True:
                    writer.write(piece)
                    await writer.drain()
                    if rate:
                        await asyncio.sleep(PIECE_S)
        writer.close()

    async def _fetch(self, body: Body, host: str) -> None:
        path = f"/at/{body.rate:.0f}" if body.rate else "/full/0"
        body.asked_at = time.perf_counter()
        writer = None
        try:
            reader, writer = await asyncio.open_connection(*body.proxy, limit=16384)
            writer.write(f"GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            body.status = int(head.split(b" ")[1])
            while data := await reader.read(65536):
                now = time.perf_counter()
                if body.first_byte_s is None:
                    body.first_byte_s = now - body.asked_at
                slot = int(now / SLOT_S)
                body.slots[slot] = body.slots.get(slot, 0) + len(data)
            body.broken = "it has ended"
        except (OSError, asyncio.IncompleteReadError) as error:
            body.broken = repr(error)
        finally:
            if writer is not None:
                writer.transport.abort()


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n"


@contextlib.contextmanager
def crowd(namespace: str | None = None, address: str = "127.0.0.1") -> Iterator[Crowd]:
    """Until the block ends."""
    made = Crowd(namespace, address)
    try:
        yield made
    finally:
        made.stop()


def jain(rates: list[float]) -> float:
    """1: all the same; 1/n: one has everything."""
    squares = sum(rate * rate for rate in rates)
    return sum(rates) ** 2 / (len(rates) * squares) if squares else 0.0


def until(condition: Callable[[], bool], within_s: float) -> float | None:
    """Seconds until it held."""
    start = time.perf_counter()
    while time.perf_counter() - start < within_s:
        if condition():
            return time.perf_counter() - start
        time.sleep(0.02)
    return None
