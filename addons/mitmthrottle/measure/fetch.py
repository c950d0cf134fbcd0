"""One transfer over HTTP/1.1 or HTTP/2 on a connection of its own, bounded in bytes and time.

Rule: what came is kept, whatever ended it; where nothing came, Unmeasurable says why.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import httpcore

from mitmthrottle.measure.faults import Unmeasurable, explained, of_status
from mitmthrottle.measure.transfer import Ended, Sample, Transfer
from mitmthrottle.measure.wire import Elapsed, Log, Wire

TLS_SHARE = 0.9975
"""What of the bytes on the wire is body: TLS adds 22 to 29 bytes a record, HTTP/2 9 a frame."""

Arrivals = Sequence[tuple[float, float]]
"""(time, bytes)"""

_MERGE_S = 0.0002  # arrivals closer to each other are one
_CONNECT_S = 20.0
_ANSWER_S = 30.0
_CHUNK_BYTES = 65_536


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
    resolve: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """(host, port) -> the address to connect to"""


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


def fetch(url: str, way: Way, progress: Callable[[float], None] = lambda _: None) -> Transfer:
    """Measure one transfer. `progress` is called with the bytes of each arrival.

    Raises Unmeasurable; KeyboardInterrupt passes through.
    """
    checked_url(url)
    wire = Wire(way.resolve)
    wire.log.upload = way.upload
    wire.log.progress = progress
    with closing(_pool(way, wire)) as pool:
        try:
            return _transfer(pool, wire.log, url, way)
        except Unmeasurable:
            raise
        except Elapsed:
            message = f"{url}: nothing came in {way.seconds:g} s: give more --seconds"
            raise Unmeasurable(message) from None
        except (OSError, httpcore.NetworkError, httpcore.TimeoutException,
                httpcore.ProtocolError, httpcore.ProxyError, httpcore.UnsupportedProtocol,
                ) as error:  # fmt: skip
            raise explained(error, url, _shown(way.proxy)) from error


@dataclass(slots=True)
class _Progress:
    """What is known of a response while it comes."""

    requested: float = 0.0
    headers: float = 0.0
    raw_before: int = 0
    """how many arrivals of the connection came before the body"""
    with_headers: int = 0
    """bytes of body that came with the headers"""
    body: int = 0


def _transfer(pool: httpcore.ConnectionPool, log: Log, url: str, way: Way) -> Transfer:
    state = _Progress()

    def trace(event: str, _: Mapping[str, Any]) -> None:
        # The last of these is the request itself; one before it may be the CONNECT.
        if event.endswith("send_request_headers.started"):
            state.requested = time.perf_counter()
            log.deadline = state.requested + (_ANSWER_S if _connecting(log, url) else way.seconds)

    log.deadline = time.perf_counter() + _CONNECT_S + _ANSWER_S
    ended: Ended = "complete"
    try:
        with pool.stream(
            "POST" if way.upload else "GET",
            _target(url),
            headers=_headers(url, way),
            content=_noise(way.bytes) if way.upload else None,
            extensions={"trace": trace, "timeout": {"connect": _CONNECT_S, "read": _ANSWER_S}},
        ) as response:
            state.headers = time.perf_counter()
            state.raw_before = len(log.arrivals)
            headers = {name.lower(): value for name, value in response.headers}
            if not 200 <= response.status < 300:
                location = headers.get(b"location")
                shown = location.decode("latin-1") if location is not None else None
                raise of_status(response.status, shown, url)
            status, version = response.status, response.extensions["http_version"].decode()
            length = headers.get(b"content-length", b"")
            declared = int(length) if length.isdigit() else None
            if not way.upload:
                ended = _body(response, state, log, way.bytes)
    except Elapsed:
        if not way.upload:
            raise
        # The bound of an upload: the server has not answered, and need not.
        ended, status, version, declared = "seconds", 0, "HTTP/1.1", way.bytes
    came = _uploaded(log, state.requested) if way.upload else _arrived(log, state, ended, url)
    arrivals = _merged(came, state.requested)
    if not arrivals:
        raise Unmeasurable(f"{url}: an empty body came: give a URL with a body to measure")
    samples = tuple(
        Sample(s.at_s - state.requested, s.segments, s.out_of_order, s.round_trip_s)
        for s in log.samples
        if s.at_s >= state.requested
    )
    return Transfer(
        url=url,
        status=status,
        http_version=version,
        address=log.address,
        lookup_s=log.lookup_s,
        connect_s=log.connect_s,
        tls_s=log.tls_s,
        headers_s=(state.headers or time.perf_counter()) - state.requested,
        arrivals=arrivals,
        declared=declared,
        ended=ended,
        samples=samples,
    )


def _body(response: httpcore.Response, state: _Progress, log: Log, bound: int) -> Ended:
    try:
        for chunk in response.iter_stream():
            state.body += len(chunk)
            if len(log.arrivals) == state.raw_before:
                state.with_headers += len(chunk)
            if state.body >= bound:
                return "bytes"
    except Elapsed:
        return "seconds"
    except KeyboardInterrupt:
        if state.body == 0:
            raise
        return "stopped"
    except (httpcore.RemoteProtocolError, httpcore.NetworkError, OSError):
        return "truncated"
    except httpcore.TimeoutException:
        return "truncated"
    return "complete"


def _arrived(log: Log, state: _Progress, ended: Ended, url: str) -> Arrivals:
    """The body over time, from the bytes of the socket.

    What lay in a TLS record that had begun when the headers came is known at the end only.
    """
    share = TLS_SHARE if url.startswith("https:") else 1.0
    later = [(at, size * share) for at, size in log.arrivals[state.raw_before :]]
    begin = float(state.with_headers)
    if ended != "seconds" and ended != "stopped":
        missing = state.body - begin - sum(size for _, size in later)
        if missing > 0:
            begin += missing
        elif later:
            scale = (state.body - begin) / (state.body - begin - missing)
            later = [(at, size * scale) for at, size in later]
    return [(state.headers, begin), *later] if begin > 0 else later


def _uploaded(log: Log, requested: float) -> Arrivals:
    share = TLS_SHARE if log.tls_s is not None else 1.0
    before = max((total for at, total in log.acknowledged if at < requested), default=0)
    steps = []
    for at, total in log.acknowledged:
        if at >= requested and total > before:
            steps.append((at, (total - before) * share))
            before = total
    return steps


def _merged(
    arrivals: Sequence[tuple[float, float]], origin: float
) -> tuple[tuple[float, float], ...]:
    merged: list[tuple[float, float]] = []
    for at, size in arrivals:
        if merged and at - origin - merged[-1][0] < _MERGE_S:
            merged[-1] = (merged[-1][0], merged[-1][1] + size)
        else:
            merged.append((at - origin, size))
    return tuple(merged)


def _pool(way: Way, wire: Wire) -> httpcore.ConnectionPool:
    options: dict[str, Any] = {
        "ssl_context": _trust(way),
        "http1": True,
        "http2": way.http2,
        "network_backend": wire,
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


def _target(url: str) -> httpcore.URL:
    parts = urlsplit(url)
    host = (parts.hostname or "").encode("idna")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    target = "".join(c if c.isascii() and c != " " else _quoted(c) for c in path)
    return httpcore.URL(
        scheme=parts.scheme.encode(), host=host, port=parts.port, target=target.encode("ascii")
    )


def _quoted(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def _headers(url: str, way: Way) -> list[tuple[str, str]]:
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


def _noise(size: int) -> Iterator[bytes]:
    """An upload that nobody can compress."""
    import random

    chunk = random.Random(size).randbytes(_CHUNK_BYTES)
    for start in range(0, size, _CHUNK_BYTES):
        yield chunk[: min(_CHUNK_BYTES, size - start)]


def _connecting(log: Log, url: str) -> bool:
    """Whether what is being sent is the CONNECT to a proxy, not yet the request."""
    return url.startswith("https:") and log.tls_s is None


def _shown(proxy: str | None) -> str | None:
    """A proxy's URL without its password."""
    if proxy is None:
        return None
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
