"""A policer against a shaper at the same mean: what a receiver sees of each, over time.

Rule: both are measured at once, through one proxy, from one origin; the plot is drawn from the kept
result only.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import click

from . import client, peers, results
from .origin import running_origin
from .plan import Job, Plan
from .record import Record

RATE_BYTES_PER_S = 16_000  # 128 kbit/s
SECONDS = 30.0
WINDOW_S = 0.1
SILENCE_S = 0.2  # what parts two bursts: four times what a shaper leaves between two pieces
PLOT_S = 6.0
# Windows begin so much before an arrival: what comes regularly then falls on no edge.
AHEAD_S = 0.025

POLICY = f"""\
version: 1
name: policer
rules:
  - name: shaped
    when: {{host: {peers.HOST}, path: /shaper/*}}
    then: {{rate: 128 kbit/s}}
  - name: policed
    when: {{host: {peers.HOST}, path: /policer/*}}
    then: {{rate: 128 kbit/s, as: policer}}
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """What tells the two apart, and what does not.

    Of the windows of 100 ms that lie side by side from the second burst (a shaper: from its second
    second) to the end: `empty`, the share in which nothing came; `variation`, standard deviation
    over mean.  `mean_error`: bytes from the beginning of the second burst to that of the last one,
    over that time, against the rate: only whole periods, and not the full bucket of the start.  A
    shaper has no bursts: from the arrival after its first second to the last arrival.
    """

    bursts: int
    burst_bytes: float
    empty: float
    variation: float
    mean_error: float


def shape(record: Record, seconds: float) -> Shape:
    first = record.arrivals[0][0]
    times = [when - first for when, _ in record.arrivals]
    sizes = [size for _, size in record.arrivals]
    begins = [0, *(n + 1 for n, (a, b) in enumerate(itertools.pairwise(times))
                   if b - a > SILENCE_S)]  # fmt: skip
    if len(begins) > 3:
        start, stop = begins[1], begins[-1]
        counted = sum(sizes[start:stop])
        burst = counted / (len(begins) - 2)
    else:
        start = next(n for n, when in enumerate(times) if when >= 1.0)
        stop = len(times) - 1
        counted = sum(sizes[start + 1 : stop + 1])
        burst = 0.0
    counts = windows(record, times[start] - AHEAD_S, seconds)
    mean = sum(counts) / len(counts)
    return Shape(
        bursts=len(begins) if burst else 0,
        burst_bytes=burst,
        empty=counts.count(0) / len(counts),
        variation=math.sqrt(sum((each - mean) ** 2 for each in counts) / len(counts)) / mean,
        mean_error=counted / (times[stop] - times[start]) / RATE_BYTES_PER_S - 1,
    )


def windows(record: Record, begin: float, end: float) -> list[float]:
    """Bytes in each window, `begin` and `end` counted from the first byte."""
    first = record.arrivals[0][0]
    counts = [0.0] * math.floor((end - begin) / WINDOW_S + 1e-9)
    for when, size in record.arrivals:
        number = math.floor((when - first - begin) / WINDOW_S)
        if 0 <= number < len(counts):
            counts[number] += size
    return counts


def measure(seconds: float) -> dict[str, Record]:
    """Both, over HTTP/1.1 and HTTP/2, by `<how> <protocol>`."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx reads in it under a user of its own
        with running_origin(folder) as origin, peers.ours(folder, origin, POLICY) as ours:
            links = {protocol: ours.link(protocol) for protocol in ours.protocols}
            plan = Plan(
                links=tuple(links.values()),
                jobs=tuple(
                    Job(f"{how} {protocol}", link.name, f"/{how}/big")
                    for how in ("shaper", "policer")
                    for protocol, link in links.items()
                ),
                duration_s=seconds + 1.0,
                merge_s=0.0005,
            )
            outcome = client.run(plan)
    for record in outcome.records:
        if record.ended != "stopped" or record.status != 200:
            raise RuntimeError(f"{record.job}: status {record.status}, {record.ended}")
    return {record.job: record for record in outcome.records}


# -- the plot

WIDTH, HEIGHT, LEFT, RIGHT = 900, 760, 74, 20
INK, PALE, COLOURS = "#222", "#ddd", {"shaper": "#2166ac", "policer": "#d6604d"}


@dataclass(frozen=True, slots=True)
class Panel:
    """A part of the picture with its own scale of y."""

    top: float
    height: float
    title: str
    unit: str
    highest: float
    step: float

    def x(self, seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * seconds / PLOT_S

    def y(self, value: float) -> float:
        return self.top + self.height * (1 - value / self.highest)

    def frame(self) -> str:
        parts = [_text(LEFT, self.top - 12, self.title, size=15, weight="bold")]
        for number in range(round(self.highest / self.step) + 1):
            y = self.y(number * self.step)
            parts.append(_line((LEFT, y), (WIDTH - RIGHT, y), PALE))
            parts.append(_text(LEFT - 8, y + 4, f"{number * self.step:g}", anchor="end"))
        for second in range(round(PLOT_S) + 1):
            x = self.x(second)
            parts.append(_line((x, self.top), (x, self.top + self.height), PALE))
            parts.append(_text(x, self.top + self.height + 17, f"{second}", anchor="middle"))
        parts.append(_text(WIDTH - RIGHT, self.top + self.height + 32, "seconds from the first "
                           "byte", anchor="end"))  # fmt: skip
        middle = self.top + self.height / 2
        parts.append(
            f'<text transform="translate(18 {middle:g}) rotate(-90)" text-anchor="middle" '
            f'font-size="13" fill="{INK}">{escape(self.unit)}</text>'
        )
        return "".join(parts)


def plot(kept: dict[str, Any]) -> str:
    """An SVG of the first seconds over HTTP/1.1: bytes over time, and each one's windows."""
    rate = kept["rate_bytes_per_s"]
    curves = kept["curves"]
    total = Panel(66, 250, "Bytes that have come", "kB", 120, 20)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 26, f"A shaper and a policer at {rate * 8e-3:g} kbit/s", size=19),
        total.frame(),
        _line((total.x(0), total.y(0)), (total.x(PLOT_S), total.y(rate * PLOT_S / 1e3)), INK, 1,
              "5 4"),
    ]  # fmt: skip
    for how, curve in curves.items():
        points, so_far = [], 0.0
        for when, size in curve:
            if when > PLOT_S:
                break
            points += [(when, so_far), (when, so_far + size)]
            so_far += size
        points.append((PLOT_S, so_far))
        path = " ".join(f"{total.x(t):.1f},{total.y(n / 1e3):.1f}" for t, n in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{COLOURS[how]}" stroke-width="2"/>'
        )
    for number, (how, label) in enumerate(
        [("shaper", "shaper"), ("policer", "policer"), (None, "the rate")]
    ):
        y = total.top + 22 + 20 * number
        colour = COLOURS[how] if how else INK
        parts.append(_line((LEFT + 16, y - 5), (LEFT + 46, y - 5), colour, 2, "" if how else "5 4"))
        parts.append(_text(LEFT + 54, y, label))
    tops = {"shaper": 410.0, "policer": 590.0}
    for how, curve in curves.items():
        found = next(r for r in kept["rows"] if (r["how"], r["protocol"]) == (how, "h1"))
        panel = Panel(
            tops[how], 110,
            f"{how}, windows of 100 ms: {found['empty']:.0%} empty, variation "
            f"{found['variation']:.2f}, mean {found['mean_error']:+.2%}",
            "kbit/s", 800, 200,
        )  # fmt: skip
        parts.append(panel.frame())
        counts = [0.0] * round(PLOT_S / WINDOW_S)
        for when, size in curve:
            number = math.floor((when + AHEAD_S) / WINDOW_S)
            if number < len(counts):
                counts[number] += size
        wide = panel.x(WINDOW_S) - panel.x(0) - 1
        for number, count in enumerate(counts):
            y = panel.y(min(panel.highest, count * 8e-3 / WINDOW_S))
            x = panel.x(number * WINDOW_S - AHEAD_S) + 0.5
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" '
                f'height="{panel.y(0) - y:.1f}" fill="{COLOURS[how]}"/>'
            )
        y = panel.y(rate * 8e-3)
        parts.append(_line((LEFT, y), (WIDTH - RIGHT, y), INK, 1, "5 4"))
    return "\n".join([*parts, "</svg>\n"])


def _text(
    x: float, y: float, text: str, *, size: int = 13, anchor: str = "start", weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" '
        f'font-weight="{weight}" fill="{INK}">{escape(text)}</text>'
    )


def _line(
    begin: tuple[float, float],
    end: tuple[float, float],
    colour: str,
    width: float = 1,
    dashes: str = "",
) -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<line x1="{begin[0]:.1f}" y1="{begin[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" '
        f'stroke="{colour}" stroke-width="{width:g}"{dashed}/>'
    )


# -- the command


def rows_of(records: dict[str, Record], seconds: float) -> list[dict[str, Any]]:
    rows = []
    for job, record in records.items():
        how, protocol = job.split()
        rounded = {name: round(value, 5) for name, value in asdict(shape(record, seconds)).items()}
        rows.append({"how": how, "protocol": protocol, **rounded})
    return rows


def curves_of(records: dict[str, Record]) -> dict[str, list[list[float]]]:
    """Arrivals over HTTP/1.1 for the plot: seconds from the first byte, bytes."""
    return {
        how: [
            [round(when - record.arrivals[0][0], 4), size]
            for when, size in record.arrivals
            if when - record.arrivals[0][0] <= PLOT_S
        ]
        for how, record in (("shaper", records["shaper h1"]), ("policer", records["policer h1"]))
    }


def cells(found: dict[str, Any]) -> Sequence[str]:
    protocol = {"h1": "HTTP/1.1", "h2": "HTTP/2"}[found["protocol"]]
    bursts = f"{found['bursts']} of {found['burst_bytes'] / 1e3:.1f} kB" if found["bursts"] else "–"
    return (
        f"{found['how']}, {protocol}",
        f"{found['mean_error']:+.2%}",
        f"{found['empty']:.0%}",
        f"{found['variation']:.2f}",
        bursts,
    )


@click.command()
@click.option("--seconds", default=SECONDS, show_default=True, help="Length of the measurement.")
@click.option("--draw-only", is_flag=True, help="Draw the kept result again.")
def main(seconds: float, draw_only: bool) -> None:
    """A policer and a shaper at 128 kbit/s: bytes over time, windows of 100 ms, the mean."""
    if not draw_only:
        results.console.print(f"policer: {RATE_BYTES_PER_S * 8e-3:g} kbit/s, {seconds:.0f} s")
        records = measure(seconds)
        results.keep(
            "policer",
            rate_bytes_per_s=RATE_BYTES_PER_S,
            seconds=seconds,
            rows=rows_of(records, seconds),
            curves=curves_of(records),
        )
    kept = results.read("policer")
    if kept is None:
        raise click.UsageError("nothing is kept yet: run it without --draw-only")
    results.table(
        "windows of 100 ms",
        ["", "error of the mean", "empty", "variation", "bursts"],
        [cells(found) for found in kept["rows"]],
    )
    path = results.FOLDER / "policer.svg"
    path.write_text(plot(kept))
    results.console.print(f"drawn to {path.relative_to(client.ROOT)}")


if __name__ == "__main__":
    main()
