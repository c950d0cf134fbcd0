"""`--resolve`, spelled in one way by all commands that have it.

Rule: what is a route here is one to `running_proxy`, and to whoever dials for himself.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

RESOLVE_FORM = "HOST[:PORT]=ADDRESS[:PORT]"
_EXAMPLE = "www.example.org=127.0.0.1:8443"

Endpoint = tuple[str, int]


def parse_resolve(text: str) -> tuple[str, Endpoint]:
    """`HOST[:PORT]=ADDRESS[:PORT]` -> (host or host:port, (address, port)).

    Without a port behind the address it is the one before it. curl's own `HOST:PORT:ADDRESS` is
    taken as well. Raises ValueError with the form it should have.

    >>> parse_resolve("www.example.org=127.0.0.1:8443")
    ('www.example.org', ('127.0.0.1', 8443))
    >>> parse_resolve("example.org:443:[::1]")
    ('example.org:443', ('::1', 443))
    """
    name, equals, target = text.partition("=")
    if not equals:  # curl's
        before, _, rest = text.partition(":")
        of, _, target = rest.partition(":")
        name = f"{before}:{of}"
    try:
        host, port = _parts(name)
        address, to = _parts(target)
        if not host or not (to or port):
            raise ValueError
        ipaddress.ip_address(address)
        return name.lower(), (address, to or port)
    except ValueError:
        raise ValueError(f"`{text}` is not {RESOLVE_FORM}: {_EXAMPLE}") from None


def endpoint_of(routes: Mapping[str, Endpoint], host: str, port: int) -> Endpoint | None:
    """Where to connect instead, if anywhere: the most exact route wins."""
    name = host.lower().rstrip(".")
    for key in (f"{name}:{port}", name, f"*:{port}", "*"):
        if key in routes:
            return routes[key]
    return None


def _parts(text: str) -> tuple[str, int]:
    """A name or an address, and its port; 0: none is given. Raises ValueError."""
    if text.startswith("["):
        inner, closed, rest = text[1:].partition("]")
        host, port = (inner if closed else ""), rest.removeprefix(":")
        if rest and not rest.startswith(":"):
            raise ValueError
    elif text.count(":") > 1:  # an IPv6 address by itself
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    if not port and text.endswith(":"):
        raise ValueError
    if port and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError
    return host, int(port or 0)
