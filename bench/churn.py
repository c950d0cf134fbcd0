"""Half an hour of clients that come, abort, stall and return: does anything grow or stay behind?

Rule: memory is judged after the first five minutes, when what is cached and pooled has been
filled; what is left over is judged some time after the last client has gone, against the proxy as
it was before the first one came.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from . import client, peers, programs, results, stats
from .origin import running_origin
from .peers import Peer
from .plan import Job, Plan
from .programs import end, usage

LOOK_EVERY_S = 5.0
WARM_S = 300.0
# The longest that something may rightly stay: a budget until it would be full, a closing
# connection until its last write.
LEAVE_S = 20.0
POLICY = f"""version: 1
name: bench-churn
rules:
  - name: each
    when: {{host: {peers.HOST}, path: /each/*}}
    then: {{rate: 128 kbit/s}}
  - name: client
    when: {{host: {peers.HOST}, path: /client/*}}
    then: {{rate: [{{limit: 1 Mbit/s, per: client}}, {{limit: 500 kbit/s, per: response}}]}}
  - name: connection
    when: {{host: {peers.HOST}, path: /connection/*}}
    then: {{rate: {{limit: 512 kbit/s, per: connection}}}}
  - name: all
    when: {{host: {peers.HOST}, path: /all/*}}
    then: {{rate: {{limit: 2 Mbit/s, per: rule}}}}
  - name: late
    when: {{host: {peers.HOST}, path: /late/*}}
    then: {{rate: 256 kbit/s, delay: {{mean: 800 ms, jitter: 400 ms, distribution: uniform}}}}
"""


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def touch(peer: Peer) -> None:
    """One ordinary response under each rule; the first time, it loads what is loaded on use."""
    links = [peer.link(protocol) for protocol in ("h1", "h2")]
    jobs = [
        Job(f"{rule} {link.protocol}", link.name, f"/{rule}/1k")
        for link in links
        for rule in ("each", "client", "connection", "all", "late", "free")
    ]
    client.run(Plan(tuple(links), tuple(jobs), duration_s=4.0))


def last_counts(path: Path) -> dict[str, Any]:
    lines = path.read_text().splitlines()
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def look(peer: Peer, counts: Path, started: float) -> dict[str, Any]:
    now = usage(peer.pid)
    held = last_counts(counts)
    return {
        "s": round(now.at - started, 1),
        "memory_bytes": now.memory_bytes,
        "files": open_files(peer.pid),
        "tasks": held["tasks"],
        "connections": held["connections"],
        "held": held["held"],
    }


def churn(peer: Peer, counts: Path, seconds: float) -> dict[str, Any]:
    """Let them come for so long; what was seen before, meanwhile and after."""
    touch(peer)
    time.sleep(LEAVE_S)
    started = time.monotonic()
    before = look(peer, counts, started)
    links = [peer.link("h1"), peer.link("h2")]
    visitors = subprocess.Popen(
        [sys.executable, "-m", "bench.visitors", str(seconds)],
        cwd=client.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    samples = []
    try:
        assert visitors.stdin is not None
        assert visitors.stdout is not None
        visitors.stdin.write(json.dumps([asdict(link) for link in links]).encode())
        visitors.stdin.close()
        next_line = started + 60.0
        while visitors.poll() is None and time.monotonic() < started + seconds + 60.0:
            time.sleep(LOOK_EVERY_S)
            samples.append(look(peer, counts, started))
            if time.monotonic() > next_line:
                next_line += 60.0
                results.console.print("  " + shown(samples[-1]))
        seen = json.loads(visitors.stdout.read() or b"{}")
        if visitors.wait(5.0) != 0:
            raise RuntimeError("the visitors failed")
    finally:
        if visitors.poll() is None:
            end(visitors)
    time.sleep(LEAVE_S)
    # A budget that nobody draws from is forgotten when the next one is asked for.
    touch(peer)
    time.sleep(LEAVE_S)
    after = look(peer, counts, started)
    return {
        "seconds": seconds,
        "before": before,
        "after": after,
        "samples": samples,
        "visitors": seen,
        "outcomes": last_counts(counts)["outcomes"],
    }


def growth(found: dict[str, Any]) -> tuple[float, float, float]:
    """Memory in the minute after the warm-up and in the last one, and bytes/min between."""
    warm = min(WARM_S, found["seconds"] / 3)
    samples = [s for s in found["samples"] if warm <= s["s"] <= found["seconds"]]
    first = [s["memory_bytes"] for s in samples if s["s"] < warm + 60]
    last = [s["memory_bytes"] for s in samples if s["s"] > found["seconds"] - 60]
    early, late = stats.median(first), stats.median(last)
    times = [s["s"] / 60 for s in samples]
    middle = sum(times) / len(times)
    mean = sum(s["memory_bytes"] for s in samples) / len(samples)
    covariance = sum(
        (t - middle) * (s["memory_bytes"] - mean) for t, s in zip(times, samples, strict=True)
    )
    return early, late, covariance / sum((t - middle) ** 2 for t in times)


def left_over(found: dict[str, Any]) -> dict[str, int]:
    """What there is more of than before the first visitor came."""
    before, after = found["before"], found["after"]
    more = {key: after[key] - before[key] for key in ("tasks", "connections", "files")}
    held = after["held"]
    more |= {key: held[key] - before["held"].get(key, 0) for key in held}
    return {key: count for key, count in more.items() if count > 0}


def shown(sample: dict[str, Any]) -> str:
    held = ", ".join(f"{key} {count}" for key, count in sample["held"].items() if count)
    return (
        f"{sample['s'] / 60:4.1f} min  {sample['memory_bytes'] / 2**20:.1f} MiB  "
        f"tasks {sample['tasks']}  files {sample['files']}  {held}"
    )


def rows_of(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    early, late, slope = growth(found)
    left = left_over(found)
    visits = sum(n for what, n in found["visitors"].items() if what.startswith("visits"))
    return ["churn", "figure"], [
        ["minutes", f"{found['seconds'] / 60:.0f}"],
        ["visits", f"{visits}"],
        ["endings", ", ".join(f"{k} {n}" for k, n in sorted(found["outcomes"].items()))],
        ["memory after warm-up", f"{early / 2**20:.1f} MiB"],
        ["memory in the last minute", f"{late / 2**20:.1f} MiB"],
        ["trend", f"{slope / 1024:+.1f} KiB/min"],
        ["left over", ", ".join(f"{k} {n}" for k, n in left.items()) or "nothing"],
    ]


def tables(found: dict[str, Any]) -> Sequence[tuple[str, list[str], list[list[str]]]]:
    return [("clients that come, abort, stall and return", *rows_of(found))]


@click.command()
@click.option("--minutes", default=30.0, show_default=True, help="How long they come.")
@click.option("--quick", is_flag=True, help="One minute; not kept.")
def main(minutes: float, quick: bool) -> None:
    """Clients that come, abort, stall and return: memory over time, and what is left over."""
    programs.end_tidily()
    minutes = 1.0 if quick else minutes
    results.console.print(f"churn: {minutes:.0f} min")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        counts = folder / "counts"
        options = ["-s", str(Path(__file__).parent / "counts.py"),
                   "--set", f"bench_counts={counts}"]  # fmt: skip
        with (
            running_origin(folder) as origin,
            peers.ours(folder, origin, POLICY, options) as peer,
        ):
            found = churn(peer, counts, minutes * 60.0)
            assert peer.log is not None
            complaints = peer.log.read_text(errors="replace").splitlines()
    found["complaints"] = complaints[:50]
    for title, columns, rows in tables(found):
        results.table(title, columns, rows)
    if complaints:
        results.console.print(f"the proxy's log has {len(complaints)} lines, the first of them:")
        results.console.print("\n".join(complaints[:30]), markup=False)
    if not quick:
        results.keep("churn", **found)


if __name__ == "__main__":
    main()
