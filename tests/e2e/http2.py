"""An HTTP/2 client on a socket: h2 parses, the clock is read at each `recv`.

Rule: one thread reads one connection; many streams may be under way on it.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Sequence

import h2.config
import h2.connection
import h2.events
import h2.settings

from mitmthrottle.lab.proxy import RunningProxy

from . import dial
from .answer import COMPLETE, OPEN, RESET, TRUNCATED, Answer

WINDOW_BYTES = 6 * 1024 * 1024
"""What Chromium announces for a stream."""
_CONNECTION_WINDOW_BYTES = 256 * 1024 * 1024  # as large as all streams together may need
_READ_BYTES = 1 << 16


class Http2:
    """One connection. `keep=False` counts bodies without keeping them."""

    def __init__(
        self, sock: ssl.SSLSocket, host: str, *, keep: bool = True, window: int = WINDOW_BYTES
    ) -> None:
        self.sock = sock
        self.host = host
        self.streams: dict[int, Answer] = {}
        self._keep = keep
        self._http = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
            )
        )
        self._http.initiate_connection()
        self._http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self._http.increment_flow_control_window(_CONNECTION_WINDOW_BYTES)
        self._flush()

    def send(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> Answer:
        """Send a request; the answer fills while `run` reads."""
        stream = self._http.get_next_available_stream_id()
        pseudo = [
            (":method", method),
            (":scheme", "https"),
            (":authority", self.host),
            (":path", path),
        ]
        self._http.send_headers(stream, [*pseudo, *headers], end_stream=body is None)
        if body is not None:
            self._http.send_data(stream, body, end_stream=True)
        answer = self.streams[stream] = Answer()
        self._flush()
        return answer

    def cancel(self, answer: Answer) -> None:
        """RST_STREAM: this one is not wanted any more."""
        stream = next(number for number, each in self.streams.items() if each is answer)
        self._http.reset_stream(stream, error_code=8)
        answer.ends("cancelled")
        self._flush()

    def run(self, done: Callable[[], bool], *, until: float | None = None) -> bool:
        """Read until `done()`; False if `until` (time.perf_counter) or the end comes first."""
        deadline = time.perf_counter() + dial.TIMEOUT_S if until is None else until
        while not done():
            left = deadline - time.perf_counter()
            if left <= 0:
                if until is None:
                    raise TimeoutError("nothing for 30 s")
                return False
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(_READ_BYTES)
            except TimeoutError:
                continue
            except ssl.SSLError:
                self._over(TRUNCATED)
                return done()
            except ConnectionError:
                self._over(RESET)
                return done()
            if not data:
                self._over(TRUNCATED)
                return done()
            at = time.perf_counter()
            for event in self._http.receive_data(data):
                self._handle(event, at)
            self._flush()
        return True

    def get(
        self, path: str, headers: Sequence[tuple[str, str]] = (), *, until: float | None = None
    ) -> Answer:
        answer = self.send("GET", path, headers)
        self.run(lambda: answer.end != OPEN, until=until)
        return answer

    def close(self) -> None:
        self.sock.close()

    def _over(self, how: str) -> None:
        for answer in self.streams.values():
            if answer.end == OPEN:
                answer.ends(how)

    def _handle(self, event: h2.events.Event, at: float) -> None:
        stream = getattr(event, "stream_id", None)
        answer = self.streams.get(stream or 0)
        if answer is None:
            return
        if isinstance(event, h2.events.InformationalResponseReceived):
            status, headers = _split(event.headers)
            answer.early.append((status, headers))
        elif isinstance(event, h2.events.ResponseReceived):
            answer.status, answer.headers = _split(event.headers)
            answer.http_version, answer.headers_at = "HTTP/2", at
        elif isinstance(event, h2.events.DataReceived):
            if event.data:
                answer.arrived(event.data, at, self._keep)
            if answer.end == OPEN and event.flow_controlled_length:
                self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, h2.events.StreamEnded):
            answer.ends(COMPLETE)
        elif isinstance(event, h2.events.StreamReset):
            answer.ends(f"stream reset {int(event.error_code)}")

    def _flush(self) -> None:
        if data := self._http.data_to_send():
            self.sock.settimeout(dial.TIMEOUT_S)
            try:
                self.sock.sendall(data)
            except (ssl.SSLError, ConnectionError):
                self._over(RESET)


def _split(headers: Sequence[tuple[bytes, bytes]]) -> tuple[int, list[tuple[bytes, bytes]]]:
    plain = [(bytes(name), bytes(value)) for name, value in headers]
    status = int(dict(plain)[b":status"])
    return status, [(name, value) for name, value in plain if name != b":status"]


def http2(
    proxy: RunningProxy,
    host: str,
    *,
    source: str = "127.0.0.1",
    keep: bool = True,
    window: int = WINDOW_BYTES,
) -> Http2:
    """Connect through the proxy."""
    secure = dial.tunnel(proxy, host, "h2", source=source)
    return Http2(secure, host, keep=keep, window=window)
