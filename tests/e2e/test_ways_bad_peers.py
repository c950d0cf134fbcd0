"""Two hundred bad peers: the proxy stays up, the others keep their rates, nothing stays behind."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mitmthrottle.lab.noise import noise
from mitmthrottle.lab.proxy import running_proxy

from . import ways_clients as ways
from . import ways_dial
from .figures import Figures
from .process import connections, resident_bytes, wait_for
from .ways_bad_peers import WAYS, all_of_them
from .ways_origin import running_ways_origin

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

RATE, SIZE, PEERS = 32_000, 288_000, 200  # nine seconds
SLOW, HIDDEN = "a.slow.example", "hidden.slow.example"
POLICY = """
version: 1
name: bad peers
rules:
  - name: everything of a host
    when: {host: .slow.example}
    then: {rate: 256 kbit/s, upload: {rate: 256 kbit/s}}
"""


def test_others_do_not_notice(
    policy: Callable[[str], Path], figures: Figures, tmp_path: Path
) -> None:
    with (
        running_ways_origin(tmp_path, ["*.slow.example"]) as origin,
        running_proxy(
            policy(POLICY),
            upstream_ca=origin.ca_path,
            resolve=origin.resolve,
            options=["--ignore-hosts", r"^hidden\.", "--set", "throttle_pinned=passthrough"],
        ) as proxy,
    ):
        dial = ways_dial.through_connect(proxy.port)
        http1 = ways_dial.over_tls(dial, proxy.ca_path, "http/1.1")
        hidden = ways_dial.over_tls(dial, origin.ca_path)
        http2 = ways_dial.over_tls(dial, proxy.ca_path, "h2")
        good: dict[str, Callable[[], ways.Arrived]] = {
            "HTTP/1.1": lambda: ways.http1_get(http1, SLOW, 443, f"/bytes/{SIZE}"),
            "HTTP/2": lambda: ways.http2_get(http2, SLOW, 443, f"/bytes/{SIZE}"),
            "opaque TLS": lambda: ways.own_get(hidden, HIDDEN, 7443, SIZE),
            "plain TCP": lambda: ways.own_get(dial, SLOW, 7000, SIZE),
        }
        before = resident_bytes(proxy.pid)
        with ThreadPoolExecutor(len(good) + 1) as pool:
            bad = pool.submit(lambda: asyncio.run(all_of_them(proxy.port, PEERS, over_s=5.0)))
            going = {name: pool.submit(fetch) for name, fetch in good.items()}
        assert bad.result() == {way.__name__: PEERS // len(WAYS) for way in WAYS}
        for name, result in going.items():
            arrived = result.result()
            rate = arrived.rate_bytes_per_s
            figures.add(f"bad peers, beside {PEERS} of them {name} (asked {RATE})", rate, "B/s")
            assert arrived.digest == hashlib.sha256(noise(0, SIZE)).hexdigest(), name
            assert rate == pytest.approx(RATE, rel=0.02), name

        def nobody_left() -> bool:
            return all(state == "listen" for _, _, state in connections(proxy.pid))

        left = wait_for(nobody_left, within_s=10.0)
        figures.add("bad peers, seconds until the proxy has no connection left", left or -1.0, "s")
        assert left is not None, connections(proxy.pid)
        grown = (resident_bytes(proxy.pid) - before) / 1e6
        figures.add("bad peers, the proxy has grown by", grown, "MB")
        assert grown < 100  # a megabyte each for the long headers, and what a first use brings
        assert ways.http2_get(http2, SLOW, 443, "/bytes/10").size == 10
        assert "Traceback" not in proxy.log()
        assert "crashed" not in proxy.log()
