"""What does a policy cost those whom it does not match?

Rule: bare mitmdump and mitmdump with a policy of 100 rules run side by side and take turns of a
few seconds; what is compared is each pair of neighbouring turns, so a machine that gets slower
or faster meanwhile does not decide; nor do the processes, which are new in each round.
"""

from __future__ import annotations

import math
import tempfile
import timeit
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mitmthrottle.policy import Decider, Exchange, parse_policy

from . import client, peers, programs, quiet, results, stats
from .origin import running_origin
from .peers import Peer
from .plan import Job, Plan

RULES = 100
HOST_RULES = (1, 100, 10_000)
HOST = "free.bench.test"
WARM_UP_S = 1.0
# Both pass bodies on as they come, as one sets it for large files.
OPTIONS = peers.STREAM

Amount = tuple[float, float]
"""What came in a second, and in a second of CPU"""
Pair = tuple[Amount, Amount]


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked for, over and over."""

    name: str
    protocol: str
    path: str
    streams: int
    connections: int
    host: str = HOST


LOADS = (
    Load("requests, HTTP/1.1", "h1", "/free/1k", streams=8, connections=8),
    Load("requests, HTTP/2", "h2", "/free/1k", streams=16, connections=4),
    Load("bulk, HTTP/1.1", "h1", "/free/200M", streams=2, connections=2),
    Load("bulk, HTTP/2", "h2", "/free/200M", streams=2, connections=2),
)


def policy_text(rules: int) -> str:
    """Rules for so many hosts, and half of them with more conditions than the host."""
    text = ["version: 1", "name: bench-idle", "rules:"]
    for number in range(rules):
        more = ", content: [photo, video], share: 50%" if number % 2 else ""
        text += [
            f"  - name: rule {number}",
            f"    when: {{host: .site{number}.example{more}}}",
            "    then: {rate: 128 kbit/s}",
        ]
    return "\n".join(text) + "\n"


def one_turn(peer: Peer, load: Load, seconds: float) -> tuple[float, float, float]:
    """Answers/s, bytes/s, and CPU in cores."""
    link = peer.link(load.protocol, load.connections, load.host)
    job = Job(load.name, link.name, load.path, load.streams, every_s=0.0)
    plan = Plan((link,), (job,), measure_s=seconds, settle_s=0.5, merge_s=0.05)
    outcome = client.run(plan, watch=peer.pid)
    begin, end = outcome.begin, outcome.end
    done = sum(r.ended == "complete" and begin <= r.ended_at < end for r in outcome.records)
    size = sum(size for r in outcome.records for when, size in r.arrivals if begin <= when < end)
    return done / (end - begin), size / (end - begin), outcome.cores


def compare(
    loads: Sequence[Load],
    start: Callable[[], AbstractContextManager[tuple[Peer, Peer]]],
    rounds: int,
    seconds: float,
) -> list[dict[str, Any]]:
    """Each load, by two programs that are started anew for each round.

    Anew, since one process is some percent faster or slower than the next of the same program for
    as long as it lives: where its memory lies is a matter of luck.
    """
    found: dict[str, list[Pair]] = {load.name: [] for load in loads}
    for turn in range(rounds):
        with start() as (bare, ours):
            for peer in (bare, ours):
                one_turn(peer, loads[0], WARM_UP_S)
            for load in loads:
                order = (bare, ours) if turn % 2 else (ours, bare)
                amounts = _pair(load, order, seconds)
                found[load.name].append((amounts[bare.name], amounts[ours.name]))
    return [_summary(load, found[load.name]) for load in loads]


def _pair(load: Load, order: tuple[Peer, Peer], seconds: float) -> dict[str, Amount]:
    """Redone once if others used the machine: it would not be a pair."""
    found: dict[str, Amount] = {}
    for _ in range(2):
        quiet.wait_for_quiet()
        for peer in order:
            answers, size, cores = one_turn(peer, load, seconds)
            amount = answers if "requests" in load.name else size
            found[peer.name] = (amount, amount / cores)
        if min(amount for amount, _ in found.values()) > 0:
            break
    return found


def _summary(load: Load, pairs: Sequence[Pair]) -> dict[str, Any]:
    ratios = [ours / bare for (bare, _), (ours, _) in pairs]
    return {
        "load": load.name,
        "unit": "requests/s" if "requests" in load.name else "bytes/s",
        "best_bare": round(max(bare for (bare, _), _ in pairs), 1),
        "best_ours": round(max(ours for _, (ours, _) in pairs), 1),
        "ratio": round(_mean(ratios), 4),
        "ratios": [round(each, 4) for each in sorted(ratios)],
        "per_cpu_ratio": round(_mean([ours / bare for (_, bare), (_, ours) in pairs]), 4),
        "spread": round(_error(ratios), 4),
    }


def _mean(ratios: list[float]) -> float:
    """The geometric mean of the middle half: one hiccup of the machine is not the answer."""
    ordered = sorted(ratios)
    quarter = len(ordered) // 4
    middle = ordered[quarter : len(ordered) - quarter]
    return math.exp(sum(math.log(each) for each in middle) / len(middle))


def _error(ratios: list[float]) -> float:
    """Half the distance between the quartiles."""
    return (stats.percentile(ratios, 0.75) - stats.percentile(ratios, 0.25)) / 2


def decide_times(rules: int) -> dict[str, Any]:
    """Microseconds to decide about one response, with so many host rules."""
    decider = Decider(parse_policy(policy_text(rules)))

    def exchange(host: str) -> Exchange:
        return Exchange(
            host=host, path="/a.jpg", status=200, content_type="image/jpeg", size=20_000,
            client_address="10.0.0.7",
        )  # fmt: skip

    few = [exchange(f"www{n}.nobody.example") for n in range(50)]
    many_hosts = [exchange(f"w{n}.nobody.example") for n in range(50_000)]
    last = [exchange(f"cdn{n}.site{rules - 1}.example") for n in range(50)]
    return {
        "rules": rules,
        "unmatched_us": _each_us(lambda: [decider.decide(each) for each in few], 50),
        "unmatched_new_host_us": _each_us(
            lambda: [decider.decide(each) for each in many_hosts], 50_000
        ),
        "last_rule_us": _each_us(lambda: [decider.decide(each) for each in last], 50),
    }


def _each_us(work: Callable[[], object], count: int) -> float:
    timer = timeit.Timer(work)
    number = max(1, 50_000 // count)
    return round(min(timer.repeat(5, number)) / number / count * 1e6, 3)


def rows_of(found: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    def shown(value: float, unit: str) -> str:
        return f"{value:.0f} /s" if unit == "requests/s" else f"{value / 1e6:.0f} MB/s"

    loads = [
        [
            r["load"],
            shown(r["best_bare"], r["unit"]),
            shown(r["best_ours"], r["unit"]),
            f"{r['ratio']:.3f} ± {r['spread']:.3f}",
            f"{r['per_cpu_ratio']:.3f}",
        ]
        for r in found["loads"]
    ]
    decide = [
        [
            f"{r['rules']:,}",
            f"{r['unmatched_us']:.2f} µs",
            f"{r['unmatched_new_host_us']:.2f} µs",
            f"{r['last_rule_us']:.2f} µs",
        ]
        for r in found["decide"]
    ]
    return [
        (
            "a policy of 100 rules, none matching, against bare mitmdump",
            ["load", "bare, best turn", "with policy", "ratio", "ratio per CPU second"],
            loads,
        ),
        (
            "time to decide",
            ["host rules", "no match", "no match, host not seen before", "the last rule matches"],
            decide,
        ),
    ]


@click.command()
@click.option("--rounds", default=12, show_default=True, help="Pairs of turns for each load.")
@click.option("--seconds", default=3.0, show_default=True, help="Length of a turn.")
@click.option("--quick", is_flag=True, help="Three short pairs; not kept.")
def main(rounds: int, seconds: float, quick: bool) -> None:
    """What a policy costs those whom it does not match."""
    programs.end_tidily()
    rounds, seconds = (3, 2.0) if quick else (rounds, seconds)
    results.console.print(f"idle: {len(LOADS)} loads, {rounds} pairs of turns each")
    found: dict[str, Any] = {"decide": [decide_times(rules) for rules in HOST_RULES]}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with running_origin(folder) as origin:

            @contextmanager
            def start() -> Iterator[tuple[Peer, Peer]]:
                with (
                    peers.bare(folder, origin, OPTIONS) as bare,
                    peers.ours(folder, origin, policy_text(RULES), OPTIONS) as ours,
                ):
                    yield bare, ours

            found["loads"] = compare(LOADS, start, rounds, seconds)
    for title, columns, rows in rows_of(found):
        results.table(title, columns, rows)
    if not quick:
        results.keep("idle", rounds=rounds, seconds=seconds, rules=RULES, **found)


if __name__ == "__main__":
    main()
