"""From a mitmproxy flow to the plain facts that a policy may look at.

Rule: nothing later looks at the flow again to decide.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

from mitmproxy import ctx, http
from mitmproxy.addons.proxyauth import ProxyAuth
from mitmproxy.connection import Client
from mitmproxy.net.http import url
from mitmproxy.net.http.http1 import expected_http_body_size

from mitmthrottle.policy import Exchange

PAGE_HOST = "throttle.proxy"
"""The name under which the proxy itself answers, with the live page: no rule concerns it."""


def exchange_of(flow: http.HTTPFlow, serial: int, elapsed_s: float) -> Exchange:
    """The exchange so far: before the response's headers, or after them.

    `elapsed_s` is counted from the policy's start.
    """
    request, response = flow.request, flow.response
    status = response.status_code if response else None
    return Exchange(
        host=host_of(flow),
        path=request.path,
        method=request.method,
        scheme=request.scheme,
        port=request.port,
        status=status,
        request_headers=RequestHeaders(request.headers.fields),
        content_type=response.headers.get("content-type") if response else None,
        size=_size(flow) if response else None,
        client_address=flow.client_conn.peername[0] if flow.client_conn.peername else None,
        user=_user(flow),
        websocket=status == 101 and request.headers.get("upgrade", "").lower() == "websocket",
        time=time.time(),
        elapsed_s=elapsed_s,
        serial=serial,
    )


def upload_of(flow: http.HTTPFlow, exchange: Exchange) -> Exchange:
    """The same exchange, looked at as a body on its way up."""
    length = flow.request.headers.get("content-length", "")
    return replace(
        exchange,
        content_type=flow.request.headers.get("content-type"),
        size=int(length) if length.isdecimal() else None,
    )


class RequestHeaders(Mapping[str, str]):
    """By their names in lower case, several of a name joined with commas as mitmproxy does it.

    Read when first asked for: most decisions look at none.
    """

    __slots__ = ("_fields", "_found")

    def __init__(self, fields: tuple[tuple[bytes, bytes], ...]) -> None:
        self._fields = fields
        self._found: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return f"RequestHeaders({self._read()})"

    def _read(self) -> dict[str, str]:
        if self._found is None:
            found: dict[str, str] = {}
            for raw_name, raw_value in self._fields:
                name = raw_name.decode("utf-8", "surrogateescape").lower()
                value = raw_value.decode("utf-8", "surrogateescape")
                found[name] = f"{found[name]}, {value}" if name in found else value
            self._found, self._fields = found, ()
        return self._found


def host_of(flow: http.HTTPFlow) -> str:
    """The host that the client asked for; where it only gave an address, the TLS server name."""
    authority = _authority(flow.request)
    host = _name_in(authority) if authority else flow.request.host
    if flow.request.scheme != "https" or not is_address(host):
        return host  # a request in the clear may have come through an HTTPS proxy's own TLS
    return flow.client_conn.sni or host


def _authority(request: http.Request) -> str | None:
    """As `Request.host_header` has it, without a search that decodes every header on its way:
    this is asked several times for each request, whether it concerns us or not."""
    data = request.data
    if data.authority and data.http_version in (b"HTTP/2.0", b"HTTP/3"):
        return request.authority
    for name, value in data.headers.fields:
        if len(name) == 4 and name.lower() == b"host":
            return value.decode("utf-8", "surrogateescape")
    return None


@lru_cache(maxsize=4096)
def _name_in(authority: str) -> str:
    """As `Request.pretty_host` has it, which parses anew each time it is asked."""
    return url.parse_authority(authority, check=False)[0]


@lru_cache(maxsize=4096)
def is_address(host: str) -> bool:
    """Whether that is an IP address and not a name."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def user_of(client: Client) -> str | None:
    """Who has authenticated at the proxy on this connection: what is known of the client where
    there is no request to ask."""
    proxy_auth = ctx.master.addons.get("proxyauth")
    if not isinstance(proxy_auth, ProxyAuth):
        return None
    credentials = proxy_auth.authenticated.get(client)
    return credentials[0] if credentials else None


def _user(flow: http.HTTPFlow) -> str | None:
    credentials = flow.metadata.get("proxyauth")  # (name, password), set by mitmproxy's ProxyAuth
    return credentials[0] if credentials else None


def _size(flow: http.HTTPFlow) -> int | None:
    """The declared size of the response's body in bytes; None if it is not declared."""
    if flow.response is not None and flow.response.raw_content is not None:
        return len(flow.response.raw_content)  # made by an addon
    try:
        size = expected_http_body_size(flow.request, flow.response)
    except ValueError:
        return None
    return size if size is not None and size >= 0 else None
