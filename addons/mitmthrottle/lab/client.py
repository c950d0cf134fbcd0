"""Clients with addresses of their own: every 127.x.y.z is one on Linux, so a single machine
can be a hundred phones. And what such a client saw, by its own clock.

Rule: the rate is told from what arrived and when, never from what was asked for.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpcore
import httpx

SETTLE_S = 0.25
"""How much of a response's beginning its rate leaves out, in seconds from its first byte."""

_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """One response, as its client saw it."""

    status: int
    http_version: str
    """"HTTP/1.1" or "HTTP/2"."""
    headers: httpx.Headers
    size: int
    """bytes of body that arrived, before any decoding"""
    first_byte_s: float
    """from sending the request to the first byte of the body; connecting is not counted"""
    duration_s: float
    """from sending the request to the last byte of the body"""
    rate_bytes_per_s: float
    """see `goodput`"""


def goodput(arrivals: Sequence[tuple[float, int]], sent_at: float) -> float:
    """Bytes per second of a body from `(time in seconds, bytes)` of each arrival.

    A shaper lets a burst pass at once, 100 ms of the rate unless the policy says otherwise.
    Counting it would flatter short responses: 20 kB at 16 kB/s would seem to come at
    17.4 kB/s. So the clock starts with the first arrival `SETTLE_S` or more after the first
    byte, and what had come up to and including it is not counted: bytes are set against the
    time in which they came. A body that is through before that has no steady part; its rate
    is all of it over the time since the request was sent.

    >>> goodput([(1.0, 1600), (1.5, 800), (2.5, 1600)], sent_at=0.9)
    1600.0
    """
    if not arrivals:
        return 0.0
    first, last = arrivals[0][0], arrivals[-1][0]
    start = next((at for at, _ in arrivals if at - first >= SETTLE_S), last)
    steady = sum(size for at, size in arrivals if at > start)
    if steady and last > start:
        return steady / (last - start)
    return sum(size for _, size in arrivals) / max(last - sent_at, 1e-6)


def client(
    proxy_url: str,
    ca_path: Path,
    *,
    address: str | None = None,
    headers: Mapping[str, str] | None = None,
    h2: bool = True,
) -> httpx.AsyncClient:
    """An httpx client that goes through the proxy, from a source address of its own.

    `ca_path` is the authority to trust, `RunningProxy.ca_path`. Errors of the network are
    httpcore's (`httpcore.NetworkError`, `httpcore.ProxyError`), not httpx's.
    """
    trust = ssl.create_default_context(cafile=ca_path)
    return httpx.AsyncClient(
        transport=_From(proxy_url, trust, address, h2=h2),
        headers=headers,
        timeout=_TIMEOUT_S,
    )


async def fetch(
    client: httpx.AsyncClient,
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Fetched:
    """Fetch and time a body. `progress(bytes so far, declared length)` is called as it comes."""
    sent_at = time.perf_counter()

    async def trace(event: str, _: Mapping[str, Any]) -> None:
        nonlocal sent_at
        # The last of these is the request itself; one before it may be the CONNECT.
        if event.endswith("send_request_headers.started"):
            sent_at = time.perf_counter()

    arrivals: list[tuple[float, int]] = []
    size = 0
    async with client.stream(method, url, headers=headers, extensions={"trace": trace}) as response:
        length = response.headers.get("content-length", "")
        declared = int(length) if length.isdecimal() else None
        async for piece in response.aiter_raw():
            arrivals.append((time.perf_counter(), len(piece)))
            size += len(piece)
            if progress is not None:
                progress(size, declared)
        ended_at = arrivals[-1][0] if arrivals else time.perf_counter()
        return Fetched(
            status=response.status_code,
            http_version=response.http_version,
            headers=response.headers,
            size=size,
            first_byte_s=(arrivals[0][0] if arrivals else ended_at) - sent_at,
            duration_s=ended_at - sent_at,
            rate_bytes_per_s=goodput(arrivals, sent_at),
        )


class _From(httpx.AsyncBaseTransport):
    """httpx's own transport cannot bind a source address when it uses a proxy: this one can."""

    def __init__(
        self, proxy_url: str, trust: ssl.SSLContext, address: str | None, *, h2: bool
    ) -> None:
        self._pool = httpcore.AsyncHTTPProxy(
            proxy_url=proxy_url, ssl_context=trust, http2=h2, network_backend=_Bound(address)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._response.aiter_stream():
            yield piece

    async def aclose(self) -> None:
        await self._response.aclose()


class _Bound(httpcore.AsyncNetworkBackend):
    """Connects from the given address."""

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return await self._backend.connect_tcp(
            host, port, timeout, local_address or self._address, socket_options
        )

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return await self._backend.connect_unix_socket(path, timeout, socket_options)

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)
