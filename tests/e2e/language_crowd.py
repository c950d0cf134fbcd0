"""Many downloads at once in one thread: plain HTTP/1 through the proxy, each on a connection of its
own, timed and hashed.

Rule: one selector, no thread a download: two hundred of them must not make the client the
bottleneck.
"""

from __future__ import annotations

import hashlib
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mitmthrottle.lab.proxy import RunningProxy

from . import dial

_READ_BYTES = 1 << 16


@dataclass
class Download:
    """One response. Times are of `time.perf_counter`."""

    sock: socket.socket
    length: int | None = None
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    size: int = 0
    ended: str = ""
    """`complete`, or what went wrong; empty while it is under way"""
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)
    _head: bytes = b""

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def read(self) -> None:
        try:
            data = self.sock.recv(_READ_BYTES)
        except OSError as error:
            self.ended = f"error: {error}"
            return
        at = time.perf_counter()
        if not data:
            self.ended = "closed early"
        elif self.length is None:
            self._head += data
            head, found, body = self._head.partition(b"\r\n\r\n")
            if found:
                self._begin(head)
                self._add(body, at)
        else:
            self._add(data, at)

    def _begin(self, head: bytes) -> None:
        status, *lines = head.split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in lines)
        if b" 200 " not in status:
            self.ended = status.decode()
        self.length = int(headers[b"content-length"])

    def _add(self, body: bytes, at: float) -> None:
        if body:
            self.arrivals.append((at, len(body)))
            self.size += len(body)
            self._hash.update(body)
        if self.size == self.length:
            self.ended = "complete"


class Crowd:
    """Downloads that are under way together."""

    def __init__(self) -> None:
        self.downloads: list[Download] = []
        self._selector = selectors.DefaultSelector()

    def start(self, proxy: RunningProxy, host: str, path: str, source: str = "127.0.0.1") -> None:
        sock = dial.plain(proxy, source=source)
        sock.sendall(f"GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        download = Download(sock)
        self.downloads.append(download)
        self._selector.register(sock, selectors.EVENT_READ, download)

    def run(self, done: Callable[[], bool], until: float) -> None:
        """Read what comes until `done()` or `until` (time.perf_counter)."""
        while not done() and (left := until - time.perf_counter()) > 0:
            for key, _ in self._selector.select(min(left, 0.05)):
                download: Download = key.data
                download.read()
                if download.ended:
                    self._selector.unregister(download.sock)
                    download.sock.close()

    def all_ended(self) -> bool:
        return all(download.ended for download in self.downloads)

    def close(self) -> None:
        for download in self.downloads:
            download.sock.close()
        self._selector.close()
