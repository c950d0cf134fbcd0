"""Every way to a listener of ours that a client of the proxy can try, as bytes to send.

Rule: an attack knows the ports and nothing else, and says in its name what it tries; what has read
or switched something is told from the answer alone.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import h2.connection
import h2.events

TIMEOUT_S = 5.0

LOOPBACK = (
    "127.0.0.1",
    "127.0.0.2",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0.0.0.0",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:0.0.0.0]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::1]",
    "[::]",
    "resolves.example",  # to where the page listens, see the tests
)
PATHS = ("/api/state", "/api/policy", "/metrics")


@dataclass(frozen=True, slots=True)
class Attack:
    """One try: what is sent to the proxy, one after the other, each after an answer to the last."""

    name: str
    sent: tuple[bytes, ...]


def attacks(page: int, proxy: int, more: tuple[str, ...] = ()) -> Iterator[Attack]:
    """Of a page and a proxy that listen on these ports; `more` are other spellings of the host."""
    for host in (*LOOPBACK, *more):
        for claimed in (f"127.0.0.1:{page}", f"{host}:{page}", "throttle.proxy"):
            get = f"GET http://{host}:{page}/api/state HTTP/1.1\r\nHost: {claimed}\r\n\r\n"
            # Named so, it is answered by the proxy as itself, to whoever that client is.
            if claimed != "throttle.proxy":
                yield Attack(f"absolute {host} as {claimed}", (get.encode(),))
            tunnel = f"CONNECT {host}:{page} HTTP/1.1\r\nHost: {host}:{page}\r\n\r\n"
            inner = f"GET /api/state HTTP/1.1\r\nHost: {claimed}\r\n\r\n"
            if claimed != "throttle.proxy":
                yield Attack(f"tunnel to {host} as {claimed}", (tunnel.encode(), inner.encode()))
        # Another proxy, or this one again: there, one would come from this machine.
        again = f"CONNECT {host}:{proxy} HTTP/1.1\r\nHost: {host}:{proxy}\r\n\r\n"
        asked = "GET http://throttle.proxy/api/state HTTP/1.1\r\nHost: throttle.proxy\r\n\r\n"
        yield Attack(f"the proxy through itself by {host}", (again.encode(), asked.encode()))
        twice = f"GET http://{host}:{proxy}/api/state HTTP/1.1\r\nHost: {host}:{proxy}\r\n\r\n"
        yield Attack(f"the proxy as a server by {host}", (twice.encode(),))
    for path in PATHS:
        get = (
            f"GET http://[::ffff:127.0.0.1]:{page}{path} HTTP/1.1\r\nHost: 127.0.0.1:{page}\r\n\r\n"
        )
        yield Attack(f"absolute {path}", (get.encode(),))


def answer_to(attack: Attack, address: tuple[str, int], source: str = "") -> bytes:
    """All that came, however it ended. `source`: the address to come from."""
    came = b""
    with (
        contextlib.suppress(OSError),
        socket.create_connection(address, TIMEOUT_S, (source, 0)) as sock,
    ):
        sock.settimeout(TIMEOUT_S)
        for each in attack.sent[:-1]:
            sock.sendall(each)
            head = _until_blank_line(sock)
            came += head
            if b" 200 " not in head.split(b"\r\n", 1)[0]:
                return came
        # Nothing follows, so that the answer ends when it is over.
        blank = b"\r\n\r\n"
        sock.sendall(attack.sent[-1].replace(blank, b"\r\nConnection: close" + blank, 1))
        while piece := sock.recv(1 << 16):
            came += piece
    return came


def _until_blank_line(sock: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and (piece := sock.recv(4096)):
        head += piece
    return head


def got_something(answer: bytes, source: str = "") -> bool:
    """Whether that is anything of the page's. What it says to one who comes from `source`, by that
    address, it says by itself, and to whom it should."""
    if source and f'"reader":{{"address":"{source}"'.encode() in answer:
        return False
    return any(word in answer for word in (b'"reader"', b'"rules"', b'"text"', b"mitmthrottle_"))


def over_http2(address: tuple[str, int], host: str, scheme: str = "http") -> bytes:
    """The same by HTTP/2 in TLS to the proxy itself."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    came = b""
    with (
        socket.create_connection(address, TIMEOUT_S) as raw,
        context.wrap_socket(raw, server_hostname="proxy.example") as sock,
    ):
        if sock.selected_alpn_protocol() != "h2":
            raise ConnectionError("the proxy speaks no HTTP/2 here")
        http = h2.connection.H2Connection()
        http.initiate_connection()
        headers = [(":method", "GET"), (":scheme", scheme), (":authority", host),
                   (":path", "/api/state")]  # fmt: skip
        http.send_headers(1, headers, end_stream=True)
        sock.sendall(http.data_to_send())
        while data := sock.recv(1 << 16):
            for event in http.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    came += repr(event.headers).encode()
                elif isinstance(event, h2.events.DataReceived):
                    came += event.data
                elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                    return came
            sock.sendall(http.data_to_send())
    return came
