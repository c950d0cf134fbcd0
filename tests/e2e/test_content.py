"""What only the body tells: a photo that is not named one, a size that is not declared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mitmthrottle.lab.proxy import RunningProxy, running_proxy

from . import curve
from .answer import COMPLETE
from .figures import Figures
from .http1 import http1
from .http2 import http2
from .odd import running_odd

pytestmark = pytest.mark.e2e

TOLERANCE = 0.05

POLICY = """
version: 1
name: content
rules:
  - {name: sniffed, when: {host: sniff.example.net, content: photo}, then: {rate: 200 kbit/s}}
  - {name: large ones, when: {host: size.example.net, size: ">= 100 KiB"},
     then: {rate: 200 kbit/s}}
  - {name: small ones, when: {host: small.example.net, size: "< 100 KiB"},
     then: {rate: 200 kbit/s}}
"""


@pytest.fixture(scope="module")
def proxy(policy: Callable[[str], Path]) -> Iterator[RunningProxy]:
    with (
        running_odd(["*.example.net"]) as odd,
        running_proxy(policy(POLICY), upstream_ca=odd.ca_path, resolve=odd.resolve) as running,
    ):
        yield running
        assert "Traceback" not in running.log()


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
    figures.add(
        f"content, octet-stream that is a JPEG in 200 kbit/s, {protocol}:", 8e-3 * rate, "kbit/s"
    )
    figures.add(f"content, octet-stream of 64 kB that is text, {protocol}:", text.duration_s, "s")
    assert (photo.size, photo.end) == (60_000, COMPLETE)
    assert rate == pytest.approx(25_000, rel=TOLERANCE)
    assert (text.size, text.end) == (63_600, COMPLETE)
    assert text.duration_s < 1.0  # 2.5 s at that rate


def test_an_undeclared_size_is_known_once_it_is_seen(proxy: RunningProxy, figures: Figures) -> None:
    client = http1(proxy, "size.example.net", secure=False)
    small, large = client.get("/undeclared?90000"), client.get("/undeclared?200000")
    client.close()
    assert (small.size, small.end) == (90_000, COMPLETE)
    assert small.duration_s < 1.5  # 3.6 s at that rate
    assert (large.size, large.end) == (200_000, COMPLETE)
    # 102400 bytes come as if there were no rule, the other 97600 at 25 kB/s.
    late = [(at, size) for at, size in large.arrivals if at - large.sent_at > 0.5]
    figures.add("content, 200 kB of undeclared size, 3.9 s from 100 KiB on:", large.duration_s, "s")
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
    assert undeclared.duration_s < 1.0  # 2 s
    assert (large.size, large.end) == (200_000, COMPLETE)
    assert large.duration_s < 1.5
