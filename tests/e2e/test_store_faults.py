"""Under load: the store killed and restarted empty, frozen; a proxy killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .figures import Figures
from .ran import watched
from .store_crowd import jain, until
from .store_fleet import Fleet, kill
from .store_outage import EACH, RATE, ids_of, outage, under_load

pytestmark = pytest.mark.e2e

AWAY_S = 6.0


@pytest.fixture(scope="module")
def four(policy: Callable[[str], Path]) -> Iterator[Fleet]:
    with under_load(policy) as running:
        yield running


def test_the_store_is_killed_and_comes_back_empty(four: Fleet, figures: Figures) -> None:
    four.store.kill()
    # They share the last proxy's part, until the store is back and all have equal parts again.
    four.crowd.join(four.doors[3], EACH)
    outage(four, figures, "killed and restarted empty", AWAY_S, four.store.start)
    log = four.log()
    assert log.count(" is away (") == 4
    assert until(lambda: four.log().count(" is back after ") == 4, 3) is not None
    assert until(lambda: four.log().count(" has lost what it knew") == 4, 3) is not None


def test_the_store_is_frozen(four: Fleet, figures: Figures) -> None:
    four.store.freeze()
    outage(four, figures, "frozen", AWAY_S, four.store.thaw)


def test_a_killed_proxys_part_goes_to_the_others(four: Fleet, figures: Figures) -> None:
    people = four.crowd
    kill(four.proxies[0])
    gone = time.perf_counter()
    left = [body for body in people.bodies if body.proxy != four.doors[0]]
    with watched(ids_of(four)[1:]) as ran:
        time.sleep(4)
        start = ran.next_undisturbed(gone + 2, 2.0)
    whole = next(
        (
            n / 10
            for n in range(35)
            if people.sum_bytes_per_s(gone + n / 10, gone + n / 10 + 0.5, left) > 0.95 * RATE
        ),
        None,
    )
    rates = people.rates(start, start + 2, left)
    figures.add("store, a proxy killed: the others have its part after",
                "never" if whole is None else whole, "s")  # fmt: skip
    figures.add("store, a proxy killed: sum over rate two seconds later", sum(rates) / RATE)
    assert whole is not None
    assert whole < 2
    assert sum(rates) / RATE == pytest.approx(1, abs=0.05)
    assert jain(rates) > 0.98
    assert not [body.broken for body in left if body.broken]
