"""Clients and origins that speak HTTP/1.1, by hand: no more of it than the proxy may meet here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .exchange import Answer, Exchange
from .loop import VirtualLoop
from .transport import Socket

type Find = Callable[[str], Exchange | None]


class Body:
    """Reads a body of that framing: `size` bytes, `chunked`, or all until the end."""

    def __init__(self, framing: str, size: int = 0) -> None:
        self.framing = framing
        self.left = size
        self.done = framing == "length" and size == 0
        self._in_chunk = False

    def read(self, buffer: bytearray) -> bytes:
        """Takes what belongs to the body out of the buffer."""
        if self.framing == "length":
            data = bytes(buffer[: self.left])
            del buffer[: len(data)]
            self.left -= len(data)
            self.done = not self.left
            return data
        if self.framing == "eof":
            data = bytes(buffer)
            buffer.clear()
            return data
        found: list[bytes] = []
        while not self.done:
            if not self._in_chunk:
                end = buffer.find(b"\r\n")
                if end < 0:
                    break
                if self.left < 0:  # the line after a chunk
                    del buffer[: end + 2]
                    self.left = 0
                    continue
                size = int(bytes(buffer[:end]), 16)
                if size == 0:
                    if len(buffer) < end + 4:
                        break
                    del buffer[: end + 4]
                    self.done = True
                    break
                del buffer[: end + 2]
                self.left, self._in_chunk = size, True
            data = bytes(buffer[: self.left])
            if not data:
                break
            del buffer[: len(data)]
            self.left -= len(data)
            found.append(data)
            if not self.left:
                self._in_chunk = False
                self.left = -1
        return b"".join(found)


def head_of(buffer: bytearray) -> tuple[str, dict[str, str]] | None:
    """The first line and the headers, taken out of the buffer once they are whole."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = bytes(buffer[:end]).decode().split("\r\n")
    del buffer[: end + 4]
    pairs = (line.split(":", 1) for line in lines)
    return first, {name.strip().lower(): value.strip() for name, value in pairs}


def body_of(headers: dict[str, str], otherwise: str) -> Body:
    if "chunked" in headers.get("transfer-encoding", ""):
        return Body("chunked")
    if "content-length" in headers:
        return Body("length", int(headers["content-length"]))
    return Body(otherwise)


class Http1Client:
    """One request after the other.  `tunnel`: asks for a CONNECT to that host first."""

    def __init__(self, loop: VirtualLoop, socket: Socket, tunnel: str | None = None) -> None:
        self.loop = loop
        self.socket = socket
        self.gone = False
        self._tunnel = tunnel
        self._tunnelled = tunnel is None
        self._waiting: deque[Exchange] = deque()
        self._now: Exchange | None = None
        self._body: Body | None = None
        self._buffer = bytearray()
        self._request_sent = False
        self._said_all = False
        socket.peer = self
        if tunnel is not None:
            socket.send(f"CONNECT {tunnel}:80 HTTP/1.1\r\nHost: {tunnel}:80\r\n\r\n".encode())

    def ask(self, exchange: Exchange) -> None:
        if self.gone:
            exchange.harm.add("no connection")
            exchange.down.lost_at = exchange.up.lost_at = self.loop.time()
            return
        self._waiting.append(exchange)
        self._ask_next()

    def _ask_next(self) -> None:
        if self._now is not None or not self._waiting or not self._tunnelled or self.gone:
            return
        exchange = self._now = self._waiting.popleft()
        if self._said_all:
            exchange.harm.add("client half-close")
        exchange.asked_at = self.loop.time()
        exchange.cancel = self.reset
        target = exchange.path if self._tunnel else f"http://{exchange.host}{exchange.path}"
        lines = [
            f"{exchange.method} {target} HTTP/1.1",
            f"Host: {exchange.host}",
            f"X-Exchange: {exchange.number}",
        ]
        if exchange.up_bytes:
            if exchange.up_framing == "chunked":
                lines.append("Transfer-Encoding: chunked")
            else:
                lines.append(f"Content-Length: {exchange.up_bytes}")
        self._body = None
        self._request_sent = False
        self.socket.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._send_body(exchange)

    def _send_body(self, exchange: Exchange) -> None:
        way = exchange.up
        if self._now is not exchange or self.gone:
            return
        chunked = exchange.up_framing == "chunked"
        step = 16 * 1024
        while way.sent < len(way.expected):
            piece = way.expected[way.sent : way.sent + step]
            way.sent += len(piece)
            told = takes(self.loop, exchange, "up", len(piece))
            self.socket.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece, told)
            if exchange.slow_up:
                self.loop.call_later(exchange.slow_up, self._send_body, exchange)
                return
        if way.expected and chunked:
            self.socket.send(b"0\r\n\r\n")
        way.sent_all = True
        self._request_sent = True
        self._maybe_done()

    # -- the response

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._read():
            pass

    def _read(self) -> bool:
        if not self._tunnelled:
            if head_of(self._buffer) is None:
                return False
            self._tunnelled = True
            self._ask_next()
            return True
        exchange = self._now
        if exchange is None:
            return False
        if self._body is None:
            head = head_of(self._buffer)
            if head is None:
                return False
            status = int(head[0].split(" ")[1])
            if 100 <= status < 200:
                return True
            exchange.got_status = status
            exchange.down.began_at = self.loop.time()
            if exchange.method == "HEAD" or status in (204, 304):
                self._body = Body("length", 0)
            else:
                self._body = body_of(head[1], "eof")
                exchange.ends_with_connection = self._body.framing == "eof"
        exchange.down.came(self._body.read(self._buffer), self.loop.time())
        if self._body.done and exchange.down.complete_at is None:
            exchange.down.complete_at = self.loop.time()
        self._maybe_done()
        return self._now is None and bool(self._buffer)

    def _maybe_done(self) -> None:
        exchange = self._now
        if exchange is None or exchange.down.complete_at is None:
            return
        if self._request_sent or exchange.up.is_over:
            self._now = None
            exchange.cancel = None
            self._ask_next()

    def eof_received(self) -> None:
        exchange, body = self._now, self._body
        if exchange is not None and body is not None and body.framing == "eof":
            if exchange.down.complete_at is None:
                exchange.down.complete_at = self.loop.time()
            self._now = None
        self._lose()
        self.socket.close()

    def connection_lost(self) -> None:
        self._lose()

    def _lose(self) -> None:
        self.gone = True
        for exchange in (self._now, *self._waiting):
            if exchange is not None:
                if exchange is not self._now:
                    exchange.harm.add("no connection")
                if exchange.down.complete_at is None:
                    exchange.down.lost_at = self.loop.time()
        self._now = None
        self._waiting.clear()

    # -- what a client may do

    def _harm(self, what: str) -> None:
        if self._now is not None:
            self._now.harm.add(what)
            if len(self._now.up.expected) > self._now.up.taken:
                self._now.up.lost_at = self._now.up.lost_at or self.loop.time()

    def reset(self) -> None:
        self._harm("client reset")
        self._lose()
        self.socket.reset()

    def close(self) -> None:
        self._harm("client close")
        self._lose()
        self.socket.close()

    def half_close(self) -> None:
        self._harm("client half-close")
        self._said_all = True
        self.socket.send_eof()


def takes(loop: VirtualLoop, exchange: Exchange, way: str, size: int) -> Callable[[], None]:
    """To be called when the proxy has got so many bytes of a body."""
    body = exchange.up if way == "up" else exchange.down

    def taken() -> None:
        body.taken += size
        body.taken_at = loop.time()

    return taken


class Http1Origin:
    """Answers what it is asked, as the exchange says."""

    def __init__(self, loop: VirtualLoop, socket: Socket, find: Find) -> None:
        self.loop = loop
        self.socket = socket
        self.gone = False
        self._find = find
        self._buffer = bytearray()
        self._exchange: Exchange | None = None
        self._body: Body | None = None
        self._answer: Answer | None = None
        self._got_all = False
        self._chunked = False
        socket.peer = self

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._read():
            pass

    def _read(self) -> bool:
        if self._exchange is None:
            head = head_of(self._buffer)
            if head is None:
                return False
            exchange = self._find(head[0].split(" ")[1])
            if exchange is None:
                self.socket.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                return True
            self._exchange = exchange
            exchange.reached_at = exchange.up.began_at = self.loop.time()
            exchange.origin_cancel = self._cancel
            self._body = body_of(head[1], "length")
            self._got_all = False
            self._answer = Answer(self.loop, exchange, self)
            if exchange.early:
                self._answer.start()
        assert self._body is not None
        exchange = self._exchange
        exchange.up.came(self._body.read(self._buffer), self.loop.time())
        if self._body.done and not self._got_all:
            self._got_all = True
            exchange.up.complete_at = self.loop.time()
            if not exchange.early and self._answer is not None:
                self._answer.start()
            self._maybe_done()
        return self._exchange is None and bool(self._buffer)

    def _maybe_done(self) -> None:
        if self._got_all and (self._answer is None or self._answer.over):
            self._exchange = self._answer = None

    # -- the answer

    def head(self, exchange: Exchange) -> None:
        lines = [f"HTTP/1.1 {exchange.status} OK"]
        if exchange.content_type is not None:
            lines.append(f"Content-Type: {exchange.content_type}")
        self._chunked = False
        if exchange.status in (204, 304):
            pass
        elif exchange.method == "HEAD" or exchange.framing == "length":
            lines.append(f"Content-Length: {exchange.down_bytes}")
        elif exchange.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
            self._chunked = True
        else:
            lines.append("Connection: close")
        self.socket.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    def data(self, exchange: Exchange, data: bytes) -> int:
        told = takes(self.loop, exchange, "down", len(data))
        exchange.down.sent += len(data)
        self.socket.send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data, told)
        return len(data)

    def end(self, exchange: Exchange) -> None:
        if self._chunked:
            self.socket.send(b"0\r\n\r\n")
        elif exchange.framing == "eof" and exchange.method != "HEAD":
            self.socket.close()
            self.gone = True
        self._maybe_done()

    def abort(self, exchange: Exchange, how: str) -> None:
        self.gone = True
        if how == "close":
            self.socket.close()
        else:
            self.socket.reset()

    def _cancel(self, how: str) -> None:
        """Somebody pulls the plug now."""
        if self._exchange is not None and not self.gone:
            self._exchange.harm.add(f"origin {how}")
            self._stop()
            self.abort(self._exchange, how)

    def eof_received(self) -> None:
        self._stop()
        self.gone = True
        self.socket.close()

    def connection_lost(self) -> None:
        self._stop()
        self.gone = True

    def _stop(self) -> None:
        if self._answer is not None:
            self._answer.stop()
        if self._exchange is not None and not self._got_all:
            self._exchange.up.lost_at = self.loop.time()

    def close(self) -> None:
        self._cancel("close")
        self.socket.close()
