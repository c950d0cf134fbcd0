"""Starts the load client in a process of its own and looks at the clock and at the programs
while it runs.

Rule: CPU and memory of a program are taken at the moments at which the client says that its
measurement begins and ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .plan import Plan
from .programs import Usage, usage
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

    def of(self, job: str) -> list[Record]:
        return [record for record in self.records if record.job == job]

    @property
    def cores(self) -> float:
        if self.before is None or self.after is None:
            raise ValueError("no program was watched")
        return self.after.cores_since(self.before)


def run(plan: Plan, watch: int | None = None, prefix: Sequence[str] = ()) -> Outcome:
    """Do a plan and wait for it.  `watch`: id of the program to measure meanwhile.

    RuntimeError if the client fails or takes a minute longer than it may.
    """
    process = start(plan, prefix)
    return finish(process, plan, watch)


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


def finish(process: subprocess.Popen[str], plan: Plan, watch: int | None = None) -> Outcome:
    outcome = Outcome()
    cpu_at_begin = cpu_first = 0.0
    longest = (plan.duration_s or 0) + (plan.measure_s or 0) + plan.ramp_s + plan.settle_s
    watchdog = threading.Timer(longest + SLACK_S, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            match said["event"]:
                case "connected":
                    outcome.connected = outcome.begin = said["t"]
                    cpu_at_begin = cpu_first = said["cpu_s"]
                    if plan.measure_s is None and watch is not None:
                        outcome.before = usage(watch)
                case "begin":
                    outcome.begin, outcome.missing = said["t"], said["missing"]
                    cpu_at_begin = said["cpu_s"]
                    if watch is not None:
                        outcome.before = usage(watch)
                case "end":
                    if watch is not None:
                        outcome.after = usage(watch)
                    outcome.end = said["t"]
                    seconds = outcome.end - outcome.begin
                    outcome.client_cores = (said["cpu_s"] - cpu_at_begin) / seconds
                case "result":
                    outcome.records = [Record.from_list(each) for each in said["records"]]
                    if not outcome.end:
                        if watch is not None:
                            outcome.after = usage(watch)
                        outcome.end = said["t"]
                        seconds = outcome.end - outcome.begin
                        outcome.client_cores = (said["cpu_s"] - cpu_first) / seconds
        if process.wait() != 0:
            raise RuntimeError(f"the load client ended with status {process.returncode}")
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
    return outcome
