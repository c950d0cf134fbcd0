"""Several addons as one: hooks in order, commands, errors of one kept from the others."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy import command, exceptions
from mitmproxy.test import taddons

from mitmthrottle.proxy.mitm.combine import combine


class Part:
    def __init__(self, name: str, heard: list[str], error: Exception | None = None) -> None:
        self._name, self._heard, self._error = name, heard, error

    def running(self) -> None:
        self._heard.append(self._name)
        if self._error is not None:
            raise self._error


class Slow:
    def __init__(self, heard: list[str], error: Exception | None = None) -> None:
        self._heard, self._error = heard, error

    async def done(self) -> None:
        self._heard.append("slow")
        if self._error is not None:
            raise self._error


class Quick:
    def __init__(self, heard: list[str]) -> None:
        self._heard = heard

    def done(self) -> None:
        self._heard.append("quick")


class Commander:
    @command.command("as.one")  # type: ignore[untyped-decorator]  # mitmproxy's own
    def one(self) -> str:
        return "done"

    @property
    def trap(self) -> str:
        raise AssertionError("properties of a part are not looked at")


class Script(SimpleNamespace):
    """What mitmproxy sees of a script."""

    def __init__(self, *parts: object) -> None:
        super().__init__(name="script", **combine(*parts))


def hook(one: Script, name: str) -> Any:
    return getattr(one, name)


def test_all_are_told_in_their_order() -> None:
    heard: list[str] = []
    hook(Script(Part("a", heard), Part("b", heard)), "running")()
    assert heard == ["a", "b"]


def test_a_hook_that_nobody_has_is_not_there() -> None:
    assert not hasattr(Script(Part("a", [])), "response")


def test_an_error_does_not_keep_an_event_from_the_next() -> None:
    heard: list[str] = []
    one = Script(Part("a", heard, ValueError("a's")), Part("b", heard), Part("c", heard))
    with pytest.raises(ValueError, match="a's"):
        hook(one, "running")()
    assert heard == ["a", "b", "c"]


def test_several_errors_are_told_together() -> None:
    one = Script(Part("a", [], ValueError("a's")), Part("b", [], KeyError("b's")))
    with pytest.raises(ExceptionGroup) as raised:
        hook(one, "running")()
    assert [type(each) for each in raised.value.exceptions] == [ValueError, KeyError]


def test_what_is_meant_for_mitmproxy_goes_to_it() -> None:
    heard: list[str] = []
    one = Script(Part("a", heard, exceptions.OptionsError("no")), Part("b", heard))
    with pytest.raises(exceptions.OptionsError):
        hook(one, "running")()
    assert heard == ["a"]


def test_what_follows_a_coroutine_comes_after_it() -> None:
    async def run() -> None:
        heard: list[str] = []
        result = hook(Script(Slow(heard), Quick(heard)), "done")()
        assert not heard
        await result
        assert heard == ["slow", "quick"]

    asyncio.run(run())


def test_an_error_of_a_coroutine_is_told() -> None:
    async def run() -> None:
        heard: list[str] = []
        with pytest.raises(ValueError, match="slow's"):
            await hook(Script(Slow(heard, ValueError("slow's")), Quick(heard)), "done")()
        assert heard == ["slow", "quick"]

    asyncio.run(run())


def test_mitmproxy_finds_the_commands_and_can_take_it_out_again() -> None:
    async def run() -> None:
        heard: list[str] = []
        one = Script(Commander(), Slow(heard), Quick(heard))
        with taddons.context() as context:
            context.master.addons.add(one)
            assert context.master.commands.execute("as.one") == "done"
            assert context.master.addons.get("script") is one
            context.master.addons.remove(one)  # as when a script is loaded anew
            await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
            assert heard == ["slow", "quick"]

    asyncio.run(run())
