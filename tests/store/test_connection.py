"""A call's time is the store's time, not ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from mitmthrottle.store import Address
from mitmthrottle.store import connection as module
from mitmthrottle.store.connection import Connection, StoreUnavailable

Script = Callable[[list[str], list[str]], Awaitable[str]]


def asked(script: Script, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.05)

    async def main() -> str:
        connection = Connection(Address("store.invalid"))
        monkeypatch.setitem(connection._scripts, "parts.lua", script)
        return str(await connection.run("parts.lua", [], []))

    return asyncio.run(main())


def test_an_answer_that_came_while_we_could_not_run_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answers_soon(keys: list[str], arguments: list[str]) -> str:
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        loop.call_later(0.01, answer.set_result, "here")
        loop.call_soon(time.sleep, 0.2)  # the machine does something else
        return str(await answer)

    assert asked(answers_soon, monkeypatch) == "here"


def test_no_answer_is_waited_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    async def never(keys: list[str], arguments: list[str]) -> str:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("it")
        return ""

    with pytest.raises(StoreUnavailable, match=r"no answer within 0.05 s"):
        asked(never, monkeypatch)
    assert ended == ["it"]
