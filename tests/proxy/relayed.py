"""A connection that mitmproxy relays as it is, on the playbook's fake clock.

Rule: half-closes count here, so each side keeps its two directions apart, and what the proxy does
to each side is kept in order.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace

from mitmproxy import connection
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, context, events, layers
from mitmproxy.tcp import TCPFlow

from .playbook import Wire, wire


class Broken:
    """A writer whose socket is dead."""

    def is_closing(self) -> bool:
        return True

    def write(self, data: bytes) -> None:
        pass


class Relay(Wire):
    """A client and an origin with a TCPLayer between them."""

    def __init__(self, base: Wire, address: tuple[str, int], *, ignore: bool) -> None:
        self.__dict__.update(base.__dict__)
        self._base = base
        self.client = connection.Client(
            peername=("198.18.0.7", 5000),
            sockname=("127.0.0.1", 8080),
            state=ConnectionState.OPEN,
        )
        self.sent, self.closed, self.servers, self.transports = {}, [], [], {}
        self.ended: dict[connection.Connection, list[tuple[float, str]]] = {}
        ctx = context.Context(self.client, self.options)
        ctx.server.address = address
        self.layer = layers.TCPLayer(ctx, ignore=ignore)
        self.engine.connections._proxyserver.connections[self.client.id] = self
        self.feed(events.Start())
        self.server = self.servers[0]

    def _answer(self, command: commands.Command) -> list[events.Event]:
        if isinstance(command, commands.StartHook):
            (data,) = command.args()
            self.hooks.append(command.name)
            if isinstance(data, TCPFlow):
                self.tcp_flow = data
            return [events.HookCompleted(command)] if command.blocking else []
        if isinstance(command, commands.CloseConnection):
            half = isinstance(command, commands.CloseTcpConnection) and command.half_close
            how = "half-closed" if half else "closed"
            self.ended.setdefault(command.connection, []).append((self.clock.time, how))
            if half:
                command.connection.state &= ~ConnectionState.CAN_WRITE
                return []
        return super()._answer(command)

    def another(self, address: tuple[str, int]) -> Relay:
        """A further connection of the same client under the same policy."""
        return Relay(self._base, address, ignore=True)

    def break_down(self, peer: connection.Connection) -> None:
        """The socket has found out that the peer has reset the connection."""
        self.transports[peer] = SimpleNamespace(writer=Broken(), reader=None)

    def half_close(self, peer: connection.Connection) -> None:
        """That peer has said its last word and still listens: FIN, as mitmproxy tells it."""
        peer.state &= ~ConnectionState.CAN_READ
        self.feed(events.ConnectionClosed(peer))

    def say(self, peer: connection.Connection, data: bytes) -> None:
        self.feed(events.DataReceived(peer, data))

    def got(self, peer: connection.Connection) -> bytes:
        return b"".join(data for _, data in self.sent.get(peer, []))

    def how_ended(self, peer: connection.Connection) -> list[str]:
        return [how for _, how in self.ended.get(peer, [])]


@contextmanager
def relay(
    policy: str, address: tuple[str, int] = ("198.18.0.1", 443), *, ignore: bool = True
) -> Iterator[Relay]:
    """Under this policy (YAML); `address` is what was dialled."""
    with wire(policy) as base:
        yield Relay(base, address, ignore=ignore)


def client_hello(name: str) -> bytes:
    """What a client of Python's sends first."""
    trust = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trust.wrap_bio(incoming, outgoing, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()
