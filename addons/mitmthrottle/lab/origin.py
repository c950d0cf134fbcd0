"""An HTTPS origin inside the process: several host names on one port, HTTP/1.1 and HTTP/2,
with certificates of an authority made for the occasion. It serves `site` and speaks through
Hypercorn.

Rule: nothing of it outlives its `with` block, and it listens on loopback only.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trustme
from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from mitmthrottle.lab.ranges import Unsatisfiable, parse_range
from mitmthrottle.lab.site import Resource, of_bytes, site

_PIECE_BYTES = 1 << 16
_GRACE_S = 1.0  # for responses under way when the block ends


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it reached the origin."""

    host: str
    method: str
    path: str
    """with the query"""
    http_version: str
    """"1.1" or "2"."""
    client: tuple[str, int]
    """address and port of who connected: the proxy, if there is one"""


@dataclass(frozen=True, slots=True)
class Origin:
    """An HTTPS origin that is running: what `running_origin` gives."""

    hosts: tuple[str, ...]
    """names that its certificate is for"""
    port: int
    """of HTTPS, on 127.0.0.1"""
    plain_port: int
    """of HTTP, on 127.0.0.1"""
    ca_path: Path
    """PEM file of the authority that signed its certificate"""
    requests: list[Seen] = field(default_factory=list)
    """every request so far, in order of arrival"""

    @property
    def resolve(self) -> dict[str, tuple[str, int]]:
        """For `running_proxy(resolve=...)`: any host's ports 443 and 80 lead here."""
        return {"*:443": ("127.0.0.1", self.port), "*:80": ("127.0.0.1", self.plain_port)}


@contextlib.contextmanager
def running_origin(hosts: Sequence[str], *, h2: bool = True) -> Iterator[Origin]:
    """Serve photos, videos and pages under these host names (wildcards allowed) until the block
    ends: over HTTPS and HTTP, on loopback, with the certificate of an authority of its own.

    `h2=False` offers HTTP/1.1 only. Needs `mitmthrottle[lab]`. Raises ValueError without a host
    name, OSError if no port can be had, and RuntimeError if the server does not stop.

        with running_origin(["example.org", "img.example.org"]) as origin:
            context = ssl.create_default_context(cafile=origin.ca_path)
            ...  # connect to 127.0.0.1:origin.port with the name example.org
    """
    if not hosts:
        raise ValueError("an origin needs at least one host name")
    with tempfile.TemporaryDirectory(prefix="mitmthrottle-origin-") as folder:
        secure, plain = _listener(), _listener()
        origin = Origin(
            hosts=tuple(hosts),
            port=secure.getsockname()[1],
            plain_port=plain.getsockname()[1],
            ca_path=Path(folder, "ca.pem"),
        )
        config = _config(origin, Path(folder), h2=h2)
        # Hypercorn takes the sockets over; ours would close them a second time.
        config.bind = [f"fd://{secure.detach()}"]
        config.insecure_bind = [f"fd://{plain.detach()}"]
        with _thread(_Application(origin), config):
            yield origin


def _listener() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    # Accepted sockets inherit it: the second piece of a response must not wait for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _config(origin: Origin, folder: Path, *, h2: bool) -> Config:
    authority = trustme.CA(organization_name="mitmthrottle lab")
    authority.cert_pem.write_to_path(origin.ca_path)
    certificate = authority.issue_cert(*origin.hosts, "localhost", "127.0.0.1")
    pem = folder / "certificate.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(pem)
    config = Config()
    config.certfile = config.keyfile = str(pem)
    config.alpn_protocols = ["h2", "http/1.1"] if h2 else ["http/1.1"]
    config.graceful_timeout = _GRACE_S
    config.keep_alive_timeout = 60
    config.h2_max_concurrent_streams = 1000
    config.backlog = 1024
    # A client that leaves in mid-body is the lab's daily business, not an error to log.
    config.errorlog = None
    return config


@contextlib.contextmanager
def _thread(application: _Application, config: Config) -> Iterator[None]:
    """Run Hypercorn on an event loop of its own; on leaving, end it and what it serves."""
    listening = threading.Event()
    stopping = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    faults: list[BaseException] = []

    async def shutdown_trigger() -> None:
        listening.set()
        await stopping.wait()

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        server = asyncio.create_task(
            serve(application, config, shutdown_trigger=shutdown_trigger, mode="asgi")
        )
        await asyncio.wait(
            {server, asyncio.create_task(stopping.wait())}, return_when="FIRST_COMPLETED"
        )
        # It waits for its connections to end, some of which may be held back for minutes.
        await asyncio.wait({server}, timeout=_GRACE_S)
        # Hypercorn's connections complain when they are cancelled; nobody needs to read it.
        loops[0].set_exception_handler(lambda *_: None)
        if server.done() and not server.cancelled() and (fault := server.exception()):
            faults.append(fault)
        await _cancel_the_rest()

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="origin", daemon=True)
    thread.start()
    while not listening.wait(timeout=0.05):
        if not thread.is_alive():
            raise RuntimeError("the origin did not start") from next(iter(faults), None)
    try:
        yield
    finally:
        loops[0].call_soon_threadsafe(stopping.set)
        thread.join(timeout=10 * _GRACE_S)
        if thread.is_alive():
            raise RuntimeError("the origin did not stop")


async def _cancel_the_rest() -> None:
    """More than once where need be: a connection whose client does not read survives the
    first cancellation, because Hypercorn then waits for its buffer to drain."""
    for _ in range(20):
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        if not rest:
            return
        for task in rest:
            task.cancel()
        await asyncio.wait(rest, timeout=0.1)


class _Application:
    """The ASGI application: requests to `site`, and ranges, HEAD and ETags for all of it."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            asked = asyncio.Event()
            gone = asyncio.create_task(_until_gone(receive, asked))
            try:
                # Hypercorn may drop an HTTP/2 connection whose request is answered before its end.
                await asked.wait()
                await self._respond(scope, send, gone)
            finally:
                gone.cancel()

    async def _respond(
        self, scope: HTTPScope, send: ASGISendCallable, gone: asyncio.Task[None]
    ) -> None:
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        query = scope["query_string"].decode("latin-1")
        host, _, port = headers.get("host", "").partition(":")
        self._origin.requests.append(
            Seen(
                host=host,
                method=scope["method"],
                path=scope["path"] + (f"?{query}" if query else ""),
                http_version=scope["http_version"],
                client=(scope["client"] or ("", 0))[:2],
            )
        )
        if scope["method"] in ("GET", "HEAD"):
            link_port = int(port) if port.isdecimal() else None
            resource = site(self._origin.hosts, link_port, scope["path"], query)
        else:
            resource = of_bytes("text/plain", b"GET and HEAD only\n", 405)
        status, more_headers, (start, stop) = _conditions(resource, headers)
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (name.encode(), value.encode())
                    for name, value in (("content-type", resource.content_type), *more_headers)
                ],
                "trailers": False,
            }
        )
        position = stop if scope["method"] == "HEAD" else start
        while position < stop and not gone.done():
            end = min(position + _PIECE_BYTES, stop)
            body = resource.read(position, end)
            await send({"type": "http.response.body", "body": body, "more_body": True})
            position = end
            await asyncio.sleep(0)  # lets `gone` know
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: ASGIReceiveCallable, asked: asyncio.Event) -> None:
    """Read what the client sends to its end; `asked` once its request is whole, or it has left."""
    while True:
        message = await receive()
        left = message["type"] == "http.disconnect"
        if left or not message.get("more_body", False):
            asked.set()
        if left:
            return


def _conditions(
    resource: Resource, headers: dict[str, str]
) -> tuple[int, list[tuple[str, str]], tuple[int, int]]:
    """Status, headers and the part of the body, as the request's conditions would have it."""
    whole = (0, resource.length)
    if not resource.declared:
        return resource.status, list(resource.headers), whole
    if resource.status in (204, 304):
        return resource.status, list(resource.headers), (0, 0)
    length = ("content-length", str(resource.length))
    if resource.status != 200:
        return resource.status, [*resource.headers, length], whole
    tag = _tag(resource)
    common = [*resource.headers, ("etag", tag), ("accept-ranges", "bytes")]
    if headers.get("if-none-match") in (tag, "*"):
        return 304, common, (0, 0)
    asked = headers.get("range") if headers.get("if-range", tag) == tag else None
    try:
        part = parse_range(asked, resource.length)
    except Unsatisfiable:
        none = [*common, ("content-range", f"bytes */{resource.length}"), ("content-length", "0")]
        return 416, none, (0, 0)
    if part is None:
        return 200, [*common, length], whole
    start, stop = part
    content_range = ("content-range", f"bytes {start}-{stop - 1}/{resource.length}")
    return 206, [*common, content_range, ("content-length", str(stop - start))], part


def _tag(resource: Resource) -> str:
    """An ETag without reading the whole of what may be a gigabyte."""
    sample = resource.read(0, min(resource.length, _PIECE_BYTES))
    digest = hashlib.blake2b(sample, digest_size=8, salt=resource.length.to_bytes(8)).hexdigest()
    return f'"{digest}"'


async def _lifespan(receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return
