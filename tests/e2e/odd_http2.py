"""The answers of the odd origin over HTTP/2, through the h2 library.

Rule: as in odd_http1.py; the same path means the same answer wherever both can give it.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from collections.abc import Awaitable, Callable

import brotli
import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hyperframe.frame

from mitmthrottle.lab.noise import noise

from .journal import Journal
from .odd_http1 import ETAG, PHOTO, TEXT, Request

_READ_BYTES = 1 << 16
_PIECE_BYTES = 16_000


class Stream:
    """The origin's end of one stream."""

    def __init__(self, connection: Connection, number: int, request: Request) -> None:
        self.connection = connection
        self.number = number
        self.request = request

    def headers(self, status: int, *fields: tuple[str, str], end: bool = False) -> None:
        pseudo = (":status", str(status))
        self.connection.http.send_headers(self.number, [pseudo, *fields], end_stream=end)
        self.connection.flush()

    async def data(self, body: bytes, *, end: bool = True, padding: int | None = None) -> None:
        """Send as the client's window allows."""
        http, start = self.connection.http, 0
        while start < len(body):
            window = min(http.local_flow_control_window(self.number), _PIECE_BYTES)
            window -= (padding or 0) + 1
            if window <= 0:
                await self.connection.window_opened()
                continue
            piece = body[start : start + window]
            http.send_data(self.number, piece, pad_length=padding)
            start += len(piece)
            await self.connection.drain()
        if end:
            http.send_data(self.number, b"", end_stream=True)
            self.connection.flush()

    def trailers(self, *fields: tuple[str, str]) -> None:
        self.connection.http.send_headers(self.number, list(fields), end_stream=True)
        self.connection.flush()

    def reset(self, code: int) -> None:
        self.connection.http.reset_stream(self.number, error_code=code)
        self.connection.flush()


Answerer = Callable[[Stream], Awaitable[None]]
ANSWERS: dict[str, Answerer] = {}


def answers(path: str) -> Callable[[Answerer], Answerer]:
    def register(function: Answerer) -> Answerer:
        ANSWERS[path] = function
        return function

    return register


def simple(path: str, status: int, fields: list[tuple[str, str]], body: bytes) -> None:
    async def answer(stream: Stream) -> None:
        length = ("content-length", str(len(body)))
        if stream.request.method == "HEAD" or not body:
            stream.headers(status, *fields, length, end=True)
        else:
            stream.headers(status, *fields, length)
            await stream.data(body)

    ANSWERS[path] = answer


PLAIN = ("content-type", "text/plain")
JPEG = ("content-type", "image/jpeg")
simple("/text", 200, [("content-type", "text/html; charset=utf-8")], TEXT)
simple("/photo.jpg", 200, [JPEG, ("etag", ETAG)], PHOTO)
simple("/empty", 200, [JPEG], b"")
simple("/8mb", 200, [("content-type", "video/mp4")], noise(0, 8_000_000))
simple("/404", 404, [PLAIN], b"not here\n")
simple("/500", 500, [PLAIN], b"broken\n" * 100)
simple("/302", 302, [("location", "/photo.jpg?there")], b"<p>there")
simple("/gzip", 200, [PLAIN, ("content-encoding", "gzip")], gzip.compress(TEXT, mtime=0))
simple("/brotli", 200, [PLAIN, ("content-encoding", "br")], brotli.compress(TEXT))
simple("/big-headers", 200, [(f"x-filler-{n}", "y" * 900) for n in range(24)], TEXT)
simple(
    "/cookies",
    200,
    [("set-cookie", "a=1; Path=/"), ("x-between", "yes"), ("set-cookie", "b=2")],
    b"two cookies",
)


@answers("/octets")
async def octets(stream: Stream) -> None:
    body = PHOTO if stream.request.path.endswith("?jpeg") else TEXT * 3
    stream.headers(200, ("content-type", "application/octet-stream"))
    await stream.data(body)


@answers("/204")
async def no_content(stream: Stream) -> None:
    stream.headers(204, ("x-nothing", "at all"), end=True)


@answers("/304")
async def not_modified(stream: Stream) -> None:
    if stream.request.headers.get("if-none-match") == ETAG:
        stream.headers(304, ("etag", ETAG), end=True)
    else:
        await ANSWERS["/photo.jpg"](stream)


@answers("/no-length")
async def no_length(stream: Stream) -> None:
    stream.headers(200, JPEG)
    for start, size in ((0, 1), (1, 1), (2, 998), (1000, 59_000)):
        await stream.data(PHOTO[start : start + size], end=False)
        await asyncio.sleep(0.005)
    await stream.data(b"")


@answers("/empty-frame")
async def empty_frame(stream: Stream) -> None:
    stream.headers(200, JPEG)
    await stream.data(b"")


@answers("/padded")
async def padded(stream: Stream) -> None:
    stream.headers(200, JPEG)
    await stream.data(PHOTO, padding=100)


@answers("/trailers")
async def trailers(stream: Stream) -> None:
    stream.headers(200, JPEG, ("trailer", "x-digest"))
    await stream.data(PHOTO, end=False)
    stream.trailers(("x-digest", "abc"), ("grpc-status", "0"))


@answers("/trailers-only")
async def trailers_only(stream: Stream) -> None:
    stream.headers(200, ("content-type", "application/grpc"))
    stream.trailers(("grpc-status", "5"))


@answers("/103")
async def early_hints(stream: Stream) -> None:
    stream.headers(103, ("link", "</style.css>; rel=preload"))
    await asyncio.sleep(0.02)
    await ANSWERS["/photo.jpg"](stream)


@answers("/echo")
async def echo(stream: Stream) -> None:
    body = stream.request.body
    stream.headers(200, ("x-method", stream.request.method), ("content-length", str(len(body))))
    await stream.data(body)


async def _part(stream: Stream) -> None:
    stream.headers(200, JPEG, ("content-length", "60000"))
    await stream.data(PHOTO[:20_000], end=False)
    await asyncio.sleep(0.1)


@answers("/reset")
async def reset(stream: Stream) -> None:
    await _part(stream)
    stream.reset(2)  # INTERNAL_ERROR


@answers("/reset-cancel")
async def reset_cancel(stream: Stream) -> None:
    await _part(stream)
    stream.reset(8)  # CANCEL


@answers("/refused")
async def refused(stream: Stream) -> None:
    stream.reset(7)  # REFUSED_STREAM, before any headers


@answers("/connection-closed")
async def connection_closed(stream: Stream) -> None:
    await _part(stream)
    stream.connection.writer.close()


@answers("/connection-reset")
async def connection_reset(stream: Stream) -> None:
    await _part(stream)
    sock = stream.connection.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.connection.writer.transport.abort()


@answers("/garbage-frame")
async def garbage_frame(stream: Stream) -> None:
    await _part(stream)
    # A WINDOW_UPDATE of nothing is an error of the protocol.
    bad = hyperframe.frame.WindowUpdateFrame(0, window_increment=1).serialize()
    stream.connection.writer.write(bad[:-4] + b"\0\0\0\0")


@answers("/goaway")
async def goaway(stream: Stream) -> None:
    """The connection is not to be used any more, but this stream comes to its end."""
    await _part(stream)
    frame = hyperframe.frame.GoAwayFrame(0, last_stream_id=stream.number)
    stream.connection.writer.write(frame.serialize())
    await stream.data(PHOTO[20_000:])


@answers("/endless.jpg")
async def endless(stream: Stream) -> None:
    """A photo without end; see `Connection` for how its journal learns of the end."""
    stream.connection.journal.note("started", stream.request.path)
    stream.headers(200, JPEG)
    while True:
        await stream.data(PHOTO, end=False)


class Connection:
    """One HTTP/2 connection of the origin."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, journal: Journal
    ) -> None:
        self.reader, self.writer, self.journal = reader, writer, journal
        self.http = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=False,
                header_encoding="utf-8",
                # Trailers alone and lengths that are not kept are what this origin is for.
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._window = asyncio.Event()
        self._requests: dict[int, Request] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def flush(self) -> None:
        self.writer.write(self.http.data_to_send())

    async def drain(self) -> None:
        self.flush()
        await self.writer.drain()

    async def window_opened(self) -> None:
        self._window.clear()
        await self._window.wait()

    async def serve(self) -> None:
        self.http.initiate_connection()
        self.flush()
        try:
            while data := await self.reader.read(_READ_BYTES):
                for event in self.http.receive_data(data):
                    self._handle(event)
                self.flush()
        except (ConnectionError, h2.exceptions.ProtocolError):
            pass
        finally:
            for number, task in self._tasks.items():
                if not task.done():
                    self.journal.note("gone", self._requests[number].path)
                    task.cancel()
            self.writer.close()

    def _handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            headers = dict(event.headers)
            self._requests[event.stream_id] = Request(
                headers[":method"], headers[":path"], "2", headers
            )
        elif isinstance(event, h2.events.DataReceived):
            self._requests[event.stream_id].body += event.data
            self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self._answer(event.stream_id)
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            self._window.set()
        elif isinstance(event, h2.events.StreamReset):
            task = self._tasks.get(event.stream_id)
            if task is not None and not task.done():
                task.cancel()
                self.journal.note("gone", self._requests[event.stream_id].path)

    def _answer(self, number: int) -> None:
        request = self._requests[number]
        path = request.path.partition("?")[0]
        stream = Stream(self, number, request)
        answer = ANSWERS.get(path, ANSWERS["/404"])
        task = asyncio.create_task(self._guarded(answer, stream))
        self._tasks[number] = task

    async def _guarded(self, answer: Answerer, stream: Stream) -> None:
        try:
            await answer(stream)
        except (ConnectionError, h2.exceptions.ProtocolError):
            self.journal.note("gone", stream.request.path)
