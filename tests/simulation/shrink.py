"""Fewer steps that still show the same fault (delta debugging, Zeller and Hildebrandt 2002)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from .scenario import Step, examine

type Fails = Callable[[Sequence[int]], bool]


def smallest(indices: Sequence[int], fails: Fails, seconds: float) -> list[int]:
    """A list of which no single part can be left out, or what was reached in that time."""
    until = time.monotonic() + seconds
    found, parts = list(indices), 2
    while len(found) > 1 and time.monotonic() < until:
        size = max(1, len(found) // parts)
        for start in range(0, len(found), size):
            rest = found[:start] + found[start + size :]
            if rest and fails(rest):
                found, parts = rest, max(2, parts - 1)
                break
            if time.monotonic() > until:
                return found
        else:
            if size == 1:
                break
            parts = min(len(found), 2 * parts)
    return found


def shrink(seed: int, steps: Sequence[Step], kind: str, seconds: float = 60.0) -> list[int]:
    """The places of the steps that are needed for a fault of that kind."""

    def fails(kept: Sequence[int]) -> bool:
        outcome = examine(seed, [steps[index] for index in kept])
        return any(fault.kind == kind for fault in outcome.faults)

    return smallest(range(len(steps)), fails, seconds)
