"""Programs of the bench: started, waited for, measured, ended by their ids.

Rule: CPU and memory are what the kernel says of a program and of the processes under it: seconds
of user and system time, proportional set size in bytes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
START_S = 20.0
STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a program had used at a time of CLOCK_MONOTONIC."""

    at: float
    cpu_s: float
    memory_bytes: int

    def cores_since(self, earlier: Usage) -> float:
        """CPU between two looks, in cores."""
        return (self.cpu_s - earlier.cpu_s) / (self.at - earlier.at)


def family(pid: int) -> list[int]:
    """A process and all under it."""
    found = [pid]
    for process in found:  # grows while it is walked
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            children = Path(f"/proc/{process}/task/{process}/children").read_text()
            found += [int(child) for child in children.split()]
    return found


def usage(pid: int) -> Usage:
    """CPU and memory of a process and all under it, now."""
    at = time.monotonic()
    cpu_s, memory = 0.0, 0
    for process in family(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # The name, in parentheses, may hold anything.
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            cpu_s += (int(fields[11]) + int(fields[12])) / TICKS_PER_S
            memory += pss_bytes(process)
    return Usage(at, cpu_s, memory)


def pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def cpu_s(pid: int) -> float:
    """CPU seconds only: cheap, for many looks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(
    command: Sequence[str], log: Path, port: int | None = None, prefix: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """A program, for the length of the block.  With `port`: it listens on loopback when the block
    begins; RuntimeError with the end of its log if it does not.  `prefix`: run it inside
    something, as `ip netns exec`."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        if port is not None:
            _wait_for(process, port, log)
        yield process
    finally:
        end(process)


def end_tidily() -> None:
    """To be called first: a bench that is asked to end leaves none of its programs behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{process.args!r} does not listen on port {port}:\n{tail}")
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and see to it."""
    members = family(process.pid) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for member in members[1:]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
