"""Uploads on the wire: their rate, their delay, who shares, and that none piles up."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from mitmthrottle.lab.noise import noise

from . import language_shape as shape
from .answer import OPEN
from .figures import Figures
from .language_lab import PROTOCOLS, Lab, get, near, running_lab
from .language_upload import upload
from .process import resident_bytes

pytestmark = pytest.mark.e2e

POLICY = """
version: 1
name: uploads
rules:
  - {name: upload, when: {host: upload.example.org}, then: {upload: {rate: 800 kbit/s}}}
  - {name: late upload, when: {host: late-upload.example.org},
     then: {upload: {rate: 800 kbit/s, delay: 700 ms}}}
  - {name: shared upload, when: {host: shared-upload.example.org},
     then: {upload: {rate: {limit: 800 kbit/s, per: client}}}}
  - {name: large upload, when: {host: large-upload.example.org}, then: {upload: {rate: 128 kbit/s}}}
"""
# What the client's and the proxy's kernel let a socket hold: net.ipv4.tcp_wmem and tcp_rmem are 4
# and 6 MB at most by default, and somewhat more is counted. None of it is the proxy's memory.
SOCKETS_HOLD_BYTES = 14_000_000
HOSTS = ("upload", "late-upload", "shared-upload", "large-upload")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("lab"), POLICY, HOSTS) as running:
        yield running


@pytest.mark.parametrize(
    ("protocol", "secure"),
    [("http/1.1", False), ("http/1.1", True), ("h2", True)],
    ids=["http1", "http1 in tls", "h2"],
)
def test_an_upload_is_slow_and_whole(
    protocol: str, secure: bool, lab: Lab, figures: Figures
) -> None:
    path = f"/small-{protocol[-2:]}-{secure}"
    done = upload(lab.proxy, "upload.example.org", path, 300_000, protocol=protocol, secure=secure)
    received = lab.sink.last(path)
    rate = shape.rate_between(received.arrivals, 0, 1e12)
    figures.add(f"upload at 800 kbit/s, {protocol}, {secure}:", f"{8e-3 * rate:.1f}", "kbit/s")
    assert (done.status, received.size) == (200, 300_000)
    assert received.digest == hashlib.sha256(noise(0, 300_000)).hexdigest()
    assert done.body.decode() == f"300000 {received.digest}"
    assert near(rate, 100_000)
    assert near(done.duration_s, 3.0, 0.1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_upload_can_be_late(protocol: str, lab: Lab) -> None:
    path = f"/late-{protocol[-2:]}"
    begun = time.perf_counter()
    done = upload(lab.proxy, "late-upload.example.org", path, 50_000, protocol=protocol)
    received = lab.sink.last(path)
    assert done.status == 200
    assert 0.7 <= received.arrivals[0][0] - begun < 1.0
    assert near(shape.rate_between(received.arrivals, 0, 1e12), 100_000, 0.1)


def test_uploads_share(lab: Lab) -> None:
    def one(number: int) -> None:
        host, path = "shared-upload.example.org", f"/shared-{number}"
        upload(lab.proxy, host, path, 200_000, protocol="h2" if number else "http/1.1")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, range(2)))
    for number in range(2):
        received = lab.sink.last(f"/shared-{number}")
        begun = received.arrivals[0][0]
        assert near(shape.rate_between(received.arrivals, begun + 0.5, begun + 3), 50_000, 0.07)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_large_upload_does_not_pile_up(protocol: str, lab: Lab, figures: Figures) -> None:
    """50 MB at 128 kbit/s, for 8 s: neither in the proxy nor, beyond what sockets hold, before."""
    path = f"/large-{protocol[-2:]}"
    before = resident_bytes(lab.proxy.pid)
    most = [before]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            most.append(resident_bytes(lab.proxy.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    done = upload(
        lab.proxy, "large-upload.example.org", path, 50_000_000, protocol=protocol, for_s=8.2
    )
    over.set()
    watcher.join()
    received = lab.sink.last(path)
    begun = received.arrivals[0][0]
    rate = shape.rate_between(received.arrivals, begun, begun + 8)
    grown = max(most) - before
    figures.add(f"upload of 50 MB at 128 kbit/s, {protocol}: growth", grown / 1e6, "MB")
    figures.add(f"upload of 50 MB at 128 kbit/s, {protocol}: taken", done.taken_bytes / 1e6, "MB")
    figures.add(f"upload of 50 MB at 128 kbit/s, {protocol}: rate", rate * 8e-3, "kbit/s")
    assert near(rate, 16_000)
    assert grown < 4_000_000
    assert done.taken_bytes < SOCKETS_HOLD_BYTES
    assert not received.complete


def test_an_early_answer_ends_an_upload(lab: Lab) -> None:
    """The origin refuses at the headers: the client hears of it, and the next ones are served."""
    done = upload(
        lab.proxy, "upload.example.org", "/early", 2_000_000, protocol="http/1.1", for_s=5.0
    )
    assert done.status in (413, 502)
    assert done.duration_s < 5.0
    assert upload(lab.proxy, "upload.example.org", "/next", 1000, protocol="h2").status == 200


def test_nothing_is_open_at_the_end(lab: Lab) -> None:
    answer = get(lab, "pass", "/page.html")
    assert (answer.status, answer.body) == (200, b"<p>text")
    assert answer.end != OPEN
