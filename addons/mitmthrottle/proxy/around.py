"""What a stream has around it: the connections that its bodies come from and go to.

Rule: looked up when asked for; connections change under a stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from mitmproxy.connection import Connection
from mitmproxy.proxy.layers import http
from mitmproxy.proxy.layers.http._base import HttpConnection
from mitmproxy.proxy.layers.http._http1 import Http1Connection
from mitmproxy.proxy.layers.http._http2 import Http2Client, Http2Connection

from .credit import Credited, GatedReader, guarded

if TYPE_CHECKING:
    from .engine import Engine


class Surrounded(http.HttpStream):
    """mitmproxy's stream, and the ways from it to its connections."""

    engine: ClassVar[Engine]

    def unsent_bytes(self, receiver: Connection) -> int:
        """What waits in the proxy for this stream's HTTP/2 window to open."""
        if receiver.alpn != b"h2":
            return 0
        connection = self._protocol(receiver)
        if not isinstance(connection, Http2Connection):
            return 0
        stream_id = self.stream_id
        if isinstance(connection, Http2Client):
            stream_id = connection.our_stream_id.get(stream_id, stream_id)
        waiting = connection.h2_conn.stream_buffers.get(stream_id, ())
        return sum(len(piece.data) for piece in waiting)

    def parent_layer(self) -> http.HttpLayer:
        parent = self.context.layers[self.context.layers.index(self) - 1]
        if not isinstance(parent, http.HttpLayer):
            raise TypeError(f"a stream's parent is {parent!r}")
        return parent

    def _protocol(self, peer: Connection) -> HttpConnection | None:
        """The HTTP/1 or HTTP/2 layer that talks to that peer."""
        found = self.parent_layer().connections.get(peer)
        while found is not None and not isinstance(found, HttpConnection):
            found = getattr(found, "child_layer", None)
        return found

    def reader(self, sender: Connection) -> GatedReader | None:
        """The reader to stop while this stream's body from that peer is held.

        None for HTTP/2: stopping its reader would stop every other stream of the connection.
        """
        if not isinstance(self._protocol(sender), Http1Connection):
            return None
        return self.gated_reader(sender)

    def gated_reader(self, peer: Connection) -> GatedReader | None:
        below = self.parent_layer().connections.get(peer)
        return self.engine.connections.reader_under(self.context, peer, below)

    def credits(self, sender: Connection) -> bool:
        """Whether that peer's HTTP/2 connection waits for our credit."""
        if sender.alpn != b"h2" or (sender is self.context.server and not guarded):
            return False
        connection = self._protocol(sender)
        return isinstance(connection, Credited) and connection.guarded
