"""What does it cost to be watched: the log of every response, the metrics, the live page?

Rule: two throttles with the same policy run side by side and take turns.  One is watched by nobody;
the other writes its log, and its page and its metrics are asked for as a browser and Prometheus
would.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from mitmthrottle.lab.proxy import running_proxy

from . import client, idle, peers, programs, quiet, results, stats
from .idle import Load
from .origin import Origin, running_origin
from .peers import Peer
from .plan import Job, Plan
from .programs import free_port

FAST_BYTES_PER_S = 125_000_000
SLOW_BYTES_PER_S = 16_000
STREAMS = 500
PAGE_EVERY_S = 1.0
METRICS_EVERY_S = 5.0

# The throttle without its watchers: what addons/throttle.py would be.
UNWATCHED = """from mitmthrottle.proxy.addon import Throttle
from mitmthrottle.proxy.as_one import as_one
from mitmthrottle.proxy.pauses import ShortPauses
from mitmthrottle.proxy.proxy_protocol import ProxyProtocol

globals().update(as_one(ProxyProtocol(), Throttle(), ShortPauses()))
"""

LOADS = (
    Load("unmatched requests, HTTP/1.1", "h1", "/free/1k", streams=8, connections=8),
    Load("unmatched requests, HTTP/2", "h2", "/free/1k", streams=16, connections=4),
    Load("matched requests, HTTP/1.1", "h1", f"/{FAST_BYTES_PER_S}/1k", 8, 8, peers.HOST),
    Load("matched requests, HTTP/2", "h2", f"/{FAST_BYTES_PER_S}/1k", 16, 4, peers.HOST),
)


@contextlib.contextmanager
def unwatched(folder: Path, origin: Origin, policy: Path) -> Iterator[Peer]:
    script = folder / "unwatched.py"
    script.write_text(UNWATCHED)
    options = [*peers.QUIET, *peers.STREAM, "-s", str(script)]
    options += ["--set", f"throttle_policy={policy}"]
    with running_proxy(None, options=options, resolve=origin.resolve) as proxy:
        yield Peer("unwatched", proxy.pid, proxy.port, proxy.port, True, proxy.log_path)


@contextlib.contextmanager
def watched(folder: Path, origin: Origin, policy: Path) -> Iterator[Peer]:
    port = free_port()
    options = [*peers.QUIET, *peers.STREAM]
    options += ["--set", f"throttle_log={folder / 'throttle.jsonl'}"]
    options += ["--set", f"throttle_listen=127.0.0.1:{port}"]
    with (
        running_proxy(policy, options=options, resolve=origin.resolve) as proxy,
        asking(f"http://127.0.0.1:{port}/api/state", PAGE_EVERY_S),
        asking(f"http://127.0.0.1:{port}/metrics", METRICS_EVERY_S),
    ):
        yield Peer("watched", proxy.pid, proxy.port, proxy.port, True, proxy.log_path)


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
            f"{r['best_bare']:.0f} /s",
            f"{r['best_ours']:.0f} /s",
            f"{r['ratio']:.3f} ± {r['spread']:.3f}",
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
            ["load", "unwatched, best turn", "watched", "ratio", "ratio per CPU second"],
            loads,
        ),
        (
            f"{found['streams']} responses at 128 kbit/s, HTTP/1.1",
            ["", "mean", "slowest, fastest", "CPU"],
            streams,
        ),
    ]


@click.command()
@click.option("--rounds", default=10, show_default=True, help="Pairs of turns for each load.")
@click.option("--seconds", default=3.0, show_default=True, help="Length of a turn.")
@click.option("--quick", is_flag=True, help="Three short pairs; not kept.")
def main(rounds: int, seconds: float, quick: bool) -> None:
    """What it costs to be watched."""
    programs.end_tidily()
    rounds, seconds = (3, 2.0) if quick else (rounds, seconds)
    results.console.print(f"watched: {len(LOADS)} loads, {rounds} pairs of turns each")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        policy = folder / "policy.yaml"
        policy.write_text(peers.policy_text([FAST_BYTES_PER_S, SLOW_BYTES_PER_S]))
        with running_origin(folder) as origin:

            @contextlib.contextmanager
            def start() -> Iterator[tuple[Peer, Peer]]:
                with (
                    unwatched(folder, origin, policy) as without,
                    watched(folder, origin, policy) as with_all,
                ):
                    yield without, with_all

            loads = idle.compare(LOADS, start, rounds, seconds)
            paced_rows = {}
            for begin in (unwatched, watched):  # one after another, so that each is alone
                quiet.wait_for_quiet()
                with begin(folder, origin, policy) as peer:
                    paced_rows[peer.name] = paced(peer, 10.0 if quick else 20.0)
    found = {"loads": loads, "paced": paced_rows, "streams": STREAMS}
    for title, columns, rows in rows_of(found):
        results.table(title, columns, rows)
    if not quick:
        results.keep("watched", rounds=rounds, seconds=seconds, **found)


if __name__ == "__main__":
    main()
