"""Many responses at 128 kbit/s in one proxy process: do all get their rate, and at what cost?

Rule: each program is started anew for each number, is looked at when idle, and has the same client
and the same steps; bare mitmdump relays an origin that limits itself (nginx `limit_rate`), which
is the least that any mitmproxy could spend on such a load.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click

from . import client, peers, programs, results, stats
from .origin import Origin, running_origin
from .peers import Peer
from .plan import Job, Plan
from .programs import usage

RATE_BYTES_PER_S = 16_000
NUMBERS = (100, 250, 500, 1000, 1500, 2000, 2500, 3000, 4000)
H2_CONNECTIONS = 25
STREAMS_PER_CONNECTION = 80  # mitmproxy lets a client have 100
WITHIN = 0.03
MERGE_S = 0.2  # a piece, or nginx's chunk for a second, may reach the client in several reads

Start = Callable[[Path, Origin], AbstractContextManager[Peer]]


def ours(folder: Path, origin: Origin) -> AbstractContextManager[Peer]:
    return peers.ours(folder, origin, peers.policy_text([RATE_BYTES_PER_S]))


PROGRAMS: dict[str, tuple[Start, str]] = {
    "mitmthrottle": (ours, f"/{RATE_BYTES_PER_S}/big"),
    "mitmdump": (peers.bare, f"/limit/{RATE_BYTES_PER_S}/big"),
}


def measure(program: str, protocol: str, number: int, seconds: float) -> dict[str, Any]:
    """One program under so many streams."""
    start, path = PROGRAMS[program]
    connections = max(H2_CONNECTIONS, math.ceil(number / STREAMS_PER_CONNECTION))
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with running_origin(folder) as origin, start(folder, origin) as peer:
            link = peer.link(protocol, connections)
            # Once before, so that what is loaded on first use counts as idle.
            client.run(Plan((link,), (Job("first", link.name, "/all/20k"),), duration_s=1.0))
            idle = usage(peer.pid)
            plan = Plan(
                (link,),
                (Job("slow", link.name, path, streams=number),),
                measure_s=seconds,
                # Enough time for everybody's first byte, and for every start to have faded.
                ramp_s=20.0 + number / 50,
                settle_s=5.0,
                starts_per_s=250.0,
                merge_s=MERGE_S,
            )
            outcome = client.run(plan, watch=peer.pid, tries=3)
            assert outcome.after is not None
            complaints = peer.log.read_text(errors="replace").splitlines() if peer.log else []
    broken = sum(record.ended != "stopped" for record in outcome.records)
    # The last arrivals may not be complete.
    end = outcome.end - MERGE_S
    rates = [stats.rate_between(r, outcome.begin, end) for r in outcome.records]
    mean = sum(rates) / len(rates)
    return {
        "program": program,
        "protocol": protocol,
        "streams": number,
        "connections": number if protocol == "h1" else connections,
        "mean_error": round(mean / RATE_BYTES_PER_S - 1.0, 5),
        "slowest": round(min(rates) / RATE_BYTES_PER_S - 1.0, 5),
        "fastest": round(max(rates) / RATE_BYTES_PER_S - 1.0, 5),
        "jain": round(stats.jain(rates), 6),
        "cores": round(outcome.cores, 4),
        "bytes_per_stream": round((outcome.after.memory_bytes - idle.memory_bytes) / number),
        "without_first_byte": outcome.missing,
        "broken": broken,
        "complaints": len(complaints),
        "client_cores": round(outcome.client_cores, 3),
        "elsewhere_cores": round(outcome.elsewhere_cores, 3),
    }


def holds(found: dict[str, Any]) -> bool:
    """Each stream gets its rate within 3 %."""
    return (
        found["slowest"] >= -WITHIN
        and found["fastest"] <= WITHIN
        and not found["without_first_byte"]
        and not found["broken"]
    )


def rows_of(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    columns = ["streams", "program", "mean", "slowest, fastest", "Jain", "CPU", "memory a stream",
               "each within 3 %", "client's CPU", "others' CPU"]  # fmt: skip
    shown = {"h1": "HTTP/1.1", "h2": "HTTP/2"}
    return columns, [
        [
            f"{r['streams']} {shown[r['protocol']]}",
            r["program"],
            f"{r['mean_error']:+.2%}",
            f"{r['slowest']:+.1%}, {r['fastest']:+.1%}",
            f"{r['jain']:.5f}",
            f"{r['cores']:.0%}",
            f"{r['bytes_per_stream'] / 1024:.0f} KiB",
            "yes" if holds(r) else "no",
            f"{r['client_cores']:.0%}",
            f"{r['elsewhere_cores']:.0%}",
        ]
        for r in rows
    ]


@click.command()
@click.option("--seconds", default=20.0, show_default=True, help="Length of each measurement.")
@click.option("--number", "numbers", multiple=True, type=int, help="How many streams; repeatable.")
@click.option("--protocol", type=click.Choice(["h1", "h2"]), help="Only this one.")
@click.option("--program", type=click.Choice(list(PROGRAMS)), help="Only this one.")
@click.option("--quick", is_flag=True, help="100 and 1000 streams, ten seconds each; not kept.")
def main(
    seconds: float, numbers: Sequence[int], protocol: str | None, program: str | None, quick: bool
) -> None:
    """A thousand slow streams in one process beside bare mitmdump."""
    programs.end_tidily()
    partly = bool(protocol or program or quick)
    numbers = numbers or ((100, 1000) if quick else NUMBERS)
    seconds = 10.0 if quick else seconds
    rows: list[dict[str, Any]] = []
    results.console.print("many: streams of 128 kbit/s in one process")
    for each in [protocol] if protocol else ["h1", "h2"]:
        for number in numbers:
            for name in [program] if program else PROGRAMS:
                found = measure(name, each, number, seconds)
                rows.append(found)
                results.console.print("  " + "  ".join(rows_of([found])[1][0]))
            ours_now = [r for r in rows if r["program"] == "mitmthrottle"][-1:]
            if not partly and ours_now and not holds(ours_now[0]):
                break  # more streams will not go better
    results.table("streams of 128 kbit/s in one process", *rows_of(rows))
    if not partly:
        results.keep("many", seconds=seconds, rate_bytes_per_s=RATE_BYTES_PER_S, rows=rows)


if __name__ == "__main__":
    main()
