"""Connections without sockets: bytes on their way, buffers that fill, ends that end badly.

    peer -> [its own queue] -> [the wire and the receiver's kernel] -> asyncio's reader -> proxy
    proxy -> [the transport's buffer] -> [the wire and the kernel] -> peer

Rule: as TCP does.  What is written comes, whole and in order, later; unless somebody resets the
connection, or goes away without having read what came.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from .loop import VirtualLoop

HIGH_WATER_BYTES = 64 * 1024  # asyncio's own defaults
LOW_WATER_BYTES = 16 * 1024
LARGEST_READ_BYTES = 256 * 1024

type Told = Callable[[], None]


class Pipe:
    """One way of a connection.  `capacity`: what the wire and the receiver's kernel hold."""

    def __init__(self, loop: VirtualLoop, latency_s: float, capacity: int) -> None:
        self.loop = loop
        self.latency_s = latency_s
        self.capacity = capacity
        self.bytes_per_s: float | None = None  # the receiver reads no faster
        self.receive: Callable[[bytes], None] = lambda data: None
        self.ended: Told = lambda: None
        self.was_reset: Told = lambda: None
        self.has_room: Told | None = None
        self.largest_read: Callable[[], int] = lambda: LARGEST_READ_BYTES
        self.size = 0
        self._queue: deque[tuple[float, bytes | None, Told | None]] = deque()
        self._paused = False
        self._dead = False
        self._next: asyncio.Handle | None = None
        self._not_before = 0.0

    @property
    def room(self) -> int:
        return max(0, self.capacity - self.size)

    def write(self, data: bytes, then: Told | None = None) -> None:
        """`then` is called when the receiver has taken it."""
        if self._dead:
            return
        self.size += len(data)
        self._queue.append((self.loop.time() + self.latency_s, data, then))
        self._go_on()

    def end(self) -> None:
        if not self._dead:
            self._queue.append((self.loop.time() + self.latency_s, None, None))
            self._go_on()

    def reset(self) -> None:
        """What is on its way is lost, and the receiver is told so."""
        if not self._dead:
            self.cut()
            self.loop.call_later(self.latency_s, self.was_reset)

    def cut(self) -> None:
        """Nothing comes any more, and nobody is told."""
        self._dead = True
        self._queue.clear()
        self.size = 0
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._go_on()

    def _go_on(self) -> None:
        if self._next is None and self._queue and not self._paused and not self._dead:
            due = max(self._queue[0][0], self._not_before)
            if due <= self.loop.time():
                self._next = self.loop.call_soon(self._deliver)
            else:
                self._next = self.loop.call_at(due, self._deliver)

    def _deliver(self) -> None:
        self._next = None
        if self._paused or self._dead or not self._queue:
            return
        due, data, then = self._queue.popleft()
        if data is None:
            self.ended()
            return
        most = self.largest_read()
        if self.bytes_per_s is not None:
            most = min(most, max(1, int(self.bytes_per_s * 0.1)))
        if len(data) > most:
            self._queue.appendleft((due, data[most:], then))
            data, then = data[:most], None
        self.size -= len(data)
        if self.bytes_per_s is not None:
            self._not_before = self.loop.time() + len(data) / self.bytes_per_s
        self.receive(data)
        if then is not None:
            then()
        if self.has_room is not None and not self._dead:
            self.has_room()
        self._go_on()


class Peer(Protocol):
    """Who is at the other end."""

    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> None: ...
    def connection_lost(self) -> None: ...


class Socket:
    """The peer's end of a connection."""

    def __init__(self, out: Pipe, into: Pipe, chance: random.Random) -> None:
        self.pieces_bytes: int | None = None  # what it sends comes in random pieces of so much
        self.closed = False
        self._out = out
        self._into = into
        self._chance = chance
        self._unsent: deque[tuple[bytes | None, Told | None]] = deque()
        self._paused = False
        self._eof_sent = False
        out.has_room = self._send_on
        into.receive = self._received
        into.ended = self._ended
        into.was_reset = self._was_reset
        self.peer: Peer | None = None
        self.forget: Told = lambda: None

    def send(self, data: bytes, then: Told | None = None) -> None:
        """`then`: called when the proxy has it (all of it)."""
        if self.closed or self._eof_sent or not data:
            return
        largest = self.pieces_bytes
        if largest is not None and len(data) > 1:
            view, start = data, 0
            while start < len(view):
                size = self._chance.randint(1, largest)
                piece = view[start : start + size]
                start += size
                self._unsent.append((piece, then if start >= len(view) else None))
        else:
            self._unsent.append((data, then))
        self._send_on()

    def send_eof(self) -> None:
        if not self.closed and not self._eof_sent:
            self._eof_sent = True
            self._unsent.append((None, None))
            self._send_on()

    @property
    def unsent_bytes(self) -> int:
        return sum(len(data) for data, _ in self._unsent if data)

    def close(self) -> None:
        """As a program that exits: what it has written still goes; what comes is refused."""
        if self.closed:
            return
        self.send_eof()
        self.closed = True
        unread = self._into.size > 0
        self._into.receive = lambda data: self._refuse()
        self._into.ended = self.forget
        self._into.resume()
        if unread:
            self._refuse()

    def reset(self) -> None:
        if not self.closed:
            self.closed = True
            self._unsent.clear()
            self._out.reset()
            self._into.cut()

    def stop_reading(self) -> None:
        self._into.pause()

    def read_on(self) -> None:
        self._into.bytes_per_s = None
        self._into.resume()

    def read_slowly(self, bytes_per_s: float) -> None:
        self._into.bytes_per_s = bytes_per_s

    def _refuse(self) -> None:
        self._unsent.clear()
        self._out.reset()
        self._into.cut()

    def _send_on(self) -> None:
        while self._unsent:
            data, then = self._unsent[0]
            if data is None:
                self._unsent.popleft()
                self._out.end()
                return
            room = self._out.room
            if room <= 0:
                return
            self._unsent.popleft()
            if len(data) > room:
                self._unsent.appendleft((data[room:], then))
                data, then = data[:room], None
            self._out.write(data, then)

    def _received(self, data: bytes) -> None:
        if self.peer is not None and not self.closed:
            self.peer.data_received(data)

    def _ended(self) -> None:
        if self.peer is not None and not self.closed:
            self.peer.eof_received()

    def _was_reset(self) -> None:
        self._unsent.clear()
        self._out.cut()
        if not self.closed:
            self.closed = True
            if self.peer is not None:
                self.peer.connection_lost()


class _KernelSocket:
    """What is asked of the transport's socket: its options."""

    def __init__(self) -> None:
        self.resets_on_close = False
        self.options: dict[tuple[int, int], Any] = {}

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        self.options[level, option] = value
        if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER):
            on, seconds = struct.unpack("ii", value)
            self.resets_on_close = bool(on) and seconds == 0


class ProxyEnd(asyncio.Transport):
    """The proxy's end, as asyncio's transport for a socket."""

    max_size = LARGEST_READ_BYTES

    def __init__(
        self,
        loop: VirtualLoop,
        protocol: asyncio.Protocol,
        out: Pipe,
        into: Pipe,
        extra: dict[str, Any],
    ) -> None:
        self.kernel = _KernelSocket()
        super().__init__({**extra, "socket": self.kernel})
        self.written: list[bytes] | None = None  # kept for whoever compares
        self._loop = loop
        self._protocol: asyncio.Protocol = protocol
        self._out = out
        self._into = into
        self._buffer: deque[bytes] = deque()
        self._buffered = 0
        self._closing = False
        self._lost = False
        self._eof = False
        self._writing_paused = False
        self._reading = True
        out.has_room = self._write_on
        into.receive = self._received
        into.ended = self._ended
        into.was_reset = self._was_reset
        into.largest_read = lambda: self.max_size
        protocol.connection_made(self)

    # -- reading

    def pause_reading(self) -> None:
        self._reading = False
        self._into.pause()

    def resume_reading(self) -> None:
        if not self._closing:
            self._reading = True
            self._into.resume()

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def _received(self, data: bytes) -> None:
        if not self._closing:
            self._protocol.data_received(data)

    def _ended(self) -> None:
        if not self._closing and not self._protocol.eof_received():
            self.close()

    def _was_reset(self) -> None:
        self._force_close(ConnectionResetError(104, "Connection reset by peer"))

    # -- writing

    def get_write_buffer_size(self) -> int:
        return self._buffered

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        raise NotImplementedError("nobody sets them")

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data: expecting a bytes-like instance, got {type(data).__name__}")
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._lost:
            return
        data = bytes(data)
        if self.written is not None:
            self.written.append(data)
        self._buffer.append(data)
        self._buffered += len(data)
        self._write_on()
        if self._buffered > HIGH_WATER_BYTES and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()

    def write_eof(self) -> None:
        if not self._eof and not self._closing:
            self._eof = True
            self._write_on()

    def can_write_eof(self) -> bool:
        return True

    def _write_on(self) -> None:
        if self._lost:
            return
        while self._buffer and (room := self._out.room):
            data = self._buffer.popleft()
            if len(data) > room:
                self._buffer.appendleft(data[room:])
                data = data[:room]
            self._buffered -= len(data)
            self._out.write(data)
        if self._writing_paused and self._buffered <= LOW_WATER_BYTES:
            self._writing_paused = False
            self._protocol.resume_writing()
        if not self._buffer:
            if self._closing:
                self._out.end()
                self._lose(None)
            elif self._eof:
                self._eof_goes_out()

    def _eof_goes_out(self) -> None:
        self._out.end()
        self._out.has_room = None

    # -- the end

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if self.kernel.resets_on_close:
            self._out.reset()
            self._into.cut()
            self._lose(None)
            return
        self._into.resume()  # what still comes is read by nobody
        if self._eof and not self._buffer:
            self._lose(None)
        else:
            self._write_on()

    def abort(self) -> None:
        self._force_close(None)

    def _force_close(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._closing = True
        self._buffer.clear()
        self._buffered = 0
        self._out.reset()
        self._into.cut()
        self._lose(error)

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._loop.call_soon(self._protocol.connection_lost, error)


def connect(
    loop: VirtualLoop,
    protocol: asyncio.Protocol,
    *,
    latency_s: float,
    capacity: int,
    chance: random.Random,
    extra: dict[str, Any],
) -> tuple[ProxyEnd, Socket]:
    """A connection between the proxy and a peer."""
    to_peer, to_proxy = Pipe(loop, latency_s, capacity), Pipe(loop, latency_s, capacity)
    end = ProxyEnd(loop, protocol, to_peer, to_proxy, extra)
    return end, Socket(to_proxy, to_peer, chance)
