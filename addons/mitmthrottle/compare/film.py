"""The screencast of a visit, and the film strip made of it.

Rule: a picture stands for what the page looked like from its time on. The strip samples at
fixed times, the same for all strips of a report, and keeps each picture once.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from playwright.async_api import CDPSession, Error

from mitmthrottle.compare.facts import Frame

MAX_SLOTS = 24
MAX_PICTURE_BYTES = 60_000
"""A picture that is larger is left out of the report: so its size is bounded."""

_INTERVALS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
_KEPT = 600
"""Pictures in memory for one visit."""


@dataclass  # no slots: Playwright marks the objects whose methods it calls
class Camera:
    """Keeps the last picture of each short span of time, for as long as the visit may take."""

    session: CDPSession
    span_s: float
    _pictures: dict[int, tuple[float, str]] = field(default_factory=dict)
    _sending: set[asyncio.Task[None]] = field(default_factory=set)

    @classmethod
    async def start(cls, session: CDPSession, timeout_s: float, width: int, height: int) -> Camera:
        camera = cls(session, max(0.05, timeout_s / _KEPT))
        session.on("Page.screencastFrame", camera._came)
        await session.send(
            "Page.startScreencast",
            {"format": "jpeg", "quality": 55, "maxWidth": width, "maxHeight": height},
        )
        return camera

    def _came(self, event: dict[str, Any]) -> None:
        at = event["metadata"]["timestamp"]
        self._pictures[int(at / self.span_s)] = (at, event["data"])
        # The next one comes only when this one is acknowledged.
        task = asyncio.ensure_future(self._acknowledge(event["sessionId"]))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _acknowledge(self, picture: int) -> None:
        with contextlib.suppress(Error):  # the page has gone meanwhile
            await self.session.send("Page.screencastFrameAck", {"sessionId": picture})

    def frames(self, origin: float) -> tuple[Frame, ...]:
        """By time; those of before `origin` (Unix time) are of the empty page."""
        return tuple(
            Frame(at - origin, base64.b64decode(data))
            for at, data in sorted(self._pictures.values())
            if at >= origin
        )


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a strip, and for how many slots nothing changed."""

    slot: int
    slots: int
    frame: Frame | None
    """None: nothing had been painted yet"""


def interval_s(length_s: float) -> float:
    """Seconds from slot to slot, so that a strip of this length has `MAX_SLOTS` at most.

    >>> interval_s(13.2)
    1.0
    """
    return next(
        (step for step in _INTERVALS_S if length_s / step <= MAX_SLOTS - 1), _INTERVALS_S[-1]
    )


def strip(frames: Sequence[Frame], step_s: float, slots: int) -> list[Picture]:
    """What was to be seen at 0, 1, … times `step_s`."""
    usable = [frame for frame in frames if len(frame.jpeg) <= MAX_PICTURE_BYTES]
    seen = [
        next((frame for frame in reversed(usable) if frame.at_s <= slot * step_s), None)
        for slot in range(slots)
    ]
    pictures = []
    for _, same in groupby(enumerate(seen), key=lambda pair: pair[1] and pair[1].jpeg):
        group = list(same)
        pictures.append(Picture(group[0][0], len(group), group[0][1]))
    return pictures
