"""Connections that cannot be opened: pinned certificates, ignored hosts, other protocols.

Rule: all that can be known is the server's name (from the TLS ClientHello, else what was dialled),
its port and the client.  Rules that need more cannot hold.  Those that hold pace the connection's
bytes, in both directions alike.

A protocol may turn to TLS later (STARTTLS), so where only an address is known, a ClientHello is
looked for among the first things that the client says.
"""

from __future__ import annotations

from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.net.tls import starts_like_tls_record
from mitmproxy.proxy import commands, context, events, layer
from mitmproxy.proxy.layers import tcp
from mitmproxy.proxy.layers.http import HttpStream
from mitmproxy.proxy.layers.tls import ClientTLSLayer, parse_client_hello

from mitmthrottle.proxy.bodies.body import Body
from mitmthrottle.proxy.bodies.queue import Tail
from mitmthrottle.proxy.facts import host_of

from .carrier import Carrier

TLS_BEGINS = (b"\x16", b"\x16\x03")  # too little to tell
LARGEST_HELLO_BYTES = 32 * 1024  # longer than any ClientHello that we wait for
LATEST_HELLO_BYTES = 64 * 1024  # what a client may say before STARTTLS


def name_around(ctx: context.Context) -> str | None:
    """The server's name, if a layer around knows it: that of the innermost TLS, or of the request
    that was upgraded.  Not that of the TLS in which an HTTPS proxy itself was asked."""
    for found in reversed(ctx.layers):
        if isinstance(found, ClientTLSLayer):
            break
        if isinstance(found, HttpStream):
            return None if found.flow.request.method == "CONNECT" else host_of(found.flow)
    return ctx.client.sni


class PacedTCPLayer(Carrier, tcp.TCPLayer):
    """mitmproxy's relay, with both directions paced if a rule says so."""

    def __init__(self, ctx: context.Context, ignore: bool = False) -> None:
        super().__init__(ctx, ignore)
        self._bodies: dict[Connection, Body] = {}  # by who sends
        self._hello: bytearray | None = bytearray()  # None: decided for good
        self._said_bytes = 0  # by the client, while it is not
        self._ended: list[Connection] = []  # who has said its last word before that
        self._server_ended: events.ConnectionClosed | None = None  # and the client does not know
        self._asked = False
        self._client_ended = False  # it has said its last word

    def relay_messages(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, tcp.TcpMessageInjected):
            # An addon's message takes its place behind what is held.
            client, server = self.context.client, self.context.server
            sender = client if event.message.from_client else server
            event = events.DataReceived(sender, event.message.content)
        if isinstance(event, events.DataReceived):
            if self._hello is not None:
                try:
                    self._learn(event)
                except Exception:  # fail open: see bodies/body.py
                    self.engine.failed(f"the connection to {self.context.server.address}")
                    self._hello = None
                    for each in self._bodies.values():
                        each.stop_pacing()
            body = self._bodies.get(event.connection)
            if body is None:
                yield from super().relay_messages(event)
                return
            body.push(event.data)
        elif isinstance(event, events.ConnectionClosed):
            self._client_ended |= event.connection is self.context.client
            if self._is_over(event.connection):
                yield from self._cut(self._gone(event.connection), "", reset=False)
                return
            body = self._bodies.get(event.connection)
            if body is None:
                self._ended.append(event.connection)
                yield from self._relay_end(event)
                return
            body.push_tail(event, ends=True)
        elif not isinstance(event, events.Wakeup):
            yield from super().relay_messages(event)
            return
        yield from self._let_out_all()

    def done(self, event: events.Event) -> layer.CommandGenerator[None]:
        """It is over; a wake-up may still have been on its way."""
        yield from ()

    def _learn(self, event: events.DataReceived) -> None:
        """Decide as soon as the server's name is known, or that there is none."""
        if self._hello is None:
            return
        name = name_around(self.context)
        scheme = "https" if self.context.client.tls and name else "tcp"
        if name is None and event.connection is self.context.client:
            self._hello += event.data
            self._said_bytes += len(event.data)
            hello = bytes(self._hello)
            if hello in TLS_BEGINS:
                return
            if starts_like_tls_record(hello):
                scheme = "https"
                try:
                    parsed = parse_client_hello(hello)
                except ValueError:
                    parsed = None
                else:
                    if parsed is None and len(hello) < LARGEST_HELLO_BYTES:
                        return
                name = parsed.sni if parsed else None
            self._hello.clear()
        found: list[Body] = []
        if not self._asked or name is not None:
            found = self.engine.relayed(self.context, name, scheme, self.flow)
        self._asked = True
        if found or name or scheme == "https" or self._said_bytes > LATEST_HELLO_BYTES:
            self._hello = None
        for body in found:
            sender = self._sender(body)
            if sender in self._ended:
                continue  # before anybody knew for whom it is
            body.reads_when_empty = not sender.state & ConnectionState.CAN_WRITE
            if self._begin(body, self._unsent(self._other(sender)), self._reader_of(sender)):
                self._bodies[sender] = body

    def _let_out_all(self) -> layer.CommandGenerator[None]:
        if self._client_ended and self._is_over(self.context.client):  # by a new plan
            yield from self._cut("client-gone", "", reset=False)
            return
        for sender, body in list(self._bodies.items()):
            if sender not in self._bodies:
                return  # cut, in a round of this loop
            receiver = self._other(sender)
            if not receiver.connected and self._is_lost(receiver):
                yield from self._cut(self._gone(receiver), "", reset=False)
                return
            yield from self._let_out(body)
        if self._server_ended is not None:
            yield from self._tell_client_of_end()

    def _sender(self, body: Body) -> Connection:
        return self.context.server if body.direction == "down" else self.context.client

    def _pass_bytes(self, body: Body, data: bytes) -> layer.CommandGenerator[None]:
        yield from super().relay_messages(events.DataReceived(self._sender(body), data))

    def _pass_tail(self, body: Body, tail: Tail) -> layer.CommandGenerator[None]:
        self._bodies.pop(self._sender(body), None)
        body.close("complete")
        if isinstance(tail.what, events.ConnectionClosed):
            yield from self._relay_end(tail.what)

    def _cut(self, outcome: str, reason: str, *, reset: bool) -> layer.CommandGenerator[None]:
        bodies, self._bodies = self._bodies, {}
        for body in bodies.values():
            body.close(outcome)
        self._handle_event = self.done
        if reset:
            self.engine.connections.reset_on_close(self.context.client)
        yield commands.CloseConnection(self.context.client)
        yield commands.CloseConnection(self.context.server)
        if self.flow:
            yield tcp.TcpEndHook(self.flow)
            self.flow.live = False

    def _relay_end(self, event: events.ConnectionClosed) -> layer.CommandGenerator[None]:
        """One side has nothing more to say.  When neither has, mitmproxy closes both, but what the
        other one said before may still be held."""
        if not self._bodies:
            yield from super().relay_messages(event)
        elif event.connection is self.context.client:
            yield commands.CloseTcpConnection(self.context.server, half_close=True)
        else:
            self._server_ended = event
            yield from self._tell_client_of_end()

    def _tell_client_of_end(self) -> layer.CommandGenerator[None]:
        """The server has nothing more to say.

        mitmproxy ends the whole connection when a client that we have half-closed ends its own
        side, and closes it altogether where it is a tunnel.  So what the client has said goes out
        before, and what it says afterwards is read when there is nothing of it left.
        """
        event, up = self._server_ended, self._bodies.get(self.context.client)
        if event is None or (up is not None and up.queue):
            return
        self._server_ended = None
        if up is None:
            yield from super().relay_messages(event)
            return
        up.reads_when_empty = True
        up.settle()
        yield commands.CloseTcpConnection(self.context.client, half_close=True)

    def _is_over(self, closed: Connection) -> bool:
        """Nobody is left for what is held, or it would never be let out."""
        body = self._bodies.get(self._other(closed))
        if body is None:
            return False
        never = closed is self.context.client and body.plan.block is not None
        return never or self._is_lost(closed)

    def _is_lost(self, peer: Connection) -> bool:
        """Whether it cannot be written to any more.  A peer that has only said its last word
        (half-closed) still listens; mitmproxy takes one that has reset the connection for such."""
        if peer.state is ConnectionState.CLOSED:
            return True
        handler = self.engine.connections.handler_of(self.context.client)
        transport = handler.transports.get(peer) if handler else None
        writer = transport.writer if transport else None
        return writer is not None and writer.is_closing()

    def _other(self, peer: Connection) -> Connection:
        return self.context.server if peer is self.context.client else self.context.client

    def _gone(self, peer: Connection) -> str:
        return "client-gone" if peer is self.context.client else "origin-gone"
