"""What an origin has seen, with the time, for a test that waits for it.

Rule: written on the origin's thread, read on the test's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Note:
    at: float
    """time.perf_counter"""
    what: str
    path: str


class Journal:
    def __init__(self) -> None:
        self.notes: list[Note] = []
        self._changed = threading.Condition()

    def note(self, what: str, path: str) -> None:
        with self._changed:
            self.notes.append(Note(time.perf_counter(), what, path))
            self._changed.notify_all()

    def clear(self) -> None:
        with self._changed:
            self.notes.clear()

    def find(self, what: str, path: str) -> list[Note]:
        return [note for note in self.notes if (note.what, note.path) == (what, path)]

    def wait(self, what: str, path: str, count: int = 1, within_s: float = 5.0) -> list[Note]:
        """The notes of that kind, once there are `count` of them or the time is over."""
        enough: Callable[[], bool] = lambda: len(self.find(what, path)) >= count  # noqa: E731
        with self._changed:
            self._changed.wait_for(enough, within_s)
        return self.find(what, path)
