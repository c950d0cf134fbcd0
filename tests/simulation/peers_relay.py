"""Peers whose bytes the proxy relays: after CONNECT, after `Upgrade: tcp`, and WebSocket.

For each, one connection is one exchange with a body each way.  `at_once`: whoever may speak does
so in the segment of its handshake.
"""

from __future__ import annotations

from collections.abc import Callable

import wsproto.events
from wsproto.connection import Connection, ConnectionState, ConnectionType

from .exchange import Exchange
from .loop import VirtualLoop
from .peers_http1 import head_of, takes
from .transport import Socket

MESSAGE_BYTES = 5000
PIECE_BYTES = 8 * 1024
HELLO_KEY = "AAAAAAAAAAAAAAAAAAAAAA=="


def client_hello(host: str) -> bytes:
    """What a TLS client says first: a ClientHello (RFC 8446) with that server's name."""

    def sized(data: bytes, length_bytes: int) -> bytes:
        return len(data).to_bytes(length_bytes, "big") + data

    name = sized(b"\x00" + sized(host.encode(), 2), 2)
    extensions = sized(b"\x00\x00" + sized(name, 2), 2)
    ciphers, compressions = sized(b"\x13\x01", 2), sized(b"\x00", 1)
    hello = b"\x03\x03" + bytes(range(32)) + sized(b"", 1) + ciphers + compressions + extensions
    return b"\x16\x03\x01" + sized(b"\x01" + sized(hello, 3), 2)


class Frames:
    """How bytes go over the wire once the connection is open: as they are."""

    def send(self, data: bytes) -> bytes:
        return data

    def end(self) -> bytes | None:
        """What says the end; None: a half-close does."""
        return None

    def receive(self, data: bytes) -> tuple[bytes, bool, bytes]:
        """What was said, whether that was all, and what to answer."""
        return data, False, b""


class WebsocketFrames(Frames):
    def __init__(self, kind: ConnectionType) -> None:
        self._ws = Connection(kind)
        self._closed = False

    def send(self, data: bytes) -> bytes:
        return self._ws.send(wsproto.events.BytesMessage(data))

    def end(self) -> bytes | None:
        if self._closed or self._ws.state is not ConnectionState.OPEN:
            return b""
        self._closed = True
        return self._ws.send(wsproto.events.CloseConnection(1000))

    def receive(self, data: bytes) -> tuple[bytes, bool, bytes]:
        self._ws.receive_data(data)
        said, answer, over = b"", b"", False
        for event in self._ws.events():
            if isinstance(event, wsproto.events.BytesMessage):
                said += bytes(event.data)
            elif isinstance(event, wsproto.events.Ping):
                answer += self._ws.send(event.response())
            elif isinstance(event, wsproto.events.CloseConnection):
                over = True
                if self._ws.state is ConnectionState.REMOTE_CLOSING:
                    answer += self._ws.send(event.response())
        return said, over, answer


class RelayPeer:
    """One end of a relayed connection: says its body piece by piece, hears the other's."""

    way: str  # of what it says
    frames: Frames

    def __init__(self, loop: VirtualLoop, socket: Socket, exchange: Exchange | None) -> None:
        self.loop = loop
        self.socket = socket
        self.gone = False
        self.exchange = exchange
        self._buffer = bytearray()
        self._open = False
        socket.peer = self

    def says(self, exchange: Exchange) -> bytes:
        return (exchange.up if self.way == "up" else exchange.down).expected

    def opened(self) -> None:
        self._open = True
        exchange = self.exchange
        if exchange is None:
            return
        (exchange.down if self.way == "up" else exchange.up).began_at = self.loop.time()
        self._speak()

    def _piece(self, exchange: Exchange) -> tuple[bytes, Callable[[], None]] | None:
        way = exchange.up if self.way == "up" else exchange.down
        size = MESSAGE_BYTES if exchange.kind == "websocket" else PIECE_BYTES
        piece = way.expected[way.sent : way.sent + size]
        if not piece:
            return None
        way.sent += len(piece)
        return self.frames.send(piece), takes(self.loop, exchange, self.way, len(piece))

    def _speak(self) -> None:
        exchange = self.exchange
        if exchange is None or self.gone:
            return
        way = exchange.up if self.way == "up" else exchange.down
        stop = len(way.expected)
        if self.way == "down" and exchange.ends is not None:
            stop = min(stop, exchange.ends[0])
        while way.sent < stop:
            found = self._piece(exchange)
            assert found is not None
            self.socket.send(*found)
            if exchange.slow_up and way.sent < stop:
                self.loop.call_later(exchange.slow_up, self._speak)
                return
        if self.way == "down" and exchange.ends is not None:
            how = exchange.ends[1]
            exchange.harm.add(f"origin {how}")
            if how == "close":
                self._finish()
                self.socket.close()
            elif how != "hang":
                self._finish()
                self.socket.reset()
            return
        way.sent_all = True
        self._maybe_end()

    def _maybe_end(self) -> None:
        """Says its end: at once over plain TCP; elsewhere mitmproxy lets one end end both, so the
        origin says it when all was said."""
        exchange = self.exchange
        if exchange is None or self.gone:
            return
        if exchange.kind == "tcp":
            self.socket.send_eof()
            return
        heard = exchange.up.got == len(exchange.up.expected)
        if self.way == "down" and exchange.down.sent_all and heard:
            end = self.frames.end()
            if end is None:
                exchange.up.complete_at = exchange.up.complete_at or self.loop.time()
                self.socket.send_eof()
            elif end:
                self.socket.send(end)

    def heard(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        way = exchange.down if self.way == "up" else exchange.up
        said, over, answer = self.frames.receive(data)
        way.came(said, self.loop.time())
        if answer:
            self.socket.send(answer)
        if over and way.complete_at is None:
            way.complete_at = self.loop.time()
            if self.way == "up":
                exchange.up.complete_at = exchange.up.complete_at or self.loop.time()
        if exchange.kind != "tcp" and not over:
            self._maybe_end()

    def data_received(self, data: bytes) -> None:
        self.heard(data)

    def eof_received(self) -> None:
        exchange = self.exchange
        if exchange is not None:
            way = exchange.down if self.way == "up" else exchange.up
            if way.complete_at is None and way.lost_at is None:
                if exchange.kind == "websocket" or not self._open:
                    way.lost_at = self.loop.time()
                else:
                    way.complete_at = self.loop.time()
            own = exchange.up if self.way == "up" else exchange.down
            if exchange.kind != "tcp" or own.sent_all:
                self.socket.close()
                self.gone = True

    def connection_lost(self) -> None:
        self._finish()

    def _finish(self) -> None:
        self.gone = True
        exchange = self.exchange
        if exchange is not None:
            way = exchange.down if self.way == "up" else exchange.up
            if way.complete_at is None:
                way.lost_at = way.lost_at or self.loop.time()

    # -- what may be done to it

    def _harm(self, how: str) -> None:
        if self.exchange is not None:
            self.exchange.harm.add(how)

    def reset(self) -> None:
        self._harm("client reset" if self.way == "up" else "origin reset")
        self._finish()
        self.socket.reset()

    def close(self) -> None:
        self._harm("client close" if self.way == "up" else "origin close")
        self._finish()
        self.socket.close()

    def half_close(self) -> None:
        self._harm("client half-close")
        self.socket.send_eof()

    def cancel(self, how: str) -> None:
        self._harm(f"origin {how}")
        self._finish()
        if how == "close":
            self.socket.close()
        else:
            self.socket.reset()


class RelayClient(RelayPeer):
    """Asks for a tunnel, an upgrade or a WebSocket."""

    way = "up"

    def __init__(self, loop: VirtualLoop, socket: Socket, exchange: Exchange, port: int) -> None:
        super().__init__(loop, socket, exchange)
        exchange.asked_at = loop.time()
        exchange.cancel = self.reset
        host = exchange.host
        self.frames = Frames()
        if exchange.kind == "tcp":
            self._open = True
            exchange.down.began_at = loop.time()
            self._speak()
            return
        if exchange.kind == "relay":
            ask = f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
            if exchange.at_once and (found := self._piece(exchange)):
                socket.send(ask + found[0], found[1])
            else:
                socket.send(ask)
            return
        upgrade = "websocket" if exchange.kind == "websocket" else "tcp"
        lines = [
            f"GET http://{host}{exchange.path} HTTP/1.1",
            f"Host: {host}",
            f"X-Exchange: {exchange.number}",
            "Connection: Upgrade",
            f"Upgrade: {upgrade}",
        ]
        if exchange.kind == "websocket":
            self.frames = WebsocketFrames(ConnectionType.CLIENT)
            lines += [f"Sec-WebSocket-Key: {HELLO_KEY}", "Sec-WebSocket-Version: 13"]
        socket.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    def ask(self, exchange: Exchange) -> None:
        raise NotImplementedError("one connection is one exchange")

    def data_received(self, data: bytes) -> None:
        if self._open:
            self.heard(data)
            return
        self._buffer += data
        head = head_of(self._buffer)
        if head is None or self.exchange is None:
            return
        status = int(head[0].split(" ")[1])
        self.exchange.got_status = status
        if status not in (101, 200):
            self._refused()
            return
        self.opened()
        if self._buffer:
            self.heard(bytes(self._buffer))

    def _refused(self) -> None:
        """It was answered and not opened."""
        exchange = self.exchange
        if exchange is not None:
            now = self.loop.time()
            exchange.down.lost_at = exchange.up.lost_at = now
        self.gone = True
        self.socket.close()


class RelayOrigin(RelayPeer):
    """What a tunnel leads to, or what agrees to an upgrade."""

    way = "down"

    def __init__(
        self,
        loop: VirtualLoop,
        socket: Socket,
        exchange: Exchange | None,
        find: Callable[[str], Exchange | None],
    ) -> None:
        super().__init__(loop, socket, exchange)
        self._find = find
        self.frames = Frames()
        if exchange is not None:
            exchange.reached_at = loop.time()
            exchange.origin_cancel = self.cancel
            if exchange.at_once:
                self.opened()

    def data_received(self, data: bytes) -> None:
        if self._open:
            self.heard(data)
            return
        if self.exchange is not None:  # a tunnel: it answers once it was spoken to
            self.opened()
            self.heard(data)
            return
        self._buffer += data
        head = head_of(self._buffer)
        if head is None:
            return
        exchange = self.exchange = self._find(head[0].split(" ")[1])
        if exchange is None:
            self.socket.reset()
            return
        exchange.reached_at = exchange.answered_at = self.loop.time()
        exchange.origin_cancel = self.cancel
        upgrade = head[1]["upgrade"]
        lines = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", f"Upgrade: {upgrade}"]
        if exchange.kind == "websocket":
            self.frames = WebsocketFrames(ConnectionType.SERVER)
            lines.append("Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=")
        answer = ("\r\n".join(lines) + "\r\n\r\n").encode()
        if exchange.at_once and (found := self._piece(exchange)):
            self.socket.send(answer + found[0], found[1])
        else:
            self.socket.send(answer)
        if self._buffer:
            self.heard(bytes(self._buffer))
        self.opened()
