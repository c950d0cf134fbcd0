"""Two programs, or two states of one, under the same load, turn by turn, by one client that keeps
its connections.

Rule: turns are short and take place many times, since what a shared machine can do may differ by a
half from one second to the next.
"""

from __future__ import annotations

import contextlib
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
    longest_s = plan.turns * (plan.settle_s + (plan.measure_s or 0.0))
    job, begin, before = "", 0.0, 0.0
    spans: list[tuple[str, float, float, float]] = []
    records: list[Record] = []
    with contextlib.closing(client.said(client.start(plan), longest_s)) as all_said:
        for each in all_said:
            if each["event"] in ("turn", "begin"):
                told(each["event"], each["job"])
            match each["event"]:
                case "begin":
                    job, begin, before = each["job"], each["t"], cpu_s(pids[each["job"]])
                case "end":
                    spans.append((job, begin, each["t"], cpu_s(pids[job]) - before))
                case "result":
                    records = [Record.from_list(record) for record in each["records"]]
    return [
        Turn(job, end - begin, *_came([r for r in records if r.job == job], begin, end), used)
        for job, begin, end, used in spans
    ]


def _came(records: list[Record], begin: float, end: float) -> tuple[int, int]:
    answers = sum(r.ended == "complete" and begin <= r.ended_at < end for r in records)
    size = sum(size for r in records for when, size in r.arrivals if begin <= when < end)
    return answers, int(size)
