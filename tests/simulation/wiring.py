"""Addons around the one under test: ALPN in the place of TLS, and another addon that meddles."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable

from mitmproxy import http
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from .exchange import Exchange, bytes_of

HTTP2_HOSTS = "2.test"  # origins whose names end so speak HTTP/2


class Injected(Exception):
    """What a meddling addon raises; mitmproxy logs it, and it is nobody's fault."""


class Wiring:
    """HTTP/2 without TLS: mitmproxy goes by `alpn`."""

    def __init__(self) -> None:
        self.http2_in_tunnels: set[str] = set()  # ids of client connections
        self.flows: list[weakref.ref[http.HTTPFlow]] = []

    def server_connect(self, data: ServerConnectionHookData) -> None:
        if data.server.address and data.server.address[0].endswith(HTTP2_HOSTS):
            data.server.alpn = b"h2"

    def http_connected(self, flow: http.HTTPFlow) -> None:
        if flow.client_conn.id in self.http2_in_tunnels:
            flow.client_conn.alpn = b"h2"

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        self.flows.append(weakref.ref(flow))


class Meddler:
    """Another addon: does to a flow what its exchange says, in the hook that it says.

    kill, answer, stream, stream-list, stream-raise, unstream, raise, slow.
    """

    def __init__(self, find: Callable[[str], Exchange | None]) -> None:
        self._find = find

    async def _meddle(self, hook: str, flow: http.HTTPFlow) -> None:
        exchange = self._find(flow.request.path)
        if exchange is None:
            return
        for where, deed in exchange.meddling:
            if where != hook:
                continue
            if deed == "slow":
                await asyncio.sleep(0.7)
            elif deed == "raise":
                exchange.harm.add("addon raise")
                raise Injected(f"in {hook} of {exchange.path}")
            elif deed == "kill":
                exchange.harm.add("addon kill")
                flow.kill()
            elif deed == "answer":
                self._answer(exchange, flow)
            elif deed == "unstream" and flow.response is not None:
                flow.response.stream = False
            elif deed.startswith("stream") and flow.response is not None:
                if deed == "stream-raise":
                    exchange.harm.add("addon callback")
                    flow.response.headers.pop("content-length", None)  # it will not be so long
                flow.response.stream = _callback(deed)

    def _answer(self, exchange: Exchange, flow: http.HTTPFlow) -> None:
        if exchange.down.got or (flow.response is not None and flow.response.stream):
            exchange.harm.add("addon answers too late")
        made = bytes_of(exchange.number, "down", 3000)
        if exchange.method == "HEAD":
            made = b""
        exchange.answered_by = "addon"
        exchange.down.expected = made
        flow.response = http.Response.make(203, made, {"Content-Type": "image/jpeg"})

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        await self._meddle("requestheaders", flow)

    async def request(self, flow: http.HTTPFlow) -> None:
        await self._meddle("request", flow)

    async def responseheaders(self, flow: http.HTTPFlow) -> None:
        await self._meddle("responseheaders", flow)

    async def response(self, flow: http.HTTPFlow) -> None:
        await self._meddle("response", flow)


def _callback(deed: str) -> Callable[[bytes], bytes | list[bytes]]:
    seen = 0

    def stream(data: bytes) -> bytes | list[bytes]:
        nonlocal seen
        seen += 1
        if deed == "stream-raise" and seen == 2:
            raise Injected("in a stream's callback")
        if deed == "stream-list":
            half = len(data) // 2
            return [part for part in (data[:half], data[half:]) if part]
        return data

    return stream
