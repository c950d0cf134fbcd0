"""Do those whom no rule matches notice that a hundred paced responses crawl beside them?

Rule: with and without take turns in one run, over the same connections; bare mitmdump, relaying
an origin that limits itself, shows what a mitmproxy does by itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from . import client, many, programs, results, stats
from .origin import running_origin
from .peers import Peer
from .plan import Job, Link, Plan
from .record import Record

PACED = {"h1": 50, "h2": 50}
H2_CONNECTIONS = 5
OTHER_HOST = "free.bench.test"
PHASE_S = 10.0
FADE_S = 1.5  # at the start of each phase, while the paced ones start or end
PROBE_EVERY_S = 0.1
PROBE_PATH = "/free/20k"


def probes(peer: Peer, busy: Link) -> dict[str, tuple[Link, int]]:
    """Who asks for 20 kB all the time, over which link, and with how many streams."""
    return {
        "same HTTP/2 connections": (busy, H2_CONNECTIONS),
        "another HTTP/2 connection, same host": (_named(peer.link("h2"), "alone"), 1),
        "another HTTP/2 connection, other host": (peer.link("h2", host=OTHER_HOST), 1),
        "another HTTP/1.1 connection, same host": (_named(peer.link("h1"), "alone"), 1),
        "another HTTP/1.1 connection, other host": (peer.link("h1", host=OTHER_HOST), 1),
    }


def measure(program: str, rounds: int) -> list[dict[str, Any]]:
    start, slow_path = many.PROGRAMS[program]
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with running_origin(folder) as origin, start(folder, origin) as peer:
            plan, asked = _plan(peer, slow_path, rounds)
            outcome = client.run(plan, watch=peer.pid, tries=2)
    rows = []
    for kind, (_, streams) in asked.items():
        found = outcome.of(kind)
        broken = sum(r.ended != "complete" for r in found) - streams  # the last one is cut short
        without = _seconds(found, outcome.connected, rounds, paced=False)
        beside = _seconds(found, outcome.connected, rounds, paced=True)
        row: dict[str, Any] = {"program": program, "probe": kind, "broken": max(0, broken)}
        for label, share in (("p50", 0.5), ("p99", 0.99)):
            before, after = stats.percentile(without, share), stats.percentile(beside, share)
            row[f"{label}_without_s"] = round(before, 5)
            row[f"{label}_beside_s"] = round(after, 5)
            row[f"{label}_ratio"] = round(after / before, 3)
        row["samples"] = [len(without), len(beside)]
        row["elsewhere_cores"] = round(outcome.elsewhere_cores, 3)
        rows.append(row)
    return rows


def _plan(peer: Peer, slow_path: str, rounds: int) -> tuple[Plan, dict[str, tuple[Link, int]]]:
    busy = peer.link("h2", connections=H2_CONNECTIONS)
    links = {"h1": peer.link("h1"), "h2": busy}
    asked = probes(peer, busy)
    length = 2 * rounds * PHASE_S
    jobs = [
        Job(kind, link.name, PROBE_PATH, streams=streams, every_s=PROBE_EVERY_S)
        for kind, (link, streams) in asked.items()
    ]
    for turn in range(rounds):  # off, on, off, on
        begin = (2 * turn + 1) * PHASE_S
        for protocol, streams in PACED.items():
            name = f"paced {protocol} {turn}"
            link = links[protocol].name
            jobs.append(Job(name, link, slow_path, streams, begin, begin + PHASE_S))
    every = {link.name: link for link in [*links.values(), *(link for link, _ in asked.values())]}
    return Plan(tuple(every.values()), tuple(jobs), duration_s=length), asked


def _named(link: Link, suffix: str) -> Link:
    return Link(f"{link.name}-{suffix}", link.protocol, link.address, link.port, link.authority,
                link.proxied, link.connections)  # fmt: skip


def _seconds(records: Sequence[Record], start: float, rounds: int, paced: bool) -> list[float]:
    """How long the requests of the phases with, or without, paced responses took."""
    taken = []
    for record in records:
        phase, since = divmod(record.started - start, PHASE_S)
        counts = phase < 2 * rounds and since >= FADE_S and bool(int(phase) % 2) == paced
        if counts and record.ended == "complete":
            taken.append(record.seconds)
    return taken


def rows_of(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    columns = ["20 kB over", "program", "p50 without", "beside 100", "ratio",
               "p99 without", "beside 100", "ratio"]  # fmt: skip
    return columns, [
        [
            r["probe"],
            r["program"],
            f"{r['p50_without_s'] * 1000:.1f} ms",
            f"{r['p50_beside_s'] * 1000:.1f} ms",
            f"{r['p50_ratio']:.2f}",
            f"{r['p99_without_s'] * 1000:.1f} ms",
            f"{r['p99_beside_s'] * 1000:.1f} ms",
            f"{r['p99_ratio']:.2f}",
        ]
        for r in rows
    ]


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Turns with and without.")
@click.option("--quick", is_flag=True, help="Two turns; not kept.")
def main(rounds: int, quick: bool) -> None:
    """Unmatched requests with and without a hundred paced responses beside them."""
    programs.end_tidily()
    rounds = 2 if quick else rounds
    results.console.print(f"crosstalk: {2 * rounds * PHASE_S:.0f} s for each program")
    rows = [row for program in many.PROGRAMS for row in measure(program, rounds)]
    results.table("unmatched 20 kB requests beside 100 responses at 128 kbit/s", *rows_of(rows))
    if not quick:
        results.keep("crosstalk", rounds=rounds, paced=PACED, rows=rows)


if __name__ == "__main__":
    main()
