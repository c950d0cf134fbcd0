"""A shared budget under load, and what an outage of the store does to it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .figures import Figures
from .ran import watched
from .store_crowd import SLOT_S, jain, until
from .store_fleet import Fleet, fleet

RATE = 400_000.0
EACH = 8  # responses through each of four proxies
POLICY = """
version: 1
name: faults
rules:
  - {name: all of it, when: {host: .test}, then: {rate: {limit: 400 kB/s, per: rule}}}
"""
# What was waiting in sockets while the machine was busy may come at once; two seconds even it out.
WIDTH_S = 2.0


def ids_of(four: Fleet) -> list[int]:
    """All that have to run, but for the store, which comes and goes."""
    return [proxy.pid for proxy in four.proxies] + [four.crowd.thread_id]


@contextlib.contextmanager
def under_load(policy: Callable[[str], Path]) -> Iterator[Fleet]:
    """Four proxies, each in a network namespace, that share the rate between `EACH` responses."""
    with fleet(policy(POLICY), 4, apart=True) as running:
        for door in running.doors:
            running.crowd.join(door, EACH)
        time.sleep(3)
        yield running
        assert "Traceback" not in running.log()


def settled(four: Fleet, responses: int) -> Callable[[], bool]:
    """Whether, over the last second, all of the rate is used and all that run have equal parts."""

    def look() -> bool:
        now = time.perf_counter()
        running = [body for body in four.crowd.bodies if not body.broken]
        rates = four.crowd.rates(now - 1, now, running)
        return sum(rates) > 0.9 * RATE and jain(rates) > 0.97 and len(rates) == responses

    return look


def outage(
    four: Fleet, figures: Figures, name: str, seconds: float, back: Callable[[], None]
) -> None:
    """The rate during and after it, and how soon all is well again."""
    people = four.crowd
    broken_before = len(people.broken())
    with watched(ids_of(four)) as ran:
        start = time.perf_counter()
        time.sleep(seconds - WIDTH_S)
        ran.next_undisturbed(time.perf_counter(), WIDTH_S)
        back()
        returned = time.perf_counter()
        well = until(settled(four, len(people.bodies) - broken_before), 10)
        stop = time.perf_counter()
        counted = [
            at
            for at in (start + n * SLOT_S for n in range(int((stop - start - WIDTH_S) / SLOT_S)))
            if ran.undisturbed(at, at + WIDTH_S)
        ]
    sums = {at: people.sum_bytes_per_s(at, at + WIDTH_S) / RATE for at in counted}
    meanwhile = [each for at, each in sums.items() if at + WIDTH_S < returned]
    mean = sum(meanwhile) / len(meanwhile)
    most = max(sums.values())
    figures.add(f"store {name}: sum over rate meanwhile, and of the fullest {WIDTH_S:g} s",
                f"{mean:.3f}, {most:.3f}")  # fmt: skip
    figures.add(f"store {name}: all well after its return", "never" if well is None else well, "s")
    assert len(people.broken()) == broken_before
    assert mean > 0.9
    assert most < 1.1
    assert well is not None
    assert well < 5
    assert stop - returned < 10
