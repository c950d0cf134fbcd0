"""Clients that upload, over HTTP/1 and HTTP/2: all of a body, or as much as goes in a time.

Rule: they send as fast as they are let, so what is slow is not the client.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events

from mitmthrottle.lab.noise import noise
from mitmthrottle.lab.proxy import RunningProxy

from . import dial
from .http1 import http1

_READ_BYTES = 1 << 16
_PIECE_BYTES = 1 << 14


@dataclass
class Uploaded:
    """How an upload went. Times in seconds."""

    status: int = 0
    body: bytes = b""
    taken_bytes: int = 0
    """what the proxy and the two kernels had taken off our hands"""
    duration_s: float = 0.0
    """from sending the request to the end of the answer"""


def upload(
    proxy: RunningProxy,
    host: str,
    path: str,
    size: int,
    *,
    protocol: str,
    secure: bool = True,
    source: str = "127.0.0.1",
    for_s: float = dial.TIMEOUT_S,
) -> Uploaded:
    """POST `size` bytes of noise; leave after `for_s` seconds if it is not over by then."""
    until = time.perf_counter() + for_s
    if protocol == "h2":
        sock = dial.tunnel(proxy, host, "h2", source=source)
        return _upload_http2(sock, host, path, size, until)
    return _upload_http1(proxy, host, path, size, secure, source, until)


def _upload_http1(
    proxy: RunningProxy, host: str, path: str, size: int, secure: bool, source: str, until: float
) -> Uploaded:
    client = http1(proxy, host, secure=secure, source=source)
    started = time.perf_counter()
    result = Uploaded()
    target = path if secure else f"http://{host}{path}"
    head = (
        f"POST {target} HTTP/1.1\r\nHost: {host}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
    )
    # The client's own parser must know what was asked to read the answer.
    client.send("POST", path, [("Content-Length", "0")], raw=head.encode())
    try:
        while result.taken_bytes < size:
            client.sock.settimeout(max(0.001, until - time.perf_counter()))
            piece = noise(result.taken_bytes, min(result.taken_bytes + _PIECE_BYTES, size))
            result.taken_bytes += client.sock.send(piece)
    except (TimeoutError, ssl.SSLWantWriteError):
        pass
    except ConnectionError:
        pass  # refused half-way: the answer says why, if it came
    answer = client.receive(until=until)
    client.close()
    result.status, result.body = answer.status, bytes(answer.body)
    result.duration_s = time.perf_counter() - started
    return result


def _upload_http2(sock: ssl.SSLSocket, host: str, path: str, size: int, until: float) -> Uploaded:
    client = Http2Upload(sock, host)
    started = time.perf_counter()
    result = Uploaded(taken_bytes=client.send(size, path, until=until))
    result.status, result.body = client.status, client.body
    sock.close()
    result.duration_s = time.perf_counter() - started
    return result


class Http2Upload:
    """An HTTP/2 connection for one upload after the other."""

    def __init__(self, sock: ssl.SSLSocket, host: str) -> None:
        self.status, self.body = 0, b""
        self._sock, self._host = sock, host
        self._over = False
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._http.initiate_connection()

    def send(self, size: int, path: str = "/", *, until: float) -> int:
        """POST so many bytes; how many were taken off our hands until the answer's end, or `until`
        (time.perf_counter)."""
        http = self._http
        self.status, self.body, self._over = 0, b"", False
        stream = http.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", self._host),
            (":path", path),
            ("content-type", "application/octet-stream"),
            ("content-length", str(size)),
        ]
        http.send_headers(stream, headers)
        taken = 0
        while not self._over and (left := until - time.perf_counter()) > 0:
            while not self._over and taken < size and (room := self._room(stream)):
                stop = min(taken + room, size)
                http.send_data(stream, noise(taken, stop), end_stream=stop == size)
                taken = stop
            self._sock.settimeout(left)
            try:
                self._sock.sendall(http.data_to_send())
                data = self._sock.recv(_READ_BYTES)
            except TimeoutError:
                break
            if not data:
                break
            for event in http.receive_data(data):
                self._handle(event, stream)
        return taken

    def _room(self, stream: int) -> int:
        window = self._http.local_flow_control_window(stream)
        return min(window, self._http.max_outbound_frame_size, _PIECE_BYTES)

    def _handle(self, event: h2.events.Event, stream: int) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self.status = int({bytes(name): value for name, value in event.headers}[b":status"])
        elif isinstance(event, h2.events.DataReceived):
            self.body += event.data
            self._http.acknowledge_received_data(event.flow_controlled_length, stream)
        elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
            self._over = True
