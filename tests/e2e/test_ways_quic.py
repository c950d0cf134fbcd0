"""A real browser and HTTP/3: what it uses, what it rejects, and what is left to it if QUIC is
refused. Chromium on the client of the namespaces, through mitmproxy's TUN device.

Chromium takes HTTP/3 only under certificates of public authorities, unless it is told to use
nothing else for a host; so a rejection over QUIC says nothing about TCP.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from mitmthrottle.lab import netns
from mitmthrottle.lab.proxy import RunningProxy
from mitmthrottle.lab.transparent import proxied

from . import ways_tun as tun
from .figures import Figures
from .ways_browser import chromium, new_page
from .ways_origin import running_ways_origin

pytestmark = pytest.mark.e2e

RATE, SIZE = 64_000, 192_000  # three seconds
SLOW = "a.slow.example"
POLICY = """
version: 1
name: quic
rules:
  - name: photos, which can be seen only if the connection is opened
    when: {host: .slow.example, content: photo}
    then: {rate: 512 kbit/s}
"""
# What was used for the page and for a photo, and the photo's rate.
FETCH = """async path => {
  await (await fetch(path)).arrayBuffer()
  const photo = performance.getEntriesByName(new URL(path, location).href)[0]
  const page = performance.getEntriesByType("navigation")[0]
  const seconds = (photo.responseEnd - photo.responseStart) / 1000
  return [page.nextHopProtocol, photo.nextHopProtocol, photo.encodedBodySize / seconds]
}"""


@dataclass(frozen=True, slots=True)
class Way:
    """A client whose traffic, UDP too, all goes through the proxy."""

    net: netns.Net
    proxy: RunningProxy

    @contextlib.contextmanager
    def browser(self, *flags: str) -> Iterator[Browser]:
        with chromium(
            self.proxy.ca_path,
            namespace=self.net.client,
            flags=["--no-proxy-server", f"--host-resolver-rules=MAP * {tun.FAR}", *flags],
        ) as running:
            yield running


@contextlib.contextmanager
def way(policy: Path, folder: Path, options: Sequence[str]) -> Iterator[Way]:
    with (
        netns.built(f"mtq{os.getpid()}", ()) as net,
        tun.far_address(net, tun.FAR),
        contextlib.ExitStack() as stack,
    ):
        with netns.inside(net.origin):
            origin = stack.enter_context(
                running_ways_origin(folder, ["*.slow.example"], quic_addresses=[tun.FAR])
            )
        mode = ["--mode", f"tun:{tun.DEVICE}", *options]
        proxy = stack.enter_context(proxied(net, policy, origin.ca_path, mode))
        tun.route_into(net)
        yield Way(net, proxy)
        assert "Traceback" not in proxy.log()
        assert "crashed" not in proxy.log()


def fetch(browser: Browser) -> tuple[str, str, float]:
    with new_page(browser) as page:
        page.goto(f"https://{SLOW}/worker.html")
        page_by, photo_by, rate = page.evaluate(FETCH, f"/bytes/{SIZE}")
        return page_by, photo_by, rate


def test_it_is_slowed_over_http3_and_a_rejection_over_quic_is_none_over_tcp(
    policy: Callable[[str], Path], tmp_path: Path, figures: Figures
) -> None:
    with way(policy(POLICY), tmp_path, ["--set", "throttle_pinned=passthrough"]) as lab:
        with lab.browser(f"--origin-to-force-quic-on={SLOW}:443") as browser:
            page_by, photo_by, rate = fetch(browser)
            figures.add(f"quic, Chromium, HTTP/3: photo at (asked {RATE})", rate, "B/s")
            assert (page_by, photo_by) == ("h3", "h3")
            assert rate == pytest.approx(RATE, rel=0.02)
        with lab.browser() as browser:
            for _ in range(3):  # in a new profile each time, so it tries QUIC anew
                page_by, photo_by, rate = fetch(browser)
                assert (page_by, photo_by) == ("h2", "h2")
                assert rate == pytest.approx(RATE, rel=0.02)
        figures.add(f"quic, Chromium, HTTP/2 after it: photo at (asked {RATE})", rate, "B/s")
        assert lab.proxy.log().count("Client QUIC handshake failed") >= 2


def test_it_does_not_even_try_where_quic_is_refused(
    policy: Callable[[str], Path], tmp_path: Path, figures: Figures
) -> None:
    with (
        way(policy(POLICY), tmp_path, ["--set", "throttle_quic=block"]) as lab,
        lab.browser() as browser,
    ):
        page_by, photo_by, rate = fetch(browser)
        figures.add(f"quic, Chromium, where it is refused: photo at (asked {RATE})", rate, "B/s")
        assert (page_by, photo_by) == ("h2", "h2")
        assert rate == pytest.approx(RATE, rel=0.02)
        assert "QUIC" not in lab.proxy.log()
