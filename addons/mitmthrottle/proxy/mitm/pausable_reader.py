"""A reader that can be paused: back-pressure where one body at a time has the connection.

Rule: no byte is lost and none overtakes another, whatever ends first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from mitmproxy.connection import Connection
from mitmproxy.proxy import layer, server, tunnel

LARGE_BYTES = 256 * 1024  # at once, where nothing asks for less


class PausableReader:
    """A `StreamReader` that can be told not to read on.  mitmproxy only calls `read`.

    While it is paused a read waits, also for the end of the stream: what has come before an end
    or an error is read before it.
    """

    __slots__ = ("__weakref__", "_default_limit", "_reader", "_resumed", "_size", "_transport")

    def __init__(self, reader: asyncio.StreamReader, transport: object) -> None:
        self._reader = reader
        self._transport = transport
        self._resumed: asyncio.Event | None = None  # while paused: what reads wait for
        self._size = LARGE_BYTES
        self._default_limit = getattr(reader, "_limit", None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def __repr__(self) -> str:
        return f"PausableReader({'paused' if self.paused else 'reading'}, {self._size} B at once)"

    @property
    def paused(self) -> bool:
        return self._resumed is not None

    def read(self, n: int = -1) -> Coroutine[Any, Any, bytes]:
        # No coroutine of ours around asyncio's while all is well: this is on everybody's way.
        if self._resumed is None and self._reader.exception() is None:
            return self._reader.read(min(n, self._size) if n > 0 else n)
        return self._wait(n)

    async def _wait(self, n: int) -> bytes:
        while self._resumed is not None:
            await self._resumed.wait()
        # asyncio would raise an error at once; without a pause what came before had been read.
        left: bytearray | None = getattr(self._reader, "_buffer", None)
        if left and self._reader.exception() is not None:
            size = min(n, len(left)) if n > 0 else len(left)
            data = bytes(left[:size])
            del left[:size]
            return data
        return await self._reader.read(min(n, self._size) if n > 0 else n)

    def limit(self, size: int | None) -> None:
        """Let asyncio take and hold about that many bytes; None: what it does by default."""
        # Attributes of asyncio's own classes, set only where they exist: uvloop has none of them.
        self._size = LARGE_BYTES if size is None else size
        if self._default_limit is not None:
            self._reader._limit = self._default_limit if size is None else size  # type: ignore[attr-defined]  # private
        if hasattr(self._transport, "max_size"):
            if size is not None:
                self._transport.max_size = size
            else:
                self._transport.__dict__.pop("max_size", None)

    def pause(self) -> None:
        """Let reads wait; one that is under way may still return."""
        if self._resumed is None:
            self._resumed = asyncio.Event()

    def resume(self) -> None:
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None


def pausable(handler: server.ConnectionHandler, connection: Connection) -> PausableReader | None:
    """Put a `PausableReader` before that connection, before mitmproxy reads from it; None where
    there is no `StreamReader` (UDP)."""
    transport = handler.transports[connection]
    if isinstance(transport.reader, asyncio.StreamReader):
        raw = getattr(transport.writer, "transport", None)
        reader = PausableReader(transport.reader, raw)
        # Typed as StreamReader there; `read` is all that is used (see compat.py).
        transport.reader = reader  # type: ignore[assignment]
        return reader
    return None


def reader_of(
    handler: server.ConnectionHandler, layers: list[layer.Layer | None], peer: Connection
) -> PausableReader | None:
    """The pausable reader under a stream's connection to that peer, also through tunnels."""
    for found in layers:
        if isinstance(found, tunnel.TunnelLayer) and found.conn is peer:
            peer = found.tunnel_connection
            break
    transport = handler.transports.get(peer)
    reader = transport.reader if transport else None
    return reader if isinstance(reader, PausableReader) else None
