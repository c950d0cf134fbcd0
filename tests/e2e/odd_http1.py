"""The answers of the odd origin over HTTP/1: bytes as they stand, also those that no proper server
would send.

Rule: each is a function of the request that writes to the socket itself; what it leaves open, the
origin keeps alive, unless it says `Closed`.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import socket
import struct
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import brotli

from mitmthrottle.lab.noise import noise

from .journal import Journal

PHOTO = b"\xff\xd8\xff\xe0" + noise(0, 59_996)
TEXT = b"All work and no play makes the origin a dull server.\n" * 400
ETAG = '"60000-of-noise"'


class Closed(Exception):
    """The connection has been closed, or shall be."""


@dataclass(slots=True)
class Request:
    method: str
    path: str
    version: str
    headers: dict[str, str]
    """by names in lower case"""
    body: bytes = b""


@dataclass(slots=True)
class Wire:
    """The socket of a request's connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    journal: Journal
    watched: set[str] = field(default_factory=set)

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    def reset(self) -> None:
        """End with a TCP reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Answerer = Callable[[Request, Wire], Awaitable[None]]
ANSWERS: dict[str, Answerer] = {}


def answers(path: str) -> Callable[[Answerer], Answerer]:
    def register(function: Answerer) -> Answerer:
        ANSWERS[path] = function
        return function

    return register


def head(status: str, *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


def simple(path: str, status: str, lines: list[str], body: bytes) -> None:
    """A path that answers the same to everyone; the length is added, HEAD is honoured."""

    async def answer(request: Request, wire: Wire) -> None:
        data = head(status, *lines, f"Content-Length: {len(body)}")
        await wire.send(data + (b"" if request.method == "HEAD" else body))

    ANSWERS[path] = answer


simple("/text", "200 OK", ["Content-Type: text/html; charset=utf-8"], TEXT)
simple("/photo.jpg", "200 OK", ["content-type: image/jpeg", f"ETag: {ETAG}"], PHOTO)
simple("/empty", "200 OK", ["Content-Type: image/jpeg"], b"")
simple("/no-type", "200 OK", [], PHOTO)
simple("/8mb", "200 OK", ["Content-Type: video/mp4"], noise(0, 8_000_000))
simple("/404", "404 Not Found", ["Content-Type: text/plain"], b"not here\n")
simple("/500", "500 Internal Server Error", ["Content-Type: text/plain"], b"broken\n" * 100)
simple("/503", "503 Not Now, Really", ["Retry-After: 3"], b"later")
simple("/302", "302 Found", ["Location: /photo.jpg?there", "Content-Type: text/html"], b"<p>there")
simple("/301", "301 Moved Permanently", ["Location: https://odd.test/text"], b"")
simple(
    "/cookies",
    "200 OK",
    ["Set-Cookie: a=1; Path=/", "X-Between: yes", "Set-Cookie: b=2", "set-cookie: c=3; Secure"],
    b"three cookies",
)
simple("/big-headers", "200 OK", [f"X-Filler-{n}: {'y' * 900}" for n in range(24)], TEXT)
simple(
    "/odd-headers",
    "200 All Is Well",
    ["x-ODD-cAsE: Yes", "X-Empty:", "X-Latin: caf\xe9", "Via: 1.0 one, 1.1 two", "Age: 7"],
    b"odd",
)
simple(
    "/gzip",
    "200 OK",
    ["Content-Type: text/plain", "Content-Encoding: gzip", "Vary: Accept-Encoding"],
    gzip.compress(TEXT, mtime=0),
)
simple(
    "/brotli",
    "200 OK",
    ["Content-Type: text/plain", "Content-Encoding: br"],
    brotli.compress(TEXT),
)
simple("/not-gzip", "200 OK", ["Content-Encoding: gzip", "Content-Type: image/jpeg"], PHOTO)


@answers("/204")
async def no_content(_: Request, wire: Wire) -> None:
    await wire.send(head("204 No Content", "X-Nothing: at all"))


@answers("/304")
async def not_modified(request: Request, wire: Wire) -> None:
    if request.headers.get("if-none-match") == ETAG:
        # The length is that of the photo which is not sent.
        await wire.send(head("304 Not Modified", f"ETag: {ETAG}", "Content-Length: 60000"))
    else:
        await ANSWERS["/photo.jpg"](request, wire)


def chunk(data: bytes, extension: str = "") -> bytes:
    return f"{len(data):x}{extension}\r\n".encode() + data + b"\r\n"


@answers("/chunked")
async def chunked(_: Request, wire: Wire) -> None:
    await wire.send(head("200 OK", "Content-Type: image/jpeg", "Transfer-Encoding: chunked"))
    for start, size in ((0, 1), (1, 1), (2, 998), (1000, 30_000), (31_000, 29_000)):
        await wire.send(chunk(PHOTO[start : start + size], ";name=value" if size == 998 else ""))
        await asyncio.sleep(0.005)
    await wire.send(b"0\r\n\r\n")


@answers("/chunked-empty")
async def chunked_empty(_: Request, wire: Wire) -> None:
    await wire.send(
        head("200 OK", "Content-Type: image/jpeg", "Transfer-Encoding: chunked") + b"0\r\n\r\n"
    )


@answers("/chunked-gzip")
async def chunked_gzip(_: Request, wire: Wire) -> None:
    body = gzip.compress(TEXT, mtime=0)
    lines = ("Content-Type: text/plain", "Content-Encoding: gzip", "Transfer-Encoding: chunked")
    await wire.send(head("200 OK", *lines), chunk(body[:10]), chunk(body[10:]), b"0\r\n\r\n")


@answers("/chunked-8mb")
async def chunked_large(_: Request, wire: Wire) -> None:
    await wire.send(head("200 OK", "Content-Type: video/mp4", "Transfer-Encoding: chunked"))
    for start in range(0, 8_000_000, 50_000):
        await wire.send(chunk(noise(start, start + 50_000)))
    await wire.send(b"0\r\n\r\n")


@answers("/chunked-trailers")
async def chunked_trailers(_: Request, wire: Wire) -> None:
    lines = ("Content-Type: image/jpeg", "Transfer-Encoding: chunked", "Trailer: X-Digest")
    await wire.send(head("200 OK", *lines), chunk(PHOTO), b"0\r\nX-Digest: abc\r\n\r\n")


@answers("/close-delimited")
async def close_delimited(_: Request, wire: Wire) -> None:
    await wire.send(b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n\r\n", PHOTO)
    raise Closed


@answers("/http10-length")
async def http10(_: Request, wire: Wire) -> None:
    await wire.send(b"HTTP/1.0 200 OK\r\nContent-Length: 60000\r\n\r\n", PHOTO)
    raise Closed


@answers("/close")
async def connection_close(_: Request, wire: Wire) -> None:
    await wire.send(head("200 OK", "Connection: close", "Content-Length: 60000"), PHOTO)
    raise Closed


@answers("/echo")
async def echo(request: Request, wire: Wire) -> None:
    expected = request.headers.get("expect", "")
    lines = (f"X-Method: {request.method}", f"X-Expected: {expected}", f"X-Path: {request.path}")
    await wire.send(head("200 OK", *lines, f"Content-Length: {len(request.body)}"), request.body)


@answers("/103")
async def early_hints(request: Request, wire: Wire) -> None:
    await wire.send(head("103 Early Hints", "Link: </style.css>; rel=preload"))
    await asyncio.sleep(0.02)
    await ANSWERS["/photo.jpg"](request, wire)


@answers("/websocket")
async def websocket(request: Request, wire: Wire) -> None:
    key = request.headers.get("sec-websocket-key", "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = b64encode(hashlib.sha1(key.encode()).digest()).decode()
    await wire.send(
        head(
            "101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept}",
        )
    )
    first = await wire.reader.readexactly(6)  # a short masked text frame
    data = await wire.reader.readexactly(first[1] & 0x7F)
    text = bytes(byte ^ first[2 + n % 4] for n, byte in enumerate(data))
    await wire.send(b"\x81" + bytes([len(text)]) + text, b"\x88\x02\x03\xe8")
    raise Closed


# -- ends that are none


@answers("/truncated")
async def truncated(_: Request, wire: Wire) -> None:
    await wire.send(head("200 OK", "Content-Type: image/jpeg", "Content-Length: 60000"))
    await wire.send(PHOTO[:20_000])
    await asyncio.sleep(0.1)
    raise Closed


@answers("/reset")
async def reset(_: Request, wire: Wire) -> None:
    await wire.send(head("200 OK", "Content-Type: image/jpeg", "Content-Length: 60000"))
    await wire.send(PHOTO[:20_000])
    await asyncio.sleep(0.1)  # a reset drops what the other side has not read yet
    wire.reset()
    raise Closed


@answers("/chunked-truncated")
async def chunked_truncated(_: Request, wire: Wire) -> None:
    await wire.send(head("200 OK", "Content-Type: image/jpeg", "Transfer-Encoding: chunked"))
    await wire.send(chunk(PHOTO[:20_000]), b"4e20\r\n" + PHOTO[20_000:25_000])
    await asyncio.sleep(0.1)
    raise Closed


@answers("/chunked-garbage")
async def chunked_garbage(_: Request, wire: Wire) -> None:
    await wire.send(head("200 OK", "Content-Type: image/jpeg", "Transfer-Encoding: chunked"))
    await wire.send(chunk(PHOTO[:20_000]))
    await asyncio.sleep(0.1)
    await wire.send(b"this is no chunk size\r\n")
    await asyncio.sleep(0.1)
    raise Closed


@answers("/no-answer")
async def no_answer(_: Request, wire: Wire) -> None:
    raise Closed


@answers("/garbage")
async def garbage(_: Request, wire: Wire) -> None:
    await wire.send(b"this is not HTTP at all\r\n\r\n")
    raise Closed


# -- for the tests of endings


@answers("/endless.jpg")
async def endless(request: Request, wire: Wire) -> None:
    """A photo without end; the journal tells when its client was gone."""
    gone = asyncio.create_task(wire.reader.read(1))
    wire.journal.note("started", request.path)
    try:
        await wire.send(head("200 OK", "Content-Type: image/jpeg", "Content-Length: 100000000000"))
        while not gone.done():
            sending = asyncio.create_task(wire.send(PHOTO))
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                sending.cancel()
            else:
                sending.result()
    except (ConnectionError, asyncio.CancelledError):
        pass
    finally:
        wire.journal.note("gone", request.path)
        gone.cancel()
    raise Closed


@answers("/undeclared")
async def undeclared(request: Request, wire: Wire) -> None:
    """`/undeclared?200000`: that many bytes of a photo, chunked."""
    size = int(request.path.partition("?")[2])
    await wire.send(head("200 OK", "Content-Type: image/jpeg", "Transfer-Encoding: chunked"))
    for start in range(0, size, 10_000):
        await wire.send(chunk(noise(start, min(start + 10_000, size))))
    await wire.send(b"0\r\n\r\n")


@answers("/octets")
async def octets(request: Request, wire: Wire) -> None:
    """`/octets?jpeg`, `?text`: what it is, only the body tells."""
    kind = request.path.partition("?")[2]
    body = PHOTO if kind == "jpeg" else TEXT * 3
    lines = ("Content-Type: application/octet-stream", f"Content-Length: {len(body)}")
    await wire.send(head("200 OK", *lines) + body)
