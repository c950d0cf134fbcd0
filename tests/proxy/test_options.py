"""What is given for our options before mitmproxy knows them, and what becomes of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader
from mitmproxy.test import taddons

from mitmthrottle.proxy.control.options import checked


class Part:
    """A script with three options, of which it refuses one value."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def load(self, loader: Loader) -> None:
        loader.add_option("throttle_colour", str, "red", "", choices=("red", "green"))
        loader.add_option("throttle_width", int, 1, "")
        loader.add_option("throttle_page", str, "", "")

    def configure(self, updated: set[str]) -> None:
        if ctx.options.throttle_page == "fish":
            raise exceptions.OptionsError("throttle_page: `fish` is no page")
        self.seen.append(ctx.options.throttle_colour)

    def running(self) -> None:
        self.seen.append("running")


class Script:
    """As mitmproxy loads one."""

    def __init__(self, context: taddons.context) -> None:
        self.part = Part()
        self.hooks = checked(
            {name: getattr(self.part, name) for name in ("load", "configure", "running")}
        )
        self._master = context.master

    def load(self) -> None:
        self.hooks["load"](Loader(self._master))
        self._master.options.process_deferred()
        self.hooks["configure"](set(self._master.options.keys()))


@pytest.fixture
def context() -> Iterator[taddons.context]:
    with taddons.context() as tctx:
        yield tctx


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not [record for record in errors if record.exc_info]  # would be a traceback
    return [record.getMessage() for record in errors]


def given(context: taddons.context, *specs: str) -> Script:
    context.options.set(*specs, defer=True)
    script = Script(context)
    script.load()
    return script


def test_what_can_be_taken_is_taken(
    context: taddons.context, caplog: pytest.LogCaptureFixture
) -> None:
    script = given(context, "throttle_colour=green", "throttle_width=3", "elsewhere=x")
    assert said(caplog) == []
    assert script.part.seen == ["green"]
    assert context.options.throttle_width == 3
    assert list(context.options.deferred) == ["elsewhere"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("throttle_colour=gren", "throttle_colour: `gren` is none of its values: did you mean `gr"),
        ("throttle_width=wide", "not an integer: wide: set throttle_width once"),
        ("throttle_page=fish", "throttle_page: `fish` is no page"),
        ("throttle_color=red", "there is no option throttle_color: did you mean `throttle_colour`"),
        ("throttle-page=x", "there is no option throttle-page: did you mean `throttle_page`?"),
        ("throttle_zzz", "there is no option throttle_zzz: "),
    ],
)
def test_what_cannot_is_a_sentence(
    context: taddons.context, caplog: pytest.LogCaptureFixture, spec: str, words: str
) -> None:
    given(context, spec)
    (sentence,) = said(caplog)
    assert sentence.startswith("mitmthrottle: ")
    assert words in sentence.replace("Not an integer", "not an integer")  # as 12.2 has it


def test_one_that_cannot_does_not_lose_the_others(
    context: taddons.context, caplog: pytest.LogCaptureFixture
) -> None:
    given(context, "throttle_width=wide", "throttle_colour=green")
    assert len(said(caplog)) == 1
    assert context.options.throttle_colour == "green"


def test_a_script_that_follows_does_not_make_it_said_twice(
    context: taddons.context, caplog: pytest.LogCaptureFixture
) -> None:
    script = given(context, "throttle_page=fish")
    script.hooks["configure"]({"elsewhere"})  # mitmproxy tells of each option that is added
    assert len(said(caplog)) == 1


def test_once_it_runs_mitmproxys_editors_are_told(
    context: taddons.context, caplog: pytest.LogCaptureFixture
) -> None:
    script = given(context)
    script.hooks["running"]()
    context.options.throttle_colour = "blue"
    with pytest.raises(exceptions.OptionsError, match="`blue` is none of its values"):
        script.hooks["configure"]({"throttle_colour"})
    assert said(caplog) == []


def test_choices_of_others_are_not_ours(context: taddons.context) -> None:
    script = given(context)
    script.hooks["running"]()
    Loader(context.master).add_option("other_colour", str, "blue", "", choices=["red"])
    script.hooks["configure"]({"other_colour"})


def test_running_may_wait(context: taddons.context) -> None:
    ran: list[Any] = []

    async def running() -> None:
        ran.append(True)

    part = Part()
    hooks = checked({"load": part.load, "configure": part.configure, "running": running})
    asyncio.run(hooks["running"]())
    assert ran
