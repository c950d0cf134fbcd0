"""The watched policy file, in a real event loop: time passes, so the tests wait for events."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mitmthrottle.policy import Policy, PolicyError
from mitmthrottle.proxy.control.policy_file import PolicyFile, digest

GOOD = """
version: 1
name: {name}
rules:
  - when: {{host: .example.com}}
    then: {{rate: 128 kbit/s}}
"""


def write(path: Path, name: str) -> None:
    path.write_text(GOOD.format(name=name))


def replace(path: Path, name: str) -> None:
    """As most editors do it."""
    new = path.with_suffix(".new")
    write(new, name)
    new.replace(path)


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def watched(path: Path, script: Callable[[list[str], list[str]], object]) -> None:
    async def run() -> None:
        good: list[str] = []
        bad: list[str] = []

        def on_good(policy: Policy) -> None:
            good.append(policy.name)

        def on_bad(error: PolicyError) -> None:
            bad.append(str(error))

        live = PolicyFile(path, digest(path), on_good, on_bad)
        try:
            await script(good, bad)
        finally:
            live.stop()

    asyncio.run(run())


def test_a_written_and_a_replaced_file_take_over(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    write(path, "one")

    async def script(good: list[str], bad: list[str]) -> None:
        write(path, "two")
        await until(lambda: good == ["two"])
        replace(path, "three")
        await until(lambda: good == ["two", "three"])
        assert not bad

    watched(path, script)


def test_a_turned_symlink_takes_over(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap: p.yaml -> ..data/p.yaml, ..data -> ..version."""
    for name in ("one", "two"):
        (tmp_path / f"..{name}").mkdir()
        write(tmp_path / f"..{name}" / "p.yaml", name)
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "p.yaml").symlink_to("..data/p.yaml")

    async def script(good: list[str], bad: list[str]) -> None:
        (tmp_path / "..data_new").symlink_to("..two")
        (tmp_path / "..data_new").replace(tmp_path / "..data")
        await until(lambda: good == ["two"])

    watched(tmp_path / "p.yaml", script)


def test_a_broken_file_is_reported_once_and_the_next_good_one_taken(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    write(path, "one")

    async def script(good: list[str], bad: list[str]) -> None:
        path.write_text("version: 1\nrules: [{when: {hots: x}}]\n")
        await until(lambda: bool(bad))
        os.utime(path)  # touched, not changed
        await asyncio.sleep(0.6)
        assert len(bad) == 1
        assert "p.yaml:2:" in bad[0]
        assert "did you mean `host`" in bad[0]
        path.unlink()
        await asyncio.sleep(0.3)
        write(path, "two")
        await until(lambda: good == ["two"])

    watched(path, script)


async def steady(seconds: float, script: Callable[[], object]) -> float:
    """Carry it out; the longest that the event loop stood still meanwhile and for so long after."""
    longest = 0.0
    script()
    end = time.monotonic() + seconds
    before = time.monotonic()
    while before < end:
        await asyncio.sleep(0.005)
        longest, before = max(longest, time.monotonic() - before), time.monotonic()
    return longest


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def zeros(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def gigabyte(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**30)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("becomes", "said"),
    [
        (fifo, "no regular file"),
        (zeros, "no regular file"),
        (gigabyte, "larger than 8 MiB"),
        (folder, "no regular file"),
        (loop, "Too many levels of symbolic links"),
    ],
)
def test_whatever_the_file_becomes_it_is_said_once_and_the_next_good_one_taken(
    tmp_path: Path, becomes: Callable[[Path], None], said: str
) -> None:
    path = tmp_path / "p.yaml"
    write(path, "one")

    async def script(good: list[str], bad: list[str]) -> None:
        assert await steady(0.8, lambda: becomes(path)) < 0.2
        assert len(bad) == 1
        assert "cannot be read: " in bad[0]
        assert said in bad[0]
        if path.is_dir():
            path.rmdir()
        replace(path, "one")  # what was in force before
        await until(lambda: good == ["one"])
        becomes(path)
        await until(lambda: len(bad) == 2)

    watched(path, script)


def test_an_error_of_who_is_told_does_not_end_the_watching(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "p.yaml"
    write(path, "one")
    good: list[str] = []

    def on_good(policy: Policy) -> None:
        if policy.name != "three":
            raise RuntimeError("cannot take it")
        good.append(policy.name)

    async def script() -> None:
        live = PolicyFile(path, digest(path), on_good, lambda error: None)
        try:
            for name in ("two", "again", "three"):
                write(path, name)
                await asyncio.sleep(0.6)
            await until(lambda: good == ["three"])
        finally:
            live.stop()

    asyncio.run(script())
    assert len([each for each in caplog.records if "was not taken" in each.message]) == 1
