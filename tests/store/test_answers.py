"""A store that answers nonsense is as good as away: nothing hangs, and nothing is unlimited."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import Mock

import pytest

from mitmthrottle.pacing import Answer, Demand, SharedQuota
from mitmthrottle.store import Address, Store, exchange_status
from mitmthrottle.store.answers import count, fraction, milliseconds
from mitmthrottle.store.connection import StoreUnavailable

from .test_store import made, until

NONSENSE = ["nan", "inf", "-inf", "-5", "1e300", "", "a", "\x1b[2J", None, [], b"\xff", "9" * 400]


@pytest.mark.parametrize("text", NONSENSE)
def test_what_is_no_number_is_no_answer(text: object) -> None:
    for parse in (fraction, milliseconds, lambda each: count(each, 100)):
        with pytest.raises(StoreUnavailable, match="it has answered"):
            parse(text)


def test_numbers_are_read() -> None:
    assert [fraction(text) for text in ("0", "0.25", "1", "1.0000000001")] == [0, 0.25, 1, 1]
    assert milliseconds("1500.5") == 1500.5
    assert count("7", 7) == 7
    with pytest.raises(StoreUnavailable):
        count("8", 7)
    with pytest.raises(StoreUnavailable):
        fraction("1.01")


@pytest.mark.parametrize("text", [*NONSENSE, "0.25"])
@pytest.mark.parametrize("place", range(1, 6))
def test_parts_are_taken_in_whole_or_not_at_all(
    place: int, text: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> list[Answer]:
        store = made(monkeypatch)
        answer: list[object] = ["epoch", "3", "1000", "0.25", "0.25", "3"]
        answer[place] = text
        taken_in: list[Answer] = []

        async def run(script: str, keys: Any, arguments: Any) -> list[object]:
            return answer

        def answered(part: object, demand: object, told: Answer, now: float) -> None:
            taken_in.append(told)

        part = Mock(key="all")
        monkeypatch.setattr(store.connection, "run", run)
        monkeypatch.setattr(store.parts, "due", lambda now, most: [(part, Demand(1, 0, 0.5, 0.5))])
        monkeypatch.setattr(store.parts, "unanswered", lambda part: None)
        monkeypatch.setattr(store.parts, "answered", answered)
        store.parts.processes = 2
        if text == "0.25":
            assert not await store.sharing.tell()
        else:
            with pytest.raises(StoreUnavailable):
                await store.sharing.tell()
            assert store.parts.processes == 2
        return taken_in

    assert len(asyncio.run(main())) == (1 if text == "0.25" else 0)


@pytest.mark.parametrize("text", NONSENSE)
def test_the_store_is_away_while_it_talks_nonsense_and_then_back(
    text: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        store = made(monkeypatch)
        answer: list[list[object]] = [["epoch", text, "1000"]]

        async def run(script: str, keys: Any, arguments: Any) -> list[object]:
            return [*answer[0], *["0.5", "0.5", "2"] * (len(keys) - 1)]

        monkeypatch.setattr(store.connection, "run", run)
        store.start()
        await until(lambda: store.away is not None)
        assert store.away is not None
        assert "it has answered" in store.away
        assert store.away.isprintable()
        answer[0] = ["epoch", "2", "1000"]
        await until(lambda: store.away is None)
        store.stop()

    asyncio.run(main())


@pytest.mark.parametrize("text", NONSENSE)
def test_a_quota_is_the_proxys_own_meanwhile(text: object, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        store = made(monkeypatch)

        async def run(script: str, keys: Any, arguments: Any) -> object:
            return text

        monkeypatch.setattr(store.connection, "run", run)
        quota = store.quota("all", 1000, 60.0)
        assert isinstance(quota, SharedQuota)
        await store._quotas._tell(quota)
        assert store.away is not None

    asyncio.run(main())


@pytest.mark.parametrize(
    "answer", [None, "a", [], ["nan"], ["1", "p", "nan", "{}"], ["1", None, 0, 0]]
)
def test_what_others_say_of_themselves_does_no_harm(
    answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        store = Store(Address("store.invalid"), "split", asyncio.get_running_loop().time)

        async def run(script: str, keys: Any, arguments: Any) -> object:
            return answer

        monkeypatch.setattr(store.connection, "run", run)
        heard = await exchange_status(store, "{}", listen=True)
        assert heard is None or heard.messages == ()

    asyncio.run(main())
