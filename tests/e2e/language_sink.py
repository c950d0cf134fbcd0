"""An origin for uploads: it notes when how much of each request's body came, and answers with what
it got. Plain HTTP/1, HTTP/1 in TLS and HTTP/2, a thread for each connection.

Rule: it reads as fast as it can, so whatever holds a body up is not here; it runs until its block
ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h11
import trustme

_READ_BYTES = 1 << 16
_IDLE_S = 60.0


@dataclass
class Received:
    """One request as it came. Times are of `time.perf_counter`."""

    method: str
    path: str
    http_version: str
    headers_at: float
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    complete: bool = False
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def size(self) -> int:
        return sum(size for _, size in self.arrivals)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def add(self, data: bytes) -> None:
        self.arrivals.append((time.perf_counter(), len(data)))
        self._hash.update(data)


@dataclass
class Sink:
    """What one needs to know of it."""

    port: int
    plain_port: int
    received: list[Received] = field(default_factory=list)

    def last(self, path: str) -> Received:
        """The latest request for that path."""
        return [each for each in self.received if each.path == path][-1]


@contextlib.contextmanager
def running_sink(hosts: Sequence[str], authority: trustme.CA) -> Iterator[Sink]:
    """Take uploads for these names until the block ends. `/early` answers 413 at the headers,
    `/status/503` with that status, `/type/image/png` with that type (these two over HTTP/1)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*hosts).configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_server(("127.0.0.1", 0), backlog=256) as secure,
        socket.create_server(("127.0.0.1", 0), backlog=256) as plain,
    ):
        sink = Sink(secure.getsockname()[1], plain.getsockname()[1])
        for listener, trust in ((secure, context), (plain, None)):
            threading.Thread(target=_accept, args=(sink, listener, trust), daemon=True).start()
        yield sink
        # close() alone does not end a blocked accept()
        for listener in (secure, plain):
            listener.shutdown(socket.SHUT_RDWR)


def _accept(sink: Sink, listener: socket.socket, trust: ssl.SSLContext | None) -> None:
    with contextlib.suppress(OSError):  # the listener was closed: the end
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=_serve, args=(sink, sock, trust), daemon=True).start()


def _serve(sink: Sink, sock: socket.socket, trust: ssl.SSLContext | None) -> None:
    sock.settimeout(_IDLE_S)
    with contextlib.suppress(OSError):  # clients leave as they please
        if trust is not None:
            sock = trust.wrap_socket(sock, server_side=True)
        with sock:
            if isinstance(sock, ssl.SSLSocket) and sock.selected_alpn_protocol() == "h2":
                _serve_http2(sink, sock)
            else:
                _serve_http1(sink, sock)


def _serve_http1(sink: Sink, sock: socket.socket) -> None:
    http = h11.Connection(h11.SERVER)
    received: Received | None = None
    status = 200
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            data = sock.recv(_READ_BYTES)
            with contextlib.suppress(h11.RemoteProtocolError):
                http.receive_data(data)
                if data:
                    continue
            return
        if isinstance(event, h11.Request):
            path = event.target.decode()
            received = Received(event.method.decode(), path, "1.1", time.perf_counter())
            sink.received.append(received)
            if path.startswith("/early"):
                sock.sendall(_answer(http, received, 413))
                return
            status = int(path[8:]) if path.startswith("/status/") else 200
        elif isinstance(event, h11.Data) and received is not None:
            received.add(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage) and received is not None:
            received.complete = True
            sock.sendall(_answer(http, received, status))
            http.start_next_cycle()
        else:
            return


def _answer(http: h11.Connection, received: Received, status: int) -> bytes:
    body = _said(received)
    kind = received.path[6:] if received.path.startswith("/type/") else "text/plain"
    head = h11.Response(
        status_code=status, headers=[("Content-Type", kind), ("Content-Length", str(len(body)))]
    )
    return b"".join(
        http.send(event) or b"" for event in (head, h11.Data(data=body), h11.EndOfMessage())
    )


def _serve_http2(sink: Sink, sock: ssl.SSLSocket) -> None:
    http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    http.initiate_connection()
    streams: dict[int, Received] = {}
    while True:
        sock.sendall(http.data_to_send())
        data = sock.recv(_READ_BYTES)
        if not data:
            return
        for event in http.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                headers = {bytes(name).decode(): bytes(value) for name, value in event.headers}
                method, path = headers[":method"].decode(), headers[":path"].decode()
                received = Received(method, path, "2", time.perf_counter())
                streams[event.stream_id] = received
                sink.received.append(received)
            elif isinstance(event, h2.events.DataReceived):
                streams[event.stream_id].add(event.data)
                http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                received = streams[event.stream_id]
                received.complete = True
                head = [(":status", "200"), ("content-type", "text/plain")]
                http.send_headers(event.stream_id, head)
                http.send_data(event.stream_id, _said(received), end_stream=True)


def _said(received: Received) -> bytes:
    return f"{received.size} {received.digest}".encode()
