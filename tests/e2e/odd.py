"""An origin for the cases that a proper server cannot be brought to: answers as they stand, over
plain HTTP/1, HTTP/1 in TLS and HTTP/2, on a thread of its own.

Rule: it serves what odd_http1.py and odd_http2.py say, on loopback, until its block ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import trustme

from . import odd_http1, odd_http2
from .journal import Journal
from .odd_http1 import Closed, Request, Wire


@dataclass(frozen=True, slots=True)
class Odd:
    """What one needs to know of it."""

    port: int
    plain_port: int
    ca_path: Path
    journal: Journal

    @property
    def resolve(self) -> dict[str, tuple[str, int]]:
        """For `running_proxy(resolve=...)`: any host's ports 443 and 80 lead here."""
        return {"*:443": ("127.0.0.1", self.port), "*:80": ("127.0.0.1", self.plain_port)}


@contextlib.contextmanager
def running_odd(hosts: Sequence[str], authority: trustme.CA | None = None) -> Iterator[Odd]:
    """Serve until the block ends."""
    authority = authority or trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*hosts).configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    journal = Journal()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="odd origin")
    thread.start()
    with tempfile.TemporaryDirectory(prefix="mitmthrottle-odd-") as folder:
        ca_path = Path(folder, "ca.pem")
        authority.cert_pem.write_to_path(ca_path)
        try:
            ports = asyncio.run_coroutine_threadsafe(_listen(context, journal), loop).result(10)
            yield Odd(*ports, ca_path, journal)
        finally:
            asyncio.run_coroutine_threadsafe(_end(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()


async def _listen(context: ssl.SSLContext, journal: Journal) -> tuple[int, int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        secure = writer.get_extra_info("ssl_object")
        if secure is not None and secure.selected_alpn_protocol() == "h2":
            await odd_http2.Connection(reader, writer, journal).serve()
        else:
            await _serve_http1(Wire(reader, writer, journal))

    ports = []
    for tls in (context, None):
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, backlog=512)
        ports.append(server.sockets[0].getsockname()[1])
    return ports[0], ports[1]


async def _end() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


async def _serve_http1(wire: Wire) -> None:
    with contextlib.suppress(
        Closed, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError
    ):
        while True:
            request = await _request(wire.reader, wire)
            path = request.path.partition("?")[0]
            await odd_http1.ANSWERS.get(path, odd_http1.ANSWERS["/404"])(request, wire)
    wire.writer.close()


async def _request(reader: asyncio.StreamReader, wire: Wire) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, version = head[0].split(" ")
    headers = {}
    for line in head[1:-2]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    request = Request(method, path, version, headers)
    if headers.get("expect", "").lower() == "100-continue":
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "") == "chunked":
        while size := int((await reader.readline()).strip() or b"0", 16):
            request.body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    elif length := int(headers.get("content-length", "0")):
        request.body = await reader.readexactly(length)
    return request
