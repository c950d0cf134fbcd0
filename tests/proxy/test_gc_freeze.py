"""The garbage collector does not look through what was there at the start."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from mitmthrottle.proxy.mitm.gc_freeze import FreezeGarbage


@pytest.fixture
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
def test_what_was_there_at_the_start_is_not_looked_through() -> None:
    kept = [[number] for number in range(1000)]
    FreezeGarbage().running()
    looked_through = {id(each) for each in gc.get_objects()}
    assert not looked_through & {id(each) for each in kept}
    later = [[number] for number in range(1000)]
    assert {id(each) for each in gc.get_objects()} >= {id(each) for each in later}
