"""WebSocket messages at a rule's rate.

Rule: the frames' bytes are paced on their way out, in the order in which they come: a large
message arrives piece by piece, a ping waits for what was sent before it.
"""

from __future__ import annotations

import time

from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers import websocket

from mitmthrottle.proxy.bodies.body import Body
from mitmthrottle.proxy.bodies.queue import Tail

from .carrier import Carrier

ABNORMAL_CLOSURE = 1006  # "no close frame was received" (RFC 6455, 7.1.5)


class PacedWebsocketLayer(Carrier, websocket.WebsocketLayer):
    """mitmproxy's WebSocket, with both directions paced if a rule says so."""

    _bodies: dict[Connection, Body]  # by who receives

    def start(self, event: events.Start) -> layer.CommandGenerator[None]:
        self._bodies = {}
        yield from super().start(event)
        try:
            found = self.engine.websocket(self.context, self.flow)
        except Exception:  # fail open: see bodies/body.py
            self.engine.failed(self.flow.request.pretty_url)
            return
        client, server = self.context.client, self.context.server
        for body in found:
            receiver, sender = (client, server) if body.direction == "down" else (server, client)
            if self._begin(body, self._unsent(receiver), self._reader_of(sender)):
                self._bodies[receiver] = body

    _handle_event = start

    def relay_messages(self, event: events.Event) -> layer.CommandGenerator[None]:
        if not isinstance(event, events.Wakeup):
            if isinstance(event, events.ConnectionClosed):
                yield from self._receiver_gone(event.connection)
            for command in super().relay_messages(event):
                body = (
                    self._bodies.get(command.connection)
                    if isinstance(command, commands.ConnectionCommand)
                    else None
                )
                if body is not None and isinstance(command, commands.SendData):
                    body.push(command.data)
                elif body is not None and isinstance(command, commands.CloseConnection):
                    body.push_tail(command, ends=True)
                else:
                    yield command
        yield from self._let_out_all()

    def done(self, event: events.Event) -> layer.CommandGenerator[None]:
        """The closing handshake is through; what is held still goes out."""
        if isinstance(event, events.Wakeup):
            yield from self._let_out_all()
        elif isinstance(event, events.ConnectionClosed):
            yield from self._receiver_gone(event.connection)

    def _let_out_all(self) -> layer.CommandGenerator[None]:
        for receiver, body in list(self._bodies.items()):
            if receiver not in self._bodies:
                return  # cut, in a round of this loop
            yield from self._let_out(body)

    def _receiver(self, body: Body) -> Connection:
        return self.context.client if body.direction == "down" else self.context.server

    def _pass_bytes(self, body: Body, data: bytes) -> layer.CommandGenerator[None]:
        yield commands.SendData(self._receiver(body), data)

    def _pass_tail(self, body: Body, tail: Tail) -> layer.CommandGenerator[None]:
        self._close(self._receiver(body), "complete")
        if isinstance(tail.what, commands.Command):
            yield tail.what

    def _cut(self, outcome: str, reason: str, *, reset: bool) -> layer.CommandGenerator[None]:
        """End it where it is, in the middle of a message perhaps, without a closing handshake."""
        for receiver in list(self._bodies):
            self._close(receiver, outcome)
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

    def _receiver_gone(self, receiver: Connection) -> layer.CommandGenerator[None]:
        """Nobody takes what is held; the closing that was held behind it is due now."""
        body = self._bodies.get(receiver)
        if body is None:
            return
        held = body.queue.drain()
        self._close(receiver, "client-gone" if receiver is self.context.client else "origin-gone")
        for item in held:
            if isinstance(item, Tail) and isinstance(item.what, commands.CloseConnection):
                yield item.what

    def _close(self, receiver: Connection, outcome: str) -> None:
        self._bodies.pop(receiver).close(outcome)
