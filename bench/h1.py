"""The least of an HTTP/1.1 client that can count a body's bytes as they come.

Rule: the client must not be the bottleneck: one callback for each read, nothing copied, nothing
kept.  It knows Content-Length and nothing else; the bench's origin sends nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .plan import Link
from .record import Record


class H1Connection(asyncio.Protocol):
    """A connection that carries one response at a time, and is kept for the next."""

    def __init__(self, link: Link, merge_s: float) -> None:
        self._link = link
        self._merge_s = merge_s
        self._head = b""
        self._left = 0
        self._record: Record | None = None
        self._done: Callable[[Record], None] | None = None
        self._transport: asyncio.Transport | None = None
        self._now = asyncio.get_running_loop().time

    @classmethod
    async def open(cls, link: Link, merge_s: float, source: str | None = None) -> H1Connection:
        """`source`: the address to come from, where it matters who the client is."""
        loop = asyncio.get_running_loop()
        local = (source, 0) if source else None
        _, protocol = await loop.create_connection(
            lambda: cls(link, merge_s), link.address, link.port, local_addr=local
        )
        return protocol

    @property
    def usable(self) -> bool:
        return self._transport is not None and self._record is None

    def ask(self, path: str, record: Record, done: Callable[[Record], None]) -> None:
        """Send a request; `done` is called when its response has ended, however."""
        if self._transport is None:
            raise ConnectionError("the connection is closed")
        self._record, self._done = record, done
        self._head = b""
        self._left = 0
        target = f"http://{self._link.authority}{path}" if self._link.proxied else path
        self._transport.write(
            f"GET {target} HTTP/1.1\r\nHost: {self._link.authority}\r\n\r\n".encode()
        )

    def abort(self, record: Record) -> None:
        """The response is no longer wanted: HTTP/1.1 can only say so by closing."""
        if record is self._record:
            self.close()

    def close(self) -> None:
        self._end("stopped")
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def read(self, on: bool) -> None:
        """Stop reading, or go on: a client that is busy with something else."""
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.resume_reading if on else self._transport.pause_reading)()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        record = self._record
        if record is None:
            return
        size = len(data)
        if not record.status:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            size = len(self._head) - end - 4
            self._read_head(record, self._head[:end])
        if size:
            record.arrived(size, self._now(), self._merge_s)
            self._left -= size
        if self._left <= 0:
            self._end("complete")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._end(f"lost: {exc or 'closed by the other side'}")

    def _read_head(self, record: Record, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        record.status = int(first.split(b" ", 2)[1])
        for line in lines:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                self._left = int(value)

    def _end(self, how: str) -> None:
        record, self._record = self._record, None
        if record is not None and self._done is not None:
            record.ended, record.ended_at = how, self._now()
            self._done(record)
