"""What the lab's origin serves: a small site with photos, a video and a timeline, the same
on every host name, whose page takes its media from the other names.

Rule: a site is a function from a request's facts to a `Resource`; how it travels (ranges,
HTTP version, TLS) is the origin's concern.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib import resources
from urllib.parse import parse_qs, unquote

from mitmthrottle.lab.noise import noise

MAX_BYTES = 1 << 30
"""The most that `/bytes/N` serves: 1 GiB."""

_MEDIA = {
    "/photo-small.jpg": ("photo-small.jpg", "image/jpeg"),
    "/photo.jpg": ("photo.jpg", "image/jpeg"),
    "/photo-large.jpg": ("photo-large.jpg", "image/jpeg"),
    "/video.mp4": ("video.mp4", "video/mp4"),
}

_STYLE = """body{font:17px/1.5 system-ui,sans-serif;max-width:42rem;margin:2rem auto;padding:0 1rem}
article{border-top:1px solid #ddd;padding:1rem 0}img,video{max-width:100%;border-radius:12px;
background:#eee;display:block;margin-top:.5rem}small{color:#666}"""

# Shows beside each photo how long it took, so that a screenshot tells what happened.
_SCRIPT = """for (const media of document.querySelectorAll("img,video")) {
  const done = () => {
    const seconds = performance.now() / 1000
    const host = new URL(media.currentSrc).host
    media.nextElementSibling.textContent = `${host}: ${seconds.toFixed(1)} s`
  }
  media.addEventListener(media.localName === "img" ? "load" : "canplaythrough", done)
  if (media.complete) done()
}
fetch("/api/timeline.json").then((answer) => answer.json()).then((timeline) => {
  document.querySelector("#count").textContent = `${timeline.posts.length} posts in the timeline`
})"""


@dataclass(frozen=True, slots=True)
class Resource:
    """A body that can be read from anywhere, and its headers."""

    content_type: str
    length: int
    read: Callable[[int, int], bytes]
    """`read(start, stop)` gives those bytes."""
    status: int = 200
    declared: bool = True
    """Whether the length is announced; if not, no ranges either."""
    headers: tuple[tuple[str, str], ...] = field(default=())


def of_bytes(content_type: str, body: bytes, status: int = 200) -> Resource:
    return Resource(content_type, len(body), lambda start, stop: body[start:stop], status)


@cache
def media(name: str) -> bytes:
    """The bytes of a file of `lab/media`, such as `photo.jpg`."""
    return resources.files("mitmthrottle.lab").joinpath("media", name).read_bytes()


def site(hosts: Sequence[str], port: int | None, path: str, query: str) -> Resource:
    """The resource at a path. `port` is what the page's links carry, if not the default."""
    if path in _MEDIA:
        name, content_type = _MEDIA[path]
        return of_bytes(content_type, media(name))
    if path in ("/", "/index.html"):
        return of_bytes("text/html; charset=utf-8", _page(hosts, port).encode())
    if path == "/watch.html":
        return of_bytes("text/html; charset=utf-8", _watch_page(hosts, port).encode())
    if path == "/style.css":
        return of_bytes("text/css", _STYLE.encode())
    if path == "/app.js":
        return of_bytes("text/javascript", _SCRIPT.encode())
    if path == "/api/timeline.json":
        return of_bytes("application/json", _timeline(hosts).encode())
    if path.startswith("/bytes/"):
        return _bytes(path.removeprefix("/bytes/"), query)
    if path.startswith("/status/") and path[8:].isascii() and path[8:].isdecimal():
        status = int(path[8:])
        if 200 <= status <= 599:
            return of_bytes("text/plain", b"" if status in (204, 304) else b"%d\n" % status, status)
    return of_bytes("text/plain", b"nothing here\n", 404)


def _bytes(count: str, query: str) -> Resource:
    """`/bytes/N?type=image/jpeg&length=no`: N bytes of noise, of a type, of unknown length."""
    if not (count.isascii() and count.isdecimal() and len(count) < 12 and int(count) <= MAX_BYTES):
        return of_bytes("text/plain", b"/bytes/N serves 0 to %d bytes\n" % MAX_BYTES, 404)
    asked = parse_qs(query)
    content_type = unquote(asked.get("type", ["application/octet-stream"])[0])
    if not (content_type.isascii() and content_type.isprintable()):
        return of_bytes("text/plain", b"type must be a media type\n", 400)
    return Resource(content_type, int(count), noise, declared=asked.get("length") != ["no"])


def _timeline(hosts: Sequence[str]) -> str:
    """About 40 kB of JSON: text, as a site's API would send it."""
    posts = [
        {
            "id": 1_000_000 + n,
            "author": f"reader {n % 17}",
            "text": f"Post {n}: the text of a page is small and should be there at once, "
            "whatever happens to the photos and the video beside it.",
            "photo": f"https://{hosts[n % len(hosts)]}/photo.jpg?post={n}",
        }
        for n in range(160)
    ]
    return json.dumps({"posts": posts}, indent=1)


def _link(hosts: Sequence[str], port: int | None, n: int, path: str) -> str:
    """To the n-th host, around and around."""
    suffix = "" if port is None else f":{port}"
    return escape(f"https://{hosts[n % len(hosts)]}{suffix}{path}")


def _watch_page(hosts: Sequence[str], port: int | None) -> str:
    """A photo and a video that are in view at once: browsers do not stop a silent video that
    runs out of data where nobody sees it."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Something to watch</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/style.css">
<link rel="icon" href="data:,"></head><body>
<h1>Something to watch</h1><p>This text comes with the page.</p>
<video src="{_link(hosts, port, -1, "/video.mp4")}" muted autoplay playsinline></video>
<p>And a photo.</p><img src="{_link(hosts, port, 1, "/photo.jpg")}" alt="a fractal">
</body></html>
"""


def _page(hosts: Sequence[str], port: int | None) -> str:
    def link(n: int, path: str) -> str:
        return _link(hosts, port, n, path)

    paths = ["/photo-small.jpg", "/photo.jpg", "/photo.jpg", "/photo-large.jpg"]
    photos = "\n".join(
        f"<article><p>Photo {n + 1}, from {escape(hosts[n % len(hosts)])}.</p>"
        f'<img src="{link(n, f"{path}?photo={n}")}" alt="a fractal">'
        "<small>on its way</small></article>"
        for n, path in enumerate(paths)
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>The lab's timeline</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/style.css">
<link rel="icon" href="data:,"></head><body>
<h1>The lab's timeline</h1><p id="count">reading the timeline</p>
<p>This text comes with the page. Photos and the video come from {len(hosts)} host names and
arrive as the policy says.</p>
{photos}
<article><p>A video of ten seconds, from {escape(hosts[-1])}.</p>
<video src="{link(len(hosts) - 1, "/video.mp4")}" controls muted autoplay playsinline></video>
<small>on its way</small></article>
<script src="/app.js"></script></body></html>
"""
