"""Starts the load client in a process of its own and looks at the clock and at the programs
while it runs.

Rule: CPU and memory of a program are taken at the moments at which the client says that its
measurement begins and ends.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import quiet
from .plan import Plan
from .programs import Usage, usage
from .quiet import Look
from .record import Record

ROOT = Path(__file__).parents[1]
SLACK_S = 90.0


@dataclass(slots=True)
class Outcome:
    """What a run of the load client brought."""

    records: list[Record] = field(default_factory=list)
    connected: float = 0.0  # when the plan's own time began
    begin: float = 0.0
    end: float = 0.0
    missing: int = 0  # streams without a first byte when the measurement began
    before: Usage | None = None  # of the watched program, at `begin`
    after: Usage | None = None  # and at `end`
    client_cores: float = 0.0  # what the load client itself used between the two
    elsewhere_cores: float = 0.0  # what programs that are not the bench's used meanwhile

    def of(self, job: str) -> list[Record]:
        return [record for record in self.records if record.job == job]

    @property
    def cores(self) -> float:
        if self.before is None or self.after is None:
            raise ValueError("no program was watched")
        return self.after.cores_since(self.before)


def run(
    plan: Plan,
    watch: int | None = None,
    prefix: Sequence[str] = (),
    tries: int = 1,
    disturbed: float = quiet.DISTURBED,
) -> Outcome:
    """Do a plan and wait for it.  `watch`: id of the program to measure meanwhile.

    With more than one try: waits for a quiet machine, and does it again if others used more than
    `disturbed` cores of it meanwhile; the least disturbed counts.  RuntimeError if the client
    fails or takes a minute and a half longer than it may.
    """
    if tries > 1:
        quiet.wait_for_quiet(disturbed)
    outcomes = []
    for _ in range(tries):
        outcomes.append(finish(start(plan, prefix), plan, watch))
        if outcomes[-1].elsewhere_cores < disturbed:
            break
    return min(outcomes, key=lambda outcome: outcome.elsewhere_cores)


def start(plan: Plan, prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "bench.load"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(plan.to_json())
    process.stdin.close()
    return process


def said(process: subprocess.Popen[str], longest_s: float) -> Generator[dict[str, Any]]:
    """What a client that was started says, until its end.

    RuntimeError if it fails or takes a minute and a half longer than it may.
    """
    watchdog = threading.Timer(longest_s + SLACK_S, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        yield from map(json.loads, process.stdout)
        if process.wait() != 0:
            raise RuntimeError(f"the load client ended with status {process.returncode}")
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()


def finish(process: subprocess.Popen[str], plan: Plan, watch: int | None = None) -> Outcome:
    """Follow a client that was started until its end."""
    longest_s = (plan.duration_s or 0) + (plan.measure_s or 0) + plan.ramp_s + plan.settle_s
    outcome = Outcome()
    first: tuple[Look, float] | None = None
    with contextlib.closing(said(process, longest_s)) as all_said:
        for each in all_said:
            event = each["event"]
            if event == "connected":
                outcome.connected = each["t"]
            if event in ("connected", "begin"):
                outcome.begin, outcome.missing = each["t"], each.get("missing", 0)
                first = Look.now(), each["cpu_s"]
                outcome.before = usage(watch) if watch is not None else None
            if event in ("end", "result") and first is not None:
                outcome.after = usage(watch) if watch is not None else None
                outcome.end = each["t"]
                outcome.elsewhere_cores = Look.now().elsewhere_since(first[0])
                outcome.client_cores = (each["cpu_s"] - first[1]) / (outcome.end - outcome.begin)
                first = None
            if event == "result":
                outcome.records = [Record.from_list(record) for record in each["records"]]
    return outcome
