"""Many slow responses at once: the proxy holds little of them, and a page beside them is quick."""

from __future__ import annotations

import selectors
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from . import curve, dial
from .answer import OPEN
from .figures import Figures
from .http2 import http2
from .nginx import Nginx
from .process import resident_bytes

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

RATE = 16_000
HOST = "photos.example.org"
OVER_S = 8.0
POLICY = """
version: 1
name: memory
rules:
  - name: photos
    when: {host: .example.org, content: photo}
    then: {rate: 128 kbit/s}
"""

STREAMS = 40
STREAMS_GROW_BYTES = 40_000_000
PAGES = 20
PAGE_S = 0.060

RESPONSES = 200
RESPONSE_GROWS_BYTES = 192 * 1024


@pytest.fixture
def proxy(nginx: Nginx, policy: Callable[[str], Path]) -> Iterator[RunningProxy]:
    """A fresh one for each test: memory that a first test has left free would hide growth."""
    with running_proxy(policy(POLICY), upstream_ca=nginx.ca_path, resolve=nginx.resolve) as running:
        yield running


def test_forty_streams_of_50_mb_on_one_connection(proxy: RunningProxy, figures: Figures) -> None:
    warm_up = http2(proxy, HOST)
    warm_up.get("/photo-small.jpg")
    warm_up.get("/page.html")
    warm_up.close()

    client = http2(proxy, HOST, keep=False)
    client.get("/page.html")
    before = most = resident_bytes(proxy.pid)
    start = time.perf_counter()
    photos = [client.send("GET", "/50mb.jpg") for _ in range(STREAMS)]
    client.run(lambda: all(photo.arrivals for photo in photos))
    pages = []
    for number in range(PAGES):
        client.run(lambda: False, until=start + OVER_S * (number + 1) / (PAGES + 1))
        most = max(most, resident_bytes(proxy.pid))
        page = client.get("/page.html")
        assert (page.status, page.size) == (200, 20_000)
        pages.append(page.duration_s)
    client.run(lambda: False, until=start + OVER_S)
    most = max(most, resident_bytes(proxy.pid))
    assert all(photo.end == OPEN for photo in photos)
    client.close()

    rates = [curve.mean_bytes_per_s(photo.arrivals, OVER_S - 2) for photo in photos]
    grown = most - before
    label = f"memory, {STREAMS} streams of 50 MB on one HTTP/2 connection:"
    figures.add(f"{label} growth of the proxy", grown / 1e6, "MB")
    figures.add(f"{label} page of 20 kB beside them, median", 1e3 * statistics.median(pages), "ms")
    figures.add(f"{label} page of 20 kB beside them, slowest", 1e3 * max(pages), "ms")
    figures.add(f"{label} slowest stream over its rate", min(rates) / RATE)
    figures.add(f"{label} fastest stream over its rate", max(rates) / RATE)
    assert grown < STREAMS_GROW_BYTES
    assert statistics.median(pages) < PAGE_S
    assert 0.97 * RATE < min(rates) <= max(rates) < 1.03 * RATE


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_200_responses_of_2_mb_over_http1(
    secure: bool, proxy: RunningProxy, figures: Figures
) -> None:
    def connect() -> Connection:
        connection = Connection(proxy, secure)
        connection.ask("/2mb.jpg")
        return connection

    connect().sock.close()
    empty = resident_bytes(proxy.pid)
    connections = [Connection(proxy, secure) for _ in range(RESPONSES)]
    # A connection in TLS costs mitmproxy more than the response does: that is not the throttle's.
    before = most = resident_bytes(proxy.pid) if secure else empty
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            connection.ask("/2mb.jpg")
            selector.register(connection.sock, selectors.EVENT_READ, connection)
        start = time.perf_counter()
        while (now := time.perf_counter()) < start + OVER_S:
            most = max(most, resident_bytes(proxy.pid))
            for key, _ in selector.select(min(0.2, start + OVER_S - now)):
                key.data.read()
    for connection in connections:
        connection.sock.close()

    grown = (most - before) / RESPONSES
    rates = [
        curve.mean_bytes_per_s(connection.arrivals, OVER_S - 4, start_s=3.0)
        for connection in connections
    ]
    label = f"memory, {RESPONSES} responses of 2 MB, HTTP/1.1 {'tls' if secure else 'plain'}:"
    figures.add(f"{label} growth of the proxy for each", grown / 1024, "KiB")
    figures.add(f"{label} the same with its connection", (most - empty) / RESPONSES / 1024, "KiB")
    figures.add(f"{label} slowest over its rate", min(rates) / RATE)
    figures.add(f"{label} fastest over its rate", max(rates) / RATE)
    assert grown < RESPONSE_GROWS_BYTES
    assert 0.95 * RATE < min(rates) <= max(rates) < 1.05 * RATE


class Connection:
    """A client of HTTP/1 that only counts: two hundred of them must not keep the machine busy."""

    def __init__(self, proxy: RunningProxy, secure: bool) -> None:
        self.sock = dial.tunnel(proxy, HOST, "http/1.1") if secure else dial.plain(proxy)
        self.arrivals: list[tuple[float, int]] = []
        self._target = "" if secure else f"http://{HOST}"
        self._head = b""

    def ask(self, path: str) -> None:
        self.sock.sendall(f"GET {self._target}{path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        while b"\r\n\r\n" not in self._head:
            self._head += self.sock.recv(1 << 16)
        assert self._head.startswith(b"HTTP/1.1 200"), self._head
        body = self._head.partition(b"\r\n\r\n")[2]
        if body:
            self.arrivals.append((time.perf_counter(), len(body)))

    def read(self) -> None:
        data = self.sock.recv(1 << 16)
        assert data, "the proxy has closed"
        self.arrivals.append((time.perf_counter(), len(data)))
