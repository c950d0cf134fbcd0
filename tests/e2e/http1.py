"""An HTTP/1 client on a socket: h11 parses, the clock is read at each `recv`.

Rule: one request after the other on one connection, as they are, with whatever end they take.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Sequence

import h11

from mitmthrottle.lab.proxy import RunningProxy

from . import dial
from .answer import COMPLETE, OPEN, RESET, TRUNCATED, Answer

_READ_BYTES = 1 << 16


class Http1:
    """One connection. `keep=False` counts bodies without keeping them."""

    def __init__(self, sock: socket.socket, host: str, *, secure: bool, keep: bool = True) -> None:
        self.sock = sock
        self.host = host
        self._secure = secure
        self._keep = keep
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        self._read_at = 0.0

    def send(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        raw: bytes | None = None,
    ) -> None:
        """Send a request; `raw` is sent in its place, as it stands."""
        if self._http.our_state is not h11.IDLE:
            self._http.start_next_cycle()
        target = path if self._secure else f"http://{self.host}{path}"
        request = h11.Request(method=method, target=target, headers=[("Host", self.host), *headers])
        data = self._http.send(request)
        if body:
            data += self._http.send(h11.Data(data=body))
        data += self._http.send(h11.EndOfMessage())
        self.sock.sendall(data if raw is None else raw)

    def receive(self, *, until: float | None = None) -> Answer:
        """The response, or as much of it as comes before `until` (time.perf_counter)."""
        answer = Answer()
        while answer.end == OPEN:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                answer.ends(TRUNCATED)
                break
            if event is h11.NEED_DATA:
                if not self._read(answer, until):
                    break
            elif isinstance(event, h11.InformationalResponse):
                answer.early.append((event.status_code, event.headers.raw_items()))
                if event.status_code == 101:
                    answer.ends(COMPLETE)
            elif isinstance(event, h11.Response):
                answer.status, answer.reason = event.status_code, bytes(event.reason)
                answer.http_version = "HTTP/" + event.http_version.decode()
                answer.headers = event.headers.raw_items()
                answer.headers_at = self._read_at
            elif isinstance(event, h11.Data):
                answer.arrived(bytes(event.data), self._read_at, self._keep)
            elif isinstance(event, h11.EndOfMessage):
                answer.trailers = event.headers.raw_items()
                answer.ends(COMPLETE)
            else:
                answer.ends(TRUNCATED)
        return answer

    def get(
        self, path: str, headers: Sequence[tuple[str, str]] = (), *, until: float | None = None
    ) -> Answer:
        sent_at = time.perf_counter()
        self.send("GET", path, headers)
        answer = self.receive(until=until)
        answer.sent_at = sent_at
        return answer

    def closes(self, within_s: float) -> bool:
        """Whether the other side closes (or resets) within that time, sending nothing more."""
        self.sock.settimeout(within_s)
        try:
            return self.sock.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        self.sock.close()

    def _read(self, answer: Answer, until: float | None) -> bool:
        if until is None:
            self.sock.settimeout(dial.TIMEOUT_S)
        else:
            left = until - time.perf_counter()
            if left <= 0:
                return False
            self.sock.settimeout(left)
        try:
            data = self.sock.recv(_READ_BYTES)
        except TimeoutError:
            if until is None:
                raise
            return False
        except ssl.SSLError:
            answer.ends(TRUNCATED)
            return False
        except ConnectionError:
            answer.ends(RESET)
            return False
        self._read_at = time.perf_counter()
        self._http.receive_data(data)
        return True


def http1(
    proxy: RunningProxy,
    host: str,
    *,
    secure: bool,
    source: str = "127.0.0.1",
    keep: bool = True,
) -> Http1:
    """Connect through the proxy."""
    if secure:
        sock: socket.socket = dial.tunnel(proxy, host, "http/1.1", source=source)
    else:
        sock = dial.plain(proxy, source=source)
    return Http1(sock, host, secure=secure, keep=keep)
