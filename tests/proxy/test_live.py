"""The watched policy file, in a real event loop: time passes, so the tests wait for events."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from mitmthrottle.policy import Policy, PolicyError
from mitmthrottle.proxy.live import LiveFile, digest

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

        live = LiveFile(path, digest(path), on_good, on_bad)
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
