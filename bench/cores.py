"""A smaller core for a program: what it may have is a part of one, the rest is the others'.

Rule: the kernel's own quota (cgroups, version 1 or 2), in periods so long that work which comes in
lumps is not cut short by it; as root. With it, a machine of two cores can hold two proxies and
their load.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

PERIOD_US = 100_000
ROOT = Path("/sys/fs/cgroup")
VERSION_1 = ROOT / "cpu"


@contextlib.contextmanager
def part_of_a_core(pids: Sequence[int], part: float | None) -> Iterator[None]:
    """Each of these processes gets so much of a core at most, until the block ends.

    None: as much as there is. Raises OSError where cgroups cannot be used.
    """
    groups = []
    try:
        for pid in pids if part is not None else ():
            groups.append(_group(f"mitmthrottle-bench-{pid}", part or 1.0))
            (groups[-1] / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for group in groups:
            for pid in (group / "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError):  # it has ended
                    (group.parent / "cgroup.procs").write_text(pid)
            group.rmdir()


def _group(name: str, part: float) -> Path:
    quota_us = round(part * PERIOD_US)
    if (VERSION_1 / "cpu.shares").exists():
        group = VERSION_1 / name
        group.mkdir()
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(quota_us))
    else:
        (ROOT / "cgroup.subtree_control").write_text("+cpu")
        group = ROOT / name
        group.mkdir()
        (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
    return group
