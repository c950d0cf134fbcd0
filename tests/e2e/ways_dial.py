"""Ways from a client to an origin: straight, through a proxy, in TLS.

Rule: a way is a function from a host name and a port to a connected socket, so that each mode of
the proxy can be tried with each protocol.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from mitmthrottle.lab.netns import inside

TIMEOUT_S = 60.0
Dial = Callable[[str, int], socket.socket]
"""A host name and a port to a TCP connection, through the proxy."""


def direct(address: str = "127.0.0.1", ports: dict[int, int] | None = None) -> Dial:
    """No proxy, as far as the client knows: that address, and perhaps another port."""

    def dial(host: str, port: int) -> socket.socket:
        return _tcp(address, (ports or {}).get(port, port))

    return dial


def on_the_machine(namespace: str, dial: Dial) -> Dial:
    """The same, on a machine that is a network namespace."""

    def there(host: str, port: int) -> socket.socket:
        with inside(namespace):
            return dial(host, port)

    return there


def through_connect(proxy_port: int) -> Dial:
    """Through an HTTP proxy's CONNECT."""

    def dial(host: str, port: int) -> socket.socket:
        sock = _tcp("127.0.0.1", proxy_port)
        sock.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head = read_head(sock)
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise ConnectionError(f"CONNECT was answered with {head!r}")
        return sock

    return dial


def through_socks(proxy_port: int) -> Dial:
    """Through a SOCKS5 proxy, which is told the name (RFC 1928)."""

    def dial(host: str, port: int) -> socket.socket:
        sock = _tcp("127.0.0.1", proxy_port)
        sock.sendall(b"\x05\x01\x00")
        if read_exactly(sock, 2) != b"\x05\x00":
            raise ConnectionError("SOCKS5 wants more than we have")
        name = host.encode()
        sock.sendall(b"\x05\x01\x00\x03" + bytes((len(name),)) + name + port.to_bytes(2))
        answer = read_exactly(sock, 10)
        if answer[1]:
            raise ConnectionError(f"SOCKS5 says {answer[1]}")
        return sock

    return dial


def over_tls(dial: Dial, ca_path: Path, alpn: str | None = None) -> Dial:
    """TLS in what is dialled, for the name; `alpn` must be agreed on."""
    trust = ssl.create_default_context(cafile=ca_path)
    if alpn:
        trust.set_alpn_protocols([alpn])

    def secure(host: str, port: int) -> socket.socket:
        sock = trust.wrap_socket(dial(host, port), server_hostname=host)
        if sock.selected_alpn_protocol() != alpn:
            raise ConnectionError(f"got {sock.selected_alpn_protocol()}, not {alpn}")
        return sock

    return secure


class PinMismatchError(ConnectionError):
    """The certificate is a trusted one, and not the one that an app insists on."""


def pinned_to(dial: Dial, trusted: Path, insisted_on: Path) -> Dial:
    """TLS as an app does that trusts both authorities, and when the handshake is through hangs up
    without a word if the certificate is not by the second one."""
    trust = ssl.create_default_context(cafile=trusted)
    trust.load_verify_locations(insisted_on)
    (issuer,) = ssl.create_default_context(cafile=insisted_on).get_ca_certs()

    def secure(host: str, port: int) -> socket.socket:
        sock = trust.wrap_socket(dial(host, port), server_hostname=host)
        if (sock.getpeercert() or {}).get("issuer") != issuer["subject"]:
            sock.close()
            raise PinMismatchError(host)
        return sock

    return secure


def _tcp(address: str, port: int) -> socket.socket:
    sock = socket.create_connection((address, port), TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_head(sock: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(1 << 16)
        if not data:
            raise ConnectionError(f"closed after {head!r}")
        head += data
    return head


def read_exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise ConnectionError(f"closed after {data!r}")
        data += more
    return data
