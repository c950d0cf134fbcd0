"""Back-pressure to the origin: what a paced response has not passed on is not read either.

Rule: whoever is not paced must not notice.  Only connections to hosts that some rule could match
are touched at all, and on those every response that no rule matches gets its full speed back at
its headers.

*HTTP/1*: one response at a time has the connection, so the reader is stopped (`PausableReader`).
asyncio by itself holds up to 256 KiB per read and 128 KiB per reader; both are made small while a
response is paced.

*HTTP/2*: a connection carries many responses, so the stream's flow-control window does it.
mitmproxy announces windows of 2^31-1 bytes and acknowledges at once; `PacedHttp2Client` starts streams
with 64 KiB and acknowledges a paced stream's bytes only when they have gone out to the client.
The credit travels as an HTTP event, like data does.

HTTP/3 has no such lever: aioquic acknowledges by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakSet

import h2.events
from mitmproxy.connection import Connection, Server
from mitmproxy.proxy import commands, context, events, layer, server, tunnel
from mitmproxy.proxy.layers import http
from mitmproxy.proxy.layers.http._base import HttpEvent, ReceiveHttp
from mitmproxy.proxy.layers.http._http2 import Http2Client, Http2Connection, Http2Server

SMALL_BYTES = 16 * 1024  # what may wait before our queue, and in it, at low rates
LARGE_BYTES = 256 * 1024
AHEAD_S = 0.05  # at high rates: what may wait, in seconds of the rate
# HTTP/2: what a stream may send before its response's headers were looked at, and what a paced one
# may have under way.  64 KiB is the protocol's own default; a higher rate needs more to be kept up
# over a distance of 250 ms.
STREAM_WINDOW_BYTES = 65_535
WINDOW_S = 0.25
LARGEST_WINDOW_BYTES = 4 * 1024 * 1024
FULL_WINDOW_BYTES = 2**31 - 1  # mitmproxy's own


def waiting_bytes(rate_bytes_per_s: float | None) -> int:
    """How much of a response at that rate may wait in our queue before the origin is stopped."""
    return int(min(max((rate_bytes_per_s or 0) * AHEAD_S, SMALL_BYTES), LARGE_BYTES))


class PausableReader:
    """A `StreamReader` that can be told not to read on.  mitmproxy only calls `read`."""

    __slots__ = ("__weakref__", "_open", "_opened", "_reader", "_size", "_transport")

    def __init__(self, reader: asyncio.StreamReader, transport: object) -> None:
        self._reader = reader
        self._transport = transport
        self._open = True
        self._opened: asyncio.Event | None = None
        self._size = LARGE_BYTES

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def read(self, n: int = -1) -> Coroutine[Any, Any, bytes]:
        # No coroutine of ours around asyncio's while nothing is held: this is on everybody's way.
        return (
            self._reader.read(min(n, self._size) if n > 0 else n) if self._open else self._wait(n)
        )

    async def _wait(self, n: int) -> bytes:
        while not self._open:
            self._opened = asyncio.Event()
            await self._opened.wait()
        return await self._reader.read(min(n, self._size) if n > 0 else n)

    def limit(self, size: int | None) -> None:
        """Let asyncio hold about that many bytes; None: what it holds by default."""
        # Attributes of asyncio's own classes, set only where they exist: uvloop has none of them.
        self._size = size or LARGE_BYTES
        if hasattr(self._reader, "_limit"):
            self._reader._limit = size or 64 * 1024
        if hasattr(self._transport, "max_size"):
            if size:
                self._transport.max_size = size
            else:
                self._transport.__dict__.pop("max_size", None)

    def pause(self) -> None:
        self._open = False

    def resume(self) -> None:
        self._open = True
        if self._opened is not None:
            self._opened.set()
            self._opened = None


def pausable(handler: server.ConnectionHandler, connection: Connection) -> PausableReader | None:
    """Put a `PausableReader` before that connection, before mitmproxy reads from it."""
    transport = handler.transports[connection]
    if isinstance(transport.reader, asyncio.StreamReader):
        raw = getattr(transport.writer, "transport", None)
        reader = PausableReader(transport.reader, raw)
        # Typed as StreamReader there; `read` is all that is used (see guard.py).
        transport.reader = reader  # type: ignore[assignment]
        return reader
    return None


def reader_of(
    handler: server.ConnectionHandler, layers: list[layer.Layer | None], peer: Connection
) -> PausableReader | None:
    """The gated reader under a stream's connection to that peer, also through tunnels."""
    for found in layers:
        if isinstance(found, tunnel.TunnelLayer) and found.conn is peer:
            peer = found.tunnel_connection
            break
    transport = handler.transports.get(peer)
    reader = transport.reader if transport else None
    return reader if isinstance(reader, PausableReader) else None


@dataclass
class Acknowledge(HttpEvent):
    """That many bytes of a paced body have gone out on the other side."""

    size: int


@dataclass
class OpenWindow(HttpEvent):
    """The message's headers were looked at: give its body a window for this rate (infinity: as
    fast as may be, but still acknowledged as it goes out); None: it is not paced."""

    rate_bytes_per_s: float | None
    at_most_bytes: int | None = None


def waits_for_us(connection: object) -> bool:
    return isinstance(connection, PacedHttp2Connection) and connection.guarded


class PacedHttp2Connection(Http2Connection):
    """An HTTP/2 connection on which paced streams are acknowledged when their bytes go out."""

    guarded: bool
    _owed: dict[int, int]  # bytes not yet acknowledged, by this connection's stream ids
    Headers: ClassVar[type[h2.events.Event]]  # what begins a message from the peer

    def _guard(self, guarded: bool) -> None:
        self.guarded = guarded
        self._owed = {}
        if guarded:
            self.h2_conn.local_settings.initial_window_size = STREAM_WINDOW_BYTES
            self.h2_conn.local_settings.acknowledge()
        else:
            # Nothing is to be seen to here, so that nobody comes by here.
            self.handle_h2_event = super().handle_h2_event  # type: ignore[method-assign]  # on purpose

    def own_stream_id(self, stream_id: int) -> int | None:
        """This connection's id of a stream; None if it has none (any more)."""
        raise NotImplementedError

    # Plain functions that give a generator, mostly mitmproxy's own: one of ours around it would
    # cost at each of its commands, whether the stream is paced or not.

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, (Acknowledge, OpenWindow)):
            return self._credit(event)
        return super()._handle_event(event)

    def handle_h2_event(self, event: h2.events.Event) -> layer.CommandGenerator[bool]:
        if isinstance(event, self.Headers):
            self._owed[event.stream_id] = 0  # type: ignore[attr-defined]  # both kinds have one
        elif isinstance(event, h2.events.DataReceived):
            if event.stream_id in self._owed:
                return self._receive(event)
        elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
            # Nothing more comes on this stream, but its bytes count for the connection's window.
            self._acknowledge(event.stream_id, self._owed.get(event.stream_id, 0))
            self._owed.pop(event.stream_id, None)
        return super().handle_h2_event(event)

    def _credit(self, event: Acknowledge | OpenWindow) -> layer.CommandGenerator[None]:
        own = self.own_stream_id(event.stream_id)
        if own is not None and own in self._owed:
            if isinstance(event, Acknowledge):
                self._acknowledge(own, event.size)
            else:
                self._admit(own, event.rate_bytes_per_s)
            if data := self.h2_conn.data_to_send():
                yield commands.SendData(self.conn, data)

    def _receive(self, event: h2.events.DataReceived) -> layer.CommandGenerator[bool]:
        if event.data:
            self._owed[event.stream_id] += len(event.data)
            yield ReceiveHttp(self.ReceiveData(event.stream_id, event.data))
        if padding := event.flow_controlled_length - len(event.data):
            self.h2_conn.acknowledge_received_data(padding, event.stream_id)
        return False

    def _admit(self, stream_id: int, rate_bytes_per_s: float | None) -> None:
        if rate_bytes_per_s is None:
            window = FULL_WINDOW_BYTES
        else:
            window = int(min(rate_bytes_per_s * WINDOW_S, LARGEST_WINDOW_BYTES))
        if window > STREAM_WINDOW_BYTES and not self.is_closed(stream_id):
            self.h2_conn.increment_flow_control_window(window - STREAM_WINDOW_BYTES, stream_id)
        if rate_bytes_per_s is None and (owed := self._owed.pop(stream_id)):
            self.h2_conn.acknowledge_received_data(owed, stream_id)

    def _acknowledge(self, stream_id: int, size: int) -> None:
        size = min(size, self._owed.get(stream_id, 0))
        if size:
            self._owed[stream_id] -= size
            self.h2_conn.acknowledge_received_data(size, stream_id)


class PacedHttp2Client(PacedHttp2Connection, Http2Client):
    """Towards an origin: responses are paced."""

    Headers = h2.events.ResponseReceived
    might_match_any: ClassVar[Callable[[set[str | None]], bool]]

    def __init__(self, ctx: context.Context) -> None:
        super().__init__(ctx)
        self._guard(type(self).might_match_any(names_of(ctx.server)))
        (guarded if self.guarded else unguarded).add(ctx.server)

    def own_stream_id(self, stream_id: int) -> int | None:
        return self.our_stream_id.get(stream_id)


class PacedHttp2Server(PacedHttp2Connection, Http2Server):
    """Towards a client: uploads are paced."""

    Headers = h2.events.RequestReceived

    def __init__(self, ctx: context.Context) -> None:
        super().__init__(ctx)
        self._guard(True)  # a rule with an upload may come while the connection lasts

    def own_stream_id(self, stream_id: int) -> int | None:
        return stream_id


def names_of(connection: Server) -> set[str | None]:
    """What a connection to an origin is known by."""
    return {connection.sni, connection.address[0] if connection.address else None}


# Connections to origins over HTTP/2: those that wait for our credit; those whose windows are open;
# and those of the latter for whose host a rule has come since.
guarded: WeakSet[Server] = WeakSet()
unguarded: WeakSet[Server] = WeakSet()
outdated: WeakSet[Server] = WeakSet()


def policy_changed(might_match_any: Callable[[set[str | None]], bool], *, uploads: bool) -> None:
    """Find the connections that no new request may use, see `GetPacedConnection`."""
    outdated.clear()
    outdated.update(each for each in unguarded if might_match_any(names_of(each)))


class GetPacedConnection(http.GetHttpConnection):
    """As mitmproxy's, but a connection that was made before a rule could match its host is left to
    those who have it: its windows are open, so a paced response would pile up in the proxy."""

    def connection_spec_matches(self, connection: Connection) -> bool:
        if outdated and connection in outdated:
            return False
        return super().connection_spec_matches(connection)
