"""The least of an HTTP/2 client that can count the bytes of many streams as they come.

Rule: the client must not be the bottleneck: DATA frames are counted and never put together, the
windows are so large that the client never slows anybody.  It reads frames itself because a
complete HTTP/2 library costs more for each frame than the proxies that are measured.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable

import hpack

from .plan import Link
from .record import Record

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 3, 4, 6, 7, 8, 9)  # fmt: skip
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20
LARGEST_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535
CANCEL = 8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

Done = Callable[[Record], None]


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


class _Tunnel(asyncio.Protocol):
    """Waits for the proxy's answer to CONNECT."""

    def __init__(self) -> None:
        self._answer = b""
        self._settled = asyncio.Event()
        self._fault = ""

    async def open(self) -> None:
        await self._settled.wait()
        if self._fault:
            raise ConnectionError(self._fault)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if b"\r\n\r\n" in self._answer:
            if self._answer.split(b" ", 2)[1] != b"200":
                self._fault = self._answer[:80].decode("latin-1")
            self._settled.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fault = "closed while waiting for CONNECT"
        self._settled.set()


class H2Connection(asyncio.Protocol):
    """A connection that carries many responses."""

    def __init__(self, link: Link, merge_s: float) -> None:
        self._link = link
        self._merge_s = merge_s
        self._streams: dict[int, tuple[Record, Done]] = {}
        self._next_id = 1
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._transport: asyncio.Transport | None = None
        self._now = asyncio.get_running_loop().time
        self._buffer = b""  # the start of a frame that is not DATA or whose header is not complete
        self._data_left = 0  # of the DATA frame that is being read
        self._data_of: Record | None = None
        self._data_id = 0
        self._data_ends = False
        self._consumed = 0
        self._block = b""  # header fragments

    @classmethod
    async def open(cls, link: Link, merge_s: float, source: str | None = None) -> H2Connection:
        """`source`: the address to come from, where it matters who the client is."""
        loop = asyncio.get_running_loop()
        local = (source, 0) if source else None
        trust = ssl.create_default_context()
        trust.check_hostname = False
        trust.verify_mode = ssl.CERT_NONE  # loopback; what is measured is not the client's trust
        trust.set_alpn_protocols(["h2"])
        host = link.authority.partition(":")[0]
        connection = cls(link, merge_s)
        if link.proxied:
            raw, tunnel = await loop.create_connection(
                _Tunnel, link.address, link.port, local_addr=local
            )
            port = link.authority.partition(":")[2] or "443"
            raw.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            await tunnel.open()
            transport = await loop.start_tls(raw, connection, trust, server_hostname=host)
            assert transport is not None
        else:
            transport, _ = await loop.create_connection(
                lambda: connection,
                link.address,
                link.port,
                local_addr=local,
                ssl=trust,
                server_hostname=host,
            )
        tls = transport.get_extra_info("ssl_object")
        if tls.selected_alpn_protocol() != "h2":
            raise ConnectionError("the other side does not speak HTTP/2")
        connection._transport = transport
        window = struct.pack(">HI", 4, LARGEST_WINDOW)
        transport.write(
            PREFACE
            + frame(SETTINGS, 0, 0, struct.pack(">HI", 2, 0) + window)
            + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", LARGEST_WINDOW - DEFAULT_WINDOW))
        )
        return connection

    @property
    def usable(self) -> bool:
        return self._transport is not None

    def ask(self, path: str, record: Record, done: Done) -> None:
        """Send a request; `done` is called when its response has ended, however."""
        if self._transport is None:
            raise ConnectionError("the connection is closed")
        headers = [(":method", "GET"), (":scheme", "https"),
                   (":authority", self._link.authority), (":path", path)]  # fmt: skip
        self._streams[self._next_id] = (record, done)
        block = self._encoder.encode(headers)
        self._transport.write(frame(HEADERS, END_STREAM | END_HEADERS, self._next_id, block))
        self._next_id += 2

    def abort(self, record: Record) -> None:
        for stream, (other, _) in self._streams.items():
            if other is record:
                if self._transport is not None:
                    self._transport.write(frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL)))
                self._end(stream, "stopped")
                return

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def read(self, on: bool) -> None:
        """Stop reading, or go on: a client that is busy with something else."""
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.resume_reading if on else self._transport.pause_reading)()

    # -- asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        position, size = 0, len(data)
        while position < size:
            if self._data_left:
                taken = min(self._data_left, size - position)
                self._count(taken)
                position += taken
                continue
            if self._buffer:
                data = self._buffer + data[position:]
                self._buffer, position, size = b"", 0, len(data)
            if size - position < 9:
                self._buffer = data[position:]
                return
            length = int.from_bytes(data[position : position + 3])
            kind, flags = data[position + 3], data[position + 4]
            stream = int.from_bytes(data[position + 5 : position + 9])
            if kind == DATA:
                assert not flags & PADDED, "padded DATA would be counted as body"
                position += 9
                self._data_left = length
                self._data_id, self._data_ends = stream, bool(flags & END_STREAM)
                self._data_of = self._streams[stream][0] if stream in self._streams else None
                if not length:
                    self._count(0)
            elif size - position < 9 + length:
                self._buffer = data[position:]
                return
            else:
                position += 9
                self._other(kind, flags, stream, data[position : position + length])
                position += length

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for stream in list(self._streams):
            self._end(stream, f"lost: {exc or 'closed by the other side'}")

    def _count(self, size: int) -> None:
        self._data_left -= size
        self._consumed += size
        if self._data_of is not None and size:
            self._data_of.arrived(size, self._now(), self._merge_s)
        if self._consumed > LARGEST_WINDOW // 2 and self._transport is not None:
            update = struct.pack(">I", self._consumed)
            self._transport.write(frame(WINDOW_UPDATE, 0, 0, update))
            self._consumed = 0
        if not self._data_left and self._data_ends:
            self._end(self._data_id, "complete")

    def _other(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (HEADERS, CONTINUATION):
            if kind == HEADERS and flags & PADDED:
                payload = payload[1 : len(payload) - payload[0]]
            if kind == HEADERS and flags & PRIORITY:
                payload = payload[5:]
            self._block += payload
            if flags & END_HEADERS:
                headers = list(self._decoder.decode(self._block, raw=True))
                self._block = b""
                if stream in self._streams and headers and headers[0][0] == b":status":
                    self._streams[stream][0].status = int(headers[0][1])
            if kind == HEADERS and flags & END_STREAM:
                self._end(stream, "complete")
        elif kind == RST_STREAM:
            self._end(stream, f"reset: {int.from_bytes(payload)}")
        elif kind in (SETTINGS, PING) and not flags & ACK and self._transport is not None:
            answer = payload if kind == PING else b""
            self._transport.write(frame(kind, ACK, 0, answer))
        elif kind == GOAWAY:
            self.close()
            self.connection_lost(ConnectionError(f"GOAWAY {int.from_bytes(payload[4:8])}"))

    def _end(self, stream: int, how: str) -> None:
        if stream in self._streams:
            record, done = self._streams.pop(stream)
            record.ended, record.ended_at = how, self._now()
            done(record)
