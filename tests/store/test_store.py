"""Whether the store is there, and that telling it goes on whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from mitmthrottle.pacing import Parts, Shared
from mitmthrottle.store import Address, Store
from mitmthrottle.store import store as module
from mitmthrottle.store.connection import StoreUnavailable


def until(condition: Callable[[], bool]) -> asyncio.Future[None]:
    async def wait() -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.001)

    return asyncio.ensure_future(wait())


def made(monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store at which nobody is; each test says what comes of a call."""
    monkeypatch.setattr(module, "TRY_AGAIN_S", 0.001)
    store = Store(Address("store.invalid"), "split", asyncio.get_running_loop().time)
    Shared(store.parts).get("all", 1000.0, None, store._now())
    return store


def test_a_fault_while_waiting_does_not_end_the_calls(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        store = made(monkeypatch)
        told = []
        faults = [RuntimeError("odd")]

        def next_due(parts: Parts) -> float:
            if faults:
                raise faults.pop()
            return 0.0

        async def tell() -> bool:
            told.append(store.away)
            return False

        monkeypatch.setattr(Parts, "next_due", next_due)
        monkeypatch.setattr(store.sharing, "tell", tell)
        store.start()
        await until(lambda: len(told) > 2)
        assert told[0] == "an error of ours"
        assert store.away is None
        store.stop()

    asyncio.run(main())
    assert "mitmthrottle failed on what the store has said" in caplog.text


def test_one_refused_connection_is_no_outage_and_two_are(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        store = made(monkeypatch)
        answers = [
            StoreUnavailable("closed", at_once=True),
            None,
            *2 * [StoreUnavailable("closed", at_once=True)],
        ]
        seen = []

        async def tell() -> bool:
            seen.append(store.away)
            if answers and (answer := answers.pop(0)):
                raise answer
            return False

        monkeypatch.setattr(store.sharing, "tell", tell)
        store.start()
        await until(lambda: len(seen) > 5)
        assert seen[:6] == [None, None, None, None, "closed", None]
        assert store.counts["away"] == 1
        store.stop()

    asyncio.run(main())
