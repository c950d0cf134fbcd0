"""Clients that behave badly, each in its own way.

Rule: each way is an async function from a proxy's port to nothing; it ends by itself, and what the
proxy does to it is no fault of the test's.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mitmthrottle.lab.noise import noise

HOLD_S = 4.0  # for those that keep a connection and say nothing
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # how a ClientHello of 512 bytes begins


@dataclass(slots=True)
class Peer:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def connect(self, host: str, port: int) -> None:
        await self.send(b"CONNECT %s:%d HTTP/1.1\r\n\r\n" % (host.encode(), port))
        await self.reader.readuntil(b"\r\n\r\n")

    def reset(self) -> None:
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def half_a_request(peer: Peer) -> None:
    await peer.send(b"GET http://a.slow.example/bytes/10 HTT")
    await asyncio.sleep(HOLD_S)


async def half_a_client_hello(peer: Peer) -> None:
    await peer.connect("a.slow.example", 443)
    await peer.send(HELLO + noise(0, 100))
    await asyncio.sleep(HOLD_S)


async def nothing_at_all(peer: Peer) -> None:
    await asyncio.sleep(HOLD_S)


async def reset_in_mid_body(peer: Peer) -> None:
    await peer.send(
        b"GET http://a.slow.example/bytes/500000 HTTP/1.1\r\nHost: a.slow.example\r\n\r\n"
    )
    await peer.reader.readexactly(4000)
    peer.reset()


async def reset_in_mid_upload(peer: Peer) -> None:
    await peer.send(
        b"PUT http://a.slow.example/sink HTTP/1.1\r\nHost: a.slow.example\r\n"
        b"Content-Length: 500000\r\n\r\n" + noise(0, 8000)
    )
    await asyncio.sleep(0.3)
    peer.reset()


async def reset_of_a_relayed_connection(peer: Peer) -> None:
    await peer.connect("a.slow.example", 7000)
    await peer.send(b"?500000\n")
    await peer.reader.readexactly(4000)
    peer.reset()


async def garbage_for_tls(peer: Peer) -> None:
    await peer.connect("a.slow.example", 443)
    await peer.send(b"\x16\x03\x01\x40\x00" + noise(7, 20_000))
    await peer.reader.read()


async def garbage_for_http(peer: Peer) -> None:
    await peer.send(noise(3, 50_000))
    await peer.reader.read()


async def oversized_headers(peer: Peer) -> None:
    line = b"X-Long: " + b"a" * 1_000_000 + b"\r\n"
    await peer.send(b"GET http://a.slow.example/ HTTP/1.1\r\nHost: a.slow.example\r\n" + line)
    await peer.send(b"\r\n")
    await peer.reader.read(1)


async def slow_headers(peer: Peer) -> None:
    for byte in b"GET http://a.slow.example/bytes/10 HTTP/1.1":
        await peer.send(bytes((byte,)))
        await asyncio.sleep(0.1)


WAYS: tuple[Callable[[Peer], Awaitable[None]], ...] = (
    half_a_request,
    half_a_client_hello,
    nothing_at_all,
    reset_in_mid_body,
    reset_in_mid_upload,
    reset_of_a_relayed_connection,
    garbage_for_tls,
    garbage_for_http,
    oversized_headers,
    slow_headers,
)


async def all_of_them(port: int, count: int, over_s: float) -> dict[str, int]:
    """So many peers, one after the other over that time; how many of each way came to its end."""
    done: dict[str, int] = {}

    async def one(number: int) -> None:
        await asyncio.sleep(number * over_s / count)
        way = WAYS[number % len(WAYS)]
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                async with asyncio.timeout(HOLD_S + 4):
                    await way(Peer(reader, writer))
            finally:
                writer.close()
        done[way.__name__] = done.get(way.__name__, 0) + 1

    await asyncio.gather(*(one(number) for number in range(count)))
    return done
