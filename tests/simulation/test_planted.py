"""The simulator finds what was put in to be found; without it, the same scenario is right."""

from __future__ import annotations

import pytest

from .draw import scenario
from .planted import PLANTS, Plant, found, planted
from .scenario import examine
from .stories import STORIES


@pytest.mark.timeout(60)
@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_is_found(plant: Plant) -> None:
    assert found(plant), f"nobody sees it: {plant.name}"


@pytest.mark.parametrize("shows", sorted({plant.shows for plant in PLANTS}, key=str))
def test_is_right_without(shows: str | int) -> None:
    steps = STORIES[shows] if isinstance(shows, str) else scenario(shows)
    assert not examine(1 if isinstance(shows, str) else shows, steps).faults


def test_a_line_that_is_gone_is_an_error() -> None:
    plant = Plant("x", "proxy.mitm.wake:Waker.close", "no such line", "pass", 1)
    with pytest.raises(LookupError, match="plant `x` where its idea lives now"), planted(plant):
        pass
