"""The requests that must be answered alike with and without the throttle.

Rule: a case is data; what it asks is said once, and each protocol that can ask it does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

PLAIN, SECURE, TWO = "http/1.1 plain", "http/1.1 tls", "http/2"

NGINX, ODD = "nginx.test", "odd.test"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request on a connection."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    raw: bytes | None = None
    """sent in its place, as it stands"""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    protocol: str
    host: str
    asks: tuple[Ask, ...]
    broken: bool = False
    """Its answer breaks off in mid-body. mitmdump stores bodies by default and turns that into an
    error page of its own; what is paced streams, so here a streaming mitmdump is the measure."""

    @property
    def id(self) -> str:
        return f"{self.name}-{self.protocol}".replace(" ", "_").replace("/", "")


def _get(path: str, *headers: tuple[str, str], method: str = "GET", body: bytes = b"") -> Ask:
    return Ask(method, path, headers, body)


_POST = b"x=1&y=" + b"z" * 5000
_RAW_HTTP10 = b"GET http://odd.test/photo.jpg HTTP/1.0\r\nHost: odd.test\r\n\r\n"
_RAW_HTTP10_KEEP = _RAW_HTTP10.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n")
_UPGRADE = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)

# What every server does, asked of nginx over all protocols.
_PROPER: dict[str, tuple[Ask, ...]] = {
    "get": (_get("/photo.jpg"),),
    "head": (_get("/photo.jpg", method="HEAD"),),
    "not modified": (_get("/photo.jpg", ("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT")),),
    "range": (_get("/photo-large.jpg", ("Range", "bytes=1000-30999")),),
    "suffix range": (_get("/photo-large.jpg", ("Range", "bytes=-500")),),
    "multipart ranges": (_get("/photo-large.jpg", ("Range", "bytes=0-99,5000-25000,-7")),),
    "range not satisfiable": (_get("/photo.jpg", ("Range", "bytes=900000-")),),
    "gzip by nginx": (_get("/zipped.txt", ("Accept-Encoding", "gzip")),),
    "8 MB by nginx": (_get("/8mb.bin"),),
    "method not allowed": (_get("/photo.jpg", method="POST", body=_POST),),
    "five in a row": tuple(_get(f"/photo-small.jpg?{n}") for n in range(5)),
    "mixed row": (
        _get("/photo.jpg", method="HEAD"),
        _get("/photo-small.jpg"),
        _get("/nothing.jpg"),
        _get("/photo-small.jpg", ("Range", "bytes=5-9")),
        _get("/page.html"),
    ),
}

# What the odd origin says over HTTP/1 and HTTP/2.
_BOTH: dict[str, tuple[Ask, ...]] = {
    "text": (_get("/text"),),
    "empty": (_get("/empty"),),
    "no content": (_get("/204"),),
    "etag matches": (_get("/304", ("If-None-Match", '"60000-of-noise"')),),
    "etag does not match": (_get("/304", ("If-None-Match", '"other"')),),
    "head of odd": (_get("/photo.jpg", method="HEAD"),),
    "gzip": (_get("/gzip"),),
    "brotli": (_get("/brotli"),),
    "8 MB": (_get("/8mb"),),
    "404": (_get("/404"),),
    "500": (_get("/500"),),
    "redirect": (_get("/302"),),
    "cookies": (_get("/cookies"),),
    "large headers": (_get("/big-headers"),),
    "post": (_get("/echo", method="POST", body=_POST),),
    "put": (_get("/echo", method="PUT", body=_POST),),
    "options": (_get("/echo", method="OPTIONS"),),
}

_HTTP1: dict[str, tuple[Ask, ...]] = {
    "no content type": (_get("/no-type"),),
    "moved, no body": (_get("/301"),),
    "503 with a reason of its own": (_get("/503"),),
    "odd headers": (_get("/odd-headers"),),
    "not gzip": (_get("/not-gzip"),),
    "chunked": (_get("/chunked"),),
    "chunked, empty": (_get("/chunked-empty"),),
    "chunked gzip": (_get("/chunked-gzip"),),
    "chunked 8 MB": (_get("/chunked-8mb"),),
    "until close": (_get("/close-delimited"),),
    "HTTP/1.0 answer": (_get("/http10-length"),),
    "connection: close": (_get("/close"),),
    "keep-alive row": (
        _get("/photo.jpg"),
        _get("/chunked"),
        _get("/empty"),
        _get("/204"),
        _get("/304", ("If-None-Match", '"60000-of-noise"')),
        _get("/text"),
    ),
    "100-continue": (
        _get("/echo", ("Expect", "100-continue"), method="POST", body=_POST),
        _get("/photo.jpg"),
    ),
    "chunked request": (Ask("POST", "/echo", (("Transfer-Encoding", "chunked"),), _POST),),
    "no answer": (_get("/no-answer"),),
    "garbage": (_get("/garbage"),),
}

_HTTP1_PLAIN: dict[str, tuple[Ask, ...]] = {
    "HTTP/1.0 request": (Ask("GET", "/photo.jpg", raw=_RAW_HTTP10),),
    "HTTP/1.0 keep-alive": (Ask("GET", "/photo.jpg", raw=_RAW_HTTP10_KEEP),),
}

# mitmproxy 12 never ends these, with us or without: it takes the 103 for the answer, and it has no
# HTTP/1 trailers ("not implemented yet", in its log).
_HTTP1_HANGS: dict[str, tuple[Ask, ...]] = {
    "early hints": (_get("/103"),),
    "chunked with trailers": (_get("/chunked-trailers"),),
}

_HTTP1_BROKEN: dict[str, tuple[Ask, ...]] = {
    "closed in mid-body": (_get("/truncated"),),
    "reset in mid-body": (_get("/reset"),),
    "closed in mid-chunk": (_get("/chunked-truncated"),),
    "garbage for a chunk": (_get("/chunked-garbage"),),
}

_HTTP2: dict[str, tuple[Ask, ...]] = {
    "no length": (_get("/no-length"),),
    "end by an empty frame": (_get("/empty-frame"),),
    "padded": (_get("/padded"),),
    "early hints": (_get("/103"),),
    "trailers": (_get("/trailers"),),
    "trailers only": (_get("/trailers-only"),),
    "refused": (_get("/refused"),),
}

_HTTP2_BROKEN: dict[str, tuple[Ask, ...]] = {
    "stream reset in mid-body": (_get("/reset"),),
    "stream cancelled in mid-body": (_get("/reset-cancel"),),
    "connection closed in mid-body": (_get("/connection-closed"),),
    "connection reset in mid-body": (_get("/connection-reset"),),
    "bad frame in mid-body": (_get("/garbage-frame"),),
    "goaway in mid-body": (_get("/goaway"),),
}


def _cases() -> list[Case]:
    return [
        Case(name, protocol, host, asks, broken)
        for table, host, protocols, broken in (
            (_PROPER, NGINX, (PLAIN, SECURE, TWO), False),
            (_BOTH, ODD, (PLAIN, SECURE, TWO), False),
            (_HTTP1, ODD, (PLAIN, SECURE), False),
            (_HTTP1_PLAIN, ODD, (PLAIN,), False),
            (_HTTP1_HANGS, ODD, (PLAIN, SECURE), True),
            (_HTTP1_BROKEN, ODD, (PLAIN, SECURE), True),
            (_HTTP2, ODD, (TWO,), False),
            (_HTTP2_BROKEN, ODD, (TWO,), True),
        )
        for name, asks in table.items()
        for protocol in protocols
    ]


CASES = _cases()
HANGS = frozenset(_HTTP1_HANGS)
WEBSOCKET = Ask("GET", "/websocket", _UPGRADE)


def lower(ask: Ask) -> Ask:
    """The same for HTTP/2, whose header names are in lower case."""
    return replace(ask, headers=tuple((name.lower(), value) for name, value in ask.headers))
