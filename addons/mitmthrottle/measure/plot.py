"""Plots as SVG, drawn to be put into a page: lines, dots, axes linear or logarithmic.

Rule: no colour is set here, only classes, so that one stylesheet makes them light or dark; every
plot has a title and says in words what it shows, for those who cannot see it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 14, 14, 44
_MOST_POINTS = 240

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of a plot: its range, how a value is written, and what it is."""

    low: float
    high: float
    label: str
    written: Callable[[float], str]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high one; beyond them, the end."""
        if self.logarithmic:
            low, high = math.log(self.low), math.log(self.high)
            part = (math.log(max(value, self.low)) - low) / (high - low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, part))

    def ticks(self) -> list[float]:
        """Round values, about five."""
        if self.logarithmic:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1, 2, 5) if len(decades) <= 3 else (1,)
            every = max(1, len(decades) // 6)
            found = [step * 10.0**decade for decade in decades[::every] for step in steps]
        else:
            rough = (self.high - self.low) / 5
            unit = 10.0 ** math.floor(math.log10(rough))
            step = next(unit * n for n in (1, 2, 5, 10) if unit * n >= rough)
            first = math.ceil(self.low / step)
            found = [step * n for n in range(first, first + 12)]
        slack = 1e-9 * abs(self.high)
        return [value for value in found if self.low - slack <= value <= self.high + slack]


def axis(
    values: Sequence[float],
    label: str,
    written: Callable[[float], str],
    *,
    logarithmic: bool = False,
) -> Axis:
    """An axis that holds all these values; a linear one begins at 0."""
    known = [value for value in values if not logarithmic or value > 0]
    high = max(known, default=1.0) or 1.0
    if not logarithmic:
        low = min(0.0, min(known, default=0.0))
        return Axis(low, high + 0.04 * (high - low), label, written)
    low = min(known, default=high / 10)
    low, high = low / 1.3, high * 1.3
    if high / low < 10:  # a decade at least, or noise looks like a difference
        middle = math.sqrt(low * high)
        low, high = middle / math.sqrt(10), middle * math.sqrt(10)
    return Axis(low, high, label, written, logarithmic=True)


@dataclass(frozen=True, slots=True)
class Plot:
    """A frame to draw in."""

    title: str
    x: Axis
    y: Axis

    def line(self, points: Points, name: str) -> str:
        """A line; `name` is its class."""
        every = max(1, math.ceil(len(points) / _MOST_POINTS))
        kept = [*points[::every], *([points[-1]] if len(points) % every != 1 else [])]
        path = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in kept)
        return f'<polyline class="{name}" points="{path}"/>'

    def stairs(self, points: Points, name: str) -> str:
        """A line that keeps its value until the next point."""
        drawn: list[tuple[float, float]] = []
        for x, y in points:
            if drawn:
                drawn.append((x, drawn[-1][1]))
            drawn.append((x, y))
        return self.line(drawn, name)

    def dots(self, points: Points, name: str) -> str:
        return "".join(
            f'<circle class="{name}" cx="{self._x(x):.1f}" cy="{self._y(y):.1f}" r="3.5"/>'
            for x, y in points
        )

    def between(self, x: float, low: float, high: float, text: str) -> str:
        """A vertical bar with a word beside it."""
        place, top, bottom = self._x(x), self._y(high), self._y(low)
        side, anchor = (6, "start") if place < WIDTH / 2 else (-6, "end")
        return (
            f'<line class="gap" x1="{place:.1f}" x2="{place:.1f}" '
            f'y1="{top:.1f}" y2="{bottom:.1f}"/>'
            f'<text class="gap" x="{place + side:.1f}" y="{(top + bottom) / 2:.1f}" '
            f'text-anchor="{anchor}">{escape(text)}</text>'
        )

    def svg(self, drawn: Sequence[str], described: str) -> str:
        """The picture, with its frame."""
        return (
            f'<svg role="img" viewBox="0 0 {WIDTH} {HEIGHT}"><title>{escape(self.title)}</title>'
            f"<desc>{escape(described)}</desc>{self._frame()}{''.join(drawn)}</svg>"
        )

    def _x(self, value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * self.x.place(value)

    def _y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * self.y.place(value)

    def _frame(self) -> str:
        parts = []
        bottom = HEIGHT - _BOTTOM
        for value in self.y.ticks():
            y = self._y(value)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" '
                         f'y1="{y:.1f}" y2="{y:.1f}"/>')  # fmt: skip
            parts.append(f'<text x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">'
                         f"{escape(self.y.written(value))}</text>")  # fmt: skip
        last = -1e9
        for value in self.x.ticks():
            x = self._x(value)
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" '
                         f'y1="{_TOP}" y2="{bottom}"/>')  # fmt: skip
            if x - last > 62:
                last = x
                parts.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">'
                             f"{escape(self.x.written(value))}</text>")  # fmt: skip
        middle = (_LEFT + WIDTH - _RIGHT) / 2
        parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - 8}" text-anchor="middle">'
                     f"{escape(self.x.label)}</text>")  # fmt: skip
        return "".join(parts)
