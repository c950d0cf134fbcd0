"""Is the machine ours?  What others use while we measure makes a figure worthless.

Rule: every measurement carries the CPU that was used elsewhere meanwhile, in cores, and is done
again where that was too much.  The bench itself must not be niced.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from .programs import TICKS_PER_S, cpu_s, family

DISTURBED = 0.12  # of a core
LONGEST_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Look:
    """CPU seconds that the machine and this bench with all its programs had used at a time."""

    at: float
    machine_s: float
    bench_s: float

    @classmethod
    def now(cls) -> Look:
        # user, system, irq, softirq.  Not nice: who is niced gives way.
        fields = [
            int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        ]
        machine = fields[0] + fields[2] + sum(fields[5:7])
        bench = 0.0
        for process in family(os.getpid()):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                bench += cpu_s(process)
        return cls(time.monotonic(), machine / TICKS_PER_S, bench)

    def elsewhere_since(self, earlier: Look) -> float:
        """Cores that others used between two looks, with no program of ours ended in between."""
        used = (self.machine_s - earlier.machine_s) - (self.bench_s - earlier.bench_s)
        return max(0.0, used / (self.at - earlier.at))


def wait_for_quiet(disturbed: float = DISTURBED) -> bool:
    """Wait until others leave the machine alone for a second; False if they do not."""
    give_up = time.monotonic() + LONGEST_WAIT_S
    while time.monotonic() < give_up:
        before = Look.now()
        time.sleep(1.0)
        if Look.now().elsewhere_since(before) < disturbed:
            return True
    return False
