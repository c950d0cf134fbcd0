"""Several processes on one listening address: the kernel gives each its part of the connections.

Rule: TCP only. What mitmproxy listens for over UDP (HTTP/3 in reverse mode) stays with the first
process, since there packets and not connections would be spread.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from mitmproxy.proxy import mode_servers

from mitmthrottle.proxy.mitm import patch
from mitmthrottle.proxy.mitm.compat import require_known_mitmproxy

current: SharedPort | None = None
"""The one that is installed."""

Instance = mode_servers.AsyncioServerInstance[Any]


class SharedPort:
    """Once installed, mitmproxy listens with SO_REUSEPORT, and not before it is told to `serve`:
    until then connections go to the other processes."""

    def __init__(self, *, first: bool, alone: bool, port: int) -> None:
        """`alone`: others that listen there already are an error, also if they would share.
        `port` is what port 0 means to all."""
        self._first = first
        self._alone = alone
        self._port = port
        self._bound: list[asyncio.Server] = []
        self._serving = False

    def install(self) -> None:
        """In the place of mitmproxy's own way, until the process ends."""
        global current
        current = self
        require_known_mitmproxy()  # looks at what is replaced here, so: before
        shared = self

        async def listen(self: Instance, host: str, port: int) -> list[Any]:
            return await shared.listen(self, host, port)

        patch.replace_listen(listen)

    async def serve(self) -> None:
        """Accept connections from now on. Raises OSError."""
        self._serving = True
        while self._bound:
            await self._bound.pop().start_serving()

    async def listen(self, instance: Instance, host: str, port: int) -> list[Any]:
        """In the place of `AsyncioServerInstance.listen`. Raises OSError."""
        if self._alone and port:
            probe = await asyncio.start_server(
                instance.handle_stream, host, port, start_serving=False
            )
            probe.close()
        port = port or self._port
        bound = await asyncio.start_server(
            instance.handle_stream, host, port, reuse_port=True, start_serving=self._serving
        )
        servers: list[Any] = [bound]
        if instance.mode.transport_protocol == "both" and self._first:
            try:
                servers += await _udp(instance, host, port)
            except OSError:
                bound.close()
                raise
        if not self._serving:
            self._bound.append(bound)
        return servers


async def _udp(instance: Instance, host: str, port: int) -> list[Any]:
    if host:
        return [await instance.start_udp_based_server(host, port)]
    servers = [await instance.start_udp_based_server("0.0.0.0", port)]
    with contextlib.suppress(OSError):  # a machine without IPv6
        servers.append(await instance.start_udp_based_server("::", port))
    return servers
