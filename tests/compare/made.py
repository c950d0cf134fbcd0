"""Runs and comparisons as one might measure them, for tests that need no browser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mitmthrottle.compare.facts import Comparison, Frame, Plan, Request, Run, Slowed, Stall, Video

RULE = "photos on every phone"
SLOWED = Slowed(RULE, 12, 16_000.0, 15_990.0, 58_147, 3.5, "complete")
PAGE = "https://www.example.org/"


def request(name: str, start_s: float = 0.1, end_s: float | None = 0.5, **more: object) -> Request:
    made = Request(
        url=f"{PAGE}{name}",
        method="GET",
        kind="image",
        start_s=start_s,
        first_byte_s=start_s + 0.05,
        end_s=end_s,
        bytes=1000,
        status=200,
    )
    return replace(made, **more)  # type: ignore[arg-type]  # any of its fields


def run(variant: str = "without", number: int = 1, paint_s: float = 0.5, **more: object) -> Run:
    made = Run(
        variant="with" if variant == "with" else "without",
        number=number,
        ttfb_s=0.1,
        dom_content_loaded_s=0.2,
        load_s=paint_s + 0.1,
        first_contentful_paint_s=0.3,
        largest_contentful_paint_s=paint_s,
        largest=f"{PAGE}photo.jpg",
        protocol="HTTP/2.0",
        requests=(
            request("", end_s=0.2, kind="document"),
            request("photo.jpg", end_s=_or_none(paint_s)),
        ),
        videos=(),
        frames=(Frame(0.3, b"text"), Frame(paint_s, b"photo")),
        console_errors=(),
        watched_s=min(paint_s, 60.0) + 1,
        settled=True,
    )
    return replace(made, **more)  # type: ignore[arg-type]  # any of its fields


def slowed_run(number: int = 1, paint_s: float = 4.0, **more: object) -> Run:
    requests = (
        request("", end_s=0.2, kind="document"),
        request("photo.jpg", end_s=_or_none(paint_s), slowed=SLOWED),
    )
    return run("with", number, paint_s, **{"requests": requests, "record": (SLOWED,), **more})


def _or_none(at_s: float) -> float | None:
    return at_s if math.isfinite(at_s) else None


def video(started_s: float, *stalls: tuple[float, float]) -> Video:
    return Video(
        name="film.mp4 from video.example.org",
        asked_s=0.1,
        started_s=started_s,
        until_s=12.0,
        stalls=tuple(Stall(*stall) for stall in stalls),
    )


def comparison(without: Sequence[Run], with_: Sequence[Run], **plan: object) -> Comparison:
    made = Plan(PAGE, Path("policy.yaml"), runs=len(without))
    return Comparison(
        plan=replace(made, **plan),  # type: ignore[arg-type]  # any of its fields
        policy_name="slow-photos",
        policy_text="version: 1\nname: slow-photos\n",
        browser="140.0.1.2",
        started=1_800_000_000.0,
        runs=(*without, *with_),
    )


def usual() -> Comparison:
    """Three runs each; photos come late."""
    return comparison(
        [run(number=n, paint_s=paint_s) for n, paint_s in enumerate((0.5, 0.6, 0.55), 1)],
        [slowed_run(n, paint_s) for n, paint_s in enumerate((4.0, 4.2, 4.1), 1)],
    )
