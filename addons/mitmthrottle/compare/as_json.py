"""The comparison for programs: every run, every request, and the figures.

Rule: names are stable and documented in docs/compare.md, quantities in SI units; null is
what did not happen or does not apply. Pictures are not in it.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from mitmthrottle.compare.facts import VARIANTS, Comparison, Run, Video
from mitmthrottle.compare.figures import METRICS, Figure, Spread, figures, rule_figures
from mitmthrottle.compare.words import findings


def as_json(comparison: Comparison) -> dict[str, Any]:
    """What `json.dumps` can write as it is."""
    plan = comparison.plan
    return {
        "page": plan.page,
        "policy": comparison.policy_name,
        "device": plan.device,
        "runs_each": plan.runs,
        "timeout_s": plan.timeout_s,
        "browser": f"Chromium {comparison.browser}",
        "started": comparison.started,
        "findings": findings(comparison),
        "figures": {figure.metric.key: _figure(figure) for figure in figures(comparison)},
        "rules": [dataclasses.asdict(rule) for rule in rule_figures(comparison)],
        "runs": {variant: [_run(run) for run in comparison.of(variant)] for variant in VARIANTS},
        "order": [run.variant for run in comparison.runs],
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "without": _spread(figure.without),
        "with": _spread(figure.with_),
        "difference": _finite(figure.difference),
        "clear": figure.clear,
    }


def _spread(spread: Spread) -> dict[str, Any]:
    return {
        "median": _finite(spread.median),
        "low": _finite(spread.low),
        "high": _finite(spread.high),
        "values": [_finite(value) for value in spread.values],
        "missed": spread.missed,
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        **{metric.key: _finite(metric.of(run)) for metric in METRICS},
        "largest": run.largest,
        "protocol": run.protocol,
        "watched_s": run.watched_s,
        "settled": run.settled,
        "failure": run.failure,
        "console": list(run.console_errors),
        "videos": [_video(video) for video in run.videos],
        "request_list": [dataclasses.asdict(request) for request in run.requests],
    }


def _video(video: Video) -> dict[str, Any]:
    return {**dataclasses.asdict(video), "started_s": _finite(video.started_s)}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
