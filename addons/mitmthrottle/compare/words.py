"""Figures as people read them, and what the comparison found, in sentences.

Rule: the sentences say no more than the figures: a difference within the spread is none.
"""

from __future__ import annotations

import math

from mitmthrottle.compare.facts import VARIANTS, Comparison, Variant
from mitmthrottle.compare.figures import LARGEST_PAINT, Figure, Unit, figures, typical
from mitmthrottle.policy.language.units import format_rate


def amount(value: float, unit: Unit) -> str:
    """
    >>> amount(0.0524, "s"), amount(12.31, "s"), amount(3.0, "count"), amount(math.inf, "s")
    ('0.05 s', '12.3 s', '3', 'not in time')
    """
    if math.isinf(value):
        return "not in time"
    if unit == "s":
        return seconds(value)
    if unit == "bytes":
        return size(value)
    return f"{value:g}"


def span(low: float, high: float, unit: Unit) -> str:
    """
    >>> span(0.31, 1.2, "s"), span(2.0, 5.0, "count"), span(1.0, math.inf, "s")
    ('0.31–1.20 s', '2–5', '1.00 s–not in time')
    """
    first, last = amount(low, unit).rsplit(" ", 1), amount(high, unit).rsplit(" ", 1)
    same_unit = len(first) == len(last) == 2 and first[1] == last[1]
    return f"{first[0] if same_unit else amount(low, unit)}–{amount(high, unit)}"


def seconds(value: float) -> str:
    return f"{value:.2f} s" if abs(value) < 9.995 else f"{value:.1f} s"


def size(value: float) -> str:
    """In decimal units, to three figures at most.

    >>> size(243017), size(1243), size(12)
    ('243 kB', '1.24 kB', '12 B')
    """
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f} B"


def rate(bytes_per_s: float) -> str:
    """To three figures: more would pretend to a precision that is not there.

    >>> rate(16_014.3)
    '128 kbit/s'
    """
    return format_rate(float(f"{bytes_per_s * 8:.3g}") / 8)


def difference(figure: Figure) -> str:
    """How the median with the policy differs from that without it."""
    delta, unit = figure.difference, figure.metric.unit
    if delta is None:
        return "in neither"
    if math.isinf(delta):
        return "only without" if delta > 0 else "only with"
    if delta == 0 or figure.clear is False:
        return "none" if delta == 0 else "within the spread"
    sign = "+" if delta > 0 else "−"
    factor = figure.factor
    times = (
        f" (×\u00a0{factor:.3g})" if factor is not None and unit == "s" and factor >= 1.05 else ""
    )
    return f"{sign}{amount(abs(delta), unit)}{times}"


def findings(comparison: Comparison) -> list[str]:
    """What changed, the most important first."""
    failed = [run for run in comparison.of("with") if run.failure is not None]
    if len(failed) == len(comparison.of("with")):
        return [f"With the policy the page does not open: {failed[0].failure}."]
    by_key = {figure.metric.key: figure for figure in figures(comparison)}
    watched = _watched(comparison)
    said = [_slowed(by_key, comparison)]
    if LARGEST_PAINT in by_key:
        largest = by_key[LARGEST_PAINT]
        said.append(_later("The largest thing on the page is painted", largest, watched))
    else:
        said.append(_not_the_same(comparison))
    first = by_key["first_contentful_paint_s"]
    said.append(_later("The first text or picture is painted", first, watched))
    if "video_start_s" in by_key:
        said.append(_later("The first video plays", by_key["video_start_s"], watched))
    if "stalls" in by_key:
        said += _stalls(by_key["stalls"], by_key["stalled_s"])
    if failed:
        said.append(
            f"In {len(failed)} of {len(comparison.of('with'))} runs with the policy the page did "
            f"not open: {failed[0].failure}."
        )
    return said


def _slowed(by_key: dict[str, Figure], comparison: Comparison) -> str:
    slowed = by_key["slowed_requests"].with_.median
    total = by_key["requests"].with_.median
    if any(run.record for run in comparison.of("with")):
        return f"The policy slows {slowed:g} of {total:g} requests."
    return (
        "The policy slows nothing of this page: no rule matched. `mitmthrottle explain` tells "
        "why, request by request."
    )


def _watched(comparison: Comparison) -> dict[Variant, str]:
    """For how long, at most."""
    return {
        variant: f"{max(run.watched_s for run in comparison.of(variant)):.3g} s"
        for variant in VARIANTS
    }


def _not_the_same(comparison: Comparison) -> str:
    shown = {variant: typical(comparison.of(variant)).largest or "nothing" for variant in VARIANTS}
    return (
        f"The largest thing on the page is {shown['with']} with the policy and {shown['without']} "
        "without: when they are painted is not compared."
    )


def _later(what: str, figure: Figure, watched: dict[Variant, str]) -> str:
    delta = figure.difference
    with_, without = amount(figure.with_.median, "s"), amount(figure.without.median, "s")
    if delta is None:
        return f"{what} neither with nor without the policy."
    if math.isinf(delta):
        if delta > 0:
            return (
                f"{what} after {without}; with the policy not within the {watched['with']} watched."
            )
        return (
            f"{what} after {with_}; without the policy not within the {watched['without']} watched."
        )
    if abs(delta) < 0.005:
        return f"{what} after {with_}, as without the policy."
    if figure.clear is None:
        return f"{what} after {with_}, without the policy after {without}, in one run each."
    if figure.clear is False:
        return f"{what} after {with_}, without the policy after {without}: no more than the spread."
    how = "later" if delta > 0 else "earlier"
    return f"{what} {seconds(abs(delta))} {how}: after {with_} instead of {without}."


def _stalls(stalls: Figure, stalled: Figure) -> list[str]:
    with_, without = stalls.with_.median, stalls.without.median
    if with_ == without == 0:
        return ["No video stands still."]

    def times(count: float) -> str:
        return "once" if count == 1 else f"{count:g} times"

    before = "never" if without == 0 else times(without)
    return [
        f"Videos stand still {times(with_) if with_ else 'never'}, "
        f"{seconds(stalled.with_.median)} in all; without the policy {before}."
    ]
