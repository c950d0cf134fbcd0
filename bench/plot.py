"""A line chart as SVG: no library, so that a plot looks the same wherever it is made.

Rule: the y axis begins at 0, both axes carry their unit, every line is named beside its colour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 62, 52
LEGEND_LINE = 20
# Okabe and Ito: told apart with any kind of sight.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "1 2", "12 4")

Points = Sequence[Sequence[float]]


def chart(
    title: str, x_label: str, y_label: str, lines: Mapping[str, Points], steps: bool = False
) -> str:
    """The text of an SVG file.  `steps`: a value holds until the next one."""
    x_top = max(point[0] for points in lines.values() for point in points)
    y_top = max(point[1] for points in lines.values() for point in points)
    places, top = _legend(list(lines))
    x_ticks, y_ticks = ticks(x_top), ticks(y_top)
    x_top, y_top = max(x_top, x_ticks[-1]), max(y_top, y_ticks[-1])

    def x(value: float) -> float:
        return LEFT + value / x_top * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / y_top * (HEIGHT - top - BOTTOM)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#222">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="22" font-size="15" font-weight="600">{escape(title)}</text>',
    ]
    for tick in y_ticks:
        out.append(
            f'<path d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
            f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    for tick in x_ticks:
        out.append(
            f'<path d="M{x(tick):.1f} {HEIGHT - BOTTOM}v5" stroke="#222"/>'
            f'<text x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 19}" text-anchor="middle">'
            f"{tick:g}</text>"
        )
    out.append(f'<path d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}" stroke="#222"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    out.append(
        f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text transform="translate(18 {(top + HEIGHT - BOTTOM) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text>'
    )
    for number, (name, points) in enumerate(lines.items()):
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        style = f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}" fill="none"'
        corners = _steps(points) if steps else points
        path = " ".join(f"{x(point[0]):.1f},{y(point[1]):.1f}" for point in corners)
        out.append(f'<polyline points="{path}" {style} stroke-linejoin="round"/>')
        at_x, at_y = places[number]
        out.append(
            f'<path d="M{at_x} {at_y - 4}h24" {style}/>'
            f'<text x="{at_x + 29}" y="{at_y}">{escape(name)}</text>'
        )
    return "\n".join([*out, "</svg>", ""])


def _legend(names: Sequence[str]) -> tuple[list[tuple[float, float]], float]:
    """Where each name stands, in as many lines as it takes, and where the plot begins below."""
    places: list[tuple[float, float]] = []
    x, y = float(LEFT), 48.0
    for name in names:
        width = 44 + 6.6 * len(name)
        if places and x + width > WIDTH:
            x, y = float(LEFT), y + LEGEND_LINE
        places.append((x, y))
        x += width
    return places, TOP + y - 48.0


def ticks(top: float) -> list[float]:
    """Round values from 0 to at least `top`, about six of them."""
    rough = top / 5 if top > 0 else 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    return [round(number * step, 10) for number in range(math.ceil(top / step - 1e-9) + 1)]


def _steps(points: Points) -> list[tuple[float, float]]:
    corners: list[tuple[float, float]] = []
    for point in points:
        if corners:
            corners.append((point[0], corners[-1][1]))
        corners.append((point[0], point[1]))
    return corners
