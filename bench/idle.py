"""What does a policy cost those whom it does not match?

Rule: bare mitmdump and mitmdump with a policy of 100 rules run side by side and take short turns
many times over, so a machine that gets slower or faster meanwhile does not decide; nor do the
processes, which are new in each round.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import timeit
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mitmthrottle.policy import Decider, Exchange, parse_policy

from . import peers, programs, quiet, results, turns
from .origin import running_origin
from .peers import Peer
from .plan import Job, Plan
from .turns import Told, Turn

RULES = 100
HOST_RULES = (1, 100, 10_000)
HOST = "free.bench.test"
TURN_S = 0.5
# The other's last answers, and what ours puts off until 0.2 s after a response: about as much of it
# falls into a turn as falls out of it.
SETTLE_S = 0.3
# Both pass bodies on as they come, as one sets it for large files.
OPTIONS = peers.STREAM


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
    Load("bulk, HTTP/1.1", "h1", "/free/20M", streams=2, connections=2),
    Load("bulk, HTTP/2", "h2", "/free/20M", streams=2, connections=2),
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


def compare(
    loads: Sequence[Load],
    start: Callable[[], AbstractContextManager[tuple[Peer, Peer, Told]]],
    rounds: int,
    pairs: int,
) -> list[dict[str, Any]]:
    """Each load, by two programs that are started anew for each round, in so many pairs of turns.

    Anew, since one process is some percent faster or slower than the next of the same program for
    as long as it lives: where its memory lies is a matter of luck.  The fastest third of each
    one's turns is compared: who shares the machine with us can only slow a turn down.  `start`
    also says who is told whose turn it is.
    """
    found: dict[str, list[list[Turn]]] = {load.name: [] for load in loads}
    for number in range(rounds):
        with start() as (bare, ours, told):
            order = (ours, bare) if number % 2 else (bare, ours)
            _turns(loads[0], order, told, 1)  # a new process is slow at first
            for load in loads:
                quiet.wait_for_quiet()
                found[load.name].append(_turns(load, order, told, pairs))
    return [_summary(load, bare.name, found[load.name]) for load in loads]


def _turns(load: Load, order: Sequence[Peer], told: Told, pairs: int) -> list[Turn]:
    links = [peer.link(load.protocol, load.connections, load.host) for peer in order]
    jobs = [
        Job(peer.name, link.name, load.path, load.streams, every_s=0.0)
        for peer, link in zip(order, links, strict=True)
    ]
    plan = Plan(
        tuple(links), tuple(jobs), measure_s=TURN_S, settle_s=SETTLE_S, merge_s=0.05,
        turns=2 * pairs,
    )  # fmt: skip
    return turns.take(plan, {peer.name: peer.pid for peer in order}, told)


def _summary(load: Load, bare_name: str, rounds: Sequence[Sequence[Turn]]) -> dict[str, Any]:
    unit = "requests/s" if "requests" in load.name else "bytes/s"

    def rate(turn: Turn) -> float:
        return (turn.answers if unit == "requests/s" else turn.body_bytes) / turn.seconds

    def of(bare: bool, turns_: Sequence[Turn]) -> list[Turn]:
        """The fast turns of the one or of the other."""
        own = sorted((t for t in turns_ if (t.job == bare_name) is bare), key=rate, reverse=True)
        return own[: max(1, len(own) // 3)]

    bare, ours = ([rate(t) for each in rounds for t in of(who, each)] for who in (True, False))
    # Of each round by itself: new processes differ as much as turns do.
    ratios = [_mean(of(False, each), rate) / _mean(of(True, each), rate) for each in rounds]
    cpu_ratios = [
        _mean(of(False, each), rate, per_cpu=True) / _mean(of(True, each), rate, per_cpu=True)
        for each in rounds
    ]
    return {
        "load": load.name,
        "unit": unit,
        "bare": round(statistics.fmean(bare), 1),
        "ours": round(statistics.fmean(ours), 1),
        "ratio": round(_middle(ratios), 4),
        "ratios": [round(each, 4) for each in sorted(ratios)],
        "error": round(statistics.stdev(ratios) / math.sqrt(len(ratios)), 4),
        "per_cpu_ratio": round(_middle(cpu_ratios), 4),
    }


def _middle(ratios: Sequence[float]) -> float:
    """The geometric mean of the middle half: one round that others disturbed is not the answer."""
    ordered = sorted(ratios)
    quarter = len(ordered) // 4
    return statistics.geometric_mean(ordered[quarter : len(ordered) - quarter])


def _mean(turns_: Sequence[Turn], rate: Callable[[Turn], float], per_cpu: bool = False) -> float:
    whole = sum(rate(each) * each.seconds for each in turns_)
    return whole / sum(each.cpu_s if per_cpu else each.seconds for each in turns_)


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
            shown(r["bare"], r["unit"]),
            shown(r["ours"], r["unit"]),
            f"{r['ratio']:.3f} ± {r['error']:.3f}",
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
            ["load", "bare, fast turns", "with policy", "ratio", "ratio per CPU second"],
            loads,
        ),
        (
            "time to decide",
            ["host rules", "no match", "no match, host not seen before", "the last rule matches"],
            decide,
        ),
    ]


@click.command()
@click.option("--rounds", default=10, show_default=True, help="New processes in each.")
@click.option("--pairs", default=12, show_default=True, help="Of turns, for each load in a round.")
@click.option("--quick", is_flag=True, help="Three short rounds; not kept.")
def main(rounds: int, pairs: int, quick: bool) -> None:
    """What a policy costs those whom it does not match."""
    programs.end_tidily()
    rounds, pairs = (3, 4) if quick else (rounds, pairs)
    results.console.print(f"idle: {len(LOADS)} loads, {rounds} x {pairs} pairs of turns each")
    found: dict[str, Any] = {"decide": [decide_times(rules) for rules in HOST_RULES]}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with running_origin(folder) as origin:

            @contextmanager
            def start() -> Iterator[tuple[Peer, Peer, Told]]:
                with (
                    peers.bare(folder, origin, OPTIONS) as bare,
                    peers.ours(folder, origin, policy_text(RULES), OPTIONS) as ours,
                ):
                    yield bare, ours, lambda event, job: None

            found["loads"] = compare(LOADS, start, rounds, pairs)
    for title, columns, rows in rows_of(found):
        results.table(title, columns, rows)
    if not quick:
        results.keep("idle", rounds=rounds, pairs=pairs, rules=RULES, **found)


if __name__ == "__main__":
    main()
