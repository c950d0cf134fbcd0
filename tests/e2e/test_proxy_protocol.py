"""The real client behind a balancer, and what becomes of those who claim to be one.

The policy blocks one address with a status of its own, so that the answer tells who the proxy
takes the client for.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from .figures import Figures
from .nginx import Nginx
from .process import wait_for

pytestmark = pytest.mark.e2e

HOST = "photos.example.org"
CLAIMED = "198.18.9.9"
BALANCER, OTHER = "127.0.0.1", "127.0.0.2"
POLICY = f"""
version: 1
name: who
rules:
  - name: the claimed one
    when: {{host: {HOST}, client: {{address: {CLAIMED}}}}}
    then: {{block: 451}}
"""
REQUEST = (
    f"GET http://{HOST}/4kb.jpg HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
).encode()
V1 = f"PROXY TCP4 {CLAIMED} 198.18.0.1 40000 8080\r\n".encode()
V1_UNKNOWN = b"PROXY UNKNOWN\r\n"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V2 = SIGNATURE + struct.pack(
    "!BBH4s4sHH", 0x21, 0x11, 12, socket.inet_aton(CLAIMED), socket.inet_aton("198.18.0.1"),
    40000, 8080,
)  # fmt: skip
V2_LOCAL = SIGNATURE + struct.pack("!BBH", 0x20, 0, 0)
V2_PATHS = SIGNATURE + struct.pack("!BBH", 0x21, 0x31, 216) + bytes(216)
V2_ENDLESS = SIGNATURE + b"\x21\x11\xff\xff"


@pytest.fixture(scope="module")
def proxy(nginx: Nginx, policy: Callable[[str], Path]) -> Iterator[RunningProxy]:
    options = ["--set", f"throttle_proxy_protocol=198.18.0.0/15,{BALANCER}"]
    with running_proxy(policy(POLICY), options=options, resolve=nginx.resolve) as running:
        yield running
        assert "Traceback" not in running.log()


def dial(proxy: RunningProxy, source: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", proxy.port), 30, (source, 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def answer(sock: socket.socket) -> bytes:
    """All that comes until the other side closes, however it does."""
    received = b""
    try:
        while piece := sock.recv(65536):
            received += piece
    except ConnectionError:
        pass
    return received


def status(received: bytes) -> int | None:
    """None: closed without an answer."""
    return int(received.split()[1]) if received else None


def say(
    proxy: RunningProxy, source: str, *pieces: bytes, pause_s: float = 0.02
) -> tuple[int | None, float]:
    """Send pieces with pauses between them; the answer's status, and when the connection ended."""
    start = time.perf_counter()
    with dial(proxy, source) as sock:
        try:
            for number, piece in enumerate(pieces):
                time.sleep(pause_s if number else 0)
                sock.sendall(piece)
        except ConnectionError:
            pass
        return status(answer(sock)), time.perf_counter() - start


@pytest.mark.parametrize(
    ("header", "expected"),
    [(V1, 451), (V2, 451), (V1_UNKNOWN, 200), (V2_LOCAL, 200), (V2_PATHS, 200)],
    ids=["v1", "v2", "v1 unknown", "v2 local", "v2 paths"],
)
def test_the_header_names_the_client(proxy: RunningProxy, header: bytes, expected: int) -> None:
    assert say(proxy, BALANCER, header + REQUEST)[0] == expected
    assert say(proxy, BALANCER, header, REQUEST)[0] == expected
    middle = len(header) // 2
    assert say(proxy, BALANCER, header[:middle], header[middle:] + REQUEST)[0] == expected


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_byte_by_byte(proxy: RunningProxy, header: bytes) -> None:
    pieces = [bytes([byte]) for byte in header + REQUEST[:20]]
    assert say(proxy, BALANCER, *pieces, REQUEST[20:], pause_s=0.005)[0] == 451


def test_tls_right_behind_the_header(proxy: RunningProxy) -> None:
    """A client that speaks TLS to the proxy itself: its ClientHello is in the header's segment."""
    trust = ssl.create_default_context(cafile=proxy.ca_path)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    secure = trust.wrap_bio(incoming, outgoing, server_hostname=HOST)

    def call[T](what: Callable[[], T], sock: socket.socket, prefix: bytes = b"") -> T:
        while True:
            try:
                result = what()
            except ssl.SSLWantReadError:
                sock.sendall(prefix + outgoing.read())
                prefix = b""
                incoming.write(sock.recv(65536))
            else:
                sock.sendall(outgoing.read())
                return result

    with dial(proxy, BALANCER) as sock:
        call(secure.do_handshake, sock, prefix=V2)
        call(lambda: secure.write(REQUEST), sock)
        assert status(call(lambda: secure.read(4096), sock)) == 451


def test_mitmproxys_own_block_list_is_about_the_client(proxy: RunningProxy) -> None:
    """A public address has no business with a proxy that is not open to it (`block_global`)."""
    assert say(proxy, BALANCER, b"PROXY TCP4 192.88.99.1 10.0.0.1 1 1\r\n" + REQUEST)[0] is None
    said = "Client connection from 192.88.99.1 killed by block_global option."
    assert wait_for(lambda: said in proxy.log(), 3.0) is not None


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (REQUEST, "it does not begin with a PROXY protocol header"),
        (b"\x16\x03\x01\x02\x00\x01", "it does not begin with a PROXY protocol header"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n" + REQUEST, "'99999' is no port"),
        (b"PROXY UNKNOWN " + b"x" * 100_000, "its line is longer than 107 bytes"),
        (V2_ENDLESS + bytes(100_000), "it would be 65551 bytes long"),
    ],
    ids=["missing", "missing, TLS", "broken", "endless line", "endless v2"],
)
def test_a_balancer_without_a_header_is_closed_at_once(
    proxy: RunningProxy, stream: bytes, reason: str
) -> None:
    before = proxy.log().count(reason)
    got, after_s = say(proxy, BALANCER, stream)
    assert got is None
    assert after_s < 3.0
    assert wait_for(lambda: proxy.log().count(reason) == before + 1, 3.0) is not None
    line = next(line for line in proxy.log().splitlines() if reason in line)
    assert f"mitmthrottle: connection from {BALANCER}:" in line


def test_a_header_that_does_not_end(proxy: RunningProxy, figures: Figures) -> None:
    for stream in (b"", V2[:-1], V1[:-2]):
        got, after_s = say(proxy, BALANCER, stream)
        figures.add(f"PROXY header, {len(stream)} bytes of it: closed after", after_s, "s")
        assert got is None
        assert 4.5 < after_s < 9.0
    expected = "no whole PROXY protocol header within 5 s"
    assert wait_for(lambda: proxy.log().count(expected) == 3, 3.0) is not None


def test_one_that_leaves_is_no_line_in_the_log(proxy: RunningProxy) -> None:
    """A balancer's health check may only connect."""
    before = proxy.log().count(" closed: ")
    for _ in range(5):
        dial(proxy, BALANCER).close()
    with dial(proxy, BALANCER) as sock:
        sock.sendall(V2[:14])
    assert (
        wait_for(lambda: "ended within its PROXY protocol header" in proxy.log(), 5.0) is not None
    )
    assert proxy.log().count(" closed: ") == before + 1


@pytest.mark.parametrize("header", [V1, V2, V2_LOCAL, V1_UNKNOWN])
@pytest.mark.parametrize("at_once", [True, False], ids=["whole", "byte by byte"])
def test_a_header_from_elsewhere_is_refused(
    proxy: RunningProxy, header: bytes, at_once: bool
) -> None:
    reason = "it began with a PROXY protocol header, but is not listed"
    before = proxy.log().count(reason)
    pieces = [header + REQUEST] if at_once else [*(bytes([b]) for b in header), REQUEST]
    got, after_s = say(proxy, OTHER, *pieces, pause_s=0.005)
    assert got is None
    assert after_s < 3.0
    assert wait_for(lambda: proxy.log().count(reason) == before + 1, 3.0) is not None
    assert f"mitmthrottle: connection from {OTHER}:" in proxy.log()


def test_others_need_no_header(proxy: RunningProxy) -> None:
    assert say(proxy, OTHER, REQUEST)[0] == 200
    # First bytes that might have been a header's.
    head = f"PROPFIND http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
    got, _ = say(proxy, OTHER, head[:1], head[1:3], head[3:])
    assert got == 405


def test_first_bytes_that_stay_alone(proxy: RunningProxy) -> None:
    """Somebody who has said a P, and says the rest when the time for a header is over."""
    head = f"PROPFIND http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
    assert say(proxy, OTHER, head[:1], head[1:], pause_s=5.6)[0] == 405


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 127.0.0.1 127.0.0.1 40000 8080\r\n",
        b"PROXY TCP4 127.9.9.9 127.0.0.1 40000 8080\r\n",
        b"PROXY TCP4 0.0.0.0 127.0.0.1 40000 8080\r\n",
        b"PROXY TCP6 ::1 ::1 40000 8080\r\n",
        b"PROXY TCP6 ::ffff:127.0.0.1 ::1 40000 8080\r\n",
        V1_UNKNOWN,
        V2_LOCAL,
        V2_PATHS,
    ],
)
def test_nobody_becomes_local_by_a_header(proxy: RunningProxy, header: bytes) -> None:
    """The balancer is a writer of the page by its own address; whoever comes through it is not."""
    request = b"GET http://throttle.proxy/api/state HTTP/1.1\r\nHost: throttle.proxy\r\n"
    with dial(proxy, BALANCER) as sock:
        sock.sendall(header + request + b"Connection: close\r\n\r\n")
        came = answer(sock)
    state = json.loads(came.partition(b"\r\n\r\n")[2])
    assert state["reader"]["sees"] == "own"
    assert state["reader"]["token"] is None
    assert "as a balancer or a tunnel says" in state["reader"]["why_not"]
