"""Transparent mode: a client in a network namespace that has no proxy setting, knows addresses
only, and is slowed by host name all the same. IPv4 and IPv6, curl and Chromium.

All names share the origin's two addresses, so nothing but the name can tell them apart.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mitmthrottle.lab import netns
from mitmthrottle.lab.site import media
from mitmthrottle.lab.transparent import TAG, Lab, running_lab

from .figures import Figures
from .ways_browser import chromium, new_page

pytestmark = pytest.mark.e2e

RATE = 16_000
# The lab's page takes its fourth photo from the fourth.
HOSTS = ("www.free.example", "free.example", "a.slow.example", "b.slow.example", "app.example")
POLICY = """
version: 1
name: transparent
rules:
  - name: photos
    when: {host: .slow.example, content: photo}
    then: {rate: 128 kbit/s}
  - name: an app
    when: {host: app.example}
    then: {rate: 256 kbit/s}
"""
WRITTEN = "%{time_starttransfer} %{time_total} %{size_download} %{http_version} %{remote_ip}"


@pytest.fixture(scope="module")
def lab(policy: Callable[[str], Path]) -> Iterator[Lab]:
    with running_lab(
        policy(POLICY),
        HOSTS,
        tag=f"mtt{os.getpid()}",
        options=["--set", "throttle_pinned=passthrough"],
    ) as running:
        yield running
        assert "Traceback" not in running.proxy.log()
        assert "crashed" not in running.proxy.log()


class Curl:
    """One fetch on the client, of a name that is nowhere but on its command line."""

    def __init__(
        self, lab: Lab, url: str, address: str, *options: str, ca_path: Path | None = None
    ) -> None:
        host = url.split("/")[2]
        connect = f"[{address}]" if ":" in address else address
        self._process = subprocess.Popen(
            [*lab.net.at_client, "curl", "-s", "--fail", "--noproxy", "*",
             "--cacert", str(ca_path or lab.proxy.ca_path), "--resolve", f"{host}:443:{connect}",
             "--resolve", f"{host}:80:{connect}", "-o", "/dev/null", "-w", WRITTEN,
             *options, url],
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def failed(self) -> int:
        """Curl's exit status."""
        return self._process.wait(timeout=60)

    def wait(self) -> tuple[float, float, int, str, str]:
        """Seconds to the first byte, seconds in all, bytes, version, address."""
        said, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, said
        first, total, size, version, address = said.split()
        return float(first), float(total), int(size), version, address


def test_photos_at_their_rate_by_name_though_only_an_address_was_dialled(
    lab: Lab, figures: Figures
) -> None:
    slow = {
        address: Curl(lab, "https://b.slow.example/photo-large.jpg", address)
        for address in netns.ORIGIN
    }
    time.sleep(0.5)
    for address in netns.ORIGIN:  # while those go on
        for url, what in (
            ("https://b.slow.example/", "the page of the slow host"),
            ("https://free.example/photo-large.jpg", "the same photo of the control host"),
        ):
            _, total, _, _, dialled = Curl(lab, url, address).wait()
            assert dialled == address
            figures.add(f"transparent, curl {address}: {what} in", total, "s")
            assert total < 1.0
    size = len(media("photo-large.jpg"))
    for address, fetch in slow.items():
        first, total, got, version, dialled = fetch.wait()
        assert (got, version, dialled) == (size, "2", address)
        rate = size / (total - first)
        figures.add(f"transparent, curl {address}: photo at (asked 16000)", rate, "B/s")
        assert rate == pytest.approx(RATE, rel=0.02)


def test_plain_http_goes_by_its_host_header(lab: Lab) -> None:
    url = "http://a.slow.example/photo.jpg"
    for fetch in [Curl(lab, url, address) for address in netns.ORIGIN]:
        first, total, size, _, _ = fetch.wait()
        assert size / (total - first) == pytest.approx(RATE, rel=0.05)


def test_an_address_that_is_asked_for_by_no_name_is_no_host(lab: Lab) -> None:
    url = f"http://{netns.ORIGIN[0]}/photo-large.jpg"
    _, total, size, _, _ = Curl(lab, url, netns.ORIGIN[0]).wait()
    assert size == len(media("photo-large.jpg"))
    assert total < 1.0


def test_the_names_of_the_clients_hosts_file_lead_to_the_lab(lab: Lab) -> None:
    """As `make lab` offers it to whoever tries by hand."""
    said = subprocess.run(
        [*lab.net.at_client, "curl", "-s", "--fail", "--cacert", str(lab.proxy.ca_path),
         "-4", "-o", "/dev/null", "-w", "%{remote_ip}", "https://www.free.example/"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout == netns.ORIGIN[0]


def test_a_pinned_client_works_from_its_second_try_on_at_the_rate_of_the_name(
    lab: Lab, figures: Figures
) -> None:
    def fetch(address: str) -> Curl:
        url = "https://app.example/photo-large.jpg"
        return Curl(lab, url, address, ca_path=lab.origin.ca_path)

    for address in netns.ORIGIN:
        assert fetch(address).failed() == 60  # "cannot verify the server certificate"
    for address, fetching in [(address, fetch(address)) for address in netns.ORIGIN]:
        first, total, size, _, _ = fetching.wait()
        assert size == len(media("photo-large.jpg"))
        rate = size / (total - first)
        figures.add(f"transparent, pinned {address}: photo at (asked 32000)", rate, "B/s")
        assert rate == pytest.approx(2 * RATE, rel=0.02)


def test_chromium_without_a_proxy_setting(lab: Lab, figures: Figures, artifacts: Path) -> None:
    over = {"a.slow.example": "IPv4", "b.slow.example": "IPv6", "free.example": "IPv4"}
    rules = (
        f"MAP a.slow.example {netns.ORIGIN[0]}, MAP b.slow.example [{netns.ORIGIN[1]}], "
        f"MAP * {netns.ORIGIN[0]}"
    )
    with (
        chromium(
            lab.proxy.ca_path,
            namespace=lab.net.client,
            flags=["--no-proxy-server", f"--host-resolver-rules={rules}"],
        ) as browser,
        new_page(browser) as page,
    ):
        done = {}
        page.on("requestfinished", lambda request: done.update({request.url: request}))
        page.goto("https://www.free.example/", wait_until="domcontentloaded")
        loaded = page.evaluate(
            "performance.timing.domContentLoadedEventEnd - performance.timing.navigationStart"
        )
        figures.add("transparent, Chromium: DOMContentLoaded", loaded, "ms")
        assert loaded < 2000  # the page alone; a photo takes over three seconds
        page.wait_for_timeout(1000)
        page.screenshot(path=artifacts / "transparent-1-page-at-once.png", full_page=True)
        complete = "[...document.images].map(img => img.complete)"
        assert page.evaluate(complete) == [True, True, False, False]
        page.wait_for_function("[...document.images].every(img => img.complete)", timeout=20_000)
        page.wait_for_timeout(300)  # the last event of the network comes after the last pixel
        page.screenshot(path=artifacts / "transparent-2-photos-there.png", full_page=True)
        assert page.evaluate(
            "performance.getEntriesByType('navigation')[0].nextHopProtocol"
        ) == "h2"  # fmt: skip
        for host, name, number in (
            ("a.slow.example", "photo.jpg", 2),
            ("b.slow.example", "photo-large.jpg", 3),
            ("free.example", "photo.jpg", 1),
        ):
            timing = done[f"https://{host}/{name}?photo={number}"].timing
            taken = (timing["responseEnd"] - timing["responseStart"]) / 1000
            rate = len(media(name)) / taken
            figures.add(f"transparent, Chromium {over[host]}, {host}: photo at", rate, "B/s")
            if host == "free.example":
                assert taken < 1.0
            else:
                # A short photo shows its first piece more: 25 ms of the rate at once.
                rel = 0.02 if name == "photo-large.jpg" else 0.05
                assert rate == pytest.approx(RATE, rel=rel)


def test_make_lab_and_make_lab_down() -> None:
    """What the two commands start, in the background, and that nothing of it stays."""

    def module(what: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mitmthrottle.lab.transparent", what]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    up = module("up")
    try:
        assert up.returncode == 0, up.stderr
        fetch = next(line for line in up.stdout.splitlines() if "https://example.org/" in line)
        assert module("up").returncode == 1  # it is up already
        tried = subprocess.run(fetch, shell=True, capture_output=True, text=True, check=True)
        assert float(tried.stdout.split()[0]) > 10 * RATE  # the control host
    finally:
        down = module("down")
    assert down.returncode == 0, down.stderr
    left = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert f"{TAG}-" not in left
    assert module("down").returncode == 0  # nothing to do
