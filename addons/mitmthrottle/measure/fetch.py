"""One transfer over HTTP/1.1 or HTTP/2 on a connection of its own, bounded in bytes and time.

Rule: what came is kept, whatever ended it; where nothing came, Unmeasurable says why.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import httpcore

from mitmthrottle.measure.faults import Unmeasurable, explained, of_status
from mitmthrottle.measure.transfer import Ended, Sample, Transfer
from mitmthrottle.measure.way import Way, checked_url, headers_of, pool_of, shown, target_of
from mitmthrottle.measure.wire import Elapsed, Log, Wire

TLS_SHARE = 0.9975
"""What of the bytes on the wire is body: TLS adds 22 to 29 bytes a record, HTTP/2 9 a frame."""

Arrivals = Sequence[tuple[float, float]]
"""(time, bytes)"""

_MERGE_S = 0.0002  # arrivals closer to each other are one
_CONNECT_S = 20.0
_ANSWER_S = 30.0
_CHUNK_BYTES = 65_536


def fetch(url: str, way: Way, progress: Callable[[float], None] = lambda _: None) -> Transfer:
    """Measure one transfer. `progress` is called with the bytes of each arrival.

    Raises Unmeasurable; KeyboardInterrupt passes through.
    """
    checked_url(url)
    wire = Wire(way.resolve)
    wire.log.upload = way.upload
    wire.log.progress = progress
    with closing(pool_of(way, wire)) as pool:
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
            raise explained(error, url, shown(way.proxy)) from error


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
            target_of(url),
            headers=headers_of(url, way),
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


def _noise(size: int) -> Iterator[bytes]:
    """An upload that nobody can compress."""
    chunk = random.Random(size).randbytes(_CHUNK_BYTES)
    for start in range(0, size, _CHUNK_BYTES):
        yield chunk[: min(_CHUNK_BYTES, size - start)]


def _connecting(log: Log, url: str) -> bool:
    """Whether what is being sent is the CONNECT to a proxy, not yet the request."""
    return url.startswith("https:") and log.tls_s is None
