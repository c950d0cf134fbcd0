"""A client that trusts nothing but the origin's own authority, as apps with pinned certificates do.

With `throttle_pinned=passthrough` its first try fails and the next ones work, at the rate of the
rule for the server's name.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mitmthrottle.lab.noise import noise
from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from . import ways_clients as ways
from . import ways_dial
from .figures import Figures
from .ways_origin import WaysOrigin, running_ways_origin

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

RATE, SIZE = 32_000, 192_000
HOST, FREE = "app.slow.example", "app.free.example"
POLICY = """
version: 1
name: pinned
rules:
  - name: photos, which nobody can see in there
    when: {host: .slow.example, content: photo}
    then: {rate: 8 kbit/s}
  - name: the app
    when: {host: .slow.example}
    then: {rate: 256 kbit/s}
  - name: what a client shares
    when: {host: .shared.example}
    then: {rate: {limit: 256 kbit/s, per: client}}
"""
DIGEST = hashlib.sha256(noise(0, SIZE)).hexdigest()


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WaysOrigin]:
    folder = tmp_path_factory.mktemp("pinned")
    hosts = ["*.slow.example", "*.free.example", "*.shared.example"]
    with running_ways_origin(folder, hosts) as running:
        yield running


@pytest.fixture
def proxy(
    origin: WaysOrigin, policy: Callable[[str], Path], request: pytest.FixtureRequest
) -> Iterator[RunningProxy]:
    with running_proxy(
        policy(POLICY),
        upstream_ca=origin.ca_path,
        resolve=origin.resolve,
        options=["--set", f"throttle_pinned={request.param}"],
    ) as running:
        yield running
        assert "Traceback" not in running.log()
        assert "crashed" not in running.log()


def app(proxy: RunningProxy, origin: WaysOrigin, alpn: str | None = None) -> ways_dial.Dial:
    return ways_dial.over_tls(ways_dial.through_connect(proxy.port), origin.ca_path, alpn)


@pytest.mark.parametrize("proxy", ["passthrough"], indirect=True)
def test_it_works_from_its_second_try_on_at_its_rate_both_ways(
    proxy: RunningProxy, origin: WaysOrigin, figures: Figures
) -> None:
    web = app(proxy, origin, "h2")
    with pytest.raises(ssl.SSLCertVerificationError):
        ways.http2_get(web, HOST, 443, "/bytes/10")
    with ThreadPoolExecutor(3) as pool:
        down = pool.submit(ways.http2_get, web, HOST, 443, f"/bytes/{SIZE}")
        raw = pool.submit(ways.own_get, app(proxy, origin), HOST, 7443, SIZE)
        up = pool.submit(ways.own_put, app(proxy, origin), HOST, 7443, noise(0, SIZE))
    for name, arrived in (("HTTP/2", down.result()), ("another protocol", raw.result())):
        figures.add(f"pinned, {name}: down (asked 32000)", arrived.rate_bytes_per_s, "B/s")
        assert arrived.digest == DIGEST
        assert arrived.rate_bytes_per_s == pytest.approx(RATE, rel=0.02)
    figures.add("pinned: up (asked 32000)", up.result().rate_bytes_per_s, "B/s")
    assert up.result().digest == DIGEST
    assert up.result().rate_bytes_per_s == pytest.approx(RATE, rel=0.02)


@pytest.mark.parametrize("proxy", ["passthrough"], indirect=True)
def test_its_connection_and_the_requests_of_the_same_client_share_a_budget_in_equal_parts(
    proxy: RunningProxy, origin: WaysOrigin, figures: Figures
) -> None:
    connect = ways_dial.through_connect(proxy.port)
    pinned = app(proxy, origin, "h2")
    trusting = ways_dial.over_tls(connect, proxy.ca_path, "http/1.1")
    with pytest.raises(ssl.SSLCertVerificationError):
        ways.http2_get(pinned, "app.shared.example", 443, "/bytes/10")
    size = SIZE // 3
    with ThreadPoolExecutor(3) as pool:
        going = {
            "a connection that is not opened": pool.submit(
                ways.http2_get, pinned, "app.shared.example", 443, f"/bytes/{size}"
            ),
            "plain TCP": pool.submit(ways.own_get, connect, "raw.shared.example", 7000, size),
            "a response": pool.submit(
                ways.http1_get, trusting, "web.shared.example", 443, f"/bytes/{size}"
            ),
        }
    for name, fetched in going.items():
        rate = fetched.result().rate_bytes_per_s
        figures.add(f"pinned, {name} has of 32000 for three", rate, "B/s")
        assert rate == pytest.approx(RATE / 3, rel=0.05)
    first = min(fetched.result().arrivals[0][0] for fetched in going.values())
    last = max(fetched.result().arrivals[-1][0] for fetched in going.values())
    total = 3 * size / (last - first)
    figures.add("pinned, the three of them together (asked 32000)", total, "B/s")
    assert total == pytest.approx(RATE, rel=0.02)


@pytest.mark.parametrize("proxy", ["passthrough"], indirect=True)
def test_it_is_that_host_only_and_who_trusts_us_goes_on_being_looked_into(
    proxy: RunningProxy, origin: WaysOrigin
) -> None:
    web = app(proxy, origin, "http/1.1")
    trusting = ways_dial.over_tls(ways_dial.through_connect(proxy.port), proxy.ca_path, "http/1.1")
    assert ways.http1_get(trusting, FREE, 443, "/bytes/10").size == 10
    with pytest.raises(ssl.SSLCertVerificationError):
        ways.http1_get(web, HOST, 443, "/bytes/10")
    with pytest.raises(ssl.SSLCertVerificationError):  # another host: its first try
        ways.http1_get(web, FREE, 443, "/bytes/10")
    assert ways.http1_get(web, FREE, 443, f"/bytes/{SIZE}").digest == DIGEST


@pytest.mark.parametrize("proxy", ["passthrough"], indirect=True)
def test_an_app_that_compares_after_the_handshake_works_from_its_third_try_on(
    proxy: RunningProxy, origin: WaysOrigin
) -> None:
    """It trusts the device's authorities, ours among them, and has a list of its own besides."""
    pins = ways_dial.pinned_to(ways_dial.through_connect(proxy.port), proxy.ca_path, origin.ca_path)
    for _ in range(2):
        with pytest.raises(ways_dial.PinMismatchError):
            ways.own_get(pins, HOST, 7443, 10)
    assert ways.own_get(pins, HOST, 7443, 10).size == 10


@pytest.mark.parametrize("proxy", ["passthrough"], indirect=True)
def test_a_client_that_hangs_up_now_and_then_goes_on_being_looked_into(
    proxy: RunningProxy, origin: WaysOrigin
) -> None:
    connect = ways_dial.through_connect(proxy.port)
    trusting = {
        alpn: ways_dial.over_tls(connect, proxy.ca_path, alpn) for alpn in ("h2", "http/1.1")
    }
    pins = ways_dial.pinned_to(connect, proxy.ca_path, origin.ca_path)
    for talk in (
        lambda: ways.http1_get(trusting["http/1.1"], HOST, 443, "/bytes/10"),
        lambda: ways.http2_get(trusting["h2"], HOST, 443, "/bytes/10"),
        lambda: ways.own_get(ways_dial.over_tls(connect, proxy.ca_path), HOST, 7443, 10),
        lambda: ways.http1_get(trusting["http/1.1"], HOST, 443, "/bytes/10"),
    ):
        with pytest.raises(
            ways_dial.PinMismatchError
        ):  # each time anew: nothing is held against it
            ways.own_get(pins, HOST, 7443, 10)
        assert talk().size == 10


@pytest.mark.parametrize("proxy", ["intercept"], indirect=True)
def test_otherwise_it_is_refused_each_time(proxy: RunningProxy, origin: WaysOrigin) -> None:
    for _ in range(3):
        with pytest.raises(ssl.SSLCertVerificationError):
            ways.http1_get(app(proxy, origin, "http/1.1"), HOST, 443, "/bytes/10")
