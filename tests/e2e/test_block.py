"""What is blocked is refused, reset or never answered, and nothing else is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from .answer import COMPLETE, OPEN, RESET
from .conftest import PAGE
from .http1 import http1
from .http2 import http2
from .nginx import Nginx

pytestmark = pytest.mark.e2e

POLICY = """
version: 1
name: block
rules:
  - {name: refused, when: {host: 451.example.org, content: photo}, then: {block: 451}}
  - {name: refused late, when: {host: 403.example.org, content: photo},
     then: {block: 403, delay: 300 ms}}
  - {name: reset, when: {host: reset.example.org, content: photo}, then: {block: reset}}
  - {name: timeout, when: {host: timeout.example.org, content: photo}, then: {block: timeout}}
"""


@pytest.fixture(scope="module")
def proxy(nginx: Nginx, policy: Callable[[str], Path]) -> Iterator[RunningProxy]:
    with running_proxy(policy(POLICY), upstream_ca=nginx.ca_path, resolve=nginx.resolve) as running:
        yield running
        assert "Traceback" not in running.log()


@pytest.mark.parametrize("protocol", ["http/1.1", "http/2"])
def test_a_status_refuses(protocol: str, proxy: RunningProxy) -> None:
    host = "451.example.org"
    client = http2(proxy, host) if protocol == "http/2" else http1(proxy, host, secure=True)
    photo, page = client.get("/100mb.jpg"), client.get("/page.html")
    client.close()
    assert (photo.status, photo.end) == (451, COMPLETE)
    assert b"refused" in photo.body
    assert photo.size == int(photo.header("content-length"))
    assert (page.status, page.body) == (200, PAGE)


def test_a_refusal_can_be_late(proxy: RunningProxy) -> None:
    client = http1(proxy, "403.example.org", secure=False)
    answers = [client.get("/100mb.jpg") for _ in range(3)]
    assert [answer.status for answer in answers] == [403] * 3
    assert 0.3 <= min(answer.first_byte_s for answer in answers) < 0.4


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_reset_is_a_tcp_reset(secure: bool, proxy: RunningProxy) -> None:
    answer = http1(proxy, "reset.example.org", secure=secure).get("/100mb.jpg")
    assert (answer.status, answer.size, answer.end) == (0, 0, RESET)


def test_a_reset_over_http2_leaves_the_other_streams(proxy: RunningProxy) -> None:
    client = http2(proxy, "reset.example.org")
    photo, page = client.get("/100mb.jpg"), client.get("/page.html")
    client.close()
    assert photo.status == 0
    assert photo.end.startswith("stream reset")
    assert (page.status, page.body) == (200, PAGE)


@pytest.mark.parametrize("protocol", ["http/1.1", "http/2"])
def test_a_timeout_never_answers(protocol: str, proxy: RunningProxy) -> None:
    host = "timeout.example.org"
    client = http2(proxy, host) if protocol == "http/2" else http1(proxy, host, secure=True)
    answer = client.get("/100mb.jpg", until=time.perf_counter() + 2.0)
    client.close()
    assert (answer.status, answer.size, answer.end) == (0, 0, OPEN)
