"""Where the proxy never connects for a client: to its own page, to itself, to its store, and to
the name `throttle.proxy`.

Rule: judged by the address that was really connected to, after names were resolved, and before a
byte is sent.  Whoever came by such a connection would look like this machine itself, and would be
trusted as such.

An address is judged before the attempt too, so that the client is told why; a name is not resolved
for that, since it may resolve to something else a moment later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Protocol

from mitmproxy import ctx, http
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Client, Server
from mitmproxy.proxy.mode_specs import ReverseMode, UpstreamMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from mitmthrottle.proxy.facts import PAGE_HOST, name_of
from mitmthrottle.proxy.mitm.connections import Connections
from mitmthrottle.store import Address

from .addresses import IPAddress, canonical, is_local
from .listeners import Listeners, Listening, listeners

logger = logging.getLogger(__name__)

OWN = (
    "mitmthrottle: this is the proxy itself or its page, which are not reached through the proxy: "
    f"open http://{PAGE_HOST}/ instead"
)
STORE = "mitmthrottle: this is what the proxies share, which is not reached through the proxy"


class Shares(Protocol):
    """Who knows where the store is."""

    @property
    def store_address(self) -> Address | None: ...


class Destinations:
    """The addon. It stands before all others that are told of connections to servers."""

    def __init__(self, throttle: Shares, known: Listeners = listeners) -> None:
        self._throttle = throttle
        self._known = known
        self._listening: list[Listening] = []

    def running(self) -> None:
        self._listening = [self._known.open("proxy", port) for port in sorted(_own_ports())]

    def done(self) -> None:
        for each in self._listening:
            each.close()

    # -- mitmproxy's hooks

    def http_connect(self, flow: http.HTTPFlow) -> None:
        """A tunnel to `throttle.proxy` ends here, and is not opened in advance: what comes through
        it is answered as ever."""
        if name_of(flow.request.host) == PAGE_HOST and flow.response is None:
            flow.response = http.Response.make(200)
            flow.response.headers.clear()

    def server_connect(self, data: ServerConnectionHookData) -> None:
        address = data.server.address
        if address is None or data.server.transport_protocol != "tcp":
            return
        name, port = name_of(address[0]), address[1]
        store = self._throttle.store_address
        literal = canonical(name)
        if name == PAGE_HOST or (literal is not None and self._is_own(literal, port, data.client)):
            data.server.error = OWN
        elif store is not None and port == store.port and name == name_of(store.host):
            data.server.error = STORE
        if data.server.error in (OWN, STORE):
            _say(data)

    def server_connected(
        self, data: ServerConnectionHookData
    ) -> Coroutine[None, None, None] | None:
        peer = data.server.peername
        if peer is None or data.server.transport_protocol != "tcp":
            return None
        address, port = canonical(peer[0]), peer[1]
        if address is None:
            return None
        if self._is_own(address, port, data.client):
            self._hang_up(data, OWN)
            return None
        store = self._throttle.store_address
        if store is not None and not store.path and port == store.port:
            return self._unless_store(data, address, store)
        return None  # without a coroutine: every connection comes by

    # -- what is ours

    def _is_own(self, address: IPAddress, port: int, client: Client) -> bool:
        kinds = self._known.kinds(port)
        if port in _own_ports():
            kinds.add("proxy")
        if not kinds or not is_local(address):
            return False
        # One proxy behind another is the user's own wish; a page is behind none.
        return "page" in kinds or not _is_configured(client, address, port)

    async def _unless_store(
        self, data: ServerConnectionHookData, address: IPAddress, store: Address
    ) -> None:
        found = await _resolved(store)
        if address in found or (is_local(address) and any(is_local(each) for each in found)):
            self._hang_up(data, STORE)

    def _hang_up(self, data: ServerConnectionHookData, why: str) -> None:
        """mitmproxy has connected, and takes no error any more: it finds the connection closed."""
        _say(data)
        proxyserver = _proxyserver()
        handler = Connections(proxyserver).handler_of(data.client) if proxyserver else None
        transport = handler.transports.get(data.server) if handler else None
        if transport is not None and isinstance(transport.writer, asyncio.StreamWriter):
            transport.writer.transport.abort()


def opened_by_us(address: str, port: int) -> bool:
    """Whether a connection that comes from there is one that this proxy has opened for a client."""
    proxyserver = _proxyserver()
    source = canonical(address)
    return proxyserver is not None and any(
        connection.sockname is not None
        and connection.sockname[1] == port
        and canonical(connection.sockname[0]) == source
        for handler in proxyserver.connections.values()
        for connection in handler.transports
        if isinstance(connection, Server)
    )


def _proxyserver() -> Proxyserver | None:
    found = ctx.master.addons.get("proxyserver")
    return found if isinstance(found, Proxyserver) else None


def _own_ports() -> set[int]:
    proxyserver = _proxyserver()
    if proxyserver is None:
        return set()
    return {
        where[1]
        for server in proxyserver.servers
        if server.mode.transport_protocol != "udp"
        for where in server.listen_addrs
    }


def _is_configured(client: Client, address: IPAddress, port: int) -> bool:
    """Whether the mode that the client came by names this as where all connections go."""
    mode = client.proxy_mode
    if not isinstance(mode, (ReverseMode, UpstreamMode)) or mode.address[1] != port:
        return False
    named = canonical(mode.address[0])
    return named == address or (named is None and is_local(address))


async def _resolved(store: Address) -> set[IPAddress]:
    with contextlib.suppress(OSError):
        found = await asyncio.get_running_loop().getaddrinfo(store.host, store.port)
        return {address for *_, where in found if (address := canonical(str(where[0])))}
    return set()


def _say(data: ServerConnectionHookData) -> None:
    client, server = data.client.peername, data.server.peername or data.server.address
    logger.info("mitmthrottle: no connection to %s for %s: it is one of ours", server, client)
