"""`mitmthrottle measure` tells who slows, and how, from an open link: our own throttle, nginx, the
kernel's shaper and its policer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from mitmthrottle.lab.proxy import running_proxy

from .figures import Figures
from .measure_lab import LIMIT_BYTES_PER_S, RATE_BITS_PER_S, links
from .nginx import Nginx

pytestmark = [pytest.mark.e2e, pytest.mark.alone, pytest.mark.timeout(240)]

POLICY = """
version: 1
name: measured
rules:
  - {name: shaped, when: {host: shaped.example.org}, then: {rate: 1 Mbit/s}}
  - {name: policed, when: {host: policed.example.org}, then: {rate: 1 Mbit/s, as: policer}}
  - {name: delayed, when: {host: delayed.example.org}, then: {rate: 20 Mbit/s, delay: 300 ms}}
  - {name: as fast, when: {host: even.example.org}, then: {rate: 20 Mbit/s}}
"""
SHAPED_BYTES_PER_S = 125_000
# In steps of a second: of two possible causes, if it is not seen which.
STEPS = (True, None)
NOISY = (None, None)
"""On loopback a transfer is over in milliseconds; a machine that is busy meanwhile makes "cannot
tell" the right answer.  "Differentiated" never is."""

MITMTHROTTLE = Path(sys.executable).with_name("mitmthrottle")

Found = dict[str, dict[str, Any]]


def measured(arguments: Sequence[str], prefix: Sequence[str] = ()) -> dict[str, Any]:
    """What the command says, as JSON."""
    command = [*prefix, str(MITMTHROTTLE), "measure", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report") / "measured.html"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, nginx: Nginx, report: Path) -> Found:
    """All verdicts, by what was in between.  What is slowed waits, so it goes on at the same time;
    what is not has the machine for itself."""
    policy = tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.write_text(POLICY)
    stream = ["--set", "stream_large_bodies=1"]
    with (
        links(tmp_path_factory.mktemp("nginx")) as network,
        running_proxy(
            policy, options=stream, upstream_ca=nginx.ca_path, resolve=nginx.resolve
        ) as proxy,
    ):
        through = ["--proxy", proxy.url, "--cacert", str(proxy.ca_path)]

        def ours(name: str, control: str, *more: str) -> dict[str, Any]:
            url, other = (f"https://{each}.example.org/50mb.jpg" for each in (name, control))
            return measured([url, "--control", other, *through, *more])

        def others(url: str, *more: str) -> dict[str, Any]:
            return measured([url, "--control", network.url("open"), *more], network.at_client)

        short = ("--seconds", "1.2", "--bytes", "5 MB")
        megabyte = ("--pairs", "8", "--bytes", "1 MB")
        long = ("--pairs", "8", "--bytes", "1.5 MB", "--seconds", "6")
        with ThreadPoolExecutor(6) as pool:
            jobs = {
                "shaped": pool.submit(ours, "shaped", "control", *short, "--html", str(report)),
                "policed": pool.submit(ours, "policed", "control", *short),
                "delayed": pool.submit(ours, "delayed", "even", "--seconds", "0.8"),
                "tc tbf": pool.submit(others, network.url("shaped"), *megabyte),
                "nftables limit": pool.submit(others, network.url("policed"), *megabyte),
                # In pieces, each paid for by waiting: it takes some to see that they keep a rate.
                "nginx limit_rate": pool.submit(others, network.url("open", "/limited/big"), *long),
            }
            found = {name: job.result() for name, job in jobs.items()}
        found["free"] = ours("free", "control")
        found["open link"] = others(network.url("open", "/big?another"), "--pairs", "12")
        return found


def told(figures: Figures, name: str, found: dict[str, Any]) -> tuple[object, object]:
    figures.add(
        f"measure, {name}: differentiated {found['differentiated']}, mechanism "
        f"{found['mechanism']}, p {found['p_value']}, {found['target_bytes_per_s']:.0f} of "
        f"{found['control_bytes_per_s']:.0f} B/s, {found['pairs']} pairs; {found['reason']}",
        "",
    )
    return found["differentiated"], found["mechanism"]


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("shaped", (True, "shaper")),
        ("policed", (True, "policer")),
        ("delayed", (True, "delay")),
        ("free", (False, None)),
    ],
)
def test_twenty_pairs_through_ours(
    name: str, verdict: tuple[object, object], found: Found, figures: Figures
) -> None:
    one = found[name]
    said = told(figures, f"through ours, {name}", one)
    # On a busy machine it may say that it cannot tell; never what is wrong.
    unsure = NOISY if name == "free" else (True, None) if name == "policed" else verdict
    assert said in (verdict, unsure)
    assert one["pairs"] == 20
    if name in ("shaped", "policed"):
        assert one["target_bytes_per_s"] == pytest.approx(SHAPED_BYTES_PER_S, rel=0.05)
        assert one["p_value"] < 0.01
    if name == "delayed":
        assert one["delay_s"] == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    ("way", "verdict", "rate_bytes_per_s"),
    [
        ("tc tbf", (True, "shaper"), RATE_BITS_PER_S / 8),
        ("nftables limit", (True, "policer"), RATE_BITS_PER_S / 8),
        ("nginx limit_rate", STEPS, LIMIT_BYTES_PER_S),
        ("open link", (False, None), None),
    ],
)
def test_ways_to_slow_of_others(
    way: str,
    verdict: tuple[object, object],
    rate_bytes_per_s: float | None,
    found: Found,
    figures: Figures,
) -> None:
    one = found[way]
    said = told(figures, way, one)
    assert (
        said == verdict
        or (way == "open link" and said == NOISY)
        or (verdict == STEPS and said == (True, "shaper"))
    )
    if rate_bytes_per_s is not None:
        # Packets are counted with their headers; a policer makes TCP back off.
        assert 0.7 * rate_bytes_per_s < one["target_bytes_per_s"] < 1.1 * rate_bytes_per_s


def test_the_report_opens_by_itself(found: Found, report: Path, artifacts: Path) -> None:
    assert found["shaped"]["pairs"] == 20
    said, requests = list[str](), list[str]()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        for name, width, scheme in (
            ("desktop", 1200, "light"), ("dark", 1200, "dark"), ("phone", 390, "light"),
        ):  # fmt: skip
            page = browser.new_page(
                viewport={"width": width, "height": 900},
                color_scheme=scheme,  # type: ignore[arg-type]  # one of its literals
            )
            page.on("console", lambda message: said.append(message.text))
            page.on(
                "request",
                lambda request: (
                    None if request.url.startswith("file:") else said.append(request.url)
                ),
            )
            page.goto(report.as_uri())
            page.screenshot(path=artifacts / f"measure-{name}.png", full_page=True)
            assert "shaper" in page.inner_text("body")
            assert page.locator("svg").count() >= 2
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{name}: {wide} px"
        browser.close()
    assert said == []
    assert all(url.startswith(("file:", "data:")) for url in requests)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["http://127.0.0.1:9/x"], 1, "nothing listens there"),
        (["http://nobody.invalid/"], 1, "no address is known for this name"),
        (["ftp://example.com/"], 1, "http"),
        (["http://127.0.0.1:9/", "http://127.0.0.1:9/", "--control", "http://127.0.0.1:9/"], 2,
         "--control compares one URL"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_said_with_a_remedy(
    arguments: list[str], status: int, words: str
) -> None:
    command = [str(MITMTHROTTLE), "measure", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr
