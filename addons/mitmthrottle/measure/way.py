"""How to get to what is measured: proxy, trust, headers, bounds; and httpcore set up for it.

Rule: each transfer has a connection of its own, and the environment's proxies are not used, so that
what is measured is what was asked for.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import httpcore

from mitmthrottle.measure.faults import Unmeasurable
from mitmthrottle.resolve import Endpoint


@dataclass(frozen=True, slots=True)
class Way:
    """How to get to what is measured: everything but the URL."""

    proxy: str | None = None
    headers: Sequence[tuple[str, str]] = ()
    seconds: float = 5.0
    """bound of one transfer, from sending the request"""
    bytes: int = 10_000_000
    cacert: Path | None = None
    insecure: bool = False
    http2: bool = False
    upload: bool = False
    resolve: Mapping[str, Endpoint] = field(default_factory=dict)
    """host or host:port -> where to connect instead"""


def checked_url(text: str) -> str:
    """The URL itself. Raises Unmeasurable for what is none."""
    parts = urlsplit(text) if text.isprintable() else SplitResult("", "", "", "", "")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Unmeasurable(f"{text}: give a full URL, as in https://example.com/photo.jpg")
    try:
        _ = parts.port, parts.hostname.encode("idna")
    except ValueError as fault:
        raise Unmeasurable(f"{text}: host or port of the URL is wrong ({fault})") from None
    return text


def pool_of(way: Way, backend: httpcore.NetworkBackend) -> httpcore.ConnectionPool:
    """Connections over the given network. Raises Unmeasurable for a proxy or file that is none."""
    options: dict[str, Any] = {
        "ssl_context": _trust(way),
        "http1": True,
        "http2": way.http2,
        "network_backend": backend,
        "max_keepalive_connections": 0,
    }
    if way.proxy is None:
        return httpcore.ConnectionPool(**options)
    parts = urlsplit(way.proxy)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Unmeasurable(
            f"--proxy {way.proxy}: give an HTTP proxy with its port, as in http://127.0.0.1:8080"
        )
    login = None
    if parts.username is not None:
        login = (unquote(parts.username), unquote(parts.password or ""))
    port = parts.port or (443 if parts.scheme == "https" else 80)
    proxy_url = httpcore.URL(scheme=parts.scheme, host=parts.hostname, port=port, target="/")
    return httpcore.HTTPProxy(proxy_url=proxy_url, proxy_auth=login, **options)


def _trust(way: Way) -> ssl.SSLContext:
    if way.cacert is not None:
        try:
            context = ssl.create_default_context()
            context.load_verify_locations(cafile=way.cacert)
            # Whoever names a file trusts it: also what plain `openssl req -x509` makes, which has
            # no key usage, and a server's own certificate.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        except OSError as error:
            why = error.strerror or "it is no PEM file"
            raise Unmeasurable(
                f"--cacert {way.cacert}: cannot be used ({why}): give a PEM file of authorities"
            ) from None
    else:
        context = ssl.create_default_context()
    if way.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def target_of(url: str) -> httpcore.URL:
    """The URL as it goes on the wire."""
    parts = urlsplit(url)
    host = (parts.hostname or "").encode("idna")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    target = "".join(c if c.isascii() and c != " " else _quoted(c) for c in path)
    return httpcore.URL(
        scheme=parts.scheme.encode(), host=host, port=parts.port, target=target.encode("ascii")
    )


def _quoted(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def headers_of(url: str, way: Way) -> list[tuple[str, str]]:
    """Ours, unless given."""
    given = {name.lower() for name, _ in way.headers}
    own = [
        ("Host", urlsplit(url).netloc.rpartition("@")[2]),
        ("Accept", "*/*"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", "mitmthrottle-measure"),
    ]
    if way.upload:
        own += [("Content-Length", str(way.bytes)), ("Content-Type", "application/octet-stream")]
    return [(name, value) for name, value in own if name.lower() not in given] + list(way.headers)


def shown(proxy: str | None) -> str | None:
    """A proxy's URL without its password."""
    if proxy is None:
        return None
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
