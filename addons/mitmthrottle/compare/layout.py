"""Where things stand on the report's time axes.

Rule: geometry only. Places are parts of an axis (0 to 1) or counts of a strip's slots; what
they look like is the template's and the style sheet's concern.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from mitmthrottle.compare.facts import Request, Run, Slowed, Variant, Video
from mitmthrottle.compare.figures import Figure, counterpart
from mitmthrottle.compare.film import Picture, interval_s, strip
from mitmthrottle.compare.words import seconds, size

MAX_ROWS = 150
"""Rows of the waterfall; what is slowed comes before what is not."""

_TICKS_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0)


# -- film strips


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a moment, below a strip."""

    label: str
    at: float
    """in slots"""
    at_s: float


@dataclass(frozen=True, slots=True)
class Segment:
    kind: str
    """waits, plays or stalls"""
    start: float
    length: float
    """in slots"""


@dataclass(frozen=True, slots=True)
class Lane:
    """One video below a strip."""

    text: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Strip:
    pictures: list[Picture]
    marks: list[Mark]
    lanes: list[Lane]


@dataclass(frozen=True, slots=True)
class Film:
    """Two strips under one axis."""

    step_s: float
    slots: int
    strips: dict[Variant, Strip]


def film(runs: Mapping[Variant, Run]) -> Film:
    length_s = max(_last_event_s(run) for run in runs.values())
    step_s = interval_s(length_s)
    slots = math.ceil(length_s / step_s - 1e-9) + 1
    return Film(
        step_s,
        slots,
        {variant: _strip(run, step_s, slots) for variant, run in runs.items()},
    )


def _last_event_s(run: Run) -> float:
    """After it nothing of interest happens, but that a video plays on."""
    moments = [run.first_contentful_paint_s, run.largest_contentful_paint_s, run.load_s]
    moments += [request.end_s for request in run.requests if request.end_s is not None]
    for video in run.videos:
        moments += [video.started_s, *(s.start_s + s.length_s for s in video.stalls)]
    if not run.settled:
        moments.append(run.watched_s)
    seen = [moment for moment in moments if math.isfinite(moment)]
    return min(max(seen, default=run.watched_s), run.watched_s) or 0.1


def _strip(run: Run, step_s: float, slots: int) -> Strip:
    named = (
        ("FCP", run.first_contentful_paint_s),
        ("LCP", run.largest_contentful_paint_s),
        ("load", run.load_s),
    )
    marks = [Mark(name, at_s / step_s, at_s) for name, at_s in named if math.isfinite(at_s)]
    lanes = [_lane(video, step_s, slots) for video in run.videos[:4]]
    return Strip(strip(run.frames, step_s, slots), marks, lanes)


def _lane(video: Video, step_s: float, slots: int) -> Lane:
    end_s = slots * step_s

    def segment(kind: str, start_s: float, stop_s: float) -> Segment:
        start_s, stop_s = max(0.0, start_s), min(end_s, stop_s)
        return Segment(kind, start_s / step_s, max(0.0, stop_s - start_s) / step_s)

    # It plays on where nothing can stop it any more; the lane ends with the strip.
    started_s = min(video.started_s, end_s)
    parts = [segment("waits", video.asked_s, started_s)]
    if math.isfinite(video.started_s):
        parts.append(segment("plays", started_s, end_s))
    parts += [segment("stalls", s.start_s, s.start_s + s.length_s) for s in video.stalls]
    return Lane(video_words(video), tuple(part for part in parts if part.length > 0))


def video_words(video: Video) -> str:
    if video.error is not None:
        return f"{video.name}: {video.error}"
    if math.isinf(video.started_s):
        return f"{video.name}: does not start while watched"
    stalls = len(video.stalls)
    stood = (
        "no stall"
        if stalls == 0
        else f"{stalls} stall{'s' * (stalls > 1)}, {seconds(video.stalled_s)}"
    )
    return f"{video.name}: plays at {seconds(video.started_s)}, {stood}"


# -- waterfall


@dataclass(frozen=True, slots=True)
class Bar:
    """A request on the axis: it waits for its first byte, then receives."""

    start: float
    wait: float
    receive: float
    open: bool
    """it was still under way"""
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    host: str
    kind: str
    size: str
    """empty where nothing tells"""
    note: str
    """what is out of the ordinary: a failure, a status, the cache"""
    slowed: Slowed | None
    bars: dict[Variant, Bar]


@dataclass(frozen=True, slots=True)
class Waterfall:
    tick: float
    """from one mark of the axis to the next"""
    ticks: list[tuple[float, str]]
    rows: list[Row]
    left_out: int


def waterfall(runs: Mapping[Variant, Run]) -> Waterfall:
    """The requests of the run with the policy, each beside itself without; then those that
    only came without."""
    without, with_ = runs["without"].requests, runs["with"].requests
    length_s = max((_end_s(r, run) for run in runs.values() for r in run.requests), default=1.0)
    length_s = max(length_s, 0.1)
    taken: set[int] = set()
    rows = []
    for request in with_:
        pair: dict[Variant, Bar] = {"with": _bar(request, runs["with"], length_s)}
        other = counterpart(request, without, taken)
        if other is not None:
            taken.add(other)
            pair["without"] = _bar(without[other], runs["without"], length_s)
        rows.append(_row(request, pair, "" if other is not None else "only with the policy"))
    for number, request in enumerate(without):
        if number not in taken:
            pair = {"without": _bar(request, runs["without"], length_s)}
            rows.append(_row(request, pair, "only without the policy"))
    kept = rows
    if len(rows) > MAX_ROWS:
        slowed = [n for n, row in enumerate(rows) if row.slowed is not None][:MAX_ROWS]
        others = [n for n, row in enumerate(rows) if row.slowed is None]
        chosen = sorted([*slowed, *others[: MAX_ROWS - len(slowed)]])
        kept = [rows[n] for n in chosen]
    step_s = next((step for step in _TICKS_S if length_s / step <= 8), _TICKS_S[-1])
    ticks = [
        (n * step_s / length_s, f"{n * step_s:g} s") for n in range(int(length_s / step_s) + 1)
    ]
    return Waterfall(step_s / length_s, ticks, kept, len(rows) - len(kept))


def _end_s(request: Request, run: Run) -> float:
    return run.watched_s if request.end_s is None else request.end_s


def _bar(request: Request, run: Run, length_s: float) -> Bar:
    start_s, end_s = max(0.0, request.start_s), _end_s(request, run)
    first_s = end_s if request.first_byte_s is None else min(request.first_byte_s, end_s)
    until = "still under way" if request.end_s is None else f"to {seconds(end_s)}"
    return Bar(
        start=start_s / length_s,
        wait=max(0.0, first_s - start_s) / length_s,
        receive=max(0.0, end_s - first_s) / length_s,
        open=request.end_s is None,
        text=f"from {seconds(start_s)} {until}",
    )


def _row(request: Request, bars: dict[Variant, Bar], note: str) -> Row:
    parts = urlsplit(request.url)
    # Without the query: it may hold what is nobody's business.
    name = parts.path.rstrip("/").rpartition("/")[2] or parts.path or "/"
    notes = [note] if note else []
    if request.failure is not None:
        notes.append(request.failure)
    elif request.status is not None and request.status >= 300:
        notes.append(f"status {request.status}")
    if request.cached:
        notes.append("from the cache")
    return Row(
        name=_shortened(name),
        host=parts.netloc.rpartition("@")[2],
        kind=request.kind,
        size="" if request.bytes is None else size(request.bytes),
        note=", ".join(notes),
        slowed=request.slowed,
        bars=bars,
    )


def _shortened(name: str, length: int = 40) -> str:
    return name if len(name) <= length else f"{name[: length - 13]}…{name[-12:]}"


# -- the runs of one figure


@dataclass(frozen=True, slots=True)
class Dots:
    """Each run's value as a part of the largest one."""

    without: list[float]
    with_: list[float]


def dots(figure: Figure) -> Dots | None:
    """None where there is nothing to be placed."""
    values = [*figure.without.values, *figure.with_.values]
    largest = max((value for value in values if math.isfinite(value)), default=0.0)
    if largest <= 0:
        return None

    def places(of: Sequence[float]) -> list[float]:
        return [value / largest for value in of if math.isfinite(value)]

    return Dots(places(figure.without.values), places(figure.with_.values))
