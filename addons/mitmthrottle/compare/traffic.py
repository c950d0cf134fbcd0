"""The requests of a page, from Playwright's events to facts.

Rule: every request counts, also of frames, workers and those still under way; only what
never leaves the browser (data:, blob:) does not.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from playwright.async_api import BrowserContext, Error
from playwright.async_api import Request as Seen

from mitmthrottle.compare.facts import Request

_IDLE_KINDS = frozenset({"media", "eventsource", "websocket", "ping"})
"""What may stay open for as long as the page lives: it says nothing of whether that is done."""

_SIZES_S = 2.0


@dataclass(slots=True)
class _Entry:
    request: Seen
    began: float
    """Unix time"""
    state: str = "under way"


@dataclass  # no slots: Playwright marks the objects whose methods it calls
class Traffic:
    """Collects what a browser context asks for, from `listen` on."""

    _entries: dict[Seen, _Entry] = field(default_factory=dict)
    _last: float = field(default_factory=time.monotonic)

    def listen(self, context: BrowserContext) -> None:
        context.on("request", self._began)
        context.on("requestfinished", lambda request: self._ended(request, "finished"))
        context.on("requestfailed", lambda request: self._ended(request, "failed"))

    @property
    def count(self) -> int:
        return len(self._entries)

    @property
    def media_under_way(self) -> bool:
        return any(
            entry.state == "under way" and entry.request.resource_type == "media"
            for entry in self._entries.values()
        )

    def quiet_s(self) -> float:
        """For how long nothing was asked for or under way that a page waits for; 0: not so."""
        if any(
            entry.state == "under way" and entry.request.resource_type not in _IDLE_KINDS
            for entry in self._entries.values()
        ):
            return 0.0
        return time.monotonic() - self._last

    def _began(self, request: Seen) -> None:
        if request.url.startswith(("http://", "https://")):
            self._entries[request] = _Entry(request, time.time())
            self._last = time.monotonic()

    def _ended(self, request: Seen, state: str) -> None:
        if request in self._entries:
            self._entries[request].state = state
            self._last = time.monotonic()

    async def requests(self, origin: float) -> tuple[Request, ...]:
        """All of them by their start; `origin` is the Unix time that counts as 0 s."""
        facts = [await self._fact(entry, origin) for entry in self._entries.values()]
        return tuple(sorted(facts, key=lambda fact: fact.start_s))

    async def _fact(self, entry: _Entry, origin: float) -> Request:
        request, timing = entry.request, entry.request.timing
        began = timing["startTime"] / 1000 if timing["startTime"] > 0 else entry.began
        start_s = began - origin

        def at(milliseconds: float) -> float | None:
            return start_s + milliseconds / 1000 if milliseconds >= 0 else None

        size: int | None = None
        status: int | None = None
        end_s = at(timing["responseEnd"]) if entry.state != "under way" else None
        if entry.state == "finished":
            # A browser that is closing may owe the answer.
            try:
                async with asyncio.timeout(_SIZES_S):
                    size = (await request.sizes())["responseBodySize"]
                    response = await request.response()
                    status = response.status if response else None
            except (Error, TimeoutError):
                pass
        failed = entry.state == "failed"
        return Request(
            url=request.url,
            method=request.method,
            kind=request.resource_type,
            start_s=start_s,
            first_byte_s=at(timing["responseStart"]),
            end_s=end_s,
            bytes=size,
            status=status,
            failure=(request.failure or "failed") if failed else None,
            cached=size == 0 and status == 200 and request.method == "GET",
        )
