"""Media as it is really served: byte ranges, playlists and segments, types that lie, caches; and a
player that has to live with it.
"""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page

from mitmthrottle.lab.proxy import RunningProxy, running_proxy
from mitmthrottle.lab.site import media

from . import ways_clients as ways
from . import ways_dial
from .figures import Figures
from .nginx import Nginx, running_nginx
from .ways_browser import chromium, new_page
from .ways_media import BITS_PER_S, SECONDS, make_media

pytestmark = pytest.mark.e2e

RATE = 20_000
ENOUGH, SCARCE = 80_000, 25_000  # the movie has 37 500
POLICY = f"""
version: 1
name: media
rules:
  - name: photos
    when: {{host: photos.example.org, content: photo}}
    then: {{rate: {8 * RATE} bit/s}}
  - name: videos, each response
    when: {{host: each.example.org, content: video}}
    then: {{rate: {8 * RATE} bit/s}}
  - name: videos, all of a client
    when: {{host: shared.example.org, content: video}}
    then: {{rate: {{limit: {8 * RATE} bit/s, per: client}}}}
  - name: more than the movie has
    when: {{host: enough.example.org, content: video}}
    then: {{rate: {8 * ENOUGH} bit/s}}
  - name: less than the movie has
    when: {{host: scarce.example.org, content: video}}
    then: {{rate: {8 * SCARCE} bit/s}}
"""


@pytest.fixture(scope="module")
def nginx(quiet: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    root = tmp_path_factory.mktemp("www")
    make_media(root / "media")
    for name in ("photo.html", "photo.txt", "photo.png.js"):  # what they are not
        (root / "media" / name).write_bytes(media("photo.jpg"))
    with running_nginx(root, ["*.example.org"]) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(nginx: Nginx, policy: Callable[[str], Path]) -> Iterator[RunningProxy]:
    with running_proxy(policy(POLICY), upstream_ca=nginx.ca_path, resolve=nginx.resolve) as running:
        yield running
        assert "Traceback" not in running.log()


@dataclass(frozen=True, slots=True)
class Got:
    status: str
    content_type: str
    body: bytes
    seconds: float
    """from the first byte to the last"""


def curl(proxy: RunningProxy, host: str, path: str, *options: str) -> Got:
    said = subprocess.run(
        ["curl", "-s", "--proxy", proxy.url, "--cacert", str(proxy.ca_path), *options,
         "-w", "\n%{http_code} %{time_starttransfer} %{time_total} %{content_type}",
         f"https://{host}/media/{path}"],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    body, _, last = said.stdout.rpartition(b"\n")
    status, first, total, content_type = (last.decode() + " ").split(" ", 3)
    return Got(status, content_type.strip(), body, float(total) - float(first))


def test_ranges_of_one_file_have_a_rate_each_or_share_one(
    proxy: RunningProxy, nginx: Nginx, figures: Figures
) -> None:
    movie = (nginx.root / "media/movie.mp4").read_bytes()
    parts = [(start, start + 40_000) for start in range(0, 120_000, 40_000)]

    def fetch(host: str, part: tuple[int, int]) -> Got:
        return curl(proxy, host, "movie.mp4", "-r", f"{part[0]}-{part[1] - 1}")

    hosts = ("each.example.org", "shared.example.org")
    with ThreadPoolExecutor(6) as pool:
        going = {host: [pool.submit(fetch, host, part) for part in parts] for host in hosts}
    for host, results in going.items():
        for part, result in zip(parts, results, strict=True):
            assert result.result().status == "206"
            assert result.result().body == movie[part[0] : part[1]]
        slowest = max(result.result().seconds for result in results)
        figures.add(f"media, three ranges of 40 kB at once, {host}: in", slowest, "s")
        rates = 3 if host == "each.example.org" else 1
        assert 120_000 / slowest == pytest.approx(rates * RATE, rel=0.05)


def test_segments_are_video_though_the_server_does_not_say_so(
    proxy: RunningProxy, nginx: Nginx, figures: Figures
) -> None:
    segments = {
        "hls/list.m3u8": "hls/list1.m4s",
        "ts/list.m3u8": "ts/list1.ts",
        "dash/list.mpd": "dash/chunk-stream0-00001.m4s",
    }
    with ThreadPoolExecutor(len(segments)) as pool:
        going = {
            segment: pool.submit(curl, proxy, "each.example.org", segment)
            for segment in segments.values()
        }
    for playlist, segment in segments.items():
        assert curl(proxy, "each.example.org", playlist).status == "200"
        got = going[segment].result()
        assert got.content_type == "application/octet-stream"
        assert got.body == (nginx.root / "media" / segment).read_bytes()
        rate = len(got.body) / got.seconds
        figures.add(f"media, {segment} (asked {RATE})", rate, "B/s")
        assert rate == pytest.approx(RATE, rel=0.03)


# Photos that a server calls something else: is it slowed?
LIES = {
    "photo.html": ("text/html", False),  # the server's word counts
    "photo.txt": ("text/plain", True),  # which servers say of what they do not know
    "photo.png.js": ("application/octet-stream", True),  # the bytes count before the name
}


def test_a_photo_of_another_type(proxy: RunningProxy) -> None:
    with ThreadPoolExecutor(len(LIES)) as pool:
        going = {path: pool.submit(curl, proxy, "photos.example.org", path) for path in LIES}
    for path, (content_type, slowed) in LIES.items():
        got = going[path].result()
        assert (got.content_type, got.body) == (content_type, media("photo.jpg"))
        if slowed:
            assert len(got.body) / got.seconds == pytest.approx(RATE, rel=0.03)
        else:
            assert got.seconds < 1.0  # 2.9 at the rate


def test_several_ranges_in_one_response_are_what_their_parts_are(
    proxy: RunningProxy, nginx: Nginx, figures: Figures
) -> None:
    """Of movies and photos, and of photos and segments that the server calls something else."""
    cases = {
        "movie.mp4": ("each", "video/mp4", True),
        "dash/chunk-stream0-00001.m4s": ("each", "application/octet-stream", True),
        **{path: ("photos", *said) for path, said in LIES.items()},
    }
    ranges = [(0, 16_000), (17_000, 33_000)]
    asked = ",".join(f"{start}-{stop - 1}" for start, stop in ranges)
    with ThreadPoolExecutor(len(cases)) as pool:
        going = {
            path: pool.submit(curl, proxy, f"{host}.example.org", path, "-r", asked)
            for path, (host, _, _) in cases.items()
        }
    for path, (_, content_type, slowed) in cases.items():
        got = going[path].result()
        whole = (nginx.root / "media" / path).read_bytes()
        assert got.status == "206"
        assert got.content_type.startswith("multipart/byteranges")
        assert f"Content-Type: {content_type}".encode() in got.body
        assert all(whole[start:stop] in got.body for start, stop in ranges)
        if slowed:
            rate = len(got.body) / got.seconds
            figures.add(f"media, two ranges of {path} in one response (asked {RATE})", rate, "B/s")
            assert rate == pytest.approx(RATE, rel=0.03)
        else:
            assert got.seconds < 1.0  # 2.9 at the rate


def test_what_a_cache_still_has_comes_at_once(proxy: RunningProxy) -> None:
    http1 = ways_dial.over_tls(ways_dial.through_connect(proxy.port), proxy.ca_path, "http/1.1")
    head = ways.http1_get(http1, "free.example.org", 443, "/media/photo.txt")
    assert head.digest == hashlib.sha256(media("photo.jpg")).hexdigest()
    start = time.perf_counter()
    again = curl(
        proxy, "photos.example.org", "photo.txt", "-H", f"If-None-Match: {head.headers['etag']}"
    )
    assert (again.status, again.body) == ("304", b"")
    assert time.perf_counter() - start < 1.5  # 2.9 at the rate


# -- a browser


@dataclass(frozen=True, slots=True)
class Seen:
    """What the player has noticed, in seconds."""

    started: float
    ended: float
    stalls: list[float]

    @classmethod
    def by(cls, page: Page) -> Seen:
        seen = page.evaluate("window.seen")
        assert seen["error"] is None
        return cls(seen["started"], seen["ended"], seen["stalls"])


@pytest.fixture(scope="module")
def pages(proxy: RunningProxy) -> Iterator[Callable[[str], Page]]:
    """Opens a page in a profile of its own."""
    with chromium(proxy.ca_path, proxy=proxy.url, flags=["--disable-quic"]) as browser:
        contexts = []

        def open_page(url: str) -> Page:
            context = new_page(browser)
            contexts.append(context)
            page = context.__enter__()
            page.goto(url, wait_until="domcontentloaded")
            return page

        yield open_page
        for context in contexts:
            context.__exit__(None, None, None)


@pytest.mark.alone
def test_a_player_with_and_without_the_policy(
    pages: Callable[[str], Page], nginx: Nginx, figures: Figures, artifacts: Path
) -> None:
    """All six at once: each has its own rate."""
    ways_to_play = [
        (host, how) for host in ("free", "enough", "scarce") for how in ("progressive", "mse")
    ]
    opened = {
        (host, how): pages(f"https://{host}.example.org/media/player.html?{how}")
        for host, how in ways_to_play
    }
    seen = {}
    for (host, how), page in opened.items():
        if host == "scarce":
            page.screenshot(path=artifacts / f"media-{host}-{how}-midway.png")
        page.wait_for_function("window.seen.ended !== null || window.seen.error", timeout=60_000)
        page.wait_for_timeout(250)
        page.screenshot(path=artifacts / f"media-{host}-{how}.png")
        seen[host, how] = Seen.by(page)
    for (host, how), one in seen.items():
        figures.add(f"player, {how}, {host}: starts after", one.started, "s")
        figures.add(f"player, {how}, {host}: times that it stood still", len(one.stalls))
        figures.add(f"player, {how}, {host}: stood still for", float(sum(one.stalls)), "s")
        figures.add(f"player, {how}, {host}: plays {SECONDS} s in", one.ended - one.started, "s")
    size = (nginx.root / "media/movie.mp4").stat().st_size
    for how in ("progressive", "mse"):
        # Chromium says `waiting` for a frame now and then on a busy machine: no one sees that.
        assert sum(seen["free", how].stalls) < 0.1
        # Chromium starts a file as soon as it can, and may have to wait once more for it.
        assert sum(seen["enough", how].stalls) < 1.0
        for host in ("free", "enough"):
            assert seen[host, how].ended - seen[host, how].started < SECONDS + 1
        slow = seen["scarce", how]
        assert slow.started > seen["free", how].started
        assert slow.stalls
        # It has been watched when it has come, but for what the last piece holds.
        assert size / SCARCE - 3 < slow.ended < size / SCARCE + 4
        stood = slow.ended - slow.started - SECONDS
        assert sum(slow.stalls) == pytest.approx(stood, abs=1.0)


@pytest.mark.parametrize("how", ["progressive", "mse"])
def test_seeking_works_under_the_policy(
    pages: Callable[[str], Page], figures: Figures, artifacts: Path, how: str
) -> None:
    page = pages(f"https://enough.example.org/media/player.html?{how}")
    page.wait_for_function("window.seen.started !== null", timeout=10_000)
    page.evaluate("document.querySelector('video').currentTime = 9")
    page.wait_for_function("window.seen.seeks.length && window.seen.seeks[0].to", timeout=10_000)
    page.wait_for_function("document.querySelector('video').currentTime > 9.5", timeout=10_000)
    seek = page.evaluate("window.seen.seeks[0]")
    page.screenshot(path=artifacts / f"media-seek-{how}.png")
    figures.add(f"player, {how}: second 9 is there after", seek["to"] - seek["from"], "s")
    assert seek["to"] - seek["from"] < 4.0
    page.wait_for_function("window.seen.ended !== null", timeout=10_000)
    assert page.evaluate("window.seen.error") is None


def test_the_movie_is_what_the_rates_are_made_for(proxy: RunningProxy, nginx: Nginx) -> None:
    size = (nginx.root / "media/movie.mp4").stat().st_size
    assert 8 * size / SECONDS == pytest.approx(BITS_PER_S, rel=0.1)
    assert SCARCE < size / SECONDS < ENOUGH
