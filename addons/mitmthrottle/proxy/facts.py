"""From a mitmproxy flow to the plain facts that a policy may look at.

Rule: nothing later looks at the flow again to decide.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache

from mitmproxy import ctx, http
from mitmproxy.addons.proxyauth import ProxyAuth
from mitmproxy.connection import Client
from mitmproxy.net.http import url
from mitmproxy.net.http.http1 import expected_http_body_size

from mitmthrottle.policy import Exchange

PAGE_HOST = "throttle.proxy"
"""The name under which the proxy itself answers, with the live page: no rule concerns it."""
LENGTHS_OF_NAMES = {len(b"content-type"), len(b"content-length"), len(b"transfer-encoding")}
"""Of the headers that tell of a body: most others differ in that already"""
AUTHORITY_FIRST = (b"HTTP/2.0", b"HTTP/3")
"""Where a request's authority counts before its Host header, as for mitmproxy"""


def exchange_of(
    flow: http.HTTPFlow, serial: int, elapsed_s: float, unix_time: float | None = None
) -> Exchange:
    """The exchange so far: before the response's headers, or after them.

    `elapsed_s` is counted from the policy's start; without a `unix_time` it is now.
    """
    request, response, peername = flow.request, flow.response, flow.client_conn.peername
    data = request.data  # mitmproxy's properties decode it likewise, with a step for each
    status = content_type = size = None
    if response is not None:
        status = response.data.status_code
        content_type, size = _of_body(request, response)
    credentials = flow.metadata.get("proxyauth")  # (name, password), set by mitmproxy's ProxyAuth
    return Exchange(  # in the order of its fields, since names take their time
        host_of(flow),
        data.path.decode("utf-8", "surrogateescape"),
        data.method.decode("utf-8", "surrogateescape").upper(),
        data.scheme.decode("utf-8", "surrogateescape"),
        data.port,
        status,
        RequestHeaders(data.headers.fields),
        content_type,
        size,
        0,  # seen
        False,  # complete
        None,  # head
        peername[0] if peername else None,
        credentials[0] if credentials else None,
        status == 101 and request.headers.get("upgrade", "").lower() == "websocket",
        False,  # opaque
        time.time() if unix_time is None else unix_time,
        elapsed_s,
        serial,
    )


def upload_of(flow: http.HTTPFlow, exchange: Exchange) -> Exchange:
    """The same exchange, looked at as a body on its way up."""
    length = flow.request.headers.get("content-length", "")
    return exchange._replace(
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

    def get[T](  # type: ignore[override]  # Mapping's has overloads, this means the same
        self, name: str, default: T | None = None
    ) -> str | T | None:
        """Without reading all: mostly one name is asked for, and not there."""
        if self._found is not None:
            return self._found.get(name, default)
        size = len(name)
        values = [v for n, v in self._fields if len(n) == size and n.lower() == name.encode()]
        return b", ".join(values).decode("utf-8", "surrogateescape") if values else default

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
    data = flow.request.data
    return _host(
        data.authority if data.http_version in AUTHORITY_FIRST else b"",
        data.headers.fields,
        data.host,
        data.scheme,
        flow.client_conn.sni,
    )


# Kept for the few times that one request is asked for it, whether it concerns us or not.
@lru_cache(maxsize=64)
def _host(
    authority: bytes,
    fields: tuple[tuple[bytes, bytes], ...],
    address: str,
    scheme: bytes,
    sni: str | None,
) -> str:
    host = _asked_host(authority, fields) or address
    if scheme != b"https" or not is_address(host):
        return host  # a request in the clear may have come through an HTTPS proxy's own TLS
    return sni or host


def _asked_host(authority: bytes, fields: tuple[tuple[bytes, bytes], ...]) -> str:
    """As `Request.pretty_host` has it, which searches, decodes and parses anew each time.
    Empty: the request names none."""
    if authority:
        return _in_authority(authority)
    for name, value in fields:
        if len(name) == 4 and name.lower() == b"host":
            return _in_host_header(value)
    return ""


@lru_cache(maxsize=4096)
def _in_authority(authority: bytes) -> str:
    try:
        text = authority.decode("idna")
    except UnicodeError:
        text = authority.decode("utf-8", "surrogateescape")
    return url.parse_authority(text, check=False)[0]


@lru_cache(maxsize=4096)
def _in_host_header(value: bytes) -> str:
    text = value.decode("utf-8", "surrogateescape")
    return url.parse_authority(text, check=False)[0]


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


def _of_body(request: http.Request, response: http.Response) -> tuple[str | None, int | None]:
    """The content type, and the declared size of the body in bytes; None where there is none.

    In one walk through the headers, since mitmproxy's own way walks for each that is asked for.
    """
    types: list[str] = []
    lengths: list[bytes] = []
    plain = response.data.status_code in (200, 206) and request.data.method != b"HEAD"
    for name, value in response.data.headers.fields:
        if len(name) in LENGTHS_OF_NAMES:  # most headers go no further
            match name.lower():
                case b"content-type":
                    types.append(value.decode("utf-8", "surrogateescape"))
                case b"content-length":
                    lengths.append(value)
                case b"transfer-encoding":
                    plain = False
    content_type = ", ".join(types) if types else None
    if response.data.content is not None:
        return content_type, len(response.data.content)  # made by an addon
    if plain and not lengths:
        return content_type, None
    if plain and len(lengths) == 1 and lengths[0].isdigit():
        return content_type, int(lengths[0])
    try:
        size = expected_http_body_size(request, response)
    except ValueError:
        return content_type, None
    return content_type, size if size is not None and size >= 0 else None
