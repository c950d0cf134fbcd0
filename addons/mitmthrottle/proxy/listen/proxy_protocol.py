"""`throttle_proxy_protocol`: the real client behind a balancer.

Rule: from a listed address a header is required and from any other none is believed. Whoever
breaks this is closed with a line in the log, so that nobody gets to name another client's address.

The header is read before anything else is, and not a byte beyond it: what follows in the same
segment, a TLS ClientHello for instance, is read by mitmproxy as ever.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Coroutine, Sequence
from weakref import WeakSet

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Client
from mitmproxy.utils import human

from mitmthrottle.proxy.mitm.connections import Connections

from .addresses import canonical
from .proxy_header import BadHeader, Header, More, may_begin, parse

logger = logging.getLogger(__name__)

TIMEOUT_S = 5.0
"""How long a header may take; the protocol asks for 3 s at least, the time of a lost segment."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

TUNNELS = ("wireguard", "tun")
"""Modes in which packets come out of a tunnel, with whatever source they name."""

_introduced: WeakSet[Client] = WeakSet()


def is_hearsay(client: Client) -> bool:
    """Whether this client's address is only what somebody says of it, and not what the kernel knows
    of its connection: enough to count by, and nobody becomes local by it."""
    return client in _introduced or client.proxy_mode.type_name in TUNNELS


class ProxyProtocol:
    """The addon: reads the headers of listed addresses, refuses those of others."""

    def __init__(self) -> None:
        self._balancers: tuple[Network, ...] = ()

    def load(self, loader: Loader) -> None:
        loader.add_option(
            "throttle_proxy_protocol",
            Sequence[str],
            [],
            "Networks of the balancers that say with the PROXY protocol (version 1 or 2) whom "
            "they speak for: `198.18.0.0/15,10.0.0.7`. Connections from there must begin with its "
            "header, others must not. Costs: nothing of what is in these networks can reach the "
            "proxy without a header, and all of it can claim to be any client.",
        )

    def configure(self, updated: set[str]) -> None:
        if "throttle_proxy_protocol" in updated:
            try:
                self._balancers = parse_networks(ctx.options.throttle_proxy_protocol)
            except ValueError as fault:
                raise exceptions.OptionsError(f"throttle_proxy_protocol: {fault}") from None

    def client_connected(self, client: Client) -> Coroutine[None, None, None] | None:
        reader = self._reader_of(client) if self._balancers else None
        if reader is None:
            return None
        if not self._is_balancer(client):
            _refuse_later(client, reader)
            return None
        return self._read_header(client, reader)

    async def _read_header(self, client: Client, reader: asyncio.StreamReader) -> None:
        data = bytearray()
        try:
            header = await _read(reader, data)
        except TimeoutError:
            _refuse(client, f"no whole PROXY protocol header within {TIMEOUT_S:.0f} s")
        except BadHeader as fault:
            _refuse(client, f"a PROXY protocol header is required here: {fault}")
        except (EOFError, OSError):
            if data:
                _refuse(client, "it ended within its PROXY protocol header")
            else:  # a health check that only connects: many a second, and nothing is wrong
                logger.debug("%s left without a word", human.format_address(client.peername))
                client.error = "no PROXY protocol header"
        else:
            _introduce(client, header)

    def _reader_of(self, client: Client) -> asyncio.StreamReader | None:
        """None for what is no TCP connection of the kernel's: QUIC, WireGuard."""
        proxyserver = ctx.master.addons.get("proxyserver")
        if not isinstance(proxyserver, Proxyserver):
            return None
        handler = Connections(proxyserver).handler_of(client)
        transport = handler.transports.get(client) if handler else None
        reader = transport.reader if transport else None
        return reader if isinstance(reader, asyncio.StreamReader) else None

    def _is_balancer(self, client: Client) -> bool:
        address = canonical(client.peername[0])
        return address is not None and any(address in network for network in self._balancers)


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks, several in one text with commas between them.

    ValueError with a remedy for what is no network.
    """
    found = []
    for text in ",".join(texts).split(","):
        if not text.strip():
            continue
        try:
            found.append(ipaddress.ip_network(text.strip()))
        except ValueError:
            raise ValueError(
                f"`{text.strip()}` is no network: write `198.18.0.0/15`, or `198.18.0.7` for one "
                f"balancer{_meant(text.strip())}"
            ) from None
    return tuple(found)


def _meant(text: str) -> str:
    """The network around an address with host bits, as a suggestion."""
    try:
        return f"; did you mean `{ipaddress.ip_network(text, strict=False)}`?"
    except ValueError:
        return ""


async def _read(reader: asyncio.StreamReader, data: bytearray) -> Header:
    """The header; `data` holds what of it has come, also where there is none.

    Raises BadHeader, TimeoutError, EOFError or OSError.
    """
    async with asyncio.timeout(TIMEOUT_S):
        while isinstance(found := parse(bytes(data)), More):
            piece = await reader.read(found.at_most)
            if not piece:
                raise EOFError
            data += piece
    return found


def _introduce(client: Client, header: Header) -> None:
    """From here on the client is the one that the header names; and where it names none, surely not
    the balancer itself."""
    _introduced.add(client)
    if header.source is None:
        return
    logger.debug(
        "%s speaks for %s",
        human.format_address(client.peername),
        human.format_address(header.source),
    )
    client.peername = header.source
    if header.destination is not None:
        client.sockname = header.destination
    # mitmproxy has asked itself whether to serve the balancer; the client is another question.
    block = ctx.master.addons.get("block")
    if block is not None:
        block.client_connected(client)


def _refuse(client: Client, why: str) -> None:
    _log_refusal(client, why)
    client.error = why


def _log_refusal(client: Client, why: str) -> None:
    peer = human.format_address(client.peername)
    logger.warning("mitmthrottle: connection from %s closed: %s", peer, why)


def _refuse_later(client: Client, reader: asyncio.StreamReader) -> None:
    """Look at the first bytes when they are read, and close the connection if they are a header.

    Not before: a client may wait for the server to speak first.
    """
    read = reader.read

    async def first_read(n: int = -1) -> bytes:
        data = await read(n)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while data and may_begin(data) is None and (piece := await read(n)):
                    data += piece
        except TimeoutError:  # a client that has only this to say for now
            pass
        del reader.read  # the instance's own: the class's is there again
        if data and may_begin(data):
            _log_refusal(
                client,
                "it began with a PROXY protocol header, but is not listed in "
                "throttle_proxy_protocol",
            )
            # What mitmproxy itself does to a connection that has been idle for too long.
            raise asyncio.CancelledError("a PROXY protocol header from an unlisted address")
        return data

    # On the instance, so that whoever wraps this reader comes by here as well.
    reader.read = first_read  # type: ignore[method-assign]
