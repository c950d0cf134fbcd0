"""From a mitmproxy flow to the plain facts that a policy may look at.

Rule: nothing later looks at the flow again to decide.  This is the door for what a client or an
origin has sent: from here on every text is cut to a length, printable, and a host is in one
spelling, so that whoever compares, keeps or shows it need not think of that.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import chain

from mitmproxy import ctx, http
from mitmproxy.addons.proxyauth import ProxyAuth
from mitmproxy.connection import Client
from mitmproxy.net.http import url
from mitmproxy.net.http.http1 import expected_http_body_size

from mitmthrottle.policy import Exchange
from mitmthrottle.policy.language.outside import shown, text_of

PAGE_HOST = "throttle.proxy"
"""The name under which the proxy itself answers, with the live page: no rule concerns it."""
LENGTHS_OF_NAMES = {
    len(name)
    for name in (b"content-type", b"content-length", b"transfer-encoding", b"content-encoding")
}
"""Of the headers that tell of a body: most others differ in that already"""
LONGEST_HOST = 253
"""characters; DNS has no longer name"""
LONGEST_PATH = 8192
"""with the query; of a longer one the beginning and the end are looked at"""
LONGEST_METHOD = 32
LONGEST_SCHEME = 16
LONGEST_USER = 253
LONGEST_AGENT = 1024
"""of a User-Agent; no browser's has more than some hundred"""
LONGEST_HEADER = 4096
"""of any other header of a request, those of one name taken together"""
MOST_HEADER_BYTES = 16 * 1024
"""of all headers of a request together; where there is more, each is cut and the last are gone"""
MOST_HEADERS = 128
LONGEST_CONTENT_TYPE = 255
LONGEST_CODING = 64
"""of a Content-Encoding"""
LONGEST_URL = 300
"""in a message"""
LONGEST_CACHED = 512
"""bytes of a Host header that is worth remembering"""
_METHODS = {name: name.decode() for name in (b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS")}
_SCHEMES = {b"https": "https", b"http": "http"}
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
    status = content_type = size = coding = None
    if response is not None:
        status = response.data.status_code
        content_type, size, coding = _of_body(request, response)
    credentials = flow.metadata.get("proxyauth")  # (name, password), set by mitmproxy's ProxyAuth
    return Exchange(  # in the order of its fields, since names take their time
        host_of(flow),
        text_of(data.path, LONGEST_PATH),
        _METHODS.get(data.method) or text_of(data.method, LONGEST_METHOD).upper(),
        _SCHEMES.get(data.scheme) or text_of(data.scheme, LONGEST_SCHEME),
        data.port,
        status,
        RequestHeaders(data.headers.fields),
        content_type,
        size,
        0,  # seen
        False,  # complete
        None,  # first_bytes
        peername[0] if peername else None,
        shown(credentials[0], LONGEST_USER) if credentials else None,
        status == 101 and request.headers.get("upgrade", "").lower() == "websocket",
        False,  # opaque
        time.time() if unix_time is None else unix_time,
        elapsed_s,
        serial,
        coding,
    )


def upload_of(flow: http.HTTPFlow, exchange: Exchange) -> Exchange:
    """The same exchange, looked at as a body on its way up."""
    content_type, length, coding = (
        flow.request.headers.get(name)
        for name in ("content-type", "content-length", "content-encoding")
    )
    return exchange._replace(
        content_type=None if content_type is None else shown(content_type, LONGEST_CONTENT_TYPE),
        size=int(length) if length and length.isdecimal() and len(length) < 20 else None,
        content_encoding=None if coding is None else shown(coding, LONGEST_CODING),
    )


class RequestHeaders(Mapping[str, str]):
    """By their names in lower case, several of a name joined with commas as mitmproxy does it.

    Read when first asked for: most decisions look at none.
    """

    __slots__ = ("_fields", "_found")

    def __init__(self, fields: tuple[tuple[bytes, bytes], ...]) -> None:
        size = len(b"".join(chain.from_iterable(fields)))  # quicker than summing up
        self._fields = fields if size <= MOST_HEADER_BYTES else _fewer(fields)
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
        return text_of(b", ".join(values), _longest(name)) if values else default

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return f"RequestHeaders({self._read()})"

    def _read(self) -> dict[str, str]:
        if self._found is None:
            values: dict[bytes, list[bytes]] = {}
            for name, value in self._fields:
                values.setdefault(name.lower(), []).append(value)
            found = {text_of(name, LONGEST_HEADER): listed for name, listed in values.items()}
            self._found = {
                name: text_of(b", ".join(listed), _longest(name)) for name, listed in found.items()
            }
            self._fields = ()
        return self._found


def _longest(name: str) -> int:
    """Characters of the header of this name, in lower case."""
    return LONGEST_AGENT if name == "user-agent" else LONGEST_HEADER


def _fewer(fields: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """Copies of the first of them, each cut, so that the rest is not kept alive."""
    found, left = [], MOST_HEADER_BYTES
    for name, value in fields[:MOST_HEADERS]:
        most = min(left, LONGEST_AGENT if name.lower() == b"user-agent" else LONGEST_HEADER)
        if len(name) > most:
            continue
        found.append((name, value[: most - len(name)]))
        left -= len(name) + len(found[-1][1])
    return tuple(found)


def host_of(flow: http.HTTPFlow) -> str:
    """The host that the client asked for; where it only gave an address, the TLS server name.

    In lower case, without a dot at its end.
    """
    data = flow.request.data
    named = data.authority if data.http_version in AUTHORITY_FIRST else b""
    is_authority = bool(named)
    if not is_authority:
        for name, value in data.headers.fields:
            if len(name) == 4 and name.lower() == b"host":
                named = value
                break
    # Kept, for one request is asked for it a few times; but nothing that is no host's name.
    find = _host if len(named) <= LONGEST_CACHED else _host.__wrapped__
    return find(named, is_authority, data.host, data.scheme == b"https", flow.client_conn.sni)


@lru_cache(maxsize=4096)
def _host(named: bytes, is_authority: bool, address: str, secure: bool, sni: str | None) -> str:
    """As `Request.pretty_host` has it, which searches, decodes and parses anew each time; then as
    any name."""
    host = (_in_authority(named, is_authority) if named else "") or address
    if secure and is_address(host):  # what is in the clear may have come by an HTTPS proxy's TLS
        host = sni or host
    return name_of(host)


def name_of(host: str) -> str:
    """A host's name from outside, in the one spelling that is compared and kept."""
    return shown(host.lower().removesuffix("."), LONGEST_HOST)


def _in_authority(named: bytes, is_authority: bool) -> str:
    if len(named) > LONGEST_CACHED:
        return text_of(named, LONGEST_HOST)
    if is_authority:
        try:
            return url.parse_authority(named.decode("idna"), check=False)[0]
        except UnicodeError:
            pass
    return url.parse_authority(named.decode("utf-8", "surrogateescape"), check=False)[0]


def url_of(flow: http.HTTPFlow) -> str:
    """What was asked for, to be named in a message."""
    data = flow.request.data
    path = text_of(data.path, LONGEST_URL)
    return shown(f"{text_of(data.scheme, LONGEST_SCHEME)}://{host_of(flow)}{path}", LONGEST_URL)


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
    return shown(credentials[0], LONGEST_USER) if credentials else None


def _of_body(
    request: http.Request, response: http.Response
) -> tuple[str | None, int | None, str | None]:
    """The content type, the declared size of the body in bytes, and its content coding; None where
    there is none.

    In one walk through the headers, since mitmproxy's own way walks for each that is asked for.
    """
    types: list[str] = []
    lengths: list[bytes] = []
    codings: list[str] = []
    plain = response.data.status_code in (200, 206) and request.data.method != b"HEAD"
    for name, value in response.data.headers.fields:
        if len(name) in LENGTHS_OF_NAMES:  # most headers go no further
            match name.lower():
                case b"content-type":
                    types.append(text_of(value, LONGEST_CONTENT_TYPE))
                case b"content-length":
                    lengths.append(value)
                case b"content-encoding":
                    codings.append(text_of(value, LONGEST_CODING))
                case b"transfer-encoding":
                    plain = False
    content_type = types[0] if types else None
    if len(types) > 1:
        content_type = shown(", ".join(types), LONGEST_CONTENT_TYPE)
    coding = shown(", ".join(codings), LONGEST_CODING) if codings else None
    if response.data.content is not None:
        return content_type, len(response.data.content), coding  # made by an addon
    if plain and not lengths:
        return content_type, None, coding
    if plain and len(lengths) == 1 and lengths[0].isdigit() and len(lengths[0]) < 20:
        return content_type, int(lengths[0]), coding
    try:
        size = expected_http_body_size(request, response)
    except ValueError:
        return content_type, None, coding
    return content_type, size if size is not None and size >= 0 else None, coding
