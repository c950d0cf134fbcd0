"""One visit to a page: open it in a new browser, watch until it has settled, say what was seen.

Rule: it has settled when its load event was, nothing is under way that it waits for, and no
video can stand still any more; or when the time is up, which is no error.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Error, Frame, Page, Response
from playwright.async_api import TimeoutError as TimeIsUp

from mitmthrottle.compare.chromium import first_line, new_context
from mitmthrottle.compare.facts import Plan, Run, Stall, Variant, Video
from mitmthrottle.compare.film import Camera
from mitmthrottle.compare.traffic import Traffic

_QUIET_S = 1.0
_LOOK_S = 0.25
_MEDIA_END_S = 0.5
_MAX_ERRORS = 20
_MAX_ERROR_CHARS = 500
_PICTURE = {"phone": (192, 430), "desktop": (320, 200)}

_FACTS_JS = """() => new Promise(done => {
  const entries = []
  const observer = new PerformanceObserver(list => entries.push(...list.getEntries()))
  observer.observe({ type: "paint", buffered: true })
  observer.observe({ type: "largest-contentful-paint", buffered: true })
  setTimeout(() => {
    const [navigation] = performance.getEntriesByType("navigation")
    const first = entries.find(entry => entry.name === "first-contentful-paint")
    const largest = entries.filter(entry => entry.entryType === "largest-contentful-paint").at(-1)
    done({
      origin: performance.timeOrigin,
      ttfb: navigation?.responseStart || null,
      dom: navigation?.domContentLoadedEventStart || null,
      load: navigation?.loadEventStart || null,
      first: first?.startTime ?? null,
      largest: largest?.startTime ?? null,
      what: largest ? largest.url || largest.element?.localName || "" : "",
    })
  }, 50)
})"""

Said = Callable[[str], None]


async def visit(
    browser: Browser, plan: Plan, variant: Variant, number: int, say: Said
) -> tuple[Run, float, Response | None]:
    """The run, the Unix time of its 0 s, and the response to the page itself.

    A page that does not come is a run with `failure`, in which nothing happened.
    """
    context = await new_context(browser, plan.device)
    traffic = Traffic()
    traffic.listen(context)
    await context.add_init_script(script(plan.play))
    page = await context.new_page()
    errors = _Errors(page)
    camera = await Camera.start(
        await context.new_cdp_session(page), plan.timeout_s, *_PICTURE[plan.device]
    )
    began, until = time.time(), time.monotonic() + plan.timeout_s
    response, failure = await _open(page, plan)
    settled = False
    while failure is None and not settled and time.monotonic() < until:
        say(f"{time.time() - began:.0f} s, {traffic.count} requests")
        await asyncio.sleep(_LOOK_S)
        settled = await _has_settled(page, traffic)
    if settled:
        await _let_media_end(traffic)
    watched_s = time.time() - began
    facts = await _facts(page) if failure is None else None
    if failure is None and facts is None:
        failure = "it has crashed, or its scripts never pause"
    origin = facts["origin"] / 1000 if facts else began
    videos = await _videos(page, origin, watched_s) if failure is None else ()

    def seconds(name: str) -> float:
        value = facts[name] if facts else None
        return math.inf if value is None else value / 1000

    run = Run(
        variant=variant,
        number=number,
        ttfb_s=seconds("ttfb"),
        dom_content_loaded_s=seconds("dom"),
        load_s=seconds("load"),
        first_contentful_paint_s=seconds("first"),
        largest_contentful_paint_s=seconds("largest"),
        largest=facts["what"] if facts else "",
        protocol=await _protocol(response),
        requests=await traffic.requests(origin),
        videos=videos,
        frames=camera.frames(origin),
        console_errors=tuple(errors.texts),
        watched_s=watched_s,
        settled=settled,
        failure=failure,
    )
    return run, origin, response


def script(play: bool) -> str:
    """What notes the videos of each frame; `play` starts those in view."""
    text = resources.files("mitmthrottle.compare").joinpath("observe.js").read_text("utf-8")
    return f"{{ const PLAY = {'true' if play else 'false'};\n{text}\n}}"


async def _open(page: Page, plan: Plan) -> tuple[Response | None, str | None]:
    try:
        response = await page.goto(plan.page, wait_until="commit", timeout=plan.timeout_s * 1000)
    except TimeIsUp:
        return None, f"no answer within {plan.timeout_s:g} s"
    except Error as error:
        # "Page.goto: net::ERR_CONNECTION_RESET at https://…"
        reason = first_line(error).partition(": ")[2].partition(" at http")[0]
        return None, reason or first_line(error)
    return response, None


async def _protocol(response: Response | None) -> str:
    if response is None:
        return ""
    try:
        return await response.http_version()
    except Error:
        return ""


async def _has_settled(page: Page, traffic: Traffic) -> bool:
    if traffic.quiet_s() < _QUIET_S:
        return False
    try:
        if not await page.evaluate(
            "performance.getEntriesByType('navigation')[0]?.loadEventEnd > 0"
        ):
            return False
    except Error:  # it is just going to another page
        return False
    return not any(video["under_way"] for video in await _seen_videos(page))


async def _let_media_end(traffic: Traffic) -> None:
    """A video that has all its data is a moment ahead of its request's last event."""
    until = time.monotonic() + _MEDIA_END_S
    while traffic.media_under_way and time.monotonic() < until:
        await asyncio.sleep(_LOOK_S / 5)


async def _facts(page: Page) -> dict[str, Any] | None:
    """From the page's own record of its performance; None if it cannot be asked."""
    for _ in range(3):
        try:
            async with asyncio.timeout(5):
                facts: dict[str, Any] = await page.evaluate(_FACTS_JS)
                return facts
        except Error:  # it is just going to another page
            await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            return None  # its scripts leave no room for ours
    return None


async def _seen_videos(page: Page) -> list[dict[str, Any]]:
    async def of(frame: Frame) -> list[dict[str, Any]]:
        try:
            async with asyncio.timeout(2):
                seen: list[dict[str, Any]] = await frame.evaluate(
                    "globalThis.__mitmthrottle_videos?.() ?? []"
                )
                return seen
        except (Error, TimeoutError):  # a frame that has gone or is busy
            return []

    return [video for frame in page.frames for video in await of(frame)]


async def _videos(page: Page, origin: float, watched_s: float) -> tuple[Video, ...]:
    def at(milliseconds: float | None, otherwise: float) -> float:
        return otherwise if milliseconds is None else milliseconds / 1000 - origin

    return tuple(
        Video(
            name=video_name(seen["source"]),
            asked_s=at(seen["asked"], 0.0),
            started_s=at(seen["started"], math.inf),
            until_s=at(seen["until"], watched_s),
            stalls=tuple(
                Stall(at(stall["from"], 0.0), (stall["to"] - stall["from"]) / 1000)
                for stall in seen["stalls"]
            ),
            error=seen["error"],
        )
        for seen in await _seen_videos(page)
    )


def video_name(source: str) -> str:
    """
    >>> video_name("https://video.example.org/a/film.mp4?token=1"), video_name("blob:https://x/1")
    ('film.mp4 from video.example.org', 'a stream')
    """
    parts = urlsplit(source)
    if parts.scheme not in ("http", "https"):
        return "a stream"
    return f"{parts.path.rpartition('/')[2] or '/'} from {parts.hostname}"


class _Errors:
    """What the page complains of in the console, and what its scripts did not catch."""

    def __init__(self, page: Page) -> None:
        self.texts: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self._add(str(error)))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            where = message.location.get("url", "") if message.location else ""
            self._add(f"{message.text} ({where})" if where else message.text)

    def _add(self, text: str) -> None:
        if len(self.texts) < _MAX_ERRORS:
            self.texts.append(text[:_MAX_ERROR_CHARS])
