"""Workers that end, that cannot start, and that are told to stop; a small script for mitmdump."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.process import alive

FAKE = Path(__file__).with_name("fake_worker.py")
RUN = (
    "import sys; from mitmthrottle.fleet import run_workers; "
    "sys.exit(run_workers(['--set', 'throttle_store=valkey://store.example'], int(sys.argv[3]), "
    "[sys.executable, *sys.argv[1:3]]))"
)
WITHIN_S = 30.0


class Fleet:
    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUN, str(FAKE), str(folder), str(count)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def log(self) -> str:
        return self._log.read_text()

    def starts(self) -> list[tuple[int, int, str]]:
        """(worker, process id, whether it had the port alone) of each start."""
        path = self.folder / "starts"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(n), int(pid), alone) for n, pid, alone in map(str.split, lines)]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def wait_for_line(self, text: str) -> None:
        self.wait_for(lambda: text in self.log())

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(WITHIN_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    running: list[Fleet] = []

    def begin(count: int = 2, **tasks: str) -> Fleet:
        for name, task in tasks.items():
            (tmp_path / name.removeprefix("worker")).write_text(task)
        running.append(Fleet(tmp_path, count))
        return running[-1]

    yield begin
    for fleet in running:
        if fleet.process.poll() is None:
            fleet.process.kill()
            fleet.process.wait()
        for _, pid, _ in fleet.starts():
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_told_to_stop_all_stop(start: Callable[..., Fleet], number: int) -> None:
    fleet = start(3)
    fleet.wait_for_line("worker 2 of 3 listens at 127.0.0.1:8080")
    fleet.wait_for_line("worker 3 of 3 listens at 127.0.0.1:8080")
    assert "[worker 1] --set throttle_store=valkey://store.example" in fleet.log()
    assert fleet.stop(number) == 0
    assert not any(alive(pid) for _, pid, _ in fleet.starts())
    assert "starting it again" not in fleet.log()


def test_one_that_ends_is_started_again(start: Callable[..., Fleet]) -> None:
    fleet = start()
    fleet.wait_for_line("worker 2 of 2 listens")
    first = fleet.starts()[0]
    assert first[::2] == (1, "alone")
    os.kill(first[1], signal.SIGKILL)
    fleet.wait_for_line("[supervisor] worker 1 ended with SIGKILL; starting it again in 0.25 s")
    fleet.wait_for(lambda: len(fleet.starts()) == 3)
    # The port is shared by now.
    assert fleet.starts()[2][::2] == (1, "shared")
    assert alive(fleet.starts()[1][1])
    assert fleet.stop() == 0


def test_what_cannot_start_at_all_is_said_once(start: Callable[..., Fleet]) -> None:
    fleet = start(worker1="fail")
    assert fleet.process.wait(WITHIN_S) == 1
    assert fleet.log() == "[worker 1] no\n[supervisor] worker 1 ended with status 3\n"
    assert len(fleet.starts()) == 1


def test_one_that_cannot_start_does_not_end_the_others(start: Callable[..., Fleet]) -> None:
    fleet = start(worker2="fail")
    fleet.wait_for(lambda: Counter(n for n, _, _ in fleet.starts())[2] >= 4)
    assert alive(fleet.starts()[0][1])
    (fleet.folder / "2").unlink()
    fleet.wait_for_line("worker 2 of 2 listens")
    assert fleet.stop() == 0


def test_when_none_can_run_any_more_the_whole_gives_up(start: Callable[..., Fleet]) -> None:
    fleet = start()
    fleet.wait_for_line("worker 2 of 2 listens")
    pids = [pid for _, pid, _ in fleet.starts()]
    for name in ("1", "2"):
        (fleet.folder / name).write_text("fail")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert fleet.process.wait(WITHIN_S) == 1
    assert "[supervisor] no worker can run: giving up" in fleet.log()


def test_one_that_does_not_stop_is_killed_when_told_twice(start: Callable[..., Fleet]) -> None:
    fleet = start(worker2="stubborn")
    fleet.wait_for_line("[worker 2] --set")
    fleet.process.send_signal(signal.SIGTERM)
    fleet.wait_for(lambda: not alive(fleet.starts()[0][1]))
    assert fleet.process.poll() is None
    assert fleet.stop() == 0
    assert not any(alive(pid) for _, pid, _ in fleet.starts())


def test_questions_are_passed_on(start: Callable[..., Fleet]) -> None:
    fleet = start()
    fleet.wait_for_line("[worker 2] --set")
    fleet.process.send_signal(signal.SIGUSR1)
    fleet.wait_for_line("[worker 1] busy with nothing")
    fleet.wait_for_line("[worker 2] busy with nothing")
    assert fleet.stop() == 0


def test_a_service_manager_hears_of_the_whole(
    start: Callable[..., Fleet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the supervisor, once a worker accepts connections and for as long as one does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.bind(str(tmp_path / "notify"))
        there.settimeout(WITHIN_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "60000")
        fleet = start()
        assert there.recv(100) == b"READY=1"
        assert "worker 1 of 2 listens" in fleet.log()
        assert there.recv(100) == b"WATCHDOG=1"
        fleet.wait_for_line("worker 2 of 2 listens")
        for _, pid, _ in fleet.starts():
            assert b"NOTIFY_SOCKET=" not in Path(f"/proc/{pid}/environ").read_bytes()
        for number in ("1", "2"):
            (fleet.folder / number).write_text("fail")
        for _, pid, _ in fleet.starts():
            os.kill(pid, signal.SIGKILL)
        fleet.wait_for_line("[supervisor] worker 2 ended with SIGKILL")
        fleet.wait_for_line("[supervisor] worker 1 ended with SIGKILL")
        there.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while there.recv(100):
                pass
        there.settimeout(0.3)
        with pytest.raises(TimeoutError):
            there.recv(100)
