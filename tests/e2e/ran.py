"""Whether the machine let the processes of a measurement run, by the kernel's own count of how long
each was ready to and did not.

Rule: it says which moments are looked at, never what has to be found in them.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

# What a budget has missed by longer waits is not made up for, and that is as it should be.
LONGEST_WAIT_S = 0.1
MOST_WAITING = 0.3  # of the time, in many short waits
EVERY_S = 0.05
ATTEMPTS = 5


class Ran:
    """Of these processes or threads; the times are of `time.perf_counter`."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._files = [Path(f"/proc/{each}/schedstat") for each in ids]
        # When looked, since when, and how long each had waited meanwhile.
        self._looks: list[tuple[float, float, list[float]]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def undisturbed(self, start: float, stop: float) -> bool:
        """Whether nobody had to wait for long, or often, between these moments."""
        time.sleep(max(0.0, stop + 2 * EVERY_S - time.perf_counter()))
        waits = [
            waited for now, then, waited in list(self._looks)
            if now > start and then - max(waited) < stop
        ]  # fmt: skip
        longest = max((max(waited) for waited in waits), default=0.0)
        most = max((sum(each) for each in zip(*waits, strict=True)), default=0.0)
        return longest < LONGEST_WAIT_S and most < MOST_WAITING * (stop - start)

    def next_undisturbed(self, start: float, width_s: float, within_s: float = 20) -> float:
        """The start of the first such stretch from `start` on, after half a second of the same."""
        for number in range(int(2 * within_s / width_s)):
            begin = start + number * width_s / 2
            if self.undisturbed(begin - 0.5, begin + width_s):
                return begin
        pytest.fail("the machine did something else all the time: this wants more of it")

    def _watch(self) -> None:
        before, then = [_waited_s(file) for file in self._files], time.perf_counter()
        while not self._stopped.wait(EVERY_S):
            waited, now = [_waited_s(file) for file in self._files], time.perf_counter()
            waits = [new - old for new, old in zip(waited, before, strict=True)]
            # This thread, too, is one that should run.
            self._looks.append((now, then, [*waits, now - then - EVERY_S]))
            before, then = waited, now


def waited_s(ids: Sequence[int]) -> float:
    """So long these have waited for a processor since they began, in all."""
    return sum(_waited_s(Path(f"/proc/{each}/schedstat")) for each in ids)


def _waited_s(file: Path) -> float:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return int(file.read_text().split()[1]) / 1e9
    return 0.0  # it has ended, or the kernel does not count


@contextlib.contextmanager
def watched(ids: Sequence[int]) -> Iterator[Ran]:
    """Until the block ends."""
    made = Ran(ids)
    try:
        yield made
    finally:
        made.stop()


def until_undisturbed[T](attempt: Callable[[], T | None]) -> T:
    """What it measures; None: the machine did something else, and it is measured anew."""
    for _ in range(ATTEMPTS):
        if (found := attempt()) is not None:
            return found
    pytest.fail(f"{ATTEMPTS} times the machine did something else: this wants it for itself")
