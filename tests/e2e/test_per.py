"""Who shares a rate with whom, measured from outside.

Each test has hosts or clients of its own, so that no budget is met twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from . import curve
from .answer import COMPLETE, OPEN, Answer
from .figures import Figures
from .http1 import http1
from .http2 import http2
from .nginx import Nginx

pytestmark = pytest.mark.e2e

OVER_S = 4.0
TOLERANCE = 0.05

POLICY = """
version: 1
name: per
rules:
  - {name: client, when: {host: .client.example.org, content: photo},
     then: {rate: {limit: 800 kbit/s, per: client}}}
  - {name: host, when: {host: .host.example.org, content: photo},
     then: {rate: {limit: 800 kbit/s, per: host}}}
  - {name: rule, when: {host: .rule.example.org, content: photo},
     then: {rate: {limit: 800 kbit/s, per: rule}}}
  - {name: connection, when: {host: connection.example.org, content: photo},
     then: {rate: {limit: 800 kbit/s, per: connection}}}
  - {name: nested, when: {host: nested.example.org, content: photo},
     then: {rate: [{limit: 300 kbit/s, per: response}, {limit: 800 kbit/s, per: client}]}}
  - {name: small beside large, when: {host: crowd.example.org, content: photo},
     then: {rate: {limit: 400 kbit/s, per: client}}}
  - {name: burst, when: {host: burst.example.org, content: photo},
     then: {rate: 128 kbit/s, burst: 64 KiB}}
  - {name: an exception, when: {host: pass.example.org, path: "/20kb.jpg*"},
     then: {pass: true}}
  - {name: but for it, when: {host: pass.example.org, content: photo}, then: {rate: 128 kbit/s}}
"""


@pytest.fixture(scope="module")
def proxy(nginx: Nginx, policy: Callable[[str], Path]) -> Iterator[RunningProxy]:
    with running_proxy(policy(POLICY), upstream_ca=nginx.ca_path, resolve=nginx.resolve) as running:
        yield running
        assert "Traceback" not in running.log()


def rates_of(answers: Sequence[Answer]) -> list[float]:
    """Bytes per second of each, without the second in which the shares settle."""
    return [curve.mean_bytes_per_s(answer.arrivals, OVER_S - 1, start_s=1.0) for answer in answers]


def together(proxy: RunningProxy, *whom: tuple[str, str]) -> list[float]:
    """The rates of (source address, host), each on a connection of its own, all at once."""
    answers: list[Answer | None] = [None] * len(whom)
    start = threading.Barrier(len(whom))

    def one(number: int, source: str, host: str) -> None:
        client = http1(proxy, host, secure=False, source=source, keep=False)
        start.wait()
        answers[number] = client.get("/100mb.jpg", until=time.perf_counter() + OVER_S + 0.2)
        client.close()

    threads = [
        threading.Thread(target=one, args=(number, *each)) for number, each in enumerate(whom)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return rates_of([answer for answer in answers if answer is not None])


def near(rates: Sequence[float], *expected: float) -> bool:
    return rates == pytest.approx(list(expected), rel=TOLERANCE)


def tell(figures: Figures, name: str, rates: Sequence[float]) -> None:
    figures.add(f"per, {name}:", ", ".join(f"{8 * rate / 1000:.1f}" for rate in rates), "kbit/s")


def test_a_client_shares_with_itself_only(proxy: RunningProxy, figures: Figures) -> None:
    rates = together(
        proxy,
        ("127.0.3.1", "a.client.example.org"),
        ("127.0.3.1", "b.client.example.org"),
        ("127.0.3.2", "a.client.example.org"),
    )
    tell(figures, "800 kbit/s per client, two of one client, one of another", rates)
    assert near(rates, 50_000, 50_000, 100_000)


def test_a_host_is_shared_by_all_clients(proxy: RunningProxy, figures: Figures) -> None:
    rates = together(
        proxy,
        ("127.0.4.1", "a.host.example.org"),
        ("127.0.4.2", "a.host.example.org"),
        ("127.0.4.3", "b.host.example.org"),
    )
    tell(figures, "800 kbit/s per host, two of one host, one of another", rates)
    assert near(rates, 50_000, 50_000, 100_000)


def test_a_rule_is_shared_by_everyone(proxy: RunningProxy, figures: Figures) -> None:
    rates = together(
        proxy,
        ("127.0.5.1", "a.rule.example.org"),
        ("127.0.5.2", "b.rule.example.org"),
        ("127.0.5.3", "c.rule.example.org"),
        ("127.0.5.3", "c.rule.example.org"),
    )
    tell(figures, "800 kbit/s per rule, four responses of three clients", rates)
    assert near(rates, 25_000, 25_000, 25_000, 25_000)


def test_streams_of_a_connection_share(proxy: RunningProxy, figures: Figures) -> None:
    host = "connection.example.org"
    other: list[Answer] = []

    def another_connection() -> None:
        client = http2(proxy, host, keep=False)
        other.append(client.get("/100mb.jpg", until=time.perf_counter() + OVER_S + 0.3))
        client.close()

    thread = threading.Thread(target=another_connection)
    client = http2(proxy, host, keep=False)
    thread.start()
    answers = [client.send("GET", "/100mb.jpg") for _ in range(4)]
    client.run(lambda: False, until=time.perf_counter() + OVER_S + 0.3)
    client.close()
    thread.join()
    rates = rates_of([*answers, *other])
    tell(figures, "800 kbit/s per connection, four streams of one, one of another", rates)
    assert near(rates, 25_000, 25_000, 25_000, 25_000, 100_000)


@pytest.mark.parametrize(("count", "each"), [(2, 37_500), (4, 25_000)])
def test_limits_nest(count: int, each: float, proxy: RunningProxy, figures: Figures) -> None:
    """300 kbit/s for each, 800 for the client: two are held by the first, four by the second."""
    rates = together(proxy, *[(f"127.0.6.{count}", "nested.example.org")] * count)
    tell(figures, f"300 kbit/s per response in 800 per client, {count} responses", rates)
    assert near(rates, *[each] * count)


def test_a_small_response_is_not_stuck_behind_large_ones(
    proxy: RunningProxy, figures: Figures
) -> None:
    """20 kB at a quarter of 50 kB/s take 1.6 s; behind the three 20 MB they would never come."""
    source, host = "127.0.7.1", "crowd.example.org"
    crowd = [http1(proxy, host, secure=False, source=source, keep=False) for _ in range(3)]
    stop = time.perf_counter() + 3.5
    threads = [
        threading.Thread(target=each.get, args=("/100mb.jpg",), kwargs={"until": stop})
        for each in crowd
    ]
    for thread in threads:
        thread.start()
    small = http1(proxy, host, secure=False, source=source).get("/20kb.jpg")
    for thread in threads:
        thread.join()
    for each in crowd:
        each.close()
    figures.add("per, 20 kB beside three large ones in 400 kbit/s:", small.duration_s, "s")
    assert small.end == COMPLETE
    assert small.duration_s < 1.6 * 1.15


def test_a_burst_passes_at_once(proxy: RunningProxy, figures: Figures) -> None:
    client = http1(proxy, "burst.example.org", secure=False)
    answer = client.get("/100mb.jpg", until=time.perf_counter() + 3.2)
    client.close()
    at_once = curve.bytes_between(answer.arrivals, 0, 0.4)
    then = curve.mean_bytes_per_s(answer.arrivals, 2.0, start_s=1.0)
    figures.add("per, burst of 64 KiB: bytes in the first 400 ms", at_once)
    figures.add("per, burst of 64 KiB: rate after it over the rate", then / 16_000)
    assert 65_536 <= at_once <= 65_536 + 0.5 * 16_000
    assert then == pytest.approx(16_000, rel=TOLERANCE)


def test_an_exception_passes(proxy: RunningProxy) -> None:
    host = "pass.example.org"
    free = http1(proxy, host, secure=False).get("/20kb.jpg")
    client = http1(proxy, host, secure=False)
    slow = client.get("/100mb.jpg", until=time.perf_counter() + 1.0)
    client.close()
    assert (free.end, free.size) == (COMPLETE, 20_000)
    assert free.duration_s < 0.8  # 1.25 s at 128 kbit/s
    assert slow.end == OPEN
    assert slow.size < 25_000
