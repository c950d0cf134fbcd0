"""How many responses at 128 kbit/s do two workers hold on two cores, and how many does one?

Rule: the same steps for each worker, as in many.py.  The load generator and the origin run on the
same machine, so each worker may have a part of a core only, which leaves the rest to them; what
they used is stated beside.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from tests.e2e.workers import running_workers

from . import client, cores, many, peers, programs, results, stats
from .origin import Origin, running_origin
from .peers import Peer
from .plan import Job, Plan
from .programs import usage

RATE_BYTES_PER_S = many.RATE_BYTES_PER_S
FIRST, STEP = 700, 100  # for each worker
PART = 0.4


@contextlib.contextmanager
def fleet(folder: Path, origin: Origin, count: int, part: float | None) -> Iterator[Peer]:
    """`--workers count`, each with so much of a core; one is what `run` is without it."""
    text = peers.policy_text([RATE_BYTES_PER_S])
    if count == 1:
        with (
            peers.ours(folder, origin, text) as peer,
            cores.part_of_a_core([peer.pid], part),
        ):
            yield peer
        return
    path = folder / "policy.yaml"
    path.write_text(text)
    with running_workers(path, count, options=peers.QUIET, resolve=origin.resolve) as workers:
        pid, port = workers.process.pid, workers.port
        proxies = [child for name, child in workers.children().items() if name != "store"]
        assert len(proxies) == count, proxies
        with cores.part_of_a_core(proxies, part):
            yield Peer(f"{count} workers", pid, port, port, True, workers.log_path)


def measure(
    count: int, number: int, seconds: float, part: float | None, tries: int = 3
) -> dict[str, Any]:
    """So many workers under so many streams over HTTP/1.1."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with running_origin(folder) as origin, fleet(folder, origin, count, part) as peer:
            link = peer.link("h1")
            idle = usage(peer.pid)
            plan = Plan(
                (link,),
                (Job("slow", link.name, f"/{RATE_BYTES_PER_S}/big", streams=number),),
                measure_s=seconds,
                ramp_s=20.0 + number / 50,
                settle_s=5.0,
                starts_per_s=250.0,
                merge_s=many.MERGE_S,
            )
            outcome = client.run(plan, watch=peer.pid, tries=tries)
            assert outcome.after is not None
            origin_cpu_s = usage(origin.pid).cpu_s
    end = outcome.end - many.MERGE_S
    rates = [stats.rate_between(r, outcome.begin, end) for r in outcome.records]
    return {
        "workers": count,
        "streams": number,
        "mean_error": round(sum(rates) / len(rates) / RATE_BYTES_PER_S - 1.0, 5),
        "slowest": round(min(rates) / RATE_BYTES_PER_S - 1.0, 5),
        "fastest": round(max(rates) / RATE_BYTES_PER_S - 1.0, 5),
        "jain": round(stats.jain(rates), 6),
        "cores": round(outcome.cores, 4),
        "bytes_per_stream": round((outcome.after.memory_bytes - idle.memory_bytes) / number),
        "without_first_byte": outcome.missing,
        "broken": sum(record.ended != "stopped" for record in outcome.records),
        "client_cores": round(outcome.client_cores, 3),
        "origin_cpu_s": round(origin_cpu_s, 2),
        "elsewhere_cores": round(outcome.elsewhere_cores, 3),
    }


def largest(
    count: int, seconds: float, first: int, step: int, part: float | None
) -> list[dict[str, Any]]:
    """Step up until some response is more than 3 % off; every step, the failed one last."""
    found = []
    number = first * count
    while True:
        found.append(measure(count, number, seconds, part))
        row = found[-1]
        results.console.print(
            f"  {count} workers, {number} streams: {row['slowest']:+.1%} to {row['fastest']:+.1%}, "
            f"proxy {row['cores']:.0%}, client {row['client_cores']:.0%}, "
            f"others {row['elsewhere_cores']:.0%}"
        )
        if not many.holds(row):
            return found
        number += step * count


@click.command()
@click.option("--seconds", default=15.0, show_default=True, help="Length of each measurement.")
@click.option(
    "--first", default=FIRST, show_default=True, help="Streams for each worker to begin with."
)
@click.option("--step", default=STEP, show_default=True, help="How many more for each.")
@click.option("--workers", "counts", multiple=True, type=int, default=(1, 2), show_default=True)
@click.option("--part", default=PART, show_default=True, help="Of a core, for each; 0: no limit.")
@click.option("--once", is_flag=True, help="Only the first step; not kept.")
def main(
    seconds: float, first: int, step: int, counts: Sequence[int], part: float, once: bool
) -> None:
    """What a second worker is worth."""
    programs.end_tidily()
    rows: list[dict[str, Any]] = []
    held: dict[int, int] = {}
    for count in counts:
        if once:
            rows.append(measure(count, first * count, seconds, part or None, tries=1))
            results.console.print(str(rows[-1]))
            continue
        rows += largest(count, seconds, first, step, part or None)
        held[count] = max((r["streams"] for r in rows if r["workers"] == count and many.holds(r)),
                          default=0)  # fmt: skip
    if held:
        for count, number in held.items():
            results.console.print(f"{count} workers hold {number} streams, each within 3 %")
        results.keep(
            "workers",
            seconds=seconds,
            part=part,
            rate_bytes_per_s=RATE_BYTES_PER_S,
            held=held,
            rows=rows,
        )


if __name__ == "__main__":
    main()
