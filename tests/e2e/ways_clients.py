"""Clients for every protocol that the throttle may meet, each of which notes when what came.

Rule: a client connects by the function that it is given, so that each mode of the proxy can be
tried with each protocol; what it returns is what arrived, never what was asked for.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
from aioquic.asyncio import connect as quic_connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import QuicEvent
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, TextMessage

from mitmthrottle.lab.netns import inside

TIMEOUT_S = 60.0
Dial = Callable[[str, int], socket.socket]
"""A host name and a port to a TCP connection, through the proxy."""


@dataclass
class Arrived:
    """A body as it came: its hash, and when how much of it came (`time.perf_counter`)."""

    arrivals: list[tuple[float, int]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, data: bytes) -> None:
        if data:
            self.arrivals.append((time.perf_counter(), len(data)))
            self._hash.update(data)

    @property
    def size(self) -> int:
        return sum(size for _, size in self.arrivals)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    @property
    def rate_bytes_per_s(self) -> float:
        """From the first arrival to the last, the first not counted."""
        first, last = self.arrivals[0], self.arrivals[-1]
        return (self.size - first[1]) / (last[0] - first[0])


@dataclass(frozen=True, slots=True)
class Sent:
    """A body as the origin says that it came; its rate as the origin says too, or from its first
    byte to the answer."""

    digest: str
    rate_bytes_per_s: float

    @classmethod
    def as_told(cls, answer: bytes) -> Sent:
        told = json.loads(answer)
        return cls(told["sha256"], told["bytes_per_s"])


# -- dialling


def direct(address: str = "127.0.0.1", ports: dict[int, int] | None = None) -> Dial:
    """No proxy, as far as the client knows: that address, and perhaps another port."""

    def dial(host: str, port: int) -> socket.socket:
        return _tcp(address, (ports or {}).get(port, port))

    return dial


def on_the_machine(namespace: str, dial: Dial) -> Dial:
    """The same, on a machine that is a network namespace."""

    def there(host: str, port: int) -> socket.socket:
        with inside(namespace):
            return dial(host, port)

    return there


def through_connect(proxy_port: int) -> Dial:
    """Through an HTTP proxy's CONNECT."""

    def dial(host: str, port: int) -> socket.socket:
        sock = _tcp("127.0.0.1", proxy_port)
        sock.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head = _head(sock)
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise ConnectionError(f"CONNECT was answered with {head!r}")
        return sock

    return dial


def through_socks(proxy_port: int) -> Dial:
    """Through a SOCKS5 proxy, which is told the name (RFC 1928)."""

    def dial(host: str, port: int) -> socket.socket:
        sock = _tcp("127.0.0.1", proxy_port)
        sock.sendall(b"\x05\x01\x00")
        if _exactly(sock, 2) != b"\x05\x00":
            raise ConnectionError("SOCKS5 wants more than we have")
        name = host.encode()
        sock.sendall(b"\x05\x01\x00\x03" + bytes((len(name),)) + name + port.to_bytes(2))
        answer = _exactly(sock, 10)
        if answer[1]:
            raise ConnectionError(f"SOCKS5 says {answer[1]}")
        return sock

    return dial


def over_tls(dial: Dial, ca_path: Path, alpn: str | None = None) -> Dial:
    """TLS in what is dialled, for the name; `alpn` must be agreed on."""
    trust = ssl.create_default_context(cafile=ca_path)
    if alpn:
        trust.set_alpn_protocols([alpn])

    def secure(host: str, port: int) -> socket.socket:
        sock = trust.wrap_socket(dial(host, port), server_hostname=host)
        if sock.selected_alpn_protocol() != alpn:
            raise ConnectionError(f"got {sock.selected_alpn_protocol()}, not {alpn}")
        return sock

    return secure


class PinMismatchError(ConnectionError):
    """The certificate is a trusted one, and not the one that an app insists on."""


def pinned_to(dial: Dial, trusted: Path, insisted_on: Path) -> Dial:
    """TLS as an app does that trusts both authorities, and when the handshake is through hangs up
    without a word if the certificate is not by the second one."""
    trust = ssl.create_default_context(cafile=trusted)
    trust.load_verify_locations(insisted_on)
    (issuer,) = ssl.create_default_context(cafile=insisted_on).get_ca_certs()

    def secure(host: str, port: int) -> socket.socket:
        sock = trust.wrap_socket(dial(host, port), server_hostname=host)
        if (sock.getpeercert() or {}).get("issuer") != issuer["subject"]:
            sock.close()
            raise PinMismatchError(host)
        return sock

    return secure


# -- protocols


def own_get(dial: Dial, host: str, port: int, count: int, *, last_word: bool = False) -> Arrived:
    """The origin's own protocol, which nobody else knows.  `last_word`: the client closes its side
    once it has asked."""
    arrived = Arrived()
    with dial(host, port) as sock:
        sock.sendall(b"?%d\n" % count)
        if last_word:
            sock.shutdown(socket.SHUT_WR)
        while arrived.size < count and (data := sock.recv(1 << 16)):
            arrived.add(data)
    return arrived


def own_put(dial: Dial, host: str, port: int, body: bytes) -> Sent:
    with dial(host, port) as sock:
        start = time.perf_counter()
        sock.sendall(b"!%d\n" % len(body) + body)
        digest = _exactly(sock, 64).decode()
        return Sent(digest, len(body) / (time.perf_counter() - start))


def http1_get(dial: Dial, host: str, port: int, path: str) -> Arrived:
    """HTTP/1.1, ended by the connection's end."""
    arrived = Arrived()
    with dial(host, port) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        head, _, rest = _head(sock).partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        arrived.headers = {
            name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])
        }
        chunks = _Chunks() if arrived.headers.get("transfer-encoding") == "chunked" else None
        data = rest
        while True:
            arrived.add(chunks.feed(data) if chunks else data)
            if not (data := sock.recv(1 << 16)):
                return arrived


def http1_put(dial: Dial, host: str, port: int, body: bytes) -> Sent:
    with dial(host, port) as sock:
        head = f"PUT /sink HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
        sock.sendall(head.encode() + body)
        answer = _head(sock)
        while b"}" not in answer:
            answer += sock.recv(1 << 16)
        return Sent.as_told(answer.partition(b"\r\n\r\n")[2])


def http2_get(dial: Dial, host: str, port: int, path: str) -> Arrived:
    arrived = Arrived()
    with dial(host, port) as sock:
        http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        http.initiate_connection()
        http.send_headers(
            1,
            [(":method", "GET"), (":scheme", "https"), (":authority", host), (":path", path)],
            end_stream=True,
        )
        sock.sendall(http.data_to_send())
        while data := sock.recv(1 << 16):
            for event in http.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    arrived.headers = {str(name): str(value) for name, value in event.headers}
                elif isinstance(event, h2.events.DataReceived):
                    arrived.add(event.data or b"")
                    http.acknowledge_received_data(event.flow_controlled_length or 0, 1)
                elif isinstance(event, h2.events.StreamEnded):
                    return arrived
            sock.sendall(http.data_to_send())
    return arrived


def http2_put(dial: Dial, host: str, port: int, body: bytes) -> Sent:
    answer, sent = b"", 0
    with dial(host, port) as sock:
        http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        http.initiate_connection()
        head = {":method": "PUT", ":scheme": "https", ":authority": host, ":path": "/sink"}
        http.send_headers(1, list(head.items()))
        while True:
            while sent < len(body) and (room := http.local_flow_control_window(1)):
                size = min(room, http.max_outbound_frame_size, len(body) - sent)
                http.send_data(1, body[sent : sent + size], end_stream=sent + size == len(body))
                sent += size
            sock.sendall(http.data_to_send())
            data = sock.recv(1 << 16)
            if not data:
                raise ConnectionError(f"closed after {answer!r}")
            for event in http.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    answer += event.data or b""
                elif isinstance(event, h2.events.StreamEnded):
                    return Sent.as_told(answer)


class WebSocket:
    """An open WebSocket."""

    def __init__(self, dial: Dial, host: str, port: int) -> None:
        self.sock = dial(host, port)
        self._frames = Connection(ConnectionType.CLIENT)
        self.sock.sendall(
            f"GET /talk HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "\r\n".encode()
        )
        head = _head(self.sock)
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            raise ConnectionError(f"the upgrade was answered with {head!r}")

    def ask(self, count: int) -> None:
        self.sock.sendall(self._frames.send(TextMessage(f"GET {count}")))

    def get(self, count: int) -> Arrived:
        arrived = Arrived()
        self.ask(count)
        while arrived.size < count and (data := self.sock.recv(1 << 16)):
            self._frames.receive_data(data)
            for event in self._frames.events():
                if isinstance(event, BytesMessage):
                    arrived.add(bytes(event.data))
        return arrived

    def put(self, body: bytes) -> Sent:
        start = time.perf_counter()
        self.sock.sendall(self._frames.send(BytesMessage(body)))
        while data := self.sock.recv(1 << 16):
            self._frames.receive_data(data)
            for event in self._frames.events():
                if isinstance(event, TextMessage):
                    return Sent(event.data, len(body) / (time.perf_counter() - start))
        raise ConnectionError("no answer")

    def close(self) -> None:
        self.sock.close()


class _Http3(QuicConnectionProtocol):
    """One request."""

    def __init__(self, quic: QuicConnection, *arguments: Any, **options: Any) -> None:
        super().__init__(quic, *arguments, **options)
        self.http = H3Connection(quic)
        self.arrived = Arrived()
        self.answer = b""  # how it begins
        self.finished = asyncio.Event()

    def ask(self, method: str, host: str, path: str, body: bytes) -> None:
        head = {":method": method, ":scheme": "https", ":authority": host, ":path": path}
        stream_id = self._quic.get_next_available_stream_id()
        self.http.send_headers(
            stream_id,
            [(name.encode(), value.encode()) for name, value in head.items()],
            end_stream=not body,
        )
        if body:
            self.http.send_data(stream_id, body, end_stream=True)
        self.transmit()

    def quic_event_received(self, event: QuicEvent) -> None:
        for each in self.http.handle_event(event):
            if isinstance(each, HeadersReceived):
                self.arrived.headers = {
                    name.decode(): value.decode() for name, value in each.headers
                }
            elif isinstance(each, DataReceived):
                self.arrived.add(each.data)
                self.answer += each.data[:1000]
                if each.stream_ended:
                    self.finished.set()


def http3_get(
    port: int,
    host: str,
    path: str,
    ca_path: Path,
    address: str = "127.0.0.1",
    idle_s: float = 30.0,
) -> Arrived:
    """HTTP/3 at that address, asking for that name.  Raises ConnectionError if there is none, or
    nothing comes for so long."""
    asked = _http3((address, port), ca_path, "GET", host, path, idle_s=idle_s)
    return asyncio.run(asked).arrived


def http3_put(port: int, host: str, body: bytes, ca_path: Path, address: str = "127.0.0.1") -> Sent:
    quic = asyncio.run(_http3((address, port), ca_path, "PUT", host, "/sink", body))
    return Sent.as_told(quic.answer)


async def _http3(
    at: tuple[str, int],
    ca_path: Path,
    method: str,
    host: str,
    path: str,
    body: bytes = b"",
    idle_s: float = 30.0,
) -> _Http3:
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, server_name=host)
    configuration.load_verify_locations(str(ca_path))
    configuration.idle_timeout = idle_s
    async with quic_connect(*at, configuration=configuration, create_protocol=_Http3) as quic:
        assert isinstance(quic, _Http3)
        quic.ask(method, host, path, body)
        await asyncio.wait_for(quic.finished.wait(), TIMEOUT_S)
        return quic


# -- pieces


class _Chunks:
    """What is in a chunked body."""

    def __init__(self) -> None:
        self._raw = b""

    def feed(self, data: bytes) -> bytes:
        self._raw += data
        out = b""
        while b"\r\n" in self._raw:
            line, _, rest = self._raw.partition(b"\r\n")
            size = int(line, 16)
            if len(rest) < size + 2:
                break
            out += rest[:size]
            self._raw = rest[size + 2 :]
        return out


def _tcp(address: str, port: int) -> socket.socket:
    sock = socket.create_connection((address, port), TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _head(sock: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(1 << 16)
        if not data:
            raise ConnectionError(f"closed after {head!r}")
        head += data
    return head


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise ConnectionError(f"closed after {data!r}")
        data += more
    return data
