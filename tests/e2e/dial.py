"""Connections through the proxy, made by hand: from an address of one's own, plain or through
CONNECT with TLS.

Rule: a socket of the caller's own, so that each `recv` can be timed and each way of leaving tried.
"""

from __future__ import annotations

import functools
import socket
import ssl
from pathlib import Path

from mitmthrottle.lab.proxy import RunningProxy

TIMEOUT_S = 30.0


def plain(proxy: RunningProxy, *, source: str = "127.0.0.1") -> socket.socket:
    """A TCP connection to the proxy."""
    sock = socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT_S, (source, 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def tunnel(
    proxy: RunningProxy, host: str, protocol: str, *, source: str = "127.0.0.1"
) -> ssl.SSLSocket:
    """TLS to a host through the proxy; `protocol` is `h2` or `http/1.1` and must be agreed on."""
    sock = plain(proxy, source=source)
    sock.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        piece = sock.recv(4096)
        if not piece:
            raise ConnectionError(f"the proxy closed after {head!r}")
        head += piece
    if b" 200 " not in head.split(b"\r\n", 1)[0] or not head.endswith(b"\r\n\r\n"):
        raise ConnectionError(f"CONNECT was answered with {head!r}")
    secure = _trust(proxy.ca_path, protocol).wrap_socket(sock, server_hostname=host)
    if secure.selected_alpn_protocol() != protocol:
        raise ConnectionError(f"got {secure.selected_alpn_protocol()}, not {protocol}")
    return secure


@functools.cache
def _trust(ca_path: Path, protocol: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_path)
    context.set_alpn_protocols([protocol])
    return context


def reset(sock: socket.socket) -> None:
    """Leave with a TCP reset, as a phone that loses its network does not but a crash does."""
    # Linger on, zero seconds (socket(7)): what is unsent is dropped and RST is sent.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    sock.close()
