"""A mitmproxy script that sends chosen host names to chosen addresses, as curl's
`--connect-to` does, so that a local origin can stand in for real sites.

Rule: mitmproxy must not notice. Names are answered where asyncio resolves them, so host,
port, SNI and the reuse of connections are what they would be with the real site; a
rewritten `server.address` would show in all of these.
"""

# No dataclass here: mitmproxy loads scripts without putting them in sys.modules.

import asyncio
import functools
import socket
from collections.abc import Callable, Sequence
from typing import Any

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader

Endpoint = tuple[str, int]
"""An IPv4 address and a port."""


def parse_route(text: str) -> tuple[tuple[str, int | None], Endpoint]:
    """`HOST[:PORT]=ADDRESS:PORT` -> ((host, port or None for any), endpoint).

    `*` as the host stands for every name. Raises ValueError with the form it should have.

    >>> parse_route("twitter.com:443=127.0.0.1:8443")
    (('twitter.com', 443), ('127.0.0.1', 8443))
    """
    name, equals, target = text.partition("=")
    host, colon, port = name.partition(":")
    address, target_colon, target_port = target.rpartition(":")
    try:
        if not (equals and host and target_colon and address):
            raise ValueError
        return (host.lower(), int(port) if colon else None), (address, int(target_port))
    except ValueError:
        raise ValueError(
            f"`{text}` is not HOST[:PORT]=ADDRESS:PORT, for example twitter.com=127.0.0.1:8443"
        ) from None


class Routes:
    """Where to connect instead, for a host and a port."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._endpoints = dict(parse_route(line) for line in lines)

    def find(self, host: str, port: int) -> Endpoint | None:
        """The most exact line wins: host and port, host, any host and port, any host."""
        name = host.lower().rstrip(".")
        for key in ((name, port), (name, None), ("*", port), ("*", None)):
            if key in self._endpoints:
                return self._endpoints[key]
        return None


class Resolve:
    def __init__(self) -> None:
        self.routes = Routes(())

    def load(self, loader: Loader) -> None:
        loader.add_option(
            "lab_resolve",
            Sequence[str],
            [],
            "Send connections for a host elsewhere: HOST[:PORT]=ADDRESS:PORT, `*` for any host.",
        )

    def configure(self, updated: set[str]) -> None:
        if "lab_resolve" in updated:
            try:
                self.routes = Routes(ctx.options.lab_resolve)
            except ValueError as fault:
                raise exceptions.OptionsError(f"lab_resolve: {fault}") from fault

    def running(self) -> None:
        loop = asyncio.get_running_loop()
        # setattr: the loop offers no other way to bring one's own resolver.
        setattr(loop, "getaddrinfo", functools.partial(self._getaddrinfo, loop.getaddrinfo))  # noqa: B010

    async def _getaddrinfo(
        self, ask_system: Callable[..., Any], host: Any, port: Any, **options: Any
    ) -> Any:
        endpoint = self.routes.find(host, port) if isinstance(host, str) and host else None
        if endpoint is None:
            return await ask_system(host, port, **options)
        family = socket.AF_INET6 if ":" in endpoint[0] else socket.AF_INET
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", endpoint)]


addons = [Resolve()]
