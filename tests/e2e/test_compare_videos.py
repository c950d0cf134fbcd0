"""Which videos `compare` sees: several, in frames and shadow trees, and those that want a push.

The page comes from the test itself; no proxy is needed for what a browser does by itself.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

from mitmthrottle.compare.visit import script
from mitmthrottle.lab.site import media

pytestmark = pytest.mark.e2e

VIDEO = '<video width="160" muted playsinline {how} src="/{name}.mp4"></video>'
FRAME = f"<!doctype html>{VIDEO.format(how='autoplay', name='framed')}"
PAGE = f"""<!doctype html><title>videos</title>
{VIDEO.format(how="autoplay", name="own")}
{VIDEO.format(how="controls", name="waits")}
<div id="host"></div><iframe src="https://other.example/frame.html" width="200"></iframe>
<div id="later"></div><p style="height: 3000px"></p>
{VIDEO.format(how="controls", name="below")}
<script>
document.querySelector("#host").attachShadow({{ mode: "open" }}).innerHTML =
  `{VIDEO.format(how="autoplay", name="shadow")}`
setTimeout(() => document.querySelector("#later").innerHTML =
  `{VIDEO.format(how="controls", name="added")}`, 300)
</script>"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("chromium-browser"),
            args=["--disable-gpu", "--autoplay-policy=no-user-gesture-required"],
            chromium_sandbox=os.geteuid() != 0,
        )
        yield browser
        browser.close()


def serve(route: Route) -> None:
    """No network: the pages and the lab's video."""
    name = route.request.url.rpartition("/")[2]
    if name.endswith(".mp4"):
        route.fulfill(body=media("video.mp4"), content_type="video/mp4")
    else:
        body = FRAME if name == "frame.html" else PAGE
        route.fulfill(body=body, content_type="text/html")


def seen(page: Page) -> dict[str, dict[str, Any]]:
    found = [
        video
        for frame in page.frames
        for video in frame.evaluate("globalThis.__mitmthrottle_videos()")
    ]
    return {video["source"].rpartition("/")[2].removesuffix(".mp4"): video for video in found}


@pytest.mark.parametrize(
    ("play", "expected"),
    [
        (True, {"own", "waits", "framed", "shadow", "added"}),
        (False, {"own", "framed", "shadow"}),
    ],
    ids=["with a push", "without"],
)
def test_videos_that_play_are_seen_wherever_they_are(
    browser: Browser, play: bool, expected: set[str]
) -> None:
    context = browser.new_context()
    context.add_init_script(script(play))
    context.route("**/*", serve)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto("https://page.example/")
    page.wait_for_timeout(500)
    for _ in range(40):
        if {name for name, video in seen(page).items() if video["started"]} >= expected:
            break
        page.wait_for_timeout(250)
    videos = seen(page)
    assert set(videos) == expected  # what is below the fold is left alone
    assert all(video["started"] >= video["asked"] for video in videos.values())
    assert [video["error"] for video in videos.values()] == [None] * len(videos)
    assert faults == []
    assert page.evaluate("Object.keys(globalThis).filter(name => name.includes('throttle'))") == []
    context.close()
