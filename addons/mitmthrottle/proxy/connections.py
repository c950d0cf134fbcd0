"""mitmproxy's live connections, as far as pacing has to do with them.

Rule: looked up when needed and never kept alive: connections come and go without telling us.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from weakref import WeakSet

from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Client, Connection
from mitmproxy.proxy import context, layer, server

from . import block, flow_control
from .flow_control import PausableReader


class Connections:
    """Finds what belongs to a client."""

    def __init__(self, proxyserver: Proxyserver) -> None:
        self._proxyserver = proxyserver
        self.reading_little: WeakSet[PausableReader] = WeakSet()
        """Of origins: little is read ahead until a response's headers tell more."""

    def handler_of(self, client: Client) -> server.ConnectionHandler | None:
        """None for a replayed flow, which has no client."""
        handlers = self._proxyserver.connections
        handler: server.ConnectionHandler | None = handlers.get(client.id)
        if handler is None and client.transport_protocol == "udp":
            # UDP connections are listed by their addresses.
            handler = next((h for h in handlers.values() if h.client is client), None)
        return handler

    def reader_under(
        self, ctx: context.Context, peer: Connection, *more: layer.Layer | None
    ) -> PausableReader | None:
        """The reader of a connection to that peer, also through tunnels among the context's layers
        and those given besides."""
        handler = self.handler_of(ctx.client)
        return flow_control.reader_of(handler, [*ctx.layers, *more], peer) if handler else None

    def unsent_bytes(self, client: Client, receiver: Connection) -> Callable[[], int]:
        """Tells what waits in the proxy for the receiver's socket, now and later."""
        handler = self.handler_of(client)
        transport = handler.transports.get(receiver) if handler else None
        raw = getattr(transport.writer, "transport", None) if transport else None
        return raw.get_write_buffer_size if raw is not None else lambda: 0

    def close_left_open(self, client: Client, server: Connection) -> None:
        """Close a server's socket where mitmproxy has not.  To be called in `server_disconnected`.

        mitmproxy passes on what it has read behind a lock; a connection that is cancelled while it
        waits for that is taken for ended, and its socket stays open for good (see
        `ConnectionHandler.handle_connection`).  Thirty streams whose client resets are enough.
        """
        if handler := self.handler_of(client):
            _close_left_open(handler, server)

    def close_all_left_open(self, client: Client) -> None:
        """Likewise its own socket, and those of its servers when mitmproxy has done with them: one
        that was just being opened is not told as disconnected.  To be called in
        `client_disconnected`."""
        handler = self.handler_of(client)
        if handler is None:
            return
        for connection, transport in list(handler.transports.items()):
            if transport.handler is None or transport.handler.done():
                _close_left_open(handler, connection)
            else:
                transport.handler.add_done_callback(partial(_close_at_end, handler, connection))

    def reset_on_close(self, client: Client) -> None:
        """Let the client's TCP connection end with a reset when mitmproxy closes it."""
        if handler := self.handler_of(client):
            block.reset_on_close(handler)


def _close_at_end(
    handler: server.ConnectionHandler, connection: Connection, _: asyncio.Task[None]
) -> None:
    _close_left_open(handler, connection)


def _close_left_open(handler: server.ConnectionHandler, connection: Connection) -> None:
    left = handler.transports.pop(connection, None)
    if left is not None and left.writer is not None and not left.writer.is_closing():
        with contextlib.suppress(OSError):
            left.writer.close()
