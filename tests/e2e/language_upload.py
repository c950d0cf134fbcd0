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
    http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    http.initiate_connection()
    stream = http.get_next_available_stream_id()
    headers = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", host),
        (":path", path),
        ("content-type", "application/octet-stream"),
        ("content-length", str(size)),
    ]
    http.send_headers(stream, headers)
    result = Uploaded()
    started = time.perf_counter()
    over = False
    while not over and (left := until - time.perf_counter()) > 0:
        while result.taken_bytes < size and (
            room := min(
                http.local_flow_control_window(stream), http.max_outbound_frame_size, _PIECE_BYTES
            )
        ):
            stop = min(result.taken_bytes + room, size)
            http.send_data(stream, noise(result.taken_bytes, stop), end_stream=stop == size)
            result.taken_bytes = stop
        sock.settimeout(left)
        try:
            sock.sendall(http.data_to_send())
            data = sock.recv(_READ_BYTES)
        except TimeoutError:
            break
        if not data:
            break
        for event in http.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                result.status = int({bytes(n): v for n, v in event.headers}[b":status"])
            elif isinstance(event, h2.events.DataReceived):
                result.body += event.data
                http.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                over = True
    sock.close()
    result.duration_s = time.perf_counter() - started
    return result
