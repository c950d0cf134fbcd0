"""What is taken from a flow."""

from __future__ import annotations

import pytest
from mitmproxy import http
from mitmproxy.test import tflow

from mitmthrottle.proxy.facts import exchange_of, host_of

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
    assert headers.get("x-odd") == "caf\udce9"
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
    assert host_of(flow) == flow.request.pretty_host


def test_before_the_response_nothing_is_known_of_it() -> None:
    flow = tflow.tflow()
    exchange = exchange_of(flow, 7, 1.5)
    assert (exchange.status, exchange.content_type, exchange.size) == (None, None, None)
    assert (exchange.serial, exchange.elapsed_s) == (7, 1.5)
    flow.response = http.Response.make(206, b"12345", {"Content-Type": "image/png"})
    exchange = exchange_of(flow, 7, 1.5)
    assert (exchange.status, exchange.content_type, exchange.size) == (206, "image/png", 5)
