"""WebSocket messages at a rule's rate.

Rule: the frames' bytes are paced on their way out, in the order in which they come: a large
message arrives piece by piece, a ping waits for what was sent before it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers import websocket

from .credit import GatedReader
from .direction import PacedDirection
from .gate import Item, Mark

if TYPE_CHECKING:
    from .engine import Engine

ABNORMAL_CLOSURE = 1006  # "no close frame was received" (RFC 6455, 7.1.5)


class PacedWebsocketLayer(websocket.WebsocketLayer):
    """mitmproxy's WebSocket with a gate before each peer, if a rule says so."""

    engine: ClassVar[Engine]
    _gates: dict[Connection, PacedDirection]  # by who receives
    _readers: dict[Connection, GatedReader | None]  # of who sends, by who receives

    def start(self, event: events.Start) -> layer.CommandGenerator[None]:
        self._gates = {}
        self._readers = {}
        yield from super().start(event)
        try:
            found = self.engine.websocket_came(self.context, self.flow)
        except Exception:  # fail open: see held.py
            self.engine.failed(self.flow.request.pretty_url)
            return
        client, server = self.context.client, self.context.server
        for held in found:
            receiver, sender = (client, server) if held.direction == "down" else (server, client)
            self._gates[receiver] = held
            held.attach(self)
            self._readers[receiver] = self.engine.connections.reader_under(self.context, sender)
            held.hold_reader(self._readers[receiver])

    _handle_event = start

    def relay_messages(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Wakeup):
            for held in self._gates.values():
                if held.waker is event.command:
                    held.woken()
        else:
            if isinstance(event, events.ConnectionClosed):
                self._receiver_gone(event.connection)
            for command in super().relay_messages(event):
                gated = (
                    self._gates.get(command.connection)
                    if isinstance(command, commands.ConnectionCommand)
                    else None
                )
                if gated is not None and isinstance(command, commands.SendData):
                    gated.gate.push(command.data)
                elif gated is not None and isinstance(command, commands.CloseConnection):
                    gated.gate.finish(command, complete=True)
                else:
                    yield command
        yield from self._let_out()

    def done(self, event: events.Event) -> layer.CommandGenerator[None]:
        """The closing handshake is through; what is held still goes out."""
        if isinstance(event, events.Wakeup):
            yield from self.relay_messages(event)
        elif isinstance(event, events.ConnectionClosed):
            self._receiver_gone(event.connection)

    def _let_out(self) -> layer.CommandGenerator[None]:
        for receiver, held in list(self._gates.items()):
            if receiver not in self._gates:
                return  # cut, in a round of this loop
            if held.then.block is not None and held.then.block != "timeout":
                yield from self._cut("blocked", reset=True)  # a later stage: too late to answer
                return
            yield from self._pass_on(receiver, held, held.release())
            reader = self._readers.get(receiver)
            if reader is not None and receiver in self._gates:
                if held.gate.waiting_bytes >= held.enough_bytes:
                    reader.stop()
                else:
                    reader.go_on()

    def _pass_on(
        self, receiver: Connection, held: PacedDirection, items: list[Item]
    ) -> layer.CommandGenerator[None]:
        for item in items:
            if isinstance(item, bytes):
                yield commands.SendData(receiver, item)
            elif item is Mark.CUT:
                cut = held.then.cut
                yield from self._cut("cut", reset=cut is not None and cut.how == "reset")
                return
            elif isinstance(item, commands.CloseConnection):
                self._end(receiver, "complete")
                yield item

    def _cut(self, outcome: str, *, reset: bool) -> layer.CommandGenerator[None]:
        """End it where it is, in the middle of a message perhaps, without a closing handshake."""
        for receiver in list(self._gates):
            self._end(receiver, outcome)
        self._handle_event = self.done  # type: ignore[method-assign]  # how layers change state
        if reset:
            self.engine.connections.reset_on_close(self.context.client)
        yield commands.CloseConnection(self.context.client)
        yield commands.CloseConnection(self.context.server)
        talk = self.flow.websocket
        if talk is not None and self.flow.live:
            talk.timestamp_end = time.time()
            talk.close_code = ABNORMAL_CLOSURE
            yield websocket.WebsocketEndHook(self.flow)
            self.flow.live = False

    def _receiver_gone(self, receiver: Connection) -> None:
        if receiver in self._gates:
            gone = "client-gone" if receiver is self.context.client else "origin-gone"
            self._end(receiver, gone)

    def _end(self, receiver: Connection, outcome: str) -> None:
        held = self._gates.pop(receiver)
        if reader := self._readers.pop(receiver, None):
            reader.go_on()
            reader.hold_at_most(None)
        held.ended(outcome)
