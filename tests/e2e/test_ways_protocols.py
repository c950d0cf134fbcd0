"""Every protocol in one table: what was asked, what was measured, and whether each byte came.

All of them at once through one proxy, each at its own budget.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from mitmthrottle.lab.noise import noise
from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from . import ways_clients as ways
from . import ways_dial, ways_http3
from .figures import Figures
from .process import resident_bytes
from .ways_browser import chromium, new_page
from .ways_origin import ALT_SVC, EVENT_BYTES, WaysOrigin, event, running_ways_origin

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

RATE, SIZE = 32_000, 192_000  # six seconds each
SLOW, FREE, HIDDEN = "a.slow.example", "a.free.example", "hidden.slow.example"
POLICY = """
version: 1
name: protocols
rules:
  - name: everything of a host
    when: {host: .slow.example}
    then: {rate: 256 kbit/s, upload: {rate: 256 kbit/s}}
"""


@dataclass(frozen=True, slots=True)
class Ways:
    origin: WaysOrigin
    proxy: RunningProxy
    quic_port: int


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WaysOrigin]:
    folder = tmp_path_factory.mktemp("ways")
    with running_ways_origin(folder, ["*.slow.example", "*.free.example"]) as running:
        yield running


def udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def with_quic(origin: WaysOrigin, port: int) -> list[str]:
    """A second mode beside the regular one, that takes HTTP/3."""
    return [
        *("--mode", "regular", "--mode", f"reverse:http3://127.0.0.1:{origin.quic}@{port}"),
        *("--set", "keep_host_header=true", "--ignore-hosts", r"^hidden\.slow\.example:"),
    ]


@pytest.fixture(scope="module")
def ways_(origin: WaysOrigin, policy: Callable[[str], Path]) -> Iterator[Ways]:
    port = udp_port()
    with running_proxy(
        policy(POLICY),
        upstream_ca=origin.ca_path,
        resolve=origin.resolve,
        options=with_quic(origin, port),
    ) as proxy:
        yield Ways(origin, proxy, port)
        assert "Traceback" not in proxy.log()
        assert "crashed" not in proxy.log()


def test_each_protocol_at_its_rate_to_the_last_byte(ways_: Ways, figures: Figures) -> None:
    origin, proxy = ways_.origin, ways_.proxy
    connect = ways_dial.through_connect(proxy.port)
    opened = ways_dial.over_tls(connect, proxy.ca_path, "http/1.1")
    hidden = ways_dial.over_tls(
        connect, origin.ca_path
    )  # only the origin's own certificate will do
    events = SIZE // len(event(100))
    down: dict[str, Callable[[], ways.Arrived]] = {
        "HTTP/1.1": lambda: ways.http1_get(opened, SLOW, 443, f"/bytes/{SIZE}"),
        "HTTP/2": lambda: ways.http2_get(
            ways_dial.over_tls(connect, proxy.ca_path, "h2"), SLOW, 443, f"/bytes/{SIZE}"
        ),
        "HTTP/3": lambda: ways_http3.http3_get(
            ways_.quic_port, SLOW, f"/bytes/{SIZE}", proxy.ca_path
        ),
        "server-sent events": lambda: ways.http1_get(opened, SLOW, 443, f"/events/{events}"),
        "WebSocket": lambda: ways.WebSocket(opened, SLOW, 443).get(SIZE),
        "opaque TLS": lambda: ways.own_get(hidden, HIDDEN, 7443, SIZE),
        "another protocol in TLS that was opened": lambda: ways.own_get(
            ways_dial.over_tls(connect, proxy.ca_path), SLOW, 7443, SIZE
        ),
        "plain TCP": lambda: ways.own_get(connect, SLOW, 7000, SIZE),
    }
    body = noise(0, SIZE)
    up: dict[str, Callable[[], ways.Sent]] = {
        "HTTP/1.1": lambda: ways.http1_put(opened, SLOW, 443, body),
        "HTTP/2": lambda: ways.http2_put(
            ways_dial.over_tls(connect, proxy.ca_path, "h2"), SLOW, 443, body
        ),
        "HTTP/3": lambda: ways_http3.http3_put(ways_.quic_port, SLOW, body, proxy.ca_path),
        "WebSocket": lambda: ways.WebSocket(opened, SLOW, 443).put(body),
        "opaque TLS": lambda: ways.own_put(hidden, HIDDEN, 7443, body),
        "another protocol in TLS that was opened": lambda: ways.own_put(
            ways_dial.over_tls(connect, proxy.ca_path), SLOW, 7443, body
        ),
        "plain TCP": lambda: ways.own_put(connect, SLOW, 7000, body),
    }
    with ThreadPoolExecutor(len(down) + len(up)) as pool:
        going_down = {name: pool.submit(fetch) for name, fetch in down.items()}
        going_up = {name: pool.submit(send) for name, send in up.items()}
    expected = dict.fromkeys(down, hashlib.sha256(body).hexdigest())
    expected["server-sent events"] = hashlib.sha256(
        b"".join(event(number) for number in range(events))
    ).hexdigest()
    figures.add("protocols, each way asked for", float(RATE), "B/s")
    for name, fetched in going_down.items():
        arrived = fetched.result()
        figures.add(f"protocols, {name}: down, every byte as sent", arrived.rate_bytes_per_s, "B/s")
        assert arrived.digest == expected[name], name
        assert arrived.rate_bytes_per_s == pytest.approx(RATE, rel=0.02), name
    for name, going in going_up.items():
        sent = going.result()
        figures.add(f"protocols, {name}: up, every byte as sent", sent.rate_bytes_per_s, "B/s")
        assert sent.digest == expected["HTTP/1.1"], name
        assert sent.rate_bytes_per_s == pytest.approx(RATE, rel=0.02), name


def test_a_host_without_a_rule_is_not_touched_in_any_protocol(ways_: Ways) -> None:
    proxy = ways_.proxy
    connect = ways_dial.through_connect(proxy.port)
    opened = ways_dial.over_tls(connect, proxy.ca_path, "http/1.1")
    for fetch in (
        lambda: ways.http1_get(opened, FREE, 443, f"/bytes/{SIZE}"),
        lambda: ways_http3.http3_get(ways_.quic_port, FREE, f"/bytes/{SIZE}", proxy.ca_path),
        lambda: ways.WebSocket(opened, FREE, 443).get(SIZE),
        lambda: ways.own_get(ways_dial.over_tls(connect, proxy.ca_path), FREE, 7443, SIZE),
        lambda: ways.own_get(connect, FREE, 7000, SIZE),
    ):
        start = time.perf_counter()
        arrived = fetch()
        assert time.perf_counter() - start < 1.0
        assert arrived.digest == hashlib.sha256(noise(0, SIZE)).hexdigest()


def test_events_below_the_rate_come_as_they_are_sent(ways_: Ways, figures: Figures) -> None:
    """Ten a second of 800 bytes, at four times that rate."""
    opened = ways_dial.over_tls(
        ways_dial.through_connect(ways_.proxy.port), ways_.proxy.ca_path, "http/1.1"
    )
    arrived = ways.http1_get(opened, SLOW, 443, "/slow-events/20")
    assert EVENT_BYTES < len(event(0)) < 1000
    gaps = [b - a for (a, _), (b, _) in zip(arrived.arrivals, arrived.arrivals[1:], strict=False)]
    figures.add("server-sent events below the rate: longest gap (sent every 0.1)", max(gaps), "s")
    assert len(arrived.arrivals) >= 20
    assert max(gaps) < 0.2


def test_what_is_relayed_waits_in_bounded_memory(ways_: Ways, figures: Figures) -> None:
    """60 bodies of 20 MB that nobody lets through: their senders are stopped."""
    connect = ways_dial.through_connect(ways_.proxy.port)
    hidden = ways_dial.over_tls(connect, ways_.origin.ca_path)
    opened = ways_dial.over_tls(connect, ways_.proxy.ca_path, "http/1.1")
    ways.own_get(hidden, HIDDEN, 7443, 10)
    before = resident_bytes(ways_.proxy.pid)
    socks = []
    for _ in range(20):
        for dial, host, port in ((hidden, HIDDEN, 7443), (connect, SLOW, 7000)):
            socks.append(dial(host, port))
            socks[-1].sendall(b"?20000000\n")
        talk = ways.WebSocket(opened, SLOW, 443)
        talk.ask(20_000_000)
        socks.append(talk.sock)
    time.sleep(4.0)
    each = (resident_bytes(ways_.proxy.pid) - before) / len(socks)
    for sock in socks:
        sock.close()
    figures.add("protocols, relayed bodies of 20 MB: the proxy holds of each", each / 1024, "KiB")
    assert each < 1_000_000


def test_what_a_service_worker_fetches_is_slowed_too(ways_: Ways, figures: Figures) -> None:
    proxy = ways_.proxy
    with (
        chromium(proxy.ca_path, proxy=proxy.url, flags=["--disable-quic"]) as browser,
        new_page(browser) as page,
    ):
        page.goto(f"https://{SLOW}/worker.html")
        size, worker_start, seconds = page.evaluate("through('/bytes/128000')")
    figures.add("service worker: 128 kB at 32000 B/s in", seconds, "s")
    assert size == 128_000
    assert worker_start > 0  # it went through the worker
    assert size / seconds == pytest.approx(RATE, rel=0.05)


def test_quic_is_refused_and_no_longer_offered_where_that_was_chosen(
    origin: WaysOrigin, policy: Callable[[str], Path]
) -> None:
    port = udp_port()
    with running_proxy(
        policy(POLICY),
        upstream_ca=origin.ca_path,
        resolve=origin.resolve,
        options=[*with_quic(origin, port), "--set", "throttle_quic=block"],
    ) as proxy:
        opened = ways_dial.over_tls(
            ways_dial.through_connect(proxy.port), proxy.ca_path, "http/1.1"
        )
        arrived = ways.http1_get(opened, FREE, 443, "/")
        assert arrived.headers["alt-svc"] == 'h2=":443"; ma=60'
        with pytest.raises(ConnectionError):
            ways_http3.http3_get(port, FREE, "/bytes/10", proxy.ca_path, idle_s=2.0)


def test_otherwise_quic_is_offered_as_the_origin_does(ways_: Ways) -> None:
    opened = ways_dial.over_tls(
        ways_dial.through_connect(ways_.proxy.port), ways_.proxy.ca_path, "http/1.1"
    )
    assert ways.http1_get(opened, FREE, 443, "/").headers["alt-svc"] == ALT_SVC
