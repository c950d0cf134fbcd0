"""One response at a rate, from 16 kbit/s to 200 Mbit/s: is the rate kept, and how smoothly?

Rule: slow responses are measured all at once, they disturb nobody; fast ones one at a time.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from . import client, netns, peers, programs, results, stats
from .netns import Shaped
from .origin import Origin, running_origin
from .peers import Peer
from .plan import Job, Link, Plan
from .record import Record

HANDSHAKE_BYTES = 12_000  # of TLS and HTTP/2, on the wire, at most
RATES_BYTES_PER_S = (2_000, 8_000, 16_000, 125_000, 1_250_000, 6_250_000, 25_000_000)
ALONE_ABOVE_BYTES_PER_S = 2_000_000
DISTURBED = 0.5  # of a core: one response leaves most of two idle
CURVE_OF = 16_000  # the rate whose bytes over time are kept for the plot
CURVE_S = 4.0


@dataclass(frozen=True, slots=True)
class Case:
    """One response to be measured."""

    program: str
    protocol: str
    rate_bytes_per_s: int
    link: Link
    path: str

    @property
    def name(self) -> str:
        return f"{self.program} {self.protocol} {self.rate_bytes_per_s}"


def rate_name(rate_bytes_per_s: float) -> str:
    bits = rate_bytes_per_s * 8
    return f"{bits / 1e6:g} Mbit/s" if bits >= 1e6 else f"{bits / 1e3:g} kbit/s"


@contextlib.contextmanager
def relays(folder: Path, rates: Sequence[int]) -> Iterator[tuple[Origin, list[Peer]]]:
    """An origin and everybody who can pace what it sends."""
    with contextlib.ExitStack() as stack:
        origin = stack.enter_context(running_origin(folder))
        policy = peers.policy_text(rates)
        running = [
            stack.enter_context(peers.ours(folder, origin, policy)),
            stack.enter_context(peers.nginx_limit_rate(folder, origin)),
            stack.enter_context(peers.haproxy_bwlim(folder, origin)),
            stack.enter_context(peers.squid_delay_pools(folder, origin, rates)),
        ]
        yield origin, running


def measure(cases: Sequence[Case], seconds: float, prefix: Sequence[str]) -> client.Outcome:
    plan = Plan(
        links=tuple({case.link.name: case.link for case in cases}.values()),
        jobs=tuple(Job(case.name, case.link.name, case.path) for case in cases),
        # From the request on.  Where packets are shaped, the TLS handshake is slow as well.
        duration_s=seconds + 1.0 + HANDSHAKE_BYTES / min(case.rate_bytes_per_s for case in cases),
        merge_s=0.0005,
    )
    return client.run(plan, prefix=prefix, tries=2, disturbed=DISTURBED)


def row(case: Case, record: Record, seconds: float, outcome: client.Outcome) -> dict[str, Any]:
    found = stats.accuracy(record, case.rate_bytes_per_s, seconds)
    if record.ended != "stopped" or record.status != 200:
        raise RuntimeError(f"{case.name}: status {record.status}, {record.ended}")
    return {
        "program": case.program,
        "protocol": case.protocol,
        "rate_bytes_per_s": case.rate_bytes_per_s,
        **{name: round(value, 5) for name, value in asdict(found).items()},
        "client_cores": round(outcome.client_cores, 3),
        "elsewhere_cores": round(outcome.elsewhere_cores, 3),
    }


def curve(record: Record) -> list[list[float]]:
    """Bytes over time since the request, where they step."""
    points, total = [[0.0, 0.0]], 0.0
    for when, size in record.arrivals:
        total += size
        if when - record.started > CURVE_S:
            break
        points.append([round(when - record.started, 3), total])
    return points


class Run:
    """All cases, and what was found."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.rows: list[dict[str, Any]] = []
        self.curves: dict[str, list[list[float]]] = {}

    def over(self, cases: Sequence[Case], prefix: Sequence[str] = ()) -> None:
        """The slow ones together, the fast ones one after another."""
        slow = [c for c in cases if c.rate_bytes_per_s <= ALONE_ABOVE_BYTES_PER_S]
        for group in [slow] + [[case] for case in cases if case not in slow]:
            if not group:
                continue
            what = group[0].name if len(group) == 1 else f"{len(group)} slow ones at once"
            results.console.print(f"  {what}, {self.seconds:.0f} s")
            outcome = measure(group, self.seconds, prefix)
            for case in group:
                (record,) = outcome.of(case.name)
                self.rows.append(row(case, record, self.seconds, outcome))
                if case.rate_bytes_per_s == CURVE_OF and case.protocol == "h1":
                    self.curves[case.program] = curve(record)


def relayed_cases(origin: Origin, running: Sequence[Peer], rates: Sequence[int]) -> list[Case]:
    """Everybody relays the origin; nginx, whose limit works otherwise then, also sends itself."""
    cases = [
        Case(peer.name, protocol, rate, peer.link(protocol), f"/{rate}/big")
        for rate in rates
        for peer in running
        for protocol in peer.protocols
    ]
    ports = {"h1": origin.plain_port, "h2": origin.tls_port}
    for protocol, port in ports.items():
        link = Link(f"nginx-{protocol}", protocol, "127.0.0.1", port, "127.0.0.1", False)
        cases += [
            Case("nginx, own file", protocol, rate, link, f"/limit/{rate}/big") for rate in rates
        ]
    return cases


def shaped_cases(shaped: Shaped, origin: Origin, rates: Sequence[int]) -> list[Case]:
    ports = {"h1": origin.plain_port, "h2": origin.tls_port}
    return [
        Case("tc tbf", protocol, rate, shaped.link(rate, protocol, port), f"/{rate}/big")
        for rate in rates
        for protocol, port in ports.items()
    ]


def cells(found: dict[str, Any]) -> str:
    error, first, peak = found["error"], found["first_second"], found["peak"]
    return f"{error:+.2%} / {first:.2f} / {peak:.2f}"


def rows_of(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The table: a line for each rate and protocol, a column for each program."""
    programs = list(dict.fromkeys(found["program"] for found in rows))
    by_case = {(r["rate_bytes_per_s"], r["protocol"], r["program"]): r for r in rows}
    lines = []
    for rate, protocol in dict.fromkeys(
        (r["rate_bytes_per_s"], r["protocol"])
        for r in sorted(rows, key=lambda r: (r["protocol"], r["rate_bytes_per_s"]))
    ):
        shown = {"h1": "HTTP/1.1", "h2": "HTTP/2"}[protocol]
        found = [by_case.get((rate, protocol, program)) for program in programs]
        lines.append([f"{rate_name(rate)}, {shown}", *(cells(f) if f else "–" for f in found)])
    return ["asked for", *programs], lines


@click.command()
@click.option("--seconds", default=10.0, show_default=True, help="Length of each measurement.")
@click.option("--quick", is_flag=True, help="Three rates only, four seconds each; not kept.")
def main(seconds: float, quick: bool) -> None:
    """Accuracy and smoothness of one response beside nginx, HAProxy, Squid and tc tbf."""
    programs.end_tidily()
    rates = (16_000, 125_000, 6_250_000) if quick else RATES_BYTES_PER_S
    seconds = 4.0 if quick else seconds
    run = Run(seconds)
    results.console.print("accuracy: one response at a rate")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # Squid and nginx read in it under users of their own
        with relays(folder, rates) as (origin, running):
            run.over(relayed_cases(origin, running, rates))
        with (
            netns.shaped_links(rates) as shaped,
            running_origin(folder / "tbf", shaped.at_server, "0.0.0.0") as origin,
        ):
            run.over(shaped_cases(shaped, origin, rates), shaped.at_client)
    columns, lines = rows_of(run.rows)
    results.table(
        "error of the mean / bytes in the first second : rate / fullest 250 ms : mean",
        columns,
        lines,
    )
    busiest = max(found["client_cores"] for found in run.rows)
    results.console.print(f"the load client used at most {busiest:.2f} of a core")
    if not quick:
        results.keep(
            "accuracy",
            versions=peers.versions(),
            seconds=seconds,
            rows=run.rows,
            curves={"rate_bytes_per_s": CURVE_OF, "of": run.curves},
        )


if __name__ == "__main__":
    main()
