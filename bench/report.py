"""Makes the tables and plots that README and docs show from the results of the benches.

Rule: figures come from bench/results only, and each table ends with where a peer is better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from . import accuracy, churn, crosstalk, idle, many, plot, results, shared, watched

PAGE = results.FOLDER.parent / "RESULTS.md"
OURS = "mitmthrottle"
SHOWN = {"h1": "HTTP/1.1", "h2": "HTTP/2"}

Found = dict[str, Any]


def accuracy_part(found: Found) -> Iterator[str]:
    yield "## One response at a rate\n"
    yield (
        f"Over {found['seconds']:.0f} s, from the first body byte on: **error of the mean / bytes "
        "in the first second as a multiple of the rate / the fullest 250 ms as a multiple of the "
        "mean**. 0 % / 1.00 / 1.00 would be perfect. The same client fetches the same file from "
        "the same origin through each program. `tc tbf` shapes packets, not bodies: its mean is "
        "short by the headers of TCP, IP and Ethernet, and TLS.\n"
    )
    yield results.markdown(*accuracy.rows_of(found["rows"]))
    better = list(_better_paced(found["rows"]))
    yield _where_better(better)
    curves = {name: [[s, b / 1000] for s, b in points] for name, points in
              found["curves"]["of"].items()}  # fmt: skip
    rate = found["curves"]["rate_bytes_per_s"]
    steps = [accuracy.CURVE_S * step / 400 for step in range(401)]
    curves["exactly the rate"] = [[at, at * rate / 1000] for at in steps]
    title = f"One response at {accuracy.rate_name(rate)}, HTTP/1.1"
    svg = plot.chart(title, "seconds since the request", "kB received", curves, steps=True)
    (results.FOLDER / "bytes-over-time.svg").write_text(svg)
    yield "\n![bytes over time](results/bytes-over-time.svg)\n"


def _better_paced(rows: Sequence[Found]) -> Iterator[str]:
    """Where somebody keeps a rate noticeably better than we do."""
    judged: dict[str, tuple[Callable[[Found], float], float]] = {
        "mean": (lambda r: abs(r["error"]), 0.001),
        "first second": (lambda r: abs(r["first_second"] - 1.0), 0.01),
        "fullest 250 ms": (lambda r: r["peak"], 0.01),
    }
    ours = {(r["rate_bytes_per_s"], r["protocol"]): r for r in rows if r["program"] == OURS}
    for name, (judge, margin) in judged.items():
        wins: dict[str, list[str]] = {}
        for row in rows:
            mine = ours.get((row["rate_bytes_per_s"], row["protocol"]))
            if mine and row["program"] != OURS and judge(row) < judge(mine) - margin:
                case = accuracy.rate_name(row["rate_bytes_per_s"])
                wins.setdefault(row["program"], []).append(f"{case} {SHOWN[row['protocol']]}")
        for program, cases in wins.items():
            yield f"{program}, {name}: {', '.join(cases)}"


def many_part(found: Found) -> Iterator[str]:
    yield "## Many responses at 128 kbit/s in one process\n"
    yield (
        "Beside mitmdump without mitmthrottle, relaying an origin that limits itself (nginx "
        "`limit_rate`): the least that a mitmproxy can spend on such a load. CPU in per cent of a "
        "core, memory above the idle program.\n"
    )
    yield results.markdown(*many.rows_of(found["rows"]))
    for protocol, shown in SHOWN.items():
        ours = [r for r in found["rows"] if r["program"] == OURS and r["protocol"] == protocol]
        held = [r["streams"] for r in ours if many.holds(r)]
        if held:
            yield f"\nMost streams that each got their rate within 3 %, {shown}: {max(held)}.\n"
    cheaper = [
        f"mitmdump spends {ours['cores'] / bare['cores']:.1f} times less CPU and "
        f"{(ours['bytes_per_stream'] - bare['bytes_per_stream']) / 1024:.0f} KiB less memory a "
        f"stream at {ours['streams']} over {SHOWN[ours['protocol']]}"
        for ours, bare in _pairs(found["rows"])
        if bare["cores"] < ours["cores"] and ours["streams"] == 1000
    ]
    yield _where_better(cheaper)
    lines = {
        f"{program}, {shown}": [
            [r["streams"], r["cores"] * 100]
            for r in found["rows"]
            if r["program"] == program and r["protocol"] == protocol
        ]
        for program in many.PROGRAMS
        for protocol, shown in SHOWN.items()
    }
    svg = plot.chart("Cost of many streams at 128 kbit/s", "streams", "CPU, % of a core", lines)
    (results.FOLDER / "cost-over-streams.svg").write_text(svg)
    yield "\n![cost over streams](results/cost-over-streams.svg)\n"


def _pairs(rows: Sequence[Found]) -> Iterator[tuple[Found, Found]]:
    bare = {(r["streams"], r["protocol"]): r for r in rows if r["program"] != OURS}
    for row in rows:
        other = bare.get((row["streams"], row["protocol"]))
        if row["program"] == OURS and other:
            yield row, other


def shared_part(found: Found) -> Iterator[str]:
    yield "## Shared budgets\n"
    for title, columns, rows in shared.rows_of(found):
        yield f"{title[0].upper()}{title[1:]}.\n"
        yield results.markdown(columns, rows)


def crosstalk_part(found: Found) -> Iterator[str]:
    yield "## Those whom no rule matches, beside 100 paced responses\n"
    yield (
        "With and without take turns in one run. The same for mitmdump beside 100 responses that "
        "their origin limits.\n"
    )
    yield results.markdown(*crosstalk.rows_of(found["rows"]))
    yield _where_better(list(_less_noticed(found["rows"])))


def _less_noticed(rows: Sequence[Found]) -> Iterator[str]:
    """Where those beside bare mitmdump's responses notice less of them than those beside ours."""
    for label in ("p50", "p99"):
        bare = {r["probe"]: r[f"{label}_ratio"] for r in rows if r["program"] != OURS}
        ours = {r["probe"]: r[f"{label}_ratio"] for r in rows if r["program"] == OURS}
        for probe, ratio in ours.items():
            if bare.get(probe, ratio) < ratio - 0.03:
                yield f"mitmdump, {label} over {probe}: {bare[probe]:.2f} against {ratio:.2f}"


def idle_part(found: Found) -> Iterator[str]:
    yield "## A policy that matches nothing\n"
    for title, columns, rows in idle.rows_of(found):
        yield f"{title[0].upper()}{title[1:]}.\n"
        yield results.markdown(columns, rows)
    yield _where_better(
        [
            f"mitmdump, {r['load']}: {1 - r['ratio']:.1%} more"
            for r in found["loads"]
            if r["ratio"] < 1.0 - r["error"]
        ]
    )


def watched_part(found: Found) -> Iterator[str]:
    yield "## Being watched: log, metrics and live page\n"
    for title, columns, rows in watched.rows_of(found):
        yield f"{title[0].upper()}{title[1:]}.\n"
        yield results.markdown(columns, rows)


def churn_part(found: Found) -> Iterator[str]:
    yield "## Clients that come, abort, stall and return\n"
    yield results.markdown(*churn.rows_of(found))
    memory = [[s["s"] / 60, s["memory_bytes"] / 2**20] for s in found["samples"]]
    svg = plot.chart("Memory under churn", "minutes", "MiB", {OURS: memory})
    (results.FOLDER / "memory-under-churn.svg").write_text(svg)
    yield "\n![memory under churn](results/memory-under-churn.svg)\n"


PARTS: dict[str, Callable[[Found], Iterator[str]]] = {
    "accuracy": accuracy_part,
    "many": many_part,
    "shared": shared_part,
    "crosstalk": crosstalk_part,
    "idle": idle_part,
    "watched": watched_part,
    "churn": churn_part,
}


def _where_better(wins: Sequence[str]) -> str:
    if not wins:
        return "\nNo peer is better here.\n"
    return "\nWhere a peer is better:\n\n" + "".join(f"- {win}\n" for win in wins)


def page() -> str:
    """RESULTS.md, from what has been measured so far."""
    text = [
        "# Results of the bench\n",
        "Made by `python -m bench.report` from `bench/results`; `make bench` measures anew. "
        "bench/README.md says how.\n",
    ]
    for name, part in PARTS.items():
        found = results.read(name)
        if found is None:
            continue
        text += part(found)
        facts = found["machine"] | found.get("versions", {})
        text.append(
            f"\nMeasured {found['measured']} with `python -m bench.{name}`: "
            + ", ".join(f"{key} {value}" for key, value in facts.items())
            + ".\n"
        )
    return "\n".join(text)


@click.command()
def main() -> None:
    """Write bench/RESULTS.md and its plots."""
    PAGE.write_text(page())
    results.console.print(f"wrote {PAGE.relative_to(PAGE.parents[1])}")


if __name__ == "__main__":
    main()
