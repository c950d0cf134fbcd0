"""A budget of 2 Mbit/s for all: is the sum kept, are the parts equal, is a photo through in time?

Rule: half of the responses come over HTTP/1.1 and half over HTTP/2, all under one rule, so that
whoever gains by protocol, connection or chunk size would show.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from . import client, peers, programs, results, stats
from .origin import running_origin
from .peers import Peer
from .plan import Job, Plan

RATE_BYTES_PER_S = 250_000
NUMBERS = (1, 10, 100)
VIDEOS = 10
PHOTO_BYTES = 20_000
POLICY = f"""version: 1
name: bench-shared
rules:
  - name: one budget for all
    when: {{host: {peers.HOST}, path: /shared/*}}
    then: {{rate: {{limit: 2 Mbit/s, per: rule}}}}
"""


def split(number: int) -> dict[str, int]:
    """Half of them each; a single one comes over HTTP/2."""
    return {"h1": number // 2, "h2": number - number // 2}


def share(peer: Peer, number: int, seconds: float) -> dict[str, Any]:
    """So many endless responses on one budget."""
    links = {protocol: peer.link(protocol, connections=4) for protocol in ("h1", "h2")}
    jobs = tuple(
        Job(protocol, links[protocol].name, "/shared/big", streams=streams)
        for protocol, streams in split(number).items()
        if streams
    )
    plan = Plan(tuple(links.values()), jobs, measure_s=seconds, settle_s=3.0)
    outcome = client.run(plan, watch=peer.pid, tries=3)
    begin, end = outcome.begin, outcome.end
    parts = {
        protocol: [stats.rate_between(r, begin, end) for r in outcome.of(protocol)]
        for protocol in links
    }
    every = parts["h1"] + parts["h2"]
    return {
        "responses": number,
        "sum_error": round(
            stats.sum_between(outcome.records, begin, end) / RATE_BYTES_PER_S - 1, 5
        ),
        "jain": round(stats.jain(every), 6),
        "smallest": round(min(every) / (RATE_BYTES_PER_S / number) - 1.0, 4),
        "largest": round(max(every) / (RATE_BYTES_PER_S / number) - 1.0, 4),
        "missing": outcome.missing,
        "cores": round(outcome.cores, 3),
        "elsewhere_cores": round(outcome.elsewhere_cores, 3),
    }


def photos(peer: Peer, protocol: str, count: int) -> dict[str, Any]:
    """A photo joins ten videos, again and again; how long against its fair share?"""
    links = {name: peer.link(name, connections=4) for name in ("h1", "h2")}
    own = peer.link(protocol, host=peers.HOST)
    jobs = [
        Job(f"video {name}", links[name].name, "/shared/big", streams=streams)
        for name, streams in split(VIDEOS).items()
    ]
    fair_s = PHOTO_BYTES / (RATE_BYTES_PER_S / (VIDEOS + 1))
    every_s = 2.0 * fair_s + 0.05  # not a multiple of anything
    jobs.append(Job("photo", own.name, "/shared/20k", start_s=3.0, every_s=every_s))
    plan = Plan(tuple(links.values()), tuple(jobs), duration_s=3.0 + count * every_s + 1.0)
    outcome = client.run(plan, watch=peer.pid, tries=3)
    taken = [r.seconds / fair_s for r in outcome.of("photo") if r.ended == "complete"]
    return {
        "protocol": protocol,
        "photos": len(taken),
        "fair_s": round(fair_s, 3),
        "median": round(stats.median(taken), 3),
        "worst": round(max(taken), 3),
    }


def rows_of(found: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Two tables: titles, columns, rows."""
    sums = [
        [
            f"{r['responses']}",
            f"{r['sum_error']:+.2%}",
            f"{r['jain']:.5f}",
            f"{r['smallest']:+.1%}, {r['largest']:+.1%}",
            f"{r['cores']:.0%}",
        ]
        for r in found["sums"]
    ]
    through = [
        [
            {"h1": "HTTP/1.1", "h2": "HTTP/2"}[r["protocol"]],
            f"{r['photos']}",
            f"{r['fair_s']:.2f} s",
            f"{r['median']:.2f}",
            f"{r['worst']:.2f}",
        ]
        for r in found["photos"]
    ]
    return [
        (
            "2 Mbit/s shared, half HTTP/1.1, half HTTP/2",
            ["responses", "sum", "Jain", "smallest, largest part", "CPU"],
            sums,
        ),
        (
            "a 20 kB photo joins ten videos on 2 Mbit/s: its time over its fair share's",
            ["over", "photos", "fair share", "median", "worst"],
            through,
        ),
    ]


@click.command()
@click.option("--seconds", default=20.0, show_default=True, help="Length of each measurement.")
@click.option("--quick", is_flag=True, help="Shorter; not kept.")
def main(seconds: float, quick: bool) -> None:
    """One budget shared by 1, 10 and 100 responses, and a photo that joins."""
    programs.end_tidily()
    seconds = 5.0 if quick else seconds
    results.console.print("shared: one budget for many responses")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with running_origin(folder) as origin, peers.ours(folder, origin, POLICY) as peer:
            found = {
                "sums": [share(peer, number, seconds) for number in NUMBERS],
                "photos": [photos(peer, p, 5 if quick else 20) for p in ("h1", "h2")],
            }
    for title, columns, rows in rows_of(found):
        results.table(title, columns, rows)
    if not quick:
        results.keep("shared", rate_bytes_per_s=RATE_BYTES_PER_S, seconds=seconds, **found)


if __name__ == "__main__":
    main()
