"""What a service manager hears: systemd's protocol, on a socket that is a test's own."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mitmthrottle.proxy.control import service_manager
from mitmthrottle.proxy.control.service_manager import ALIVE, READY, interval_s, say_alive, tell


@pytest.fixture(params=["a path", "an abstract name"])
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """How the socket is called in the environment, and the socket."""
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        if request.param == "an abstract name":
            name = f"@mitmthrottle-{os.getpid()}"
            there.bind("\0" + name[1:])
        else:
            there.bind(name)
        there.settimeout(5)
        yield name, there


def test_it_is_told(heard: tuple[str, socket.socket]) -> None:
    name, there = heard
    tell(READY, {"NOTIFY_SOCKET": name})
    assert there.recv(100) == b"READY=1"


def test_without_one_nobody_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tell(READY, {})
    tell(READY, {"NOTIFY_SOCKET": ""})
    tell(READY, {"NOTIFY_SOCKET": "vsock:2:1234"})  # of virtual machines
    assert caplog.text == ""
    tell(READY, {"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert "could not be told READY=1" in caplog.text


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "6000000"}, 2.0),
        ({"WATCHDOG_USEC": "6000000", "WATCHDOG_PID": "7"}, 2.0),
        ({"WATCHDOG_USEC": "6000000", "WATCHDOG_PID": "8"}, None),  # another process is meant
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_how_often(environ: dict[str, str], expected: float | None) -> None:
    assert interval_s(environ, 7) == expected


def test_alive_again_and_again_while_it_serves(heard: tuple[str, socket.socket]) -> None:
    name, there = heard
    environ = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000"}
    asked: list[bool] = []

    def serves() -> bool:
        asked.append(len(asked) < 3)
        return asked[-1]

    async def some() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(say_alive(serves, environ), 0.3)

    asyncio.run(some())
    there.setblocking(False)
    assert [there.recv(100) for _ in range(3)] == [ALIVE.encode()] * 3
    assert len(asked) > 3
    with pytest.raises(BlockingIOError):
        there.recv(100)


def test_the_addon_says_that_it_is_ready_and_alive_and_ends(
    heard: tuple[str, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, there = heard
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))

    async def run() -> None:
        addon = service_manager.ServiceManager()
        addon.running()
        await asyncio.sleep(0)
        addon.done()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())
    assert (there.recv(100), there.recv(100)) == (b"READY=1", b"WATCHDOG=1")
