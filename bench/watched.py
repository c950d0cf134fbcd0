"""What does it cost to be watched: the log of every response, the metrics, the live page?

Rule: one throttle takes turns with itself.  In the one nobody watches; in the other it writes its
log, and its page and its metrics are asked for as a browser and Prometheus would.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from . import client, idle, peers, programs, quiet, results, stats, switched
from .idle import Load
from .origin import running_origin
from .peers import Peer
from .plan import Job, Plan
from .switched import UNWATCHED, WATCHED
from .turns import Told

FAST_BYTES_PER_S = 125_000_000
SLOW_BYTES_PER_S = 16_000
STREAMS = 500
PAGE_EVERY_S = 1.0
METRICS_EVERY_S = 5.0

LOADS = (
    Load("unmatched requests, HTTP/1.1", "h1", "/free/1k", streams=8, connections=8),
    Load("unmatched requests, HTTP/2", "h2", "/free/1k", streams=16, connections=4),
    Load("matched requests, HTTP/1.1", "h1", f"/{FAST_BYTES_PER_S}/1k", 8, 8, peers.HOST),
    Load("matched requests, HTTP/2", "h2", f"/{FAST_BYTES_PER_S}/1k", 16, 4, peers.HOST),
)


@contextlib.contextmanager
def asking(url: str, every_s: float) -> Iterator[None]:
    """Somebody who asks for it again and again; an answer that is none ends the bench."""
    stop = threading.Event()
    faults: list[Exception] = []

    def ask() -> None:
        while not stop.wait(every_s):
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    answer.read()
            except OSError as error:
                faults.append(error)
                return

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
    if faults:
        raise RuntimeError(f"{url}: {faults[0]}")


def paced(peer: Peer, seconds: float) -> dict[str, float]:
    """Many slow streams at once: their rates, and the CPU that they take."""
    link = peer.link("h1")
    job = Job("slow", link.name, f"/{SLOW_BYTES_PER_S}/big", streams=STREAMS)
    plan = Plan(
        (link,), (job,), measure_s=seconds, ramp_s=30.0, settle_s=5.0, starts_per_s=250.0,
        merge_s=0.2,
    )  # fmt: skip
    outcome = client.run(plan, watch=peer.pid, tries=3)
    rates = [stats.rate_between(r, outcome.begin, outcome.end - 0.2) for r in outcome.records]
    return {
        "mean_error": sum(rates) / len(rates) / SLOW_BYTES_PER_S - 1.0,
        "slowest": min(rates) / SLOW_BYTES_PER_S - 1.0,
        "fastest": max(rates) / SLOW_BYTES_PER_S - 1.0,
        "cores": outcome.cores,
    }


def rows_of(found: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    loads = [
        [
            r["load"],
            f"{r['bare']:.0f} /s",
            f"{r['ours']:.0f} /s",
            f"{r['ratio']:.3f} ± {r['error']:.3f}",
            f"{r['per_cpu_ratio']:.3f}",
        ]
        for r in found["loads"]
    ]
    streams = [
        [
            name,
            f"{r['mean_error']:+.2%}",
            f"{r['slowest']:+.1%}, {r['fastest']:+.1%}",
            f"{r['cores']:.1%}",
        ]
        for name, r in found["paced"].items()
    ]
    return [
        (
            "log, metrics and page on, against none of them",
            ["load", "unwatched, fast turns", "watched", "ratio", "ratio per CPU second"],
            loads,
        ),
        (
            f"{found['streams']} responses at 128 kbit/s, HTTP/1.1",
            ["", "mean", "slowest, fastest", "CPU"],
            streams,
        ),
    ]


@click.command()
@click.option("--rounds", default=10, show_default=True, help="New processes in each.")
@click.option("--pairs", default=12, show_default=True, help="Of turns, for each load in a round.")
@click.option("--quick", is_flag=True, help="Three short rounds; not kept.")
def main(rounds: int, pairs: int, quick: bool) -> None:
    """What it costs to be watched."""
    programs.end_tidily()
    rounds, pairs = (3, 4) if quick else (rounds, pairs)
    results.console.print(f"watched: {len(LOADS)} loads, {rounds} x {pairs} pairs of turns each")
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        policy = folder / "policy.yaml"
        policy.write_text(peers.policy_text([FAST_BYTES_PER_S, SLOW_BYTES_PER_S]))
        with running_origin(folder) as origin:

            @contextlib.contextmanager
            def start() -> Iterator[tuple[Peer, Peer, Told]]:
                with switched.running(folder, origin, policy, WATCHED) as (peer, page):
                    onlookers = switched.Onlookers(peer.pid, page)
                    yield replace(peer, name=UNWATCHED), peer, onlookers.told
                    onlookers.end()

            loads = idle.compare(LOADS, start, rounds, pairs)
            paced_rows = {}
            for name in (UNWATCHED, WATCHED):  # one after another, so that each is alone
                quiet.wait_for_quiet()
                with contextlib.ExitStack() as stack:
                    running = switched.running(folder, origin, policy, name)
                    peer, page = stack.enter_context(running)
                    if name == WATCHED:
                        stack.enter_context(asking(f"{page}/api/state", PAGE_EVERY_S))
                        stack.enter_context(asking(f"{page}/metrics", METRICS_EVERY_S))
                    paced_rows[name] = paced(peer, 10.0 if quick else 20.0)
    found = {"loads": loads, "paced": paced_rows, "streams": STREAMS}
    for title, columns, rows in rows_of(found):
        results.table(title, columns, rows)
    if not quick:
        results.keep("watched", rounds=rounds, pairs=pairs, **found)


if __name__ == "__main__":
    main()
