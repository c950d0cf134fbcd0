"""Clients for every protocol that the throttle may meet, each of which notes when what came.

Rule: a client connects by the way that it is given (`ways_dial`); what it returns is what arrived,
never what was asked for.
"""

from __future__ import annotations

import hashlib
import json
import socket
import time
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, TextMessage

from .ways_dial import Dial, read_exactly, read_head


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
        digest = read_exactly(sock, 64).decode()
        return Sent(digest, len(body) / (time.perf_counter() - start))


def http1_get(dial: Dial, host: str, port: int, path: str) -> Arrived:
    """HTTP/1.1, ended by the connection's end."""
    arrived = Arrived()
    with dial(host, port) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        head, _, rest = read_head(sock).partition(b"\r\n\r\n")
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
        answer = read_head(sock)
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
        head = read_head(self.sock)
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
