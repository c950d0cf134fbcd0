"""Clients and origins that speak HTTP/2, by the h2 library.

In the place of TLS's ALPN the simulation sets `alpn` on mitmproxy's connections, see wiring.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import h2.stream

from .exchange import Answer, Exchange
from .loop import VirtualLoop
from .peers_http1 import Find, head_of, takes
from .transport import Socket

WINDOW = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE


class Http2Peer:
    """What both ends of HTTP/2 do alike.  `window`: how much of each stream it lets come."""

    is_origin = False

    def __init__(self, loop: VirtualLoop, socket: Socket, window: int, *, client: bool) -> None:
        self.loop = loop
        self.socket = socket
        self.gone = False
        config = h2.config.H2Configuration(
            client_side=client,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            validate_inbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)
        self.h2.local_settings = h2.settings.Settings(
            client=client,
            initial_values={WINDOW: window, h2.settings.SettingCodes.ENABLE_PUSH: 0}
            if client
            else {WINDOW: window},
        )
        self.by_stream: dict[int, Exchange] = {}
        self.stream_of: dict[int, int] = {}
        self.credits = True  # tells the proxy that it may send more of what was read
        self._uncredited: dict[int, int] = {}
        socket.peer = self

    def begin(self) -> None:
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(1 << 30)
        self.flush()

    def flush(self, then: Callable[[], None] | None = None) -> None:
        if data := self.h2.data_to_send():
            self.socket.send(data, then)
        elif then is not None:
            then()

    def data_received(self, data: bytes) -> None:
        if self.gone:
            return
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            # (mitmproxy's own error pages have a body in answer to a HEAD, too.)
            known = any(exchange.method == "HEAD" for exchange in self.by_stream.values())
            self.socket.reset()
            for exchange in self.by_stream.values():
                exchange.harm.add("origin protocol" if self.is_origin else "client protocol")
            self.lose()
            if known:
                return
            raise AssertionError(f"the proxy breaks HTTP/2: {error!r}") from error
        for event in events:
            if isinstance(event, h2.events.DataReceived):
                self._credit(event.stream_id, event.flow_controlled_length)
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.lose()
                self.socket.close()
                return
            self.on(event)
        self.after()
        self.flush()

    def _credit(self, stream_id: int, size: int) -> None:
        if not size:
            return
        if not self.credits:
            self._uncredited[stream_id] = self._uncredited.get(stream_id, 0) + size
            return
        self.h2.acknowledge_received_data(size, stream_id)

    def credit_again(self) -> None:
        """Reads on, where it had stopped."""
        self.credits = True
        if self.gone:
            return
        owed, self._uncredited = self._uncredited, {}
        for stream_id, size in owed.items():
            self.h2.acknowledge_received_data(size, stream_id)
        self.flush()

    @property
    def window(self) -> int:
        """What a new stream of its peer may send."""
        return int(self.h2.local_settings.initial_window_size)

    def change_window(self, size: int) -> None:
        # (h2 cannot take a window back that is in use, though the protocol could.)
        if not self.gone and (size >= self.window or not self.by_stream):
            self.h2.update_settings({WINDOW: size})
            self.flush()

    def on(self, event: h2.events.Event) -> None:
        raise NotImplementedError

    def after(self) -> None:
        pass

    def room(self, stream_id: int) -> int:
        """What may be sent there at once."""
        try:
            window = self.h2.local_flow_control_window(stream_id)
        except h2.exceptions.ProtocolError:
            return 0
        return min(window, self.h2.max_outbound_frame_size)

    def may_send(self, stream_id: int) -> bool:
        stream = self.h2.streams.get(stream_id)
        return (
            not self.gone
            and stream is not None
            and stream.state_machine.state
            in (h2.stream.StreamState.OPEN, h2.stream.StreamState.HALF_CLOSED_REMOTE)
        )

    def reset_stream(self, stream_id: int) -> None:
        stream = self.h2.streams.get(stream_id)
        if self.gone or stream is None or stream.closed:
            return
        self.h2.reset_stream(stream_id, h2.errors.ErrorCodes.CANCEL)
        self.flush()

    def eof_received(self) -> None:
        self.lose()
        self.socket.close()

    def connection_lost(self) -> None:
        self.lose()

    def lose(self) -> None:
        raise NotImplementedError

    def goaway(self) -> None:
        if not self.gone:
            self.h2.close_connection()
            self.flush()
            self.lose()
            self.socket.close()


class Http2Client(Http2Peer):
    """Many requests at once on one connection, perhaps inside a CONNECT."""

    def __init__(
        self, loop: VirtualLoop, socket: Socket, window: int, tunnel: str | None = None
    ) -> None:
        super().__init__(loop, socket, window, client=True)
        self._tunnel = tunnel
        self._tunnelled = tunnel is None
        self._early = bytearray()
        self._waiting: deque[Exchange] = deque()
        self._no_window: set[int] = set()
        self._said_all = False
        if tunnel is None:
            self.begin()
        else:
            socket.send(f"CONNECT {tunnel}:80 HTTP/1.1\r\nHost: {tunnel}:80\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        if not self._tunnelled:
            self._early += data
            if head_of(self._early) is None:
                return
            self._tunnelled = True
            data = bytes(self._early)
            self.begin()
            while self._waiting:
                self._ask(self._waiting.popleft())
        super().data_received(data)

    def ask(self, exchange: Exchange) -> None:
        if self.gone:
            exchange.harm.add("no connection")
            exchange.down.lost_at = exchange.up.lost_at = self.loop.time()
        elif self._tunnelled:
            self._ask(exchange)
        else:
            self._waiting.append(exchange)

    def _ask(self, exchange: Exchange) -> None:
        exchange.asked_at = self.loop.time()
        if self._said_all:
            exchange.harm.add("client half-close")
        stream_id = self.h2.get_next_available_stream_id()
        self.by_stream[stream_id] = exchange
        self.stream_of[exchange.number] = stream_id
        exchange.cancel = lambda: self.cancel(exchange)
        headers = [
            (":method", exchange.method),
            (":scheme", "http"),
            (":authority", exchange.host),
            (":path", exchange.path),
            ("x-exchange", str(exchange.number)),
        ]
        # Without it mitmproxy gives an HTTP/1 origin no way to tell where the body ends.
        framed = exchange.up_framing == "length" or not exchange.host.endswith("2.test")
        if exchange.up_bytes and framed:
            headers.append(("content-length", str(exchange.up_bytes)))
        encoded = [(name.encode(), value.encode()) for name, value in headers]
        self.h2.send_headers(stream_id, encoded, end_stream=not exchange.up_bytes)
        if not exchange.up_bytes:
            exchange.up.sent_all = True
        self.flush()
        self._send_body(exchange)

    def _send_body(self, exchange: Exchange) -> None:
        way, stream_id = exchange.up, self.stream_of[exchange.number]
        while way.sent < len(way.expected) and self.may_send(stream_id):
            room = self.room(stream_id)
            if room <= 0:
                self._no_window.add(exchange.number)
                return
            self._no_window.discard(exchange.number)
            piece = way.expected[way.sent : way.sent + min(room, 16_384)]
            way.sent += len(piece)
            way.sent_all = way.sent == len(way.expected)
            self.h2.send_data(stream_id, piece, end_stream=way.sent_all)
            self.flush(takes(self.loop, exchange, "up", len(piece)))
            if exchange.slow_up and not way.sent_all:
                self.loop.call_later(exchange.slow_up, self._send_body, exchange)
                return

    def after(self) -> None:
        for exchange in self.by_stream.values():
            if not exchange.up.sent_all and exchange.number in self._no_window:
                self._send_body(exchange)

    def on(self, event: h2.events.Event) -> None:
        stream_id = getattr(event, "stream_id", 0) or 0
        exchange = self.by_stream.get(stream_id)
        if exchange is None:
            return
        now, way = self.loop.time(), exchange.down
        if isinstance(event, h2.events.ResponseReceived):
            fields = {str(name): str(value) for name, value in event.headers or ()}
            exchange.got_status = int(fields[":status"])
            way.began_at = now
        elif isinstance(event, h2.events.DataReceived):
            way.came(bytes(event.data), now)
        elif isinstance(event, h2.events.StreamEnded):
            way.complete_at = now
            exchange.cancel = None
            if exchange.up.sent_all:
                self._forget(stream_id)
        elif isinstance(event, h2.events.StreamReset):
            if way.complete_at is None:
                way.lost_at = now
            self._forget(stream_id)

    def _forget(self, stream_id: int) -> None:
        exchange = self.by_stream.pop(stream_id, None)
        if exchange is not None:
            exchange.cancel = None

    def lose(self) -> None:
        self.gone = True
        for exchange in (*self.by_stream.values(), *self._waiting):
            exchange.cancel = None
            if exchange.down.complete_at is None:
                exchange.down.lost_at = self.loop.time()
        for exchange in self._waiting:
            exchange.harm.add("no connection")
        self.by_stream.clear()
        self._waiting.clear()

    # -- what a client may do

    def cancel(self, exchange: Exchange) -> None:
        """RST_STREAM."""
        stream_id = self.stream_of[exchange.number]
        exchange.harm.add("client rst")
        if exchange.down.complete_at is None:
            exchange.down.lost_at = self.loop.time()
        self.reset_stream(stream_id)
        self._forget(stream_id)

    def _harm_all(self, what: str) -> None:
        for exchange in (*self.by_stream.values(), *self._waiting):
            exchange.harm.add(what)

    def reset(self) -> None:
        self._harm_all("client reset")
        self.lose()
        self.socket.reset()

    def close(self) -> None:
        self._harm_all("client close")
        self.lose()
        self.socket.close()

    def half_close(self) -> None:
        self._harm_all("client half-close")
        self._said_all = True
        self.socket.send_eof()

    def leave(self) -> None:
        self._harm_all("client goaway")
        self.goaway()


class Http2Origin(Http2Peer):
    """Answers each stream as its exchange says, as its windows allow."""

    is_origin = True

    def __init__(self, loop: VirtualLoop, socket: Socket, window: int, find: Find) -> None:
        super().__init__(loop, socket, window, client=False)
        self._find = find
        self._answers: dict[int, Answer] = {}
        self._greeted = False

    def data_received(self, data: bytes) -> None:
        # Behind a CONNECT mitmproxy takes a server that speaks first for one that is not HTTP.
        if not self._greeted:
            self._greeted = True
            self.begin()
        super().data_received(data)

    def on(self, event: h2.events.Event) -> None:
        stream_id = getattr(event, "stream_id", 0) or 0
        now = self.loop.time()
        if isinstance(event, h2.events.RequestReceived):
            fields = {str(name): str(value) for name, value in event.headers or ()}
            exchange = self._find(fields[":path"])
            if exchange is None:
                self.h2.send_headers(stream_id, [(":status", "404")], end_stream=True)
                return
            exchange.reached_at = exchange.up.began_at = now
            exchange.origin_cancel = lambda how: self._cancel(exchange, how)
            self.by_stream[stream_id] = exchange
            self.stream_of[exchange.number] = stream_id
            self._answers[stream_id] = Answer(self.loop, exchange, self)
            if exchange.early:
                self._answers[stream_id].start()
            return
        known = self.by_stream.get(stream_id)
        if known is None:
            return
        if isinstance(event, h2.events.DataReceived):
            known.up.came(bytes(event.data), now)
        elif isinstance(event, h2.events.StreamEnded):
            known.up.complete_at = now
            if not known.early:
                self._answers[stream_id].start()
            elif stream_id not in self._answers:
                self._forget(stream_id)
        elif isinstance(event, h2.events.StreamReset):
            if known.up.complete_at is None:
                known.up.lost_at = now
            self._forget(stream_id)

    def after(self) -> None:
        for answer in list(self._answers.values()):
            answer.go_on()

    def _forget(self, stream_id: int) -> None:
        self.by_stream.pop(stream_id, None)
        if answer := self._answers.pop(stream_id, None):
            answer.stop()

    # -- the answer

    def head(self, exchange: Exchange) -> None:
        stream_id = self.stream_of[exchange.number]
        headers = [(":status", str(exchange.status))]
        if exchange.content_type is not None:
            headers.append(("content-type", exchange.content_type))
        if exchange.framing == "length" and exchange.status not in (204, 304):
            headers.append(("content-length", str(exchange.down_bytes)))
        if self.may_send(stream_id):
            empty = not exchange.down.expected and exchange.ends is None
            self.h2.send_headers(stream_id, headers, end_stream=empty and not exchange.trailers)
            self.flush()

    def data(self, exchange: Exchange, data: bytes) -> int:
        stream_id = self.stream_of[exchange.number]
        if not self.may_send(stream_id):
            return 0
        room = self.room(stream_id)
        if room <= 0:
            return 0
        piece = data[:room]
        exchange.down.sent += len(piece)
        last = exchange.down.sent == len(exchange.down.expected)
        ends = last and exchange.ends is None and not exchange.trailers
        self.h2.send_data(stream_id, piece, end_stream=ends)
        self.flush(takes(self.loop, exchange, "down", len(piece)))
        return len(piece)

    def end(self, exchange: Exchange) -> None:
        stream_id = self.stream_of[exchange.number]
        if exchange.trailers and self.may_send(stream_id):
            self.h2.send_headers(stream_id, [("x-trailer", "1")], end_stream=True)
            self.flush()
        if exchange.up.complete_at is not None:
            self._forget(stream_id)
        else:
            self._answers.pop(stream_id, None)

    def abort(self, exchange: Exchange, how: str) -> None:
        if how == "rst":
            stream_id = self.stream_of[exchange.number]
            self.reset_stream(stream_id)
            self._forget(stream_id)
            return
        self._harm_all(f"origin {how}")
        if how == "goaway":
            self.goaway()
            return
        self.lose()
        if how == "close":
            self.socket.close()
        else:
            self.socket.reset()

    def _harm_all(self, what: str) -> None:
        others: Iterable[Exchange] = self.by_stream.values()
        for exchange in others:
            exchange.harm.add(what)

    def _cancel(self, exchange: Exchange, how: str) -> None:
        if not self.gone and exchange.number in self.stream_of:
            exchange.harm.add(f"origin {how}")
            self.abort(exchange, how)

    def lose(self) -> None:
        self.gone = True
        for exchange in self.by_stream.values():
            if exchange.up.complete_at is None:
                exchange.up.lost_at = self.loop.time()
        for answer in self._answers.values():
            answer.stop()
        self.by_stream.clear()
        self._answers.clear()

    def close(self) -> None:
        self._harm_all("origin close")
        self.lose()
        self.socket.close()
