"""Those who wait for their turn: in order, and with or without a store."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from mitmthrottle.pacing import Parts
from mitmthrottle.store.connection import StoreUnavailable
from mitmthrottle.store.starts import SharedLine


@dataclass
class FakeStore:
    """Answers what it is told to, in order; then that it is away."""

    answers: list[tuple[int, float]]
    down: str = "split"
    away: str | None = None
    asked: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.parts = Parts()
        self.parts.processes = 4
        self.connection = self

    async def run(
        self, script: str, keys: list[str], arguments: list[Any]
    ) -> tuple[int, float, float]:
        self.asked.append(int(arguments[2]))
        await asyncio.sleep(0)
        if not self.answers:
            raise StoreUnavailable("gone")
        return (*self.answers.pop(0), 0.0)

    def missed(self, error: StoreUnavailable) -> None:
        self.away = str(error)


def line(store: FakeStore, count: int = 40, period_s: float = 1.0) -> SharedLine:
    return SharedLine(store, "key", count, period_s)  # type: ignore[arg-type]  # what it uses of it


async def started(waiting: SharedLine, count: int) -> list[tuple[float, int]]:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    seen: list[tuple[float, int]] = []

    async def one(number: int) -> None:
        await waiting.wait()
        seen.append((loop.time() - begin, number))

    await asyncio.gather(*(one(number) for number in range(count)))
    return seen


def test_a_batch_goes_at_once_and_in_order() -> None:
    store = FakeStore([(3, 0.0), (1, 120.0)])
    seen = asyncio.run(started(line(store), 4))
    assert [number for _, number in seen] == [0, 1, 2, 3]
    assert store.asked[0] == 4
    assert store.asked[-1] == 1
    assert 0.119 <= seen[3][0] < 2


def test_without_a_store_each_process_has_its_part_and_nothing_in_advance() -> None:
    """40 a second over four processes: one in 100 ms here."""
    store = FakeStore([], away="gone")
    seen = asyncio.run(started(line(store), 4))
    assert all(at >= 0.099 * number for number, (at, _) in enumerate(seen, 1))
    assert seen[-1][0] < 2
    assert not store.asked


def test_one_that_does_not_answer_is_away() -> None:
    store = FakeStore([])
    seen = asyncio.run(started(line(store), 1))
    assert store.away == "gone"
    assert len(store.asked) == 1
    assert seen[0][0] >= 0.099


def test_open_lets_them_go() -> None:
    store = FakeStore([], down="open", away="gone")
    assert asyncio.run(started(line(store), 50))[-1][0] < 0.2


def test_a_turn_that_nobody_took_is_lost() -> None:
    async def run() -> list[int]:
        store = FakeStore([(1, 50.0), (1, 0.0)])
        waiting = line(store)
        gone = asyncio.ensure_future(waiting.wait())
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.sleep(0.2)
        await waiting.wait()
        return store.asked

    assert asyncio.run(run()) == [1, 1]


@pytest.mark.parametrize("nonsense", [("many", "soon"), (1, "nan"), (1, 1e300), (-1, 0), (1e9, 0)])
def test_a_store_that_answers_nonsense_is_away(nonsense: Any) -> None:
    store = FakeStore([nonsense])
    asyncio.run(started(line(store), 1))
    assert store.away is not None
    assert "it has answered" in store.away
