"""A real browser on a real page: text at once, photos and video at their rate, and a video that
plays as long as its rate is more than it needs.

Chromium is Debian's, headless; Playwright only drives it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

from mitmthrottle.lab.proxy import RunningProxy, running_proxy
from mitmthrottle.lab.site import media

from .figures import Figures
from .nginx import Nginx, running_nginx

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

PHOTO_RATE, ENOUGH_RATE, SCARCE_RATE = 16_000, 50_000, 8_000
POLICY = """
version: 1
name: browser
rules:
  - name: photos
    when: {host: photos.example.org, content: photo}
    then: {rate: 128 kbit/s}
  - name: enough for the video, which has 194 kbit/s
    when: {host: enough.example.org, content: video}
    then: {rate: 400 kbit/s}
  - name: too little for it
    when: {host: scarce.example.org, content: video}
    then: {rate: 64 kbit/s}
"""
FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]


@pytest.fixture(scope="module")
def nginx(quiet: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    root = tmp_path_factory.mktemp("www")
    for name in ("photo.jpg", "video.mp4"):
        (root / name).write_bytes(media(name))
    text = Path(__file__).with_name("timeline.html").read_text()
    for name in ("enough", "scarce"):
        page = text.replace("HOST", f"{name}.example.org")
        (root / f"{name}.html").write_text(page)
    with running_nginx(root, ["*.example.org"]) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(nginx: Nginx, policy: Callable[[str], Path]) -> Iterator[RunningProxy]:
    with running_proxy(policy(POLICY), upstream_ca=nginx.ca_path, resolve=nginx.resolve) as running:
        yield running
        assert "Traceback" not in running.log()


@pytest.fixture(scope="module")
def browser(proxy: RunningProxy) -> Iterator[Browser]:
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    if binary is None:
        raise FileNotFoundError("Chromium is not installed; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=binary,
            proxy={"server": proxy.url},
            args=FLAGS,
            chromium_sandbox=os.geteuid() != 0,  # it refuses to start as root otherwise
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A new profile for each test, so that nothing comes from a cache."""
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1100, "height": 800})
    yield context.new_page()
    context.close()


def body_s(request: Request) -> float:
    """From the first byte of the response to its last, as Chromium's network stack has it."""
    timing = request.timing
    return (timing["responseEnd"] - timing["responseStart"]) / 1000


def test_text_at_once_photos_at_their_rate(page: Page, figures: Figures, artifacts: Path) -> None:
    done: dict[str, Request] = {}
    page.on("requestfinished", lambda request: done.update({request.url: request}))
    page.goto("https://www.example.org/enough.html", wait_until="domcontentloaded")
    loaded = page.evaluate(
        "performance.timing.domContentLoadedEventEnd - performance.timing.navigationStart"
    )
    figures.add("browser, page's text: DOMContentLoaded", loaded, "ms")
    assert page.inner_text("#text").startswith("This text is there at once")
    page.wait_for_function("document.images[3].complete")
    page.screenshot(path=artifacts / "browser-1-text-at-once.png")
    assert loaded < 1000
    assert page.evaluate("[...document.images].map(img => img.complete)") == [False] * 3 + [True]

    page.wait_for_function("[...document.images].every(img => img.complete)", timeout=15_000)
    page.screenshot(path=artifacts / "browser-2-photos-there.png")
    assert page.evaluate("[...document.images].map(img => img.naturalWidth)") == [832] * 4
    size = len(media("photo.jpg"))
    page.wait_for_timeout(200)  # the last event of the network comes after the last pixel
    for number in (1, 2, 3):
        taken = body_s(done[f"https://photos.example.org/photo.jpg?{number}"])
        figures.add(
            f"browser, photo {number} of {size // 1000} kB at 128 kbit/s: body in", taken, "s"
        )
        assert size / taken == pytest.approx(PHOTO_RATE, rel=0.08)
    free = body_s(done["https://free.example.org/photo.jpg?4"])
    figures.add("browser, the same photo of a host without a rule: body in", free, "s")
    assert free < 0.5
    protocols = page.evaluate(
        "performance.getEntriesByType('navigation').map(entry => entry.nextHopProtocol)"
    )
    assert protocols == ["h2"]


def test_a_video_plays_on_when_its_rate_suffices(
    page: Page, figures: Figures, artifacts: Path
) -> None:
    page.goto("https://www.example.org/enough.html", wait_until="domcontentloaded")
    page.wait_for_function("window.playing !== null", timeout=10_000)
    started = page.evaluate("window.playing")
    before = page.evaluate(
        "[performance.now() / 1000, document.querySelector('video').currentTime]"
    )
    page.wait_for_timeout(4000)
    after = page.evaluate("[performance.now() / 1000, document.querySelector('video').currentTime]")
    page.screenshot(path=artifacts / "browser-3-video-plays.png")
    pace = (after[1] - before[1]) / (after[0] - before[0])
    figures.add("browser, video of 194 kbit/s at 400 kbit/s: starts after", started, "s")
    figures.add("browser, the same: seconds played in a second", pace)
    assert pace > 0.97
    page.wait_for_function("document.querySelector('video').ended", timeout=15_000)
    page.screenshot(path=artifacts / "browser-4-video-over.png")
    stalls = page.evaluate("window.stalls")
    figures.add("browser, the same: times that it stood still", stalls)
    assert stalls == 0
    assert page.evaluate("document.querySelector('video').readyState") >= 2
    assert page.evaluate("document.querySelector('video').error") is None
    taken = page.evaluate(
        "performance.getEntriesByName(document.querySelector('video').src)[0].duration / 1000"
    )
    expected = len(media("video.mp4")) / ENOUGH_RATE
    figures.add(f"browser, the same: came in (at its rate {expected:.2f} s)", taken, "s")
    # Never sooner; later by what a busy Chromium takes to begin.
    assert 0.95 * expected < taken < expected + 1.5


def test_a_video_stands_still_when_its_rate_does_not(
    page: Page, figures: Figures, artifacts: Path
) -> None:
    page.goto("https://www.example.org/scarce.html", wait_until="domcontentloaded")
    page.wait_for_timeout(8_000)
    page.screenshot(path=artifacts / "browser-5-video-starved.png")
    at, buffered = page.evaluate(
        "(v => [v.currentTime, v.buffered.length ? v.buffered.end(0) : 0])"
        "(document.querySelector('video'))"
    )
    figures.add("browser, video of 194 kbit/s at 64 kbit/s: second it is at after 8 s", at, "s")
    figures.add("browser, the same: seconds of it that have come", buffered, "s")
    # 8 s at 8 kB/s are 64 kB of 243 kB: about two and a half of its ten seconds.
    assert 1.5 < buffered < 3.8
    assert at <= buffered
    assert page.evaluate("document.querySelector('video').error") is None
