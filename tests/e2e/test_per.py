"""Who shares a rate with whom, and the other effects: each measured from outside.

Each test has hosts of its own in one policy, so that one proxy serves them all and no budget is
met twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import trustme

from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from . import curve
from .answer import COMPLETE, OPEN, RESET, Answer
from .figures import Figures
from .http1 import Http1, http1
from .http2 import http2
from .nginx import running_nginx
from .odd import running_odd

pytestmark = pytest.mark.e2e

NAMES = ("*.example.org", "*.example.net")
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
  - {name: an exception, when: {host: pass.example.org, path: "/photo-small.jpg*"},
     then: {pass: true}}
  - {name: but for it, when: {host: pass.example.org, content: photo}, then: {rate: 128 kbit/s}}

  - {name: refused, when: {host: 451.example.org, content: photo}, then: {block: 451}}
  - {name: refused late, when: {host: 403.example.org, content: photo},
     then: {block: 403, delay: 300 ms}}
  - {name: reset, when: {host: reset.example.org, content: photo}, then: {block: reset}}
  - {name: timeout, when: {host: timeout.example.org, content: photo}, then: {block: timeout}}

  - {name: fixed, when: {host: fixed.example.org}, then: {delay: 300 ms}}
  - {name: normal, when: {host: normal.example.org},
     then: {delay: {mean: 200 ms, jitter: 40 ms, distribution: normal}}}
  - {name: uniform, when: {host: uniform.example.org},
     then: {delay: {mean: 200 ms, jitter: 100 ms, distribution: uniform}}}
  - {name: lognormal, when: {host: lognormal.example.org},
     then: {delay: {mean: 200 ms, jitter: 60 ms, distribution: lognormal}}}
  - {name: pareto, when: {host: pareto.example.org},
     then: {delay: {mean: 200 ms, jitter: 60 ms, distribution: pareto}}}
  - {name: percentiles, when: {host: percentiles.example.org},
     then: {delay: {percentiles: {p50: 100 ms, p90: 300 ms, p100: 500 ms}}}}

  - {name: sniffed, when: {host: sniff.example.net, content: photo}, then: {rate: 200 kbit/s}}
  - {name: large ones, when: {host: size.example.net, size: ">= 100 KiB"},
     then: {rate: 200 kbit/s}}
  - {name: small ones, when: {host: small.example.net, size: "< 100 KiB"},
     then: {rate: 200 kbit/s}}
"""


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, policy: Callable[[str], Path]
) -> Iterator[RunningProxy]:
    root = tmp_path_factory.mktemp("per")
    for name, size in {"large.jpg": 20_000_000, "photo-small.jpg": 20_000}.items():
        with (root / name).open("wb") as file:
            file.truncate(size)
    (root / "page.html").write_bytes(b"<p>text")
    authority = trustme.CA()
    with running_nginx(root, NAMES, authority) as nginx, running_odd(NAMES, authority) as odd:
        resolve = {**nginx.resolve}
        for host in ("sniff.example.net", "size.example.net", "small.example.net"):
            resolve[f"{host}:443"] = ("127.0.0.1", odd.port)
            resolve[f"{host}:80"] = ("127.0.0.1", odd.plain_port)
        with running_proxy(policy(POLICY), upstream_ca=nginx.ca_path, resolve=resolve) as running:
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
        answers[number] = client.get("/large.jpg", until=time.perf_counter() + OVER_S + 0.2)
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


# -- who shares


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
        other.append(client.get("/large.jpg", until=time.perf_counter() + OVER_S + 0.3))
        client.close()

    thread = threading.Thread(target=another_connection)
    client = http2(proxy, host, keep=False)
    thread.start()
    answers = [client.send("GET", "/large.jpg") for _ in range(4)]
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
        threading.Thread(target=each.get, args=("/large.jpg",), kwargs={"until": stop})
        for each in crowd
    ]
    for thread in threads:
        thread.start()
    small = http1(proxy, host, secure=False, source=source).get("/photo-small.jpg")
    for thread in threads:
        thread.join()
    for each in crowd:
        each.close()
    figures.add("per, 20 kB beside three large ones in 400 kbit/s:", small.duration_s, "s")
    assert small.end == COMPLETE
    assert small.duration_s < 1.6 * 1.15


def test_a_burst_passes_at_once(proxy: RunningProxy, figures: Figures) -> None:
    client = http1(proxy, "burst.example.org", secure=False)
    answer = client.get("/large.jpg", until=time.perf_counter() + 3.2)
    client.close()
    at_once = curve.bytes_between(answer.arrivals, 0, 0.2)
    then = curve.mean_bytes_per_s(answer.arrivals, 2.0, start_s=1.0)
    figures.add("per, burst of 64 KiB: bytes in the first 200 ms", at_once)
    figures.add("per, burst of 64 KiB: rate after it over the rate", then / 16_000)
    assert 65_536 <= at_once <= 65_536 + 0.3 * 16_000
    assert then == pytest.approx(16_000, rel=TOLERANCE)


def test_an_exception_passes(proxy: RunningProxy) -> None:
    host = "pass.example.org"
    free = http1(proxy, host, secure=False).get("/photo-small.jpg")
    client = http1(proxy, host, secure=False)
    slow = client.get("/large.jpg", until=time.perf_counter() + 1.0)
    client.close()
    assert (free.end, free.size) == (COMPLETE, 20_000)
    assert free.duration_s < 0.5  # 1.25 s at 128 kbit/s
    assert slow.end == OPEN
    assert slow.size < 25_000


# -- block


@pytest.mark.parametrize("protocol", ["http/1.1", "http/2"])
def test_a_status_refuses(protocol: str, proxy: RunningProxy) -> None:
    host = "451.example.org"
    client = http2(proxy, host) if protocol == "http/2" else http1(proxy, host, secure=True)
    photo, page = client.get("/large.jpg"), client.get("/page.html")
    client.close()
    assert (photo.status, photo.end) == (451, COMPLETE)
    assert b"refused" in photo.body
    assert photo.size == int(photo.header("content-length"))
    assert (page.status, page.body) == (200, b"<p>text")


def test_a_refusal_can_be_late(proxy: RunningProxy) -> None:
    answer = http1(proxy, "403.example.org", secure=False).get("/large.jpg")
    assert answer.status == 403
    assert 0.3 <= answer.first_byte_s < 0.6


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_reset_is_a_tcp_reset(secure: bool, proxy: RunningProxy) -> None:
    answer = http1(proxy, "reset.example.org", secure=secure).get("/large.jpg")
    assert (answer.status, answer.size, answer.end) == (0, 0, RESET)


def test_a_reset_over_http2_leaves_the_other_streams(proxy: RunningProxy) -> None:
    client = http2(proxy, "reset.example.org")
    photo, page = client.get("/large.jpg"), client.get("/page.html")
    client.close()
    assert photo.status == 0
    assert photo.end.startswith("stream reset")
    assert (page.status, page.body) == (200, b"<p>text")


@pytest.mark.parametrize("protocol", ["http/1.1", "http/2"])
def test_a_timeout_never_answers(protocol: str, proxy: RunningProxy) -> None:
    host = "timeout.example.org"
    client = http2(proxy, host) if protocol == "http/2" else http1(proxy, host, secure=True)
    answer = client.get("/large.jpg", until=time.perf_counter() + 2.0)
    client.close()
    assert (answer.status, answer.size, answer.end) == (0, 0, OPEN)


# -- delay


def delays(proxy: RunningProxy, host: str, count: int = 100) -> list[float]:
    """When the first byte of a page came, sorted; ten connections share the asking."""
    found: list[float] = []

    def ask(client: Http1) -> None:
        found.extend(client.get("/page.html").first_byte_s for _ in range(count // 10))
        client.close()

    clients = [http1(proxy, host, secure=False) for _ in range(10)]
    threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == count
    return sorted(found)


EXTRA_S = 0.04
"""What asking costs besides, on a busy machine."""


def test_a_fixed_delay(proxy: RunningProxy, figures: Figures) -> None:
    found = delays(proxy, "fixed.example.org", 30)
    figures.add("delay, 300 ms: shortest", 1e3 * found[0], "ms")
    figures.add("delay, 300 ms: median", 1e3 * found[15], "ms")
    assert found[0] >= 0.3
    assert found[15] < 0.3 + EXTRA_S


@pytest.mark.parametrize(
    ("name", "spread_s"),
    [("normal", 0.040), ("uniform", 0.100 / 3**0.5), ("lognormal", 0.060), ("pareto", 0.060)],
)
def test_a_delay_with_jitter(
    name: str, spread_s: float, proxy: RunningProxy, figures: Figures
) -> None:
    found = delays(proxy, f"{name}.example.org")
    mean = sum(found) / len(found)
    spread = (sum((each - mean) ** 2 for each in found) / len(found)) ** 0.5
    figures.add(f"delay, {name} of 200 ms: mean", 1e3 * mean, "ms")
    figures.add(f"delay, {name}: spread (asked {1e3 * spread_s:.0f} ms)", 1e3 * spread, "ms")
    # Four standard errors of the mean of a hundred.
    assert 0.2 - 0.4 * spread_s < mean < 0.2 + 0.4 * spread_s + EXTRA_S
    if name == "pareto":  # its spread is made by rare long ones: look at its shape instead
        assert found[0] >= 0.155
        assert found[50] < 0.195 + EXTRA_S
        return
    assert 0.5 * spread_s < spread < 1.7 * spread_s
    if name == "uniform":
        assert found[0] >= 0.1
        assert found[-10] < 0.3 + EXTRA_S


def test_a_delay_by_percentiles(proxy: RunningProxy, figures: Figures) -> None:
    found = delays(proxy, "percentiles.example.org")
    figures.add("delay, p50 100 ms: median", 1e3 * found[50], "ms")
    figures.add("delay, p90 300 ms: 90th percentile", 1e3 * found[90], "ms")
    assert found[0] >= 0.05
    assert 0.08 < found[50] < 0.14 + EXTRA_S
    assert 0.2 < found[90] < 0.42 + EXTRA_S
    assert found[-1] < 0.5 + 2 * EXTRA_S


# -- what only the body tells


@pytest.mark.parametrize("protocol", ["http/1.1", "http/2"])
def test_an_unnamed_photo_is_known_by_its_bytes(
    protocol: str, proxy: RunningProxy, figures: Figures
) -> None:
    host = "sniff.example.net"
    client = http2(proxy, host) if protocol == "http/2" else http1(proxy, host, secure=True)
    photo = client.get("/octets?jpeg")
    text = client.get("/octets?text")
    client.close()
    rate = curve.steady_bytes_per_s(photo.arrivals)
    tell(figures, f"octet-stream that is a JPEG in 200 kbit/s, {protocol}", [rate])
    figures.add(f"per, octet-stream of 64 kB that is text, {protocol}:", text.duration_s, "s")
    assert (photo.size, photo.end) == (60_000, COMPLETE)
    assert rate == pytest.approx(25_000, rel=TOLERANCE)
    assert (text.size, text.end) == (63_600, COMPLETE)
    assert text.duration_s < 0.5  # 2.5 s at that rate


def test_an_undeclared_size_is_known_once_it_is_seen(proxy: RunningProxy, figures: Figures) -> None:
    client = http1(proxy, "size.example.net", secure=False)
    small, large = client.get("/undeclared?90000"), client.get("/undeclared?200000")
    client.close()
    assert (small.size, small.end) == (90_000, COMPLETE)
    assert small.duration_s < 0.5
    assert (large.size, large.end) == (200_000, COMPLETE)
    # 102400 bytes come as if there were no rule, the other 97600 at 25 kB/s.
    late = [(at, size) for at, size in large.arrivals if at - large.sent_at > 0.5]
    figures.add("per, 200 kB of undeclared size, 3.9 s from 100 KiB on:", large.duration_s, "s")
    assert curve.steady_bytes_per_s(late) == pytest.approx(25_000, rel=TOLERANCE)
    assert 97_600 / 25_000 * 0.9 < large.duration_s < 200_000 / 25_000 * 0.8


def test_a_small_body_is_slowed_if_its_size_is_declared(proxy: RunningProxy) -> None:
    """An undeclared one is known to be small when it has ended, and by then it has passed."""
    client = http1(proxy, "small.example.net", secure=False)
    declared, undeclared = client.get("/photo.jpg"), client.get("/undeclared?50000")
    large = client.get("/undeclared?200000")
    client.close()
    assert (declared.size, declared.end) == (60_000, COMPLETE)
    assert curve.steady_bytes_per_s(declared.arrivals) == pytest.approx(25_000, rel=TOLERANCE)
    assert (undeclared.size, undeclared.end) == (50_000, COMPLETE)
    assert undeclared.duration_s < 0.5
    assert (large.size, large.end) == (200_000, COMPLETE)
    assert large.duration_s < 0.5
