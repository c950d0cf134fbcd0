"""Under load: the store killed and restarted empty, frozen, cut off from a proxy; one killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .figures import Figures
from .store_crowd import jain, until
from .store_fleet import Fleet, fleet, kill

pytestmark = pytest.mark.e2e

RATE = 400_000.0
EACH = 8  # responses through each of four proxies
POLICY = """
version: 1
name: faults
rules:
  - {name: all of it, when: {host: .test}, then: {rate: {limit: 400 kB/s, per: rule}}}
"""
# What was waiting in sockets while the machine was busy may come at once; a second evens it out.
WIDTH_S = 2.0
AWAY_S = 6.0
CUT_OFF_S = 30.0


@pytest.fixture(scope="module")
def four(policy: Callable[[str], Path]) -> Iterator[Fleet]:
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
    start = time.perf_counter()
    time.sleep(seconds)
    back()
    returned = time.perf_counter()
    well = until(settled(four, len(people.bodies) - broken_before), 10)
    stop = time.perf_counter()
    mean = people.sum_bytes_per_s(start, returned) / RATE
    most = people.most_over(start - WIDTH_S, stop, WIDTH_S) / RATE
    figures.add(f"store {name}: sum over rate meanwhile, and of the fullest {WIDTH_S:g} s",
                f"{mean:.3f}, {most:.3f}")  # fmt: skip
    figures.add(f"store {name}: all well after its return", "never" if well is None else well, "s")
    assert len(people.broken()) == broken_before
    assert mean > 0.9
    assert most < 1.1
    assert well is not None
    assert well < 5
    assert stop - returned < 10


def test_the_store_is_killed_and_comes_back_empty(four: Fleet, figures: Figures) -> None:
    four.store.kill()
    outage(four, figures, "killed and restarted empty", AWAY_S, four.store.start)
    log = four.log()
    assert log.count(" is away (") == 4
    assert until(lambda: four.log().count(" is back after ") == 4, 3) is not None
    assert until(lambda: four.log().count(" has lost what it knew") == 4, 3) is not None


def test_the_store_is_frozen(four: Fleet, figures: Figures) -> None:
    four.store.freeze()
    outage(four, figures, "frozen", AWAY_S, four.store.thaw)


def test_a_proxy_is_cut_off_from_the_store(four: Fleet, figures: Figures) -> None:
    net = four.net
    assert net is not None
    net.cut_off(1)
    outage(four, figures, "cut off from one proxy for 30 s", CUT_OFF_S, lambda: net.rejoin(1))


def test_a_killed_proxys_part_goes_to_the_others(four: Fleet, figures: Figures) -> None:
    people = four.crowd
    kill(four.proxies[0])
    gone = time.perf_counter()
    left = [body for body in people.bodies if body.proxy != four.doors[0]]
    time.sleep(4)
    whole = next(
        (
            n / 10
            for n in range(35)
            if people.sum_bytes_per_s(gone + n / 10, gone + n / 10 + 0.5, left) > 0.95 * RATE
        ),
        None,
    )
    rates = people.rates(gone + 2, gone + 4, left)
    figures.add("store, a proxy killed: the others have its part after",
                "never" if whole is None else whole, "s")  # fmt: skip
    figures.add("store, a proxy killed: sum over rate two seconds later", sum(rates) / RATE)
    assert whole is not None
    assert whole < 2
    assert sum(rates) / RATE == pytest.approx(1, abs=0.05)
    assert jain(rates) > 0.98
    assert not [body.broken for body in left if body.broken]
