"""Connections that cannot be opened: pinned certificates, ignored hosts, other protocols.

Rule: all that can be known is the server's name (from the TLS ClientHello, else what was dialled),
its port and the client.  Rules that need more cannot hold.  Those that hold pace the connection's
bytes, in both directions alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from mitmproxy.connection import Connection
from mitmproxy.net.tls import starts_like_tls_record
from mitmproxy.proxy import commands, context, events, layer
from mitmproxy.proxy.layers import tcp
from mitmproxy.proxy.layers.tls import parse_client_hello

from .credit import GatedReader
from .direction import PacedDirection
from .gate import Item, Mark

if TYPE_CHECKING:
    from .engine import Engine

LARGEST_HELLO_BYTES = 32 * 1024  # longer than any ClientHello that we wait for


class PacedTCPLayer(tcp.TCPLayer):
    """mitmproxy's relay with a gate in each direction, if a rule says so."""

    engine: ClassVar[Engine]

    def __init__(self, ctx: context.Context, ignore: bool = False) -> None:
        super().__init__(ctx, ignore)
        self._gates: dict[Connection, PacedDirection] = {}  # by who sends
        self._readers: dict[Connection, GatedReader | None] = {}
        self._hello: bytearray | None = bytearray()  # None: decided

    def relay_messages(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Wakeup):
            for held in self._gates.values():
                if held.waker is event.command:
                    held.woken()
        elif isinstance(event, events.DataReceived):
            if self._hello is not None:
                try:
                    self._learn(event)
                except Exception:  # fail open: see held.py
                    self.engine.failed(f"the connection to {self.context.server.address}")
            gated = self._gates.get(event.connection)
            if gated is None:
                yield from super().relay_messages(event)
                return
            gated.gate.push(event.data)
        elif isinstance(event, events.ConnectionClosed):
            gated = self._gates.get(event.connection)
            if gated is None or not self._receiver_lives(event.connection):
                self._end("client-gone")
                yield from super().relay_messages(event)
                return
            gated.gate.finish(event, complete=True)
        else:
            yield from super().relay_messages(event)
            return
        yield from self._let_out()

    def _learn(self, event: events.DataReceived) -> None:
        """Decide as soon as the server's name is known, or that there is none."""
        if self._hello is None:
            return
        name = self.context.client.sni
        scheme = "https" if name else "tcp"
        if name is None and event.connection is self.context.client:
            self._hello += event.data
            hello = bytes(self._hello)
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
        self._hello = None
        for held in self.engine.opaque_came(self.context, name, scheme):
            down = held.direction == "down"
            sender = self.context.server if down else self.context.client
            self._gates[sender] = held
            held.attach(self)
            reader = self.engine.connections.reader_under(self.context, sender)
            held.hold_reader(reader)
            self._readers[sender] = reader

    def _let_out(self) -> layer.CommandGenerator[None]:
        for sender, held in list(self._gates.items()):
            if held.then.block is not None and held.then.block != "timeout":
                yield from self._cut("blocked", reset=True)
                return
            yield from self._pass_on(sender, held, held.release())
            reader = self._readers.get(sender)
            if reader is not None and sender in self._gates:
                if held.gate.waiting_bytes >= held.enough_bytes:
                    reader.stop()
                else:
                    reader.go_on()

    def _pass_on(
        self, sender: Connection, held: PacedDirection, items: list[Item]
    ) -> layer.CommandGenerator[None]:
        for item in items:
            if isinstance(item, bytes):
                yield from super().relay_messages(events.DataReceived(sender, item))
            elif item is Mark.CUT:
                cut = held.then.cut
                yield from self._cut("cut", reset=cut is not None and cut.how == "reset")
                return
            elif isinstance(item, events.ConnectionClosed):
                self._end_one(sender, "complete")
                yield from super().relay_messages(item)

    def _cut(self, outcome: str, *, reset: bool) -> layer.CommandGenerator[None]:
        self._end(outcome)
        self._handle_event = self.done
        if reset:
            self.engine.connections.reset_on_close(self.context.client)
        yield commands.CloseConnection(self.context.client)
        yield commands.CloseConnection(self.context.server)
        if self.flow:
            yield tcp.TcpEndHook(self.flow)
            self.flow.live = False

    def _receiver_lives(self, sender: Connection) -> bool:
        client, server = self.context.client, self.context.server
        receiver = server if sender is client else client
        return receiver.connected

    def _end(self, outcome: str) -> None:
        for sender in list(self._gates):
            self._end_one(sender, outcome)

    def _end_one(self, sender: Connection, outcome: str) -> None:
        held = self._gates.pop(sender)
        if reader := self._readers.pop(sender, None):
            reader.go_on()
            reader.hold_at_most(None)
        held.ended(outcome)
