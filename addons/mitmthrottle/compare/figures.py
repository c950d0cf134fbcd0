"""Medians, spreads and differences: what the runs say together.

Rule: pure arithmetic. A difference counts as one only where the runs of a kind differ less among
themselves than the two kinds do; one run each cannot tell.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mitmthrottle.compare.facts import VARIANTS, Comparison, Request, Run, Slowed

Unit = Literal["s", "bytes", "count"]


LARGEST_PAINT = "largest_contentful_paint_s"


@dataclass(frozen=True, slots=True)
class Metric:
    key: str
    label: str
    unit: Unit
    of: Callable[[Run], float | None]
    """None: does not apply; inf: did not happen while the page was watched"""


def _video_start_s(run: Run) -> float | None:
    if run.failure is not None:
        return math.inf
    return min((video.started_s for video in run.videos), default=None)


METRICS = (
    Metric("ttfb_s", "Time to first byte", "s", lambda run: run.ttfb_s),
    Metric(
        "first_contentful_paint_s",
        "First contentful paint",
        "s",
        lambda run: run.first_contentful_paint_s,
    ),
    Metric(
        LARGEST_PAINT,
        "Largest contentful paint",
        "s",
        lambda run: run.largest_contentful_paint_s,
    ),
    Metric("dom_content_loaded_s", "DOM content loaded", "s", lambda run: run.dom_content_loaded_s),
    Metric("load_s", "Load", "s", lambda run: run.load_s),
    Metric("video_start_s", "First video plays", "s", _video_start_s),
    Metric(
        "stalls",
        "Times that videos stood still",
        "count",
        lambda run: float(sum(len(v.stalls) for v in run.videos)) if run.videos else None,
    ),
    Metric(
        "stalled_s",
        "Stood still for",
        "s",
        lambda run: sum(v.stalled_s for v in run.videos) if run.videos else None,
    ),
    Metric("requests", "Requests", "count", lambda run: float(len(run.requests))),
    Metric(
        "bytes",
        "Bytes received",
        "bytes",
        lambda run: float(sum(r.bytes or 0 for r in run.requests)),
    ),
    Metric(
        "slowed_requests",
        "Slowed requests",
        "count",
        lambda run: float(sum(r.slowed is not None for r in run.requests)),
    ),
    Metric("console_errors", "Console errors", "count", lambda run: float(len(run.console_errors))),
)


@dataclass(frozen=True, slots=True)
class Spread:
    """The runs of one variant; `values` in the order of the runs, inf as it comes."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    @property
    def width(self) -> float:
        return 0.0 if self.low == self.high else self.high - self.low  # both may be infinite

    @property
    def missed(self) -> int:
        """in how many runs it did not happen"""
        return sum(math.isinf(value) for value in self.values)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    metric: Metric
    without: Spread
    with_: Spread

    @property
    def difference(self) -> float | None:
        """Of the medians; inf if it happens only without the policy, None if in neither."""
        if math.isinf(self.without.median):
            return None if math.isinf(self.with_.median) else -math.inf
        return self.with_.median - self.without.median

    @property
    def factor(self) -> float | None:
        if self.without.median > 0 and math.isfinite(self.difference or math.inf):
            return self.with_.median / self.without.median
        return None

    @property
    def clear(self) -> bool | None:
        """Whether the ranges are further apart than either is wide; None: one run each cannot
        tell. Of three runs each of the same, less than one in a hundred is called different."""
        if len(self.without.values) < 2 or len(self.with_.values) < 2:
            return None
        gap = max(self.with_.low - self.without.high, self.without.low - self.with_.high)
        return gap > max(self.without.width, self.with_.width)


def figures(comparison: Comparison) -> list[Figure]:
    """All metrics that apply to this page, in the order of the table.

    Without that of the largest paint where it is of another thing with the policy than without.
    """
    found = []
    of_largest, same = largest_of(comparison), not largest_differ(comparison)
    runs = [_by_largest(run, of_largest) for run in comparison.runs]
    for metric in METRICS:
        without, with_ = (
            tuple(
                value
                for run in runs
                if run.variant == variant and (value := metric.of(run)) is not None
            )
            for variant in VARIANTS
        )
        if without and with_ and (same or metric.key != LARGEST_PAINT):
            found.append(Figure(metric, Spread(without), Spread(with_)))
    return found


def largest_of(comparison: Comparison) -> str:
    """The largest thing on the page: what most visits without the policy have shown."""
    return _commonest(comparison.of("without"))


def largest_differ(comparison: Comparison) -> bool:
    """Whether the page, having settled, shows another largest thing with the policy."""
    settled = [run for run in comparison.of("with") if run.settled and run.failure is None]
    with_, without = _commonest(settled), largest_of(comparison)
    return bool(with_ and without) and with_ != without


def _commonest(runs: Sequence[Run]) -> str:
    shown = [_thing(run) for run in runs if math.isfinite(run.largest_contentful_paint_s)]
    return statistics.mode(shown) if shown else ""


def _thing(run: Run) -> str:
    return run.largest.partition("?")[0]  # what follows may be another one each time


def _by_largest(run: Run, largest: str) -> Run:
    """What has been painted when the time was up is not the largest thing if that is still to
    come."""
    if run.settled or not largest or _thing(run) == largest:
        return run
    return replace(run, largest_contentful_paint_s=math.inf)


def typical(runs: Sequence[Run]) -> Run:
    """The run to be shown: nearest to the median of its kind by largest paint, then by load."""

    paint_s = statistics.median(run.largest_contentful_paint_s for run in runs)
    load_s = statistics.median(run.load_s for run in runs)

    def distance(run: Run) -> tuple[float, float]:
        return _apart(run.largest_contentful_paint_s, paint_s), _apart(run.load_s, load_s)

    return min(runs, key=distance)


@dataclass(frozen=True, slots=True)
class RuleFigure:
    """What one rule did, in all runs with the policy together."""

    rule: str
    line: int | None
    responses: int
    bytes: int
    asked_bytes_per_s: float | None
    measured_bytes_per_s: float | None
    """median of the responses that were long enough to measure"""
    waited_s: float
    """longest that one response was held"""


def rule_figures(comparison: Comparison) -> list[RuleFigure]:
    """In the order of the policy."""
    by_rule: dict[tuple[str, int | None], list[Slowed]] = {}
    for run in comparison.of("with"):
        for slowed in run.record:
            by_rule.setdefault((slowed.rule, slowed.line), []).append(slowed)
    return [
        RuleFigure(
            rule=rule,
            line=line,
            responses=len(all_of_it),
            bytes=sum(slowed.bytes for slowed in all_of_it),
            asked_bytes_per_s=_median_of(slowed.asked_bytes_per_s for slowed in all_of_it),
            measured_bytes_per_s=_median_of(slowed.measured_bytes_per_s for slowed in all_of_it),
            waited_s=max(slowed.waited_s for slowed in all_of_it),
        )
        for (rule, line), all_of_it in sorted(by_rule.items(), key=lambda item: item[0][1] or 0)
    ]


def counterpart(request: Request, others: Sequence[Request], taken: set[int]) -> int | None:
    """Where the same request is among those of another run; `taken` are spoken for."""
    return next(
        (
            n
            for n, other in enumerate(others)
            if n not in taken and (other.method, other.url) == (request.method, request.url)
        ),
        None,
    )


def _apart(value: float, median: float) -> float:
    if value == median:  # both may be infinite
        return 0.0
    return abs(value - median)


def _median_of(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None
