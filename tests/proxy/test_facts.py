"""What is taken from a flow."""

from __future__ import annotations

import sys

import pytest
from mitmproxy import http
from mitmproxy.test import tflow

from mitmthrottle.proxy.facts import (
    LONGEST_AGENT,
    PAGE_HOST,
    RequestHeaders,
    _host,
    exchange_of,
    host_of,
    upload_of,
    url_of,
)

FIELDS = (
    (b"Accept", b"text/html"),
    (b"X-Odd", b"caf\xe9"),
    (b"accept", b"*/*"),
    (b"User-Agent", b"probe"),
)


def test_the_headers_of_a_request_are_those_that_mitmproxy_has() -> None:
    flow = tflow.tflow(resp=True)
    flow.request.headers = http.Headers(FIELDS)
    headers = exchange_of(flow, 1, 0.0).request_headers
    flow.request.headers["user-agent"] = "changed later"
    assert headers["accept"] == "text/html, */*"
    assert headers["user-agent"] == "probe"
    assert headers.get("x-odd") == "caf\\xe9"
    assert "Accept" not in headers
    assert headers.get("cookie") is None
    assert sorted(headers) == ["accept", "user-agent", "x-odd"]
    assert len(headers) == 3


@pytest.mark.parametrize(
    "host", ["a.example:8080", "A.Example", "[2001:db8::1]:80", "b\xfccher.example", "10.0.0.7", ""]
)
def test_the_host_is_the_one_that_mitmproxy_shows(host: str) -> None:
    flow = tflow.tflow()
    flow.request.headers["host"] = host
    flow.request.scheme = "http"
    assert host_of(flow) == flow.request.pretty_host.lower()


def test_before_the_response_nothing_is_known_of_it() -> None:
    flow = tflow.tflow()
    exchange = exchange_of(flow, 7, 1.5)
    assert (exchange.status, exchange.content_type, exchange.size) == (None, None, None)
    assert (exchange.serial, exchange.elapsed_s) == (7, 1.5)
    flow.response = http.Response.make(206, b"12345", {"Content-Type": "image/png"})
    exchange = exchange_of(flow, 7, 1.5)
    assert (exchange.status, exchange.content_type, exchange.size) == (206, "image/png", 5)


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2.0"])
@pytest.mark.parametrize(
    ("named", "host"),
    [
        (b"Throttle.PROXY", PAGE_HOST),
        (b"throttle.proxy.:80", PAGE_HOST),
        (b"a.example\xff", r"a.example\xff"),
        (b"a\x1b[2J.example", r"a\x1b[2j.example"),
        (b"a\nb.example", r"a\x0ab.example"),
        ("a\u202eb.example".encode(), r"a\u202eb.example"),
    ],
)
def test_a_host_has_one_spelling_and_nothing_that_a_terminal_obeys(
    named: bytes, host: str, version: str
) -> None:
    flow = tflow.tflow()
    flow.request.data.http_version = version.encode()
    if version == "HTTP/2.0":
        flow.request.data.authority = named
    else:
        flow.request.headers.fields = ((b"Host", named),)
    flow.request.scheme = "http"
    assert host_of(flow) == host
    assert exchange_of(flow, 1, 0.0).host == host


@pytest.mark.parametrize("size", [64 * 1024, 1024 * 1024])
@pytest.mark.parametrize("byte", [b"a", b"\xff", "é".encode(), b"\x1b"])
def test_whatever_is_sent_is_cut_and_printable(byte: bytes, size: int) -> None:
    long = byte * (size // len(byte))
    flow = tflow.tflow(resp=True)
    flow.request.scheme = "http"
    flow.request.data.method = flow.request.data.scheme = long
    flow.request.data.path = b"/first" + long + b"/last.jpg"
    flow.request.headers.fields = (
        (b"host", long),
        (b"user-agent", long),
        (b"x-" + long, b"1"),
        *((b"x-%d" % number, long) for number in range(300)),
    )
    assert flow.response is not None
    flow.response.headers.fields = ((b"content-type", long),) * 10
    flow.metadata["proxyauth"] = (long.decode("utf-8", "surrogateescape"), "")
    exchange = exchange_of(flow, 1, 0.0)
    texts = [exchange.host, exchange.path, exchange.method, exchange.scheme]
    texts += [exchange.content_type or "", exchange.user or "", url_of(flow)]
    texts += [*exchange.request_headers, *exchange.request_headers.values()]
    assert all(text.isprintable() for text in texts)
    assert len(exchange.host) == 253
    assert len(exchange.path) == 8192
    assert exchange.path.startswith("/first")
    assert exchange.path.endswith("/last.jpg")
    assert len(exchange.request_headers.get("user-agent") or "") <= 1024
    assert sum(map(len, texts)) < 64 * 1024


def test_a_long_header_is_not_kept_alive() -> None:
    value = bytes(1 << 20)
    before = sys.getrefcount(value)
    headers = RequestHeaders(((b"user-agent", value),))
    assert sys.getrefcount(value) == before
    assert 0 < len(headers["user-agent"]) <= LONGEST_AGENT


def test_no_long_name_is_a_key_of_a_cache() -> None:
    before = _host.cache_info().currsize
    for number in range(50):
        flow = tflow.tflow()
        flow.request.headers.fields = ((b"Host", b"%d" % number + b"a" * 100_000),)
        assert len(host_of(flow)) == 253
    assert _host.cache_info().currsize == before


def test_numbers_that_are_no_lengths_do_no_harm() -> None:
    flow = tflow.tflow(resp=True)
    digits = b"9" * 5000
    assert flow.response is not None
    flow.request.headers.fields = flow.response.headers.fields = ((b"content-length", digits),)
    flow.response.data.content = None
    exchange = exchange_of(flow, 1, 0.0)
    assert exchange.size is None
    assert upload_of(flow, exchange).size is None


def test_the_content_coding_is_that_of_the_body_in_question() -> None:
    flow = tflow.tflow(resp=True)
    assert flow.response is not None
    assert exchange_of(flow, 1, 0.0).content_encoding is None
    flow.response.headers = http.Headers(
        (
            (b"Content-Encoding", b"gzip"),
            (b"content-encoding", b"br\x1b"),
            (b"Content-Type", b"a/b"),
        )
    )
    flow.request.headers["content-encoding"] = "zstd"
    exchange = exchange_of(flow, 1, 0.0)
    assert exchange.content_encoding == "gzip, br\\x1b"
    assert upload_of(flow, exchange).content_encoding == "zstd"
    flow.response.headers["content-encoding"] = "x" * 10_000
    assert len(exchange_of(flow, 1, 0.0).content_encoding or "") <= 64
