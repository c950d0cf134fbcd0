"""The network under a transfer: a socket that notes when bytes came, before TLS has looked at them.

Rule: a TLS record is handed on only when all of it is there, 16 KiB of it as a rule, which at
16 kB/s makes steps of a second out of a steady flow. So the times are those of the socket,
and TLS is done in memory above it.
"""

from __future__ import annotations

import errno
import select
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpcore

from mitmthrottle.measure.transfer import Sample
from mitmthrottle.resolve import Endpoint, endpoint_of

PIECE_BYTES = 16_384
"""At most so much is read at once: enough for a fast network, little enough to have its times."""

_TICK_S = 0.02  # how often TCP_INFO is asked, also while nothing comes
_TIMEOUT_S = 30.0

# struct tcp_info of linux/tcp.h: where rcv_rtt, data_segs_in and rcv_ooopack stand in it.
_RCV_RTT, _DATA_SEGS_IN, _RCV_OOOPACK, _TCP_INFO_BYTES = 92, 152, 224, 232
_SIOCOUTQ = 0x5411


class Elapsed(Exception):
    """The time that a transfer may take is over."""


@dataclass(slots=True)
class Log:
    """What one connection saw; times by time.perf_counter()."""

    arrivals: list[tuple[float, int]] = field(default_factory=list)
    """raw bytes: with TLS, headers and all"""
    upload: bool = False
    acknowledged: list[tuple[float, int]] = field(default_factory=list)
    """(time, raw bytes that have been sent and acknowledged until then)"""
    samples: list[Sample] = field(default_factory=list)
    lookup_s: float = 0.0
    connect_s: float = 0.0
    tls_s: float | None = None
    address: str = ""
    deadline: float = float("inf")
    progress: Callable[[int], None] = lambda _: None
    """called with the raw bytes of each arrival"""


class Wire(httpcore.NetworkBackend):
    """Connects for one transfer, and keeps its log.

    `resolve` sends hosts elsewhere, see resolve.py.
    """

    def __init__(self, resolve: Mapping[str, Endpoint] | None = None) -> None:
        self.log = Log()
        self._resolve = resolve or {}

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        name, to = endpoint_of(self._resolve, host, port) or (host, port)
        begun = time.perf_counter()
        found = socket.getaddrinfo(name, to, type=socket.SOCK_STREAM)
        self.log.lookup_s = time.perf_counter() - begun
        refusal: OSError = OSError(errno.EHOSTUNREACH, "no address")
        for family, kind, protocol, _, address in found:
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(timeout)
            begun = time.perf_counter()
            try:
                connection.connect(address)
            except OSError as error:
                connection.close()
                refusal = error
                continue
            self.log.connect_s = time.perf_counter() - begun
            self.log.address = str(address[0])
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return _Plain(connection, self.log)
        raise refusal


class _Plain(httpcore.NetworkStream):
    """TCP. All times come from here."""

    def __init__(self, connection: socket.socket, log: Log) -> None:
        self._socket = connection
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._log = log
        self._sent = 0
        self._sampled = 0.0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._wait(select.POLLIN, timeout)
        data = self._socket.recv(min(max_bytes, PIECE_BYTES))
        now = time.perf_counter()
        self._sample(now)
        if data:
            self._log.arrivals.append((now, len(data)))
        self._count(now)
        self._log.progress(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        while buffer:
            self._wait(select.POLLOUT, timeout)
            sent = self._socket.send(buffer[:PIECE_BYTES])
            self._sent += sent
            buffer = buffer[sent:]
            self._count(time.perf_counter())

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _Tls(self, self._log, ssl_context, server_hostname, timeout)

    def get_extra_info(self, info: str) -> Any:
        return {"socket": self._socket, "is_readable": False}.get(info)

    def _wait(self, event: int, timeout: float | None) -> None:
        """Until the socket is ready. Raises Elapsed at the deadline, a timeout of httpcore's."""
        begun = time.perf_counter()
        patience = _TIMEOUT_S if timeout is None else timeout
        self._poll.register(self._socket, event)
        while True:
            now = time.perf_counter()
            left = self._log.deadline - now
            if left <= 0:
                raise Elapsed
            if self._poll.poll(min(_TICK_S, left) * 1000):
                return
            if now - begun > patience:
                raise httpcore.ReadTimeout if event == select.POLLIN else httpcore.WriteTimeout
            self._sample(now)
            self._count(now)

    def _sample(self, now: float) -> None:
        if now - self._sampled < _TICK_S / 2 or not sys.platform.startswith("linux"):
            return
        self._sampled = now
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        if len(info) < _TCP_INFO_BYTES:
            return  # a kernel older than 5.5
        (round_trip_us,) = struct.unpack_from("=I", info, _RCV_RTT)
        (segments,) = struct.unpack_from("=I", info, _DATA_SEGS_IN)
        (out_of_order,) = struct.unpack_from("=I", info, _RCV_OOOPACK)
        self._log.samples.append(Sample(now, segments, out_of_order, round_trip_us / 1e6))

    def _count(self, now: float) -> None:
        """Of an upload: what the peer has acknowledged by now."""
        if not self._log.upload:
            return
        total = self._sent - self._pending()
        acknowledged = self._log.acknowledged
        if not acknowledged or total > acknowledged[-1][1]:
            self._log.progress(total - (acknowledged[-1][1] if acknowledged else 0))
            acknowledged.append((now, total))

    def _pending(self) -> int:
        """Bytes that the kernel has taken and the peer has not acknowledged."""
        if not sys.platform.startswith("linux"):
            return 0
        import fcntl  # there is none on Windows

        (pending,) = struct.unpack("i", fcntl.ioctl(self._socket, _SIOCOUTQ, b"\0" * 4))
        return int(pending)


class _Tls(httpcore.NetworkStream):
    """TLS in memory over another stream."""

    def __init__(
        self,
        below: httpcore.NetworkStream,
        log: Log,
        context: ssl.SSLContext,
        server_hostname: str | None,
        timeout: float | None,
    ) -> None:
        self._below = below
        self._log = log
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_hostname
        )
        begun = time.perf_counter()
        self._pump(self._tls.do_handshake, timeout)
        # The last of several: with a proxy that speaks TLS itself, the server's.
        log.tls_s = time.perf_counter() - begun

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return self._pump(lambda: self._tls.read(max_bytes), timeout)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        while view:
            written = self._pump(lambda: self._tls.write(view[:PIECE_BYTES]), timeout)  # noqa: B023
            view = view[written:]

    def close(self) -> None:
        self._below.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _Tls(self, self._log, ssl_context, server_hostname, timeout)

    def get_extra_info(self, info: str) -> Any:
        return self._tls if info == "ssl_object" else self._below.get_extra_info(info)

    def _pump[T](self, operation: Callable[[], T], timeout: float | None) -> T:
        while True:
            try:
                result = operation()
            except ssl.SSLWantReadError:
                self._flush(timeout)
                data = self._below.read(PIECE_BYTES, timeout)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                self._flush(timeout)
                return result

    def _flush(self, timeout: float | None) -> None:
        if self._outgoing.pending:
            self._below.write(self._outgoing.read(), timeout)
