"""One origin for every protocol that the throttle may meet: HTTP/1.1, HTTP/2 and HTTP/3,
server-sent events, WebSocket, and a protocol of its own over plain TCP and over TLS.

Rule: whatever is asked for, the bytes are those of `noise`, so that a hash tells whether they all
came; it reads as fast as it can and runs until its block ends.

Its own protocol, of which nobody can tell what it is: a line `?n` is answered with n bytes, and a
line `!n` with n bytes behind it is answered with their hash in hexadecimal.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from hypercorn.asyncio import serve
from hypercorn.config import Config

from mitmthrottle.lab.noise import noise

_START_S = 10.0
USUAL = (443, 80, 7443, 7000)  # HTTPS, HTTP, its own protocol over TLS and in the clear
EVENT_BYTES = 600  # of noise in a server-sent event
ALT_SVC = 'h3=":443"; ma=86400, h2=":443"; ma=60'

PAGES = {
    "/worker.js": (
        "text/javascript",
        """self.addEventListener("install", () => self.skipWaiting())
self.addEventListener("activate", event => event.waitUntil(clients.claim()))
self.addEventListener("fetch", event => event.respondWith(fetch(event.request)))
""",
    ),
    "/worker.html": (
        "text/html",
        """<!doctype html><title>A service worker</title><script>
async function through(url) {
  await navigator.serviceWorker.register("/worker.js")
  while (!navigator.serviceWorker.controller) await new Promise(done => setTimeout(done, 20))
  const size = (await (await fetch(url)).arrayBuffer()).byteLength
  const entry = performance.getEntriesByName(new URL(url, location).href)[0]
  return [size, entry.workerStart, (entry.responseEnd - entry.responseStart) / 1000]
}
</script>""",
    ),
}


@dataclass(frozen=True, slots=True)
class WaysOrigin:
    """Where it listens."""

    https: int
    http: int
    quic: int
    tls: int
    tcp: int
    ca_path: Path

    @property
    def resolve(self) -> dict[str, tuple[str, int]]:
        """For `running_proxy`: the usual ports of any host lead here."""
        ports = (self.https, self.http, self.tls, self.tcp)
        return {f"*:{port}": ("127.0.0.1", inner) for port, inner in zip(USUAL, ports, strict=True)}


@contextlib.contextmanager
def running_ways_origin(
    folder: Path, hosts: Sequence[str], *, quic_addresses: Sequence[str] = ()
) -> Iterator[WaysOrigin]:
    """On free ports of 127.0.0.1; on a machine of its own, on the usual ports of every address, but
    for QUIC of these (what answers from any address answers from the wrong one)."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    pem = folder / "certificate.pem"
    certificate = authority.issue_cert(*hosts, "127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(pem)
    trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trust.load_cert_chain(pem)
    usual = USUAL if quic_addresses else (0,) * len(USUAL)
    address = "0.0.0.0" if quic_addresses else "127.0.0.1"
    listeners = [socket.create_server((address, port)) for port in usual]
    for each in listeners:  # accepted sockets inherit it
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    datagrams = []
    for at in quic_addresses or (address,):
        datagrams.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagrams[-1].bind((at, usual[0]))
    https, http, tls, tcp = (each.getsockname()[1] for each in listeners)
    origin = WaysOrigin(https, http, datagrams[0].getsockname()[1], tls, tcp, folder / "ca.pem")
    config = Config()
    config.certfile = config.keyfile = str(pem)
    config.alpn_protocols = ["h2", "http/1.1"]
    config.bind = [f"fd://{listeners[0].detach()}"]
    config.insecure_bind = [f"fd://{listeners[1].detach()}"]
    config.quic_bind = [f"fd://{each.detach()}" for each in datagrams]
    config.alt_svc_headers = [ALT_SVC]
    config.websocket_max_message_size = 1 << 24
    config.graceful_timeout = 0.5
    config.errorlog = None  # clients that leave in mid-body are what it is for

    ready, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        loops[0].set_exception_handler(lambda *_: None)

        async def until_told() -> None:
            ready.set()
            await stop.wait()

        servers = [
            await asyncio.start_server(_own_protocol, sock=listeners[2], ssl=trust),
            await asyncio.start_server(_own_protocol, sock=listeners[3]),
        ]
        web = asyncio.create_task(
            serve(_application, config, shutdown_trigger=until_told, mode="asgi")  # type: ignore[arg-type]  # hypercorn's own types of ASGI
        )
        await asyncio.wait({web, asyncio.create_task(stop.wait())}, return_when="FIRST_COMPLETED")
        await asyncio.wait({web}, timeout=1.0)
        for server in servers:
            server.close()
        for _ in range(10):
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            if not rest:
                break
            for task in rest:
                task.cancel()
            await asyncio.wait(rest, timeout=0.1)

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="ways", daemon=True)
    thread.start()
    if not ready.wait(_START_S):
        raise RuntimeError("the origin did not start")
    try:
        yield origin
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(_START_S)
        if thread.is_alive():
            raise RuntimeError("the origin did not stop")


async def _own_protocol(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while line := await reader.readline():
            what, count = line[:1], int(line[1:])
            if what == b"?":
                for start in range(0, count, 1 << 16):
                    writer.write(noise(start, min(start + (1 << 16), count)))
                    await writer.drain()
            else:
                seen, left = hashlib.sha256(), count
                while left:
                    data = await reader.read(min(left, 1 << 16))
                    if not data:
                        return
                    seen.update(data)
                    left -= len(data)
                writer.write(seen.hexdigest().encode())
                await writer.drain()
    writer.close()


async def _application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    elif scope["type"] == "websocket":
        await _websocket(receive, send)
    else:
        await _http(scope, receive, send)


async def _http(scope: Any, receive: Any, send: Any) -> None:
    """/bytes/N, /events/N (server-sent), /slow-events/N (ten a second), `PAGES`; PUT /sink tells
    what has come, and how fast from the first arrival to the last, the first not counted."""
    path = scope["path"].split("/")
    if path[1] == "sink":
        seen, size, first, began, ended = hashlib.sha256(), 0, 0, 0.0, 0.0
        while True:
            message = await receive()
            if data := message.get("body"):
                seen.update(data)
                size += len(data)
                ended = time.perf_counter()
                first, began = (first, began) if first else (len(data), ended)
            if not message.get("more_body"):
                break
        rate = (size - first) / (ended - began) if ended > began else 0.0
        body = json.dumps({"sha256": seen.hexdigest(), "bytes_per_s": rate}).encode()
        await _start(send, "application/json", len(body))
        await send({"type": "http.response.body", "body": body, "more_body": False})
        return
    count = int(path[2]) if path[2:] and path[2].isdecimal() else 0
    if path[1] == "bytes":
        await _start(send, "image/jpeg", count)
        for start in range(0, count, 1 << 16):
            body = noise(start, min(start + (1 << 16), count))
            await send({"type": "http.response.body", "body": body, "more_body": True})
    elif path[1] in ("events", "slow-events"):
        await _start(send, "text/event-stream", None)
        for number in range(count):
            await send({"type": "http.response.body", "body": event(number), "more_body": True})
            if path[1] == "slow-events":
                await asyncio.sleep(0.1)
    else:
        content_type, text = PAGES.get(scope["path"], ("text/plain", ""))
        await _start(send, content_type, len(text))
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def event(number: int) -> bytes:
    """A server-sent event, as it travels."""
    data = b64encode(noise(number * EVENT_BYTES, (number + 1) * EVENT_BYTES))
    return b"id: %d\ndata: %s\n\n" % (number, data)


async def _start(send: Any, content_type: str, length: int | None) -> None:
    headers = [(b"content-type", content_type.encode())]
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _websocket(receive: Any, send: Any) -> None:
    """`GET n`: n bytes in messages of 10 kB. A binary message is answered with its hash."""
    while True:
        message = await receive()
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif message["type"] == "websocket.disconnect":
            return
        elif message.get("text"):
            count = int(message["text"].split()[1])
            for start in range(0, count, 10_000):
                body = noise(start, min(start + 10_000, count))
                await send({"type": "websocket.send", "bytes": body})
        else:
            digest = hashlib.sha256(message["bytes"]).hexdigest()
            await send({"type": "websocket.send", "text": digest})
