"""What the kernel knows of a process: its state, memory, children, TCP connections.

Rule: read from /proc, so nothing of the process itself is touched or asked.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

_STATES = {"01": "established", "08": "close-wait", "0A": "listen"}


def resident_bytes(pid: int) -> int:
    """The memory that a process has in RAM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def alive(pid: int) -> bool:
    """Running, and not merely waiting for its parent to ask how it ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def family(pid: int) -> dict[int, str]:
    """The processes that come from this one, and their command lines."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            # "pid (name) state parent …", and the name may hold anything
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue  # it has ended meanwhile
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {each: name for each in found if (name := command_of(each))}


def command_of(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
    except OSError:
        return ""


def connections(pid: int) -> list[tuple[int, int, str]]:
    """(own port, other port, state) of each IPv4 TCP socket that the process has open."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            target = str(link.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = []
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes:
            own, other = (int(end.split(":")[1], 16) for end in fields[1:3])
            found.append((own, other, _STATES.get(fields[3], fields[3])))
    return found


def connections_to(pid: int, *ports: int) -> int:
    """How many connections the process has open to one of these ports."""
    return sum(1 for _, other, _ in connections(pid) if other in ports)


def wait_for(condition: Callable[[], bool], within_s: float) -> float | None:
    """Seconds until the condition held; None if it did not in time."""
    start = time.perf_counter()
    while not condition():
        if time.perf_counter() - start > within_s:
            return None
        time.sleep(0.01)
    return time.perf_counter() - start
