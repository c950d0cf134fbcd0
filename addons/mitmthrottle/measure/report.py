"""The report: one HTML file with everything in it, light and dark, without a script.

Rule: it is drawn from what was measured and from the verdict only; it asks the network for nothing,
which its own content policy enforces.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from html import escape
from itertools import accumulate
from pathlib import Path

from mitmthrottle.measure import words
from mitmthrottle.measure.findings import Verdict, samples
from mitmthrottle.measure.plot import Axis, Plot, axis
from mitmthrottle.measure.run import Paired, Singles
from mitmthrottle.measure.shape import Shape, shape_of
from mitmthrottle.measure.transfer import Transfer, cumulated, windows
from mitmthrottle.measure.way import Way

_WINDOWS = 40
_STYLE = Path(__file__).with_name("report.css")
_Side = tuple[str, Sequence[Transfer]]


def of_pairs(url: str, control: str, way: Way, measured: Paired, verdict: Verdict) -> str:
    """A comparison."""
    sides: list[_Side] = [
        ("target", [p.target for p in measured.pairs if isinstance(p.target, Transfer)]),
        ("control", [p.control for p in measured.pairs if isinstance(p.control, Transfer)]),
    ]
    answer = words.verdict(verdict)
    state = {True: "yes", False: "no", None: "unknown"}[verdict.differentiated]
    parts = [
        f'<section class="verdict {state}"><h2>{escape(answer.capitalize())}</h2>'
        f"<p>{escape(_sentence(verdict.reason))}</p>",
    ]
    if verdict.mechanism is not None:
        parts.append(f"<p>{escape(_sentence(words.MECHANISMS[verdict.mechanism]))}</p>")
    parts.append(f"<p class=small>{escape(words.statistic(verdict))}</p></section>")
    parts.append(_sides_table(((url, verdict.target_bytes_per_s, verdict.target_first_byte_s,
                                verdict.target_shapes, verdict.target_failures),
                               (control, verdict.control_bytes_per_s, verdict.control_first_byte_s,
                                verdict.control_shapes, verdict.control_failures))))  # fmt: skip
    first = [side[1][0] for side in sides if side[1]]
    if len(first) == 2:
        caution = words.caution(first[0].address, first[1].address, way.proxy is not None)
        parts.append(f"<p class=caution>{escape(caution)}</p>" if caution else "")
    if all(transfers for _, transfers in sides):
        parts.append(_paired_plots(sides, measured, verdict))
    notes = (
        f"{verdict.pairs} pairs that could be used of {len(measured.pairs)}, the order within each "
        f"drawn by chance, a fresh connection for each transfer"
        f"{', through ' + _host(way.proxy) if way.proxy else ''}. Each transfer ended after "
        f"{way.seconds:g} s or {words.size(way.bytes)}; compared were the first "
        f"{words.size(verdict.span_bytes)} of each body."
        f"{' Interrupted by the user.' if measured.interrupted else ''}"
    )
    return _page("Target against control", "".join(parts), notes)


def of_singles(way: Way, measured: Singles) -> str:
    """Transfers without a control."""
    parts = []
    for transfer in measured.transfers:
        shape = shape_of(transfer)
        parts.append(f"<h2 class=url>{escape(transfer.url)}</h2>")
        parts.append(_shape_table(transfer, shape))
        side: _Side = ("target", [transfer])
        steady = _rate_axis([*_rates(transfer), shape.steady_bytes_per_s], logarithmic=False)
        parts.append(f'<div class="plots">{_bytes_plot(side)}{_rate_plot(side, steady)}</div>')
    parts += [f"<p class=caution>{escape(failure)}</p>" for failure in measured.failures]
    notes = (
        f"Each transfer on a fresh connection, ended after {way.seconds:g} s or "
        f"{words.size(way.bytes)}. Without a control nothing tells whether a rate is a throttle's "
        "or that of the way."
    )
    return _page("Goodput over time", "".join(parts), notes)


def _paired_plots(sides: Sequence[_Side], measured: Paired, verdict: Verdict) -> str:
    rates = [rate for _, transfers in sides for each in transfers for rate in _rates(each)]
    shared = _rate_axis(rates, logarithmic=True)
    plots = [_bytes_plot(side) for side in sides]
    plots += [_rate_plot(side, shared) for side in sides]
    if verdict.span_bytes > 0:
        plots.append(_distributions(sides, verdict))
    plots.append(_by_pair(measured))
    plots.append(_first_bytes(sides))
    return f'<div class="plots">{"".join(plots)}</div>'


def _bytes_plot(side: _Side) -> str:
    name, transfers = side
    curves = [
        [(at - each.arrivals[0][0], total) for at, total in cumulated(each.arrivals)]
        for each in transfers
    ]
    ends = [curve[-1] for curve in curves]
    time = axis([at for at, _ in ends], "time since the first byte", _time)
    plot = Plot(f"{name}: bytes over time", time, axis([n for _, n in ends], "", words.size))
    drawn = [plot.stairs(curve, f"{name} thin") for curve in curves]
    return _figure(
        plot.svg(drawn, f"{len(curves)} curves, the last byte after {_time(max(ends)[0])} at most"),
        f"Bytes over time, {name}",
        "A straight line is a held rate; stairs are bursts with silence between them.",
    )


def _rate_plot(side: _Side, rate: Axis) -> str:
    name, transfers = side
    middle = statistics.median_low([each.duration_s for each in transfers])
    typical = next(each for each in transfers if each.duration_s == middle)
    time = axis([each.duration_s for each in transfers], "time since the first byte", _time)
    plot = Plot(f"{name}: throughput over time", time, rate)
    drawn = [plot.stairs(_throughput(each), f"{name} thin") for each in transfers]
    drawn.append(plot.stairs(_throughput(typical), f"{name} thick"))
    return _figure(
        plot.svg(drawn, f"median over all of a transfer {words.rate(_median_rate(transfers))}"),
        f"Throughput over time, {name}",
        "Thick: the transfer of median length." if len(transfers) > 1 else "",
    )


def _distributions(sides: Sequence[_Side], verdict: Verdict) -> str:
    found = {
        name: sorted(rate for each in transfers for rate in samples(each, verdict.span_bytes))
        for name, transfers in sides
    }
    rate = _rate_axis([value for side in found.values() for value in side], logarithmic=True)
    plot = Plot("distribution of the throughput samples", rate, _share_axis())
    drawn = [
        plot.stairs([(v, (n + 1) / len(side)) for n, v in enumerate(side)], f"{name} thick")
        for name, side in found.items()
    ]
    target, control = found["target"], found["control"]

    def share(side: Sequence[float], value: float) -> float:
        return sum(each <= value for each in side) / len(side)

    where = max({*target, *control}, key=lambda v: abs(share(target, v) - share(control, v)))
    low, high = sorted((share(target, where), share(control, where)))
    drawn.append(plot.between(where, low, high, f"D = {high - low:.2f}"))
    return _figure(
        plot.svg(drawn, f"farthest apart by {high - low:.2f} at {words.rate(where)}"),
        "How often is it how fast?",
        "Share of throughput samples up to a rate; D is the distance of Kolmogorov and Smirnov.",
    )


def _by_pair(measured: Paired) -> str:
    points: dict[str, list[tuple[float, float]]] = {"target": [], "control": []}
    for number, pair in enumerate(measured.pairs, start=1):
        for name, transfer in (("target", pair.target), ("control", pair.control)):
            if isinstance(transfer, Transfer):
                points[name].append((number, transfer.rate_bytes_per_s))
    rate = _rate_axis([y for side in points.values() for _, y in side], logarithmic=True)
    number_axis = Axis(0, len(measured.pairs) + 1, "pair", lambda value: f"{value:g}")
    plot = Plot("rate of each pair", number_axis, rate)
    drawn = [plot.dots(side, name) for name, side in points.items()]
    return _figure(
        plot.svg(drawn, "the mean rate of each transfer, in the order of measuring"),
        "Pair by pair",
        "Mean rate of each transfer, in the order of measuring: a trend is the network's.",
    )


def _first_bytes(sides: Sequence[_Side]) -> str:
    found = {name: sorted(each.first_byte_s for each in side) for name, side in sides}
    values = [value for side in found.values() for value in side]
    time = axis(values, "from the request to the body's first byte", _time)
    plot = Plot("time to the first byte", time, _share_axis())
    drawn = []
    for name, side in found.items():
        steps = [(v, (n + 1) / len(side)) for n, v in enumerate(side)]
        drawn.append(plot.stairs([(side[0], 0.0), *steps], f"{name} thick"))
        drawn.append(plot.dots(steps, name))
    medians = ", ".join(
        f"{name} {words.seconds(statistics.median(side))}" for name, side in found.items()
    )
    return _figure(
        plot.svg(drawn, f"medians: {medians}"),
        "Time to the first byte",
        f"Share of transfers whose first byte had come. Medians: {medians}.",
    )


def _rates(transfer: Transfer) -> list[float]:
    begin, end = transfer.arrivals[0][0], transfer.arrivals[-1][0]
    count = max(1, min(_WINDOWS, len(transfer.arrivals) // 3))
    return windows(transfer.arrivals, begin, end, count)


def _throughput(transfer: Transfer) -> list[tuple[float, float]]:
    rates = _rates(transfer)
    part = transfer.duration_s / len(rates)
    starts = accumulate([part] * len(rates), initial=0.0)
    return list(zip(starts, [*rates, rates[-1]], strict=True))


def _median_rate(transfers: Sequence[Transfer]) -> float:
    return statistics.median(each.rate_bytes_per_s for each in transfers)


def _rate_axis(rates: Sequence[float], *, logarithmic: bool) -> Axis:
    return axis(rates, "", words.rate, logarithmic=logarithmic)


def _share_axis() -> Axis:
    return Axis(0.0, 1.02, "", lambda value: f"{value:.0%}")


def _time(time_s: float) -> str:
    return "0" if time_s == 0 else words.seconds(time_s)


def _sides_table(
    rows: Sequence[tuple[str, float | None, float | None, tuple[Shape, ...], int]],
) -> str:
    cells = []
    for name, (url, rate, first_byte, shapes, failures) in zip(
        ("target", "control"), rows, strict=True
    ):
        kinds = [shape.words for shape in shapes]
        common = max(set(kinds), key=kinds.count) if kinds else "–"
        cells.append(
            f'<tr><th scope="row"><span class="key {name}"></span>{name}</th>'
            f"<td class=url>{escape(url)}</td><td>{words.rate(rate)}</td>"
            f"<td>{words.seconds(first_byte)}</td><td>{escape(common)}</td><td>{failures}</td></tr>"
        )
    return (
        '<div class="wide"><table><thead><tr><td></td><th scope="col">URL</th>'
        '<th scope="col">steady rate</th><th scope="col">first byte</th>'
        '<th scope="col">shape</th><th scope="col">failed</th></tr></thead>'
        f"<tbody>{''.join(cells)}</tbody></table></div>"
    )


def _shape_table(transfer: Transfer, shape: Shape) -> str:
    rows = [
        ("shape", shape.words),
        ("steady rate", words.rate(shape.steady_bytes_per_s)),
        ("rate over all", words.rate(shape.rate_bytes_per_s)),
        ("initial burst", words.size(shape.burst_bytes)),
        ("body", f"{words.size(transfer.size)} in {words.seconds(transfer.duration_s)}, "
                 f"{transfer.http_version}"),
        ("connect, TLS, first byte", ", ".join(map(words.seconds, (
            transfer.connect_s, transfer.tls_s, transfer.first_byte_s)))),
        ("packets out of order", "–" if shape.loss is None else f"{shape.loss:.1%}"),
    ]  # fmt: skip
    body = "".join(f'<tr><th scope="row">{name}</th><td>{escape(value)}</td></tr>'
                   for name, value in rows)  # fmt: skip
    return f"<table><tbody>{body}</tbody></table>"


def _figure(svg: str, title: str, note: str) -> str:
    return f"<figure><h3>{escape(title)}</h3>{svg}<figcaption>{escape(note)}</figcaption></figure>"


def _page(title: str, body: str, notes: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        f'<link rel="icon" href="data:,"><title>{escape(title)} - mitmthrottle measure</title>'
        f"<style>{_STYLE.read_text(encoding='utf-8')}</style></head><body><main>"
        f"<h1>{escape(title)}</h1>{body}<p class=small>{escape(notes)}</p></main></body></html>\n"
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _host(proxy: str) -> str:
    return proxy.rpartition("@")[2].removeprefix("http://").removeprefix("https://")
