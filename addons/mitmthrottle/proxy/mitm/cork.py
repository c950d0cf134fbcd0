"""One write to a client for all that is woken together.

Rule: order is kept.  What is written while corked goes out before whatever else is asked of the
writer.

A write to a socket costs about as much as all of the arithmetic for a piece; with many streams on
one HTTP/2 connection, several are due at once.
"""

from __future__ import annotations

import asyncio
from typing import Any

from mitmproxy.connection import Connection
from mitmproxy.proxy import server


class CorkedWriter:
    """A `StreamWriter` whose writes can be gathered for a moment."""

    __slots__ = ("_gathered", "_writer", "drain", "is_closing", "write")

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._gathered: list[bytes] = []
        # What every write of everybody's needs goes to asyncio without a step of ours.
        self.write = writer.write
        self.drain = writer.drain
        self.is_closing = writer.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def cork(self) -> None:
        self.write = self._gathered.append  # type: ignore[assignment]  # bytes are all it gets

    def uncork(self) -> None:
        self.write = self._writer.write
        if self._gathered:
            gathered = b"".join(self._gathered)
            self._gathered.clear()
            if not self._writer.is_closing():
                self._writer.write(gathered)

    def write_eof(self) -> None:
        self.uncork()
        self._writer.write_eof()

    def close(self) -> None:
        self.uncork()
        self._writer.close()


def put_cork(handler: server.ConnectionHandler, connection: Connection) -> None:
    """Let that connection's writes be gathered.  To be called in `client_connected`."""
    transport = handler.transports[connection]
    if isinstance(transport.writer, asyncio.StreamWriter):
        # Typed as StreamWriter there; what mitmproxy uses of it is here or passed on.
        transport.writer = CorkedWriter(transport.writer)  # type: ignore[assignment]


def corked(handler: server.ConnectionHandler) -> CorkedWriter | None:
    """The client's writer, corked; None if it cannot be."""
    transport = handler.transports.get(handler.client)
    if transport is None or not isinstance(transport.writer, CorkedWriter):
        return None
    transport.writer.cork()
    return transport.writer
