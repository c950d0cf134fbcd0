"""Two programs, or two states of one, under the same load, turn by turn, by one client that keeps
its connections.

Rule: turns are short and take place many times, since what a shared machine can do may differ by a
half from one second to the next.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from . import client
from .plan import Plan
from .programs import cpu_s
from .record import Record

Told = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one job did in the part of its turn that counts."""

    job: str
    seconds: float
    answers: int
    """complete ones"""
    body_bytes: int
    cpu_s: float
    """of the job's program"""


def take(plan: Plan, pids: Mapping[str, int], told: Told = lambda event, job: None) -> list[Turn]:
    """Do a plan with turns; `pids`: of each job's program.

    `told` of each job's `turn` when it comes, and of the `begin` of what counts of it; it must
    return at once.  RuntimeError if the client fails or takes a minute and a half longer than
    it may.
    """
    process = client.start(plan)
    longest = plan.turns * (plan.settle_s + (plan.measure_s or 0.0))
    watchdog = threading.Timer(longest + client.SLACK_S, process.kill)
    watchdog.start()
    job, begin, before = "", 0.0, 0.0
    spans: list[tuple[str, float, float, float]] = []
    records: list[Record] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            if said["event"] in ("turn", "begin"):
                told(said["event"], said["job"])
            match said["event"]:
                case "begin":
                    job, begin, before = said["job"], said["t"], cpu_s(pids[said["job"]])
                case "end":
                    spans.append((job, begin, said["t"], cpu_s(pids[job]) - before))
                case "result":
                    records = [Record.from_list(each) for each in said["records"]]
        if process.wait() != 0:
            raise RuntimeError(f"the load client ended with status {process.returncode}")
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
    return [
        Turn(job, end - begin, *_came([r for r in records if r.job == job], begin, end), used)
        for job, begin, end, used in spans
    ]


def _came(records: list[Record], begin: float, end: float) -> tuple[int, int]:
    answers = sum(r.ended == "complete" and begin <= r.ended_at < end for r in records)
    size = sum(size for r in records for when, size in r.arrivals if begin <= when < end)
    return answers, int(size)
