"""Some thousand short runs, and the stories by hand.  `make simulate` does more of them."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator

import pytest

from .draw import scenario
from .frames import differences
from .scenario import examine
from .shrink import shrink, smallest
from .steps import Ask, Open, Policy
from .stories import STORIES
from .transport import Pipe

CHUNKS = 6
SECONDS = float(os.environ.get("SIMULATE_SECONDS", "30"))  # in all, of one core
FIRST_SEED = int(os.environ.get("SIMULATE_SEED", "0"))
RUNS_A_CHUNK = 1_000_000


@pytest.fixture(autouse=True)
def _few_searches_for_garbage() -> Iterator[None]:
    """Each run searches once, at its end; what was there before is left out."""
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


@pytest.mark.timeout(0)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_whatever_happens(chunk: int) -> None:
    until = time.process_time() + SECONDS / CHUNKS
    seed = FIRST_SEED + chunk * RUNS_A_CHUNK
    while time.process_time() < until:
        outcome = examine(seed, scenario(seed))
        said = "\n".join(map(str, outcome.faults))
        assert not outcome.faults, f"{said}\nmake simulate SEED={seed}"
        seed += 1


@pytest.mark.parametrize("story", STORIES)
def test_story(story: str) -> None:
    outcome = examine(1, STORIES[story])
    assert not outcome.faults, "\n".join(map(str, outcome.faults))


def test_the_same_seed_is_the_same_run() -> None:
    first, second = (examine(5, scenario(5)).world for _ in range(2))
    assert first.wire == second.wire
    assert [str(each) for each in first.exchanges.values()] == [
        str(each) for each in second.exchanges.values()
    ]


def test_only_what_is_needed_is_left() -> None:
    tried: list[list[int]] = []

    def fails(kept: object) -> bool:
        assert isinstance(kept, list)
        tried.append(kept)
        return {3, 11} <= set(kept)

    assert smallest(range(20), fails, seconds=10) == [3, 11]
    assert len(tried) < 60


def test_a_step_that_does_nothing_is_left_out() -> None:
    steps = [
        Policy(0, "rate", "16000 B/s"),
        Open(0, "h1"),
        Ask(1, 0, "a1.test", "GET", 0, 20_000),
        Ask(2, 0, "c1.test"),
    ]
    outcome = examine(1, steps)
    assert not outcome.faults
    assert shrink(1, steps, "bytes", seconds=1) == [0, 1, 2, 3]  # there is nothing to find


def test_streams_are_compared_each_by_itself() -> None:
    def data(stream: int, body: bytes) -> bytes:
        return len(body).to_bytes(3, "big") + b"\x00\x00" + stream.to_bytes(4, "big") + body

    one, other = data(1, b"aa"), data(3, b"b")
    assert not differences([one, other], [other, one])
    assert "stream 3" in differences([one, other], [one, data(3, b"c")])
    assert "at byte" in differences([b"HTTP/1.1 200\r\n"], [b"HTTP/1.1 201\r\n"])


def test_a_pipe_keeps_the_order_and_its_bounds() -> None:
    from .loop import VirtualLoop

    loop = VirtualLoop()
    pipe = Pipe(loop, latency_s=0.1, capacity=10)
    came: list[tuple[float, bytes]] = []
    pipe.receive = lambda data: came.append((round(loop.elapsed(), 2), data))
    pipe.write(b"abc")
    pipe.write(b"def")
    assert pipe.room == 4
    loop.call_later(0.5, loop.stop)
    loop.run_forever()
    loop.close()
    assert came == [(0.1, b"abc"), (0.1, b"def")]
    assert pipe.room == 10
