"""A mitmproxy script that writes down every half second what the process holds: asyncio tasks, open
files, memory, objects of ours.

Rule: it only counts; what it reads of the kernel is what anybody may read.
"""

import asyncio
import gc
import json
import os
import time
from pathlib import Path

from mitmproxy import ctx
from mitmproxy.addonmanager import Loader

EVERY_S = 0.5


class Probe:
    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def load(self, loader: Loader) -> None:
        loader.add_option("probe", str, "", "File to write the counts to.")

    def running(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._count(), name="probe")

    def done(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _count(self) -> None:
        path = Path(ctx.options.probe)
        while True:
            await asyncio.sleep(EVERY_S)
            with path.open("a") as file:
                line = {
                    "at": time.perf_counter(),
                    "tasks": len(asyncio.all_tasks()),
                    "fds": len(os.listdir("/proc/self/fd")),  # noqa: PTH208  (cheaper)
                    "rss_bytes": _resident_bytes(),
                    # With those that the collector passes over, see proxy/mitm/gc_freeze.py.
                    "frozen": gc.get_freeze_count(),
                    "objects": len(gc.get_objects()) + gc.get_freeze_count(),
                }
                file.write(json.dumps(line) + "\n")


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


addons = [Probe()]
